//! The nodes of a run: a map that copies of the state share, but for what they change.

use super::{NodeRun, Stage, Wait};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Parts of the map. A copy of the state costs one reference each; a change copies the references of one part.
const PARTS: usize = 32;

type Part = BTreeMap<Arc<str>, Arc<NodeRun>>;

/// Nodes whose turn has come, by id. Stored and shown as a plain map.
#[derive(Debug, Clone, PartialEq)]
pub struct Nodes {
    parts: Vec<Arc<Part>>,
    /// How many are done.
    over: usize,
    /// Who waits for a signal, by its name.
    listening: Arc<BTreeMap<String, BTreeSet<Arc<str>>>>,
}

impl Default for Nodes {
    fn default() -> Self {
        Self {
            parts: vec![Arc::default(); PARTS],
            over: 0,
            listening: Arc::default(),
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
        self.parts[part_of(id)].get(id).map(|node| &**node)
    }

    /// How many are done: completed, failed or skipped.
    pub fn over(&self) -> usize {
        self.over
    }

    /// Ids of the nodes that wait for a signal of this name.
    pub(super) fn listening(&self, signal: &str) -> impl Iterator<Item = &str> {
        self.listening.get(signal).into_iter().flatten().map(|id| &**id)
    }

    /// All of them, by id.
    pub fn all(&self) -> BTreeMap<&str, &NodeRun> {
        self.parts
            .iter()
            .flat_map(|part| part.iter().map(|(id, node)| (&**id, &**node)))
            .collect()
    }

    /// Puts a node in the place of the one that has its id.
    pub(super) fn put(&mut self, id: &str, node: NodeRun) {
        let part = Arc::make_mut(&mut self.parts[part_of(id)]);
        let (over, signal) = (node.stage.is_over(), listens(&node).map(str::to_owned));
        let key = part.get_key_value(id).map_or_else(|| Arc::from(id), |(key, _)| key.clone());
        let before = part.insert(key.clone(), Arc::new(node));
        self.over = self.over + usize::from(over) - before.as_ref().map_or(0, |node| usize::from(node.stage.is_over()));
        let left = before.as_ref().and_then(|node| listens(node));
        if left == signal.as_deref() {
            return;
        }
        let listening = Arc::make_mut(&mut self.listening);
        if let Some(name) = left
            && let Some(ids) = listening.get_mut(name)
        {
            ids.remove(id);
            if ids.is_empty() {
                listening.remove(name);
            }
        }
        if let Some(name) = signal {
            listening.entry(name).or_default().insert(key);
        }
    }
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
