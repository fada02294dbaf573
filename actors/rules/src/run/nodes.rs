//! The nodes of a run: a map that copies of the state share, but for what they change.

use super::{NodeRun, Stage, Wait};
use quipu_schemas::personal::value;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Parts of the map. A copy of the state costs one reference each; a change copies the references of one part.
const PARTS: usize = 32;

/// One part: the nodes whose ids hash to it.
#[derive(Debug, Clone, PartialEq, Default)]
struct Part {
    nodes: BTreeMap<Arc<str>, Arc<NodeRun>>,
    /// Signals that they wait for, with the one who waits.
    listening: BTreeSet<(Arc<str>, Arc<str>)>,
}

/// Nodes whose turn has come, by id. Stored and shown as a plain map.
#[derive(Debug, Clone, PartialEq)]
pub struct Nodes {
    parts: Vec<Arc<Part>>,
    /// How many are done.
    over: usize,
    /// Bytes of values beside the log that they name, each time that they do.
    named_bytes: u64,
}

impl Default for Nodes {
    fn default() -> Self {
        Self {
            parts: vec![Arc::default(); PARTS],
            over: 0,
            named_bytes: 0,
        }
    }
}

/// FNV-1a: the same on every machine, which the standard library's hash does not promise.
fn part_of(id: &str) -> usize {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    ((hash ^ (hash >> 32)) as usize) % PARTS
}

impl Nodes {
    /// The node of that id.
    pub fn get(&self, id: &str) -> Option<&NodeRun> {
        #[cfg(test)]
        LOOKED_AT.with(|count| count.set(count.get() + 1));
        self.parts[part_of(id)].nodes.get(id).map(|node| &**node)
    }

    /// How many are done: completed, failed or skipped.
    pub fn over(&self) -> usize {
        self.over
    }

    /// Bytes of values beside the log that they name; a value counts each time.
    pub fn named_bytes(&self) -> u64 {
        self.named_bytes
    }

    /// Lets go of what they have handed on.
    pub(super) fn forget_outputs(&mut self) {
        let holds = |node: &Arc<NodeRun>| matches!(&node.stage, Stage::Completed(output) if !output.is_empty());
        for part in self.parts.iter_mut().filter(|part| part.nodes.values().any(holds)) {
            for node in Arc::make_mut(part).nodes.values_mut().filter(|node| holds(node)) {
                self.named_bytes -= named_by(node);
                Arc::make_mut(node).stage = Stage::Completed(BTreeMap::new());
            }
        }
    }

    /// Ids of the nodes that wait for a signal of this name.
    pub(super) fn listening(&self, signal: &str) -> impl Iterator<Item = &str> {
        let from: (Arc<str>, Arc<str>) = (signal.into(), "".into());
        let of = from.0.clone();
        self.parts.iter().flat_map(move |part| {
            let of = of.clone();
            let named = part.listening.range(from.clone()..).take_while(move |(name, _)| *name == of);
            named.map(|(_, id)| &**id)
        })
    }

    /// All of them, by id.
    pub fn all(&self) -> BTreeMap<&str, &NodeRun> {
        self.parts
            .iter()
            .flat_map(|part| part.nodes.iter().map(|(id, node)| (&**id, &**node)))
            .collect()
    }

    /// Puts a node in the place of the one that has its id.
    pub(super) fn put(&mut self, id: &str, node: NodeRun) {
        let part = Arc::make_mut(&mut self.parts[part_of(id)]);
        let key = part.nodes.get_key_value(id).map_or_else(|| Arc::from(id), |(key, _)| key.clone());
        let (is_over, named) = (node.stage.is_over(), named_by(&node));
        if let Some(signal) = listens(&node) {
            part.listening.insert((signal.into(), key.clone()));
        }
        let now = listens(&node).map(str::to_owned);
        let before = part.nodes.insert(key.clone(), Arc::new(node));
        if let Some(left) = before
            .as_ref()
            .and_then(|node| listens(node))
            .filter(|left| Some(*left) != now.as_deref())
        {
            part.listening.remove(&(left.into(), key));
        }
        let was_over = before.as_ref().is_some_and(|node| node.stage.is_over());
        self.over = self.over + usize::from(is_over) - usize::from(was_over);
        self.named_bytes = self.named_bytes + named - before.map_or(0, |node| named_by(&node));
    }
}

fn named_by(node: &NodeRun) -> u64 {
    node.stage.values().map(|value| value::named_bytes(&value.0)).sum()
}

fn listens(node: &NodeRun) -> Option<&str> {
    match &node.stage {
        Stage::Waits(Wait::Signal(name)) => Some(name),
        _ => None,
    }
}

impl Serialize for Nodes {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.all().serialize(s)
    }
}

impl<'de> Deserialize<'de> for Nodes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut nodes = Self::default();
        for (id, node) in BTreeMap::<String, NodeRun>::deserialize(d)? {
            nodes.put(&id, node);
        }
        Ok(nodes)
    }
}

impl JsonSchema for Nodes {
    fn schema_name() -> Cow<'static, str> {
        BTreeMap::<String, NodeRun>::schema_name()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        BTreeMap::<String, NodeRun>::json_schema(generator)
    }
}

#[cfg(test)]
thread_local! {
    /// How often a node was looked up, on this thread.
    pub(super) static LOOKED_AT: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(stage: Stage) -> NodeRun {
        NodeRun {
            attempts: 1,
            name: "n#1".into(),
            timed: false,
            stage,
        }
    }

    #[test]
    fn counts_and_listeners_follow_every_change() {
        let mut nodes = Nodes::default();
        let wait = |name: &str| Stage::Waits(Wait::Signal(name.into()));
        for n in 0..100 {
            nodes.put(&format!("n{n}"), node(wait("go")));
        }
        assert_eq!((nodes.over(), nodes.listening("go").count()), (0, 100));
        let before = nodes.clone();
        nodes.put("n7", node(Stage::Completed(BTreeMap::new())));
        nodes.put("n8", node(wait("stop")));
        nodes.put("n7", node(Stage::Skipped));
        assert_eq!((nodes.over(), nodes.listening("go").count()), (1, 98));
        assert_eq!(nodes.listening("stop").collect::<Vec<_>>(), ["n8"]);
        nodes.put("n7", node(Stage::Waiting));
        assert_eq!(nodes.over(), 0);
        assert_eq!(
            (before.over(), before.listening("go").count()),
            (0, 100),
            "a copy keeps what it was"
        );
        let back: Nodes = serde_json::from_value(serde_json::to_value(&nodes).unwrap()).unwrap();
        assert_eq!(back, nodes);
        assert_eq!(nodes.all().len(), 100);
    }
}
