//! The order in which nodes run, and what leads where.

use super::{Definition, INPUT, OUTPUT};
use crate::{
    components::{Ports, Registry},
    expression::Mention,
};
use std::collections::{BTreeMap, BTreeSet};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An input of the definition.
    Input(String),
    /// An output port of a node.
    Node {
        /// Place of the node in the definition.
        node: usize,
        /// Its port.
        port: String,
    },
}

/// An edge as its end sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// Input port of the node, or output of the definition.
    pub port: String,
    /// Where its value comes from.
    pub source: Source,
}

/// A node with what leads to it and away from it.
#[derive(Debug, Default)]
pub struct PlannedNode {
    /// Its place in the order; `None` in a cycle.
    pub rank: Option<usize>,
    /// Edges into it, in the definition's order.
    pub inbound: Vec<Inbound>,
    /// Its output ports that have an edge.
    pub connected: Vec<String>,
    /// Ranks of the nodes that its outputs lead to.
    pub followers: BTreeSet<usize>,
    /// Its ports; `None` where there is no such component (any longer).
    pub ports: Option<Ports>,
    /// What its expressions look into.
    pub mentions: Vec<Mention>,
    /// Who reads its outputs: places of nodes by port.
    pub readers: BTreeMap<String, Vec<usize>>,
    /// Its ports that lead to an output of the definition.
    pub to_outputs: BTreeSet<String>,
    /// Whether its configuration may name `run`: the word stands in it.
    pub names_run: bool,
    /// Whether it may name `texts`.
    pub names_texts: bool,
}

/// A checked definition, ready to run.
#[derive(Debug)]
pub struct Plan {
    /// Places of the nodes in Kahn's order.
    pub order: Vec<usize>,
    /// The nodes, by place.
    pub nodes: Vec<PlannedNode>,
    /// Places by id.
    pub places: BTreeMap<String, usize>,
    /// Edges into the definition's outputs.
    pub outputs: Vec<Inbound>,
    /// Ranks of the nodes that an input leads to.
    pub readers: BTreeMap<String, BTreeSet<usize>>,
    /// Most values that an input which is given again and again takes: the largest count behind it.
    pub rooms: BTreeMap<String, usize>,
    /// Whether some node looks into values.
    pub looks_into: bool,
    /// Inputs that lead to an output of the definition.
    pub returned: BTreeSet<String>,
    /// How many nodes may name `run`.
    pub name_run: usize,
    /// How many may name `texts`.
    pub name_texts: usize,
}

impl Definition {
    /// The plan of a checked definition (an unchecked one gives a plan without its bad parts).
    pub fn plan(&self, registry: &Registry) -> Plan {
        let order = order(self).unwrap_or_default();
        let mut nodes: Vec<PlannedNode> = self
            .nodes
            .iter()
            .map(|node| {
                let component = registry.get(&node.component);
                let config = node.config.to_text();
                PlannedNode {
                    ports: component.map(|component| component.ports(&node.config.0)),
                    mentions: component.map_or_else(Vec::new, |component| component.mentions(&node.config.0)),
                    names_run: config.contains("run"),
                    names_texts: config.contains("texts"),
                    ..PlannedNode::default()
                }
            })
            .collect();
        for (rank, place) in order.iter().enumerate() {
            nodes[*place].rank = Some(rank);
        }
        let looks_into = nodes.iter().any(|node| !node.mentions.is_empty());
        let (name_run, name_texts) = (
            nodes.iter().filter(|node| node.names_run).count(),
            nodes.iter().filter(|node| node.names_texts).count(),
        );
        let places = places(self).into_iter().map(|(id, place)| (id.to_owned(), place)).collect();
        let mut plan = Plan {
            order,
            nodes,
            places,
            outputs: Vec::new(),
            readers: BTreeMap::new(),
            rooms: BTreeMap::new(),
            looks_into,
            returned: BTreeSet::new(),
            name_run,
            name_texts,
        };
        for edge in &self.edges {
            plan.connect(&edge.from, &edge.to);
        }
        plan
    }
}

impl Plan {
    fn connect(&mut self, from: &str, to: &str) {
        let (Some((from, from_port)), Some((to, port))) = (from.split_once('.'), to.split_once('.')) else {
            return;
        };
        let target = self.places.get(to).copied();
        let rank = target.and_then(|place| self.nodes[place].rank);
        let source = match (from, self.places.get(from)) {
            (INPUT, _) => {
                self.readers.entry(from_port.to_owned()).or_default().extend(rank);
                if to == OUTPUT {
                    self.returned.insert(from_port.to_owned());
                }
                let ports = target.and_then(|place| self.nodes[place].ports.as_ref());
                let counted = ports.and_then(|own| own.inputs.iter().find(|p| p.name == port)?.count);
                let room = self.rooms.entry(from_port.to_owned()).or_default();
                *room = (*room).max(counted.unwrap_or(0) as usize);
                Source::Input(from_port.to_owned())
            }
            (_, Some(&node)) => {
                self.nodes[node].connected.push(from_port.to_owned());
                self.nodes[node].followers.extend(rank);
                match target {
                    Some(place) => self.nodes[node].readers.entry(from_port.to_owned()).or_default().push(place),
                    None => {
                        self.nodes[node].to_outputs.insert(from_port.to_owned());
                    }
                }
                Source::Node {
                    node,
                    port: from_port.to_owned(),
                }
            }
            (_, None) => return,
        };
        let inbound = Inbound {
            port: port.to_owned(),
            source,
        };
        match (to, target) {
            (OUTPUT, _) => self.outputs.push(inbound),
            (_, Some(place)) => self.nodes[place].inbound.push(inbound),
            (_, None) => {}
        }
    }
}

fn places(definition: &Definition) -> BTreeMap<&str, usize> {
    definition.nodes.iter().enumerate().map(|(i, n)| (n.id.as_str(), i)).collect()
}

/// Kahn's order, ties by place; or the places that stand in a cycle or only lead out of one's middle.
pub(super) fn order(definition: &Definition) -> Result<Vec<usize>, Vec<usize>> {
    let places = places(definition);
    let count = definition.nodes.len();
    let mut follows: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); count];
    let mut before: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); count];
    let node_of = |end: &str| end.split_once('.').and_then(|(node, _)| places.get(node).copied());
    for edge in &definition.edges {
        if let (Some(from), Some(to)) = (node_of(&edge.from), node_of(&edge.to)) {
            follows[from].insert(to);
            before[to].insert(from);
        }
    }
    let mut waiting: Vec<usize> = before.iter().map(BTreeSet::len).collect();
    let mut ready: BTreeSet<usize> = (0..count).filter(|n| waiting[*n] == 0).collect();
    let mut order = Vec::with_capacity(count);
    while let Some(node) = ready.pop_first() {
        order.push(node);
        for next in &follows[node] {
            waiting[*next] -= 1;
            if waiting[*next] == 0 {
                ready.insert(*next);
            }
        }
    }
    if order.len() == count {
        return Ok(order);
    }
    // What is left holds every cycle and all that hangs behind one; strip the latter.
    let mut left: BTreeSet<usize> = (0..count).filter(|n| waiting[*n] > 0).collect();
    while let Some(tail) = left.iter().copied().find(|n| follows[*n].is_disjoint(&left)) {
        left.remove(&tail);
    }
    Err(left.into_iter().collect())
}
