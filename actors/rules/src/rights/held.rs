//! Rights as they are compared: a bitmap for the named families, sorted numbers for the rest, and what is bounded by a target or a time.

use super::{Asked, Cap, catalogue::BITS};
use quipu_schemas::{context::Millis, ids::EntityId, rights::Target};
use std::sync::Arc;

/// A set of capabilities.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Held {
    bits: u64,
    /// Sorted.
    rest: Box<[u16]>,
}

impl Held {
    /// Whether it has this one.
    pub fn has(&self, cap: Cap) -> bool {
        if cap.0 < BITS {
            self.bits & (1 << cap.0) != 0
        } else {
            self.rest.binary_search(&cap.0).is_ok()
        }
    }

    /// The bitmap of the named capabilities that have a bit.
    pub fn bits(&self) -> u64 {
        self.bits
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.bits.count_ones() as usize + self.rest.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.bits == 0 && self.rest.is_empty()
    }

    /// Whether it has all of another's.
    pub fn covers(&self, other: &Self) -> bool {
        other.bits & !self.bits == 0 && other.rest.iter().all(|cap| self.rest.binary_search(cap).is_ok())
    }
}

impl FromIterator<Cap> for Held {
    fn from_iter<I: IntoIterator<Item = Cap>>(caps: I) -> Self {
        let mut bits = 0;
        let mut rest = Vec::new();
        for cap in caps {
            if cap.0 < BITS {
                bits |= 1 << cap.0;
            } else {
                rest.push(cap.0);
            }
        }
        rest.sort_unstable();
        rest.dedup();
        Self { bits, rest: rest.into() }
    }
}

/// A grant that holds on part of the org, or for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limited {
    /// What it holds.
    pub held: Arc<Held>,
    /// On what.
    pub on: Target,
    /// Until when; the moment itself is outside.
    pub until: Option<Millis>,
}

/// What one principal or credential holds in one org.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rights {
    /// Everything: the node's own token, the kernel, a credential without a scope.
    All,
    /// These.
    Some {
        /// Without any limit.
        lasting: Arc<Held>,
        /// On part of the org, or for a time; sorted by target.
        limited: Box<[Limited]>,
    },
}

impl Rights {
    /// Nothing.
    pub fn none() -> Self {
        Self::Some {
            lasting: Arc::default(),
            limited: Box::default(),
        }
    }

    /// What holds everywhere for good, and the rest.
    pub fn new(lasting: Arc<Held>, mut limited: Vec<Limited>) -> Self {
        limited.sort_by(|a, b| a.on.cmp(&b.on));
        Self::Some {
            lasting,
            limited: limited.into(),
        }
    }

    /// Whether they hold what is asked, now.
    pub fn holds(&self, asked: &Asked<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Some { lasting, limited } => lasting.has(asked.cap) || limited.iter().any(|grant| grant.gives(asked)),
        }
    }
}

impl Limited {
    fn gives(&self, asked: &Asked<'_>) -> bool {
        self.held.has(asked.cap) && self.until.is_none_or(|until| asked.now < until) && is_within(&self.on, asked)
    }
}

/// A project and an application are within themselves.
fn is_within(target: &Target, asked: &Asked<'_>) -> bool {
    let is_itself = |name: &str, id: &EntityId| asked.entity.is_some_and(|(kind, asked)| asked == id && kind.as_str() == name);
    match target {
        Target::Org => true,
        Target::Project(id) => asked.project == Some(id) || is_itself("project", id),
        Target::Application(id) => asked.application == Some(id) || is_itself("application", id),
        Target::Entity(kind, id) => asked.entity == Some((kind, id)),
    }
}
