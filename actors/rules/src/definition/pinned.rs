//! Definitions that runs have pinned: each is read and planned once, and shared by all its runs.

use super::{Definition, NodeSpec, Plan};
use crate::components::Registry;
use parking_lot::Mutex;
use quipu_schemas::{
    digest::Digest,
    json::{self, Json},
    limits::{DEFINITIONS_KEPT_MAX, DEFINITIONS_KEPT_MAX_BYTES},
};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{borrow::Cow, collections::BTreeMap, ops::Deref, sync::Arc};

/// A definition with its plan. Copies share both; stored and shown it is the definition alone.
#[derive(Debug, Clone)]
pub struct Pinned(Arc<(Definition, Plan)>);

impl Pinned {
    /// A definition in its canonical form. It was checked when it was pinned; a component that is gone fails its node.
    pub fn read(canonical: &Json) -> Result<Self, serde_json::Error> {
        let text = canonical.to_text();
        recall(&text, || Definition::deserialize(&canonical.0))
    }

    /// A definition.
    pub fn of(definition: Definition) -> Self {
        let text = definition.canonical().to_text();
        match recall(&text, || Ok::<_, std::convert::Infallible>(definition)) {
            Ok(pinned) => pinned,
        }
    }

    /// Its plan.
    pub fn plan(&self) -> &Plan {
        &self.0.1
    }

    /// The node of that id.
    pub fn node(&self, id: &str) -> Option<&NodeSpec> {
        self.plan().places.get(id).map(|place| &self.nodes[*place])
    }
}

impl Deref for Pinned {
    type Target = Definition;
    fn deref(&self) -> &Definition {
        &self.0.0
    }
}

impl PartialEq for Pinned {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || **self == **other
    }
}

impl Serialize for Pinned {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        json::text_in_binary::serialize(&**self, s)
    }
}

impl<'de> Deserialize<'de> for Pinned {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        json::text_in_binary::deserialize(d).map(|definition: Definition| Self::of(definition))
    }
}

impl JsonSchema for Pinned {
    fn schema_name() -> Cow<'static, str> {
        Definition::schema_name()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<Definition>()
    }
}

/// Definitions used last, by the digest of their text. What is remembered is what the text says, so nobody can tell
/// whether it was remembered; only the time differs.
#[derive(Default)]
struct Kept {
    entries: BTreeMap<Digest, Entry>,
    bytes: usize,
    uses: u64,
}

struct Entry {
    pinned: Pinned,
    bytes: usize,
    used: u64,
}

static KEPT: Mutex<Kept> = Mutex::new(Kept {
    entries: BTreeMap::new(),
    bytes: 0,
    uses: 0,
});

fn recall<E>(text: &str, read: impl FnOnce() -> Result<Definition, E>) -> Result<Pinned, E> {
    let digest = Digest::of(&[text.as_bytes()]);
    if let Some(pinned) = KEPT.lock().find(&digest) {
        return Ok(pinned);
    }
    let definition = read()?;
    let plan = definition.plan(Registry::builtin());
    let pinned = Pinned(Arc::new((definition, plan)));
    let mut kept = KEPT.lock();
    kept.keep(digest, pinned.clone(), text.len());
    Ok(pinned)
}

impl Kept {
    fn find(&mut self, digest: &Digest) -> Option<Pinned> {
        self.uses += 1;
        let entry = self.entries.get_mut(digest)?;
        entry.used = self.uses;
        Some(entry.pinned.clone())
    }

    /// Forgets those that were used least lately until there is room.
    fn keep(&mut self, digest: Digest, pinned: Pinned, bytes: usize) {
        while self.entries.len() >= DEFINITIONS_KEPT_MAX || self.bytes + bytes > DEFINITIONS_KEPT_MAX_BYTES {
            let Some(oldest) = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(digest, _)| *digest) else {
                break;
            };
            self.bytes -= self.entries.remove(&oldest).map_or(0, |entry| entry.bytes);
        }
        let used = self.uses;
        if let Some(same) = self.entries.insert(digest, Entry { pinned, bytes, used }) {
            self.bytes -= same.bytes;
        }
        self.bytes += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn definition(name: &str) -> Definition {
        Definition::load(
            &json!({"name": name, "nodes": [{"id": "a", "component": "passthrough"}, {"id": "b", "component": "collect"}],
                "inputs": {"in": {}}, "edges": [{"from": "input.in", "to": "a.in"}, {"from": "a.out", "to": "b.items"}]}),
            Registry::builtin(),
        )
        .unwrap()
    }

    #[test]
    fn runs_of_one_definition_share_it() {
        let first = Pinned::of(definition("shared"));
        let second = Pinned::read(&definition("shared").canonical()).unwrap();
        assert!(Arc::ptr_eq(&first.0, &second.0));
        let other = Pinned::of(definition("other"));
        assert!(!Arc::ptr_eq(&first.0, &other.0) && first != other);
        let stored = serde_json::to_value(&first).unwrap();
        assert_eq!(stored, definition("shared").canonical().0);
        assert_eq!(first.node("b").map(|n| n.component.as_str()), Some("collect"));
        assert_eq!(first.plan().nodes[0].followers, [1].into());
    }

    #[test]
    fn few_definitions_are_kept_and_the_last_used_stay() {
        let mut kept = Kept::default();
        let pinned = Pinned::of(definition("kept"));
        let digest = |n: usize| Digest::of(&[&n.to_le_bytes()]);
        for n in 0..10 * DEFINITIONS_KEPT_MAX {
            kept.keep(digest(n), pinned.clone(), 10);
            assert!(kept.find(&digest(0)).is_some(), "in use all the time");
            assert!(kept.entries.len() <= DEFINITIONS_KEPT_MAX);
        }
        kept.keep(digest(1_000_000), pinned.clone(), DEFINITIONS_KEPT_MAX_BYTES);
        assert_eq!((kept.entries.len(), kept.bytes), (1, DEFINITIONS_KEPT_MAX_BYTES));
        kept.keep(digest(1_000_000), pinned, 10);
        assert_eq!((kept.entries.len(), kept.bytes), (1, 10), "the same one again");
    }
}
