//! The order in which nodes run, and what leads where.

use super::{Definition, INPUT, OUTPUT};
use std::collections::{BTreeMap, BTreeSet};

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// An input of the definition.
    Input(&'a str),
    /// An output port of a node.
    Node {
        /// Place of the node in the definition.
        node: usize,
        /// Its port.
        port: &'a str,
    },
}

/// An edge as its end sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inbound<'a> {
    /// Input port of the node, or output of the definition.
    pub port: &'a str,
    /// Where its value comes from.
    pub source: Source<'a>,
}

/// A checked definition, ready to run.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Places of the nodes in Kahn's order.
    pub order: Vec<usize>,
    /// Edges into each node, by place, in the definition's order.
    pub inbound: Vec<Vec<Inbound<'a>>>,
    /// Connected output ports of each node, by place.
    pub connected: Vec<Vec<&'a str>>,
    /// Edges into the definition's outputs.
    pub outputs: Vec<Inbound<'a>>,
}

impl Definition {
    /// The plan of a checked definition (an unchecked one gives a plan without its bad parts).
    pub fn plan(&self) -> Plan<'_> {
        let places = places(self);
        let mut inbound = vec![Vec::new(); self.nodes.len()];
        let mut connected: Vec<Vec<&str>> = vec![Vec::new(); self.nodes.len()];
        let mut outputs = Vec::new();
        for edge in &self.edges {
            let (Some((from, from_port)), Some((to, port))) = (edge.from.split_once('.'), edge.to.split_once('.')) else {
                continue;
            };
            let source = match (from, places.get(from)) {
                (INPUT, _) => Source::Input(from_port),
                (_, Some(&node)) => {
                    connected[node].push(from_port);
                    Source::Node { node, port: from_port }
                }
                (_, None) => continue,
            };
            match (to, places.get(to)) {
                (OUTPUT, _) => outputs.push(Inbound { port, source }),
                (_, Some(&node)) => inbound[node].push(Inbound { port, source }),
                (_, None) => {}
            }
        }
        Plan {
            order: order(self).unwrap_or_default(),
            inbound,
            connected,
            outputs,
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
