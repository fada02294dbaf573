//! The capabilities that a node knows, numbered. Numbers hold for one process and are never stored.

use quipu_schemas::rights::{Capability, Pattern};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Bound,
};

/// Capabilities that are not a command of a kind, with their bit where they have one. The bits have been the same since the platform
/// that Quipu follows had them; 56 to 63 are kept free.
pub const NAMED: &[(Option<u8>, &str)] = &[
    (Some(0), "memory.read"),
    (Some(1), "memory.write"),
    (Some(2), "memory.delete"),
    (Some(3), "memory.share"),
    (Some(8), "directive.read"),
    (Some(9), "directive.propose"),
    (Some(10), "directive.promote"),
    (Some(11), "directive.revoke"),
    (Some(16), "session.create"),
    (Some(17), "session.send"),
    (Some(18), "session.end"),
    (Some(19), "metadata.read"),
    (Some(24), "trace.read"),
    (Some(25), "trace.write"),
    (Some(32), "user.read"),
    (Some(33), "user.manage"),
    (Some(34), "billing.manage"),
    (Some(35), "org.manage"),
    (Some(36), "token.create"),
    (Some(37), "token.revoke"),
    (Some(38), "payload.read_redacted"),
    (Some(39), "payload.read_raw"),
    (Some(40), "marketplace.read"),
    (Some(41), "marketplace.publish"),
    (Some(42), "data.export"),
    (Some(43), "data.delete"),
    (Some(44), "log.replay"),
    (Some(45), "secret.use"),
    (Some(46), "policy.change"),
    (Some(47), "break-glass.use"),
    (Some(48), "federation.use"),
    (None, "personal.read"),
    (None, "principal.act_as"),
    (None, "org.create"),
    (None, "quota.manage"),
    (None, "messaging.send"),
    (None, "messaging.send:priority"),
    (None, "messaging.interrupt"),
    (None, "messaging.route"),
    (None, "messaging.observe"),
];

/// A capability that the catalogue has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cap(pub(super) u16);

/// Places below this are the bits of [`NAMED`]; others follow.
pub(super) const BITS: u16 = 64;

/// All capabilities, by name and by number.
#[derive(Debug, Clone)]
pub struct Catalogue {
    by_name: BTreeMap<Capability, Cap>,
}

impl Catalogue {
    /// The named ones, and those of commands and reads of kinds. Once every number is given, a further name stays unknown, so that
    /// nobody holds it: two names never share a number.
    pub fn new(others: impl IntoIterator<Item = Capability>) -> Self {
        let mut by_name = BTreeMap::new();
        let mut free = BITS..=u16::MAX;
        let mut add = |capability: Capability, bit: Option<u8>| {
            if let Entry::Vacant(vacant) = by_name.entry(capability)
                && let Some(place) = bit.map(u16::from).or_else(|| free.next())
            {
                vacant.insert(Cap(place));
            }
        };
        for (bit, name) in NAMED {
            add(Capability::named(name), *bit);
        }
        for capability in others {
            add(capability, None);
        }
        Self { by_name }
    }

    /// A capability's number, where it is known.
    pub fn cap(&self, capability: &Capability) -> Option<Cap> {
        self.by_name.get(capability).copied()
    }

    /// All of them, in the order of their names.
    pub fn all(&self) -> impl Iterator<Item = (&Capability, Cap)> {
        self.by_name.iter().map(|(name, cap)| (name, *cap))
    }

    /// Those of a family. They stand side by side, so that nothing else is looked at.
    pub fn family<'a>(&'a self, family: &'a str) -> impl Iterator<Item = Cap> + 'a {
        let first = format!("{family}.");
        self.by_name
            .range::<str, _>((Bound::Included(first.as_str()), Bound::Unbounded))
            .take_while(move |(name, _)| name.family() == family)
            .map(|(_, cap)| *cap)
    }

    /// Whether a pattern names something: an unknown capability holds nothing, so it is refused where it is granted.
    pub fn knows(&self, pattern: &Pattern) -> bool {
        match pattern {
            Pattern::One(capability) => self.cap(capability).is_some(),
            Pattern::Family(family) => self.family(family).next().is_some(),
            Pattern::Role(_) => true,
        }
    }
}
