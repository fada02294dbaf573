//! Rights as they are compared: a bitmap for the named families, sorted numbers for the rest, and what is bounded by a target or a time.

use super::{Asked, Cap, catalogue::BITS};
use quipu_schemas::{context::Millis, rights::Target};
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
        /// On part of the org, or for a time; in the order in which [`Rights::new`] sorts them by their targets.
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
        limited.sort_by(|a, b| Place::of(&a.on).cmp(&Place::of(&b.on)));
        Self::Some {
            lasting,
            limited: limited.into(),
        }
    }

    /// Whether they hold what is asked, now.
    pub fn holds(&self, asked: &Asked<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Some { lasting, limited } => lasting.has(asked.cap) || (!limited.is_empty() && is_given(limited, asked)),
        }
    }
}

impl Rights {
    /// Whether they hold it on some project or application, of which whoever asks cannot tell what belongs to it.
    pub fn may_hold_within(&self, cap: Cap, now: Millis) -> bool {
        let Self::Some { limited, .. } = self else { return true };
        let is_part = |on: &Target| matches!(on, Target::Project(_) | Target::Application(_));
        limited
            .iter()
            .any(|grant| is_part(&grant.on) && grant.held.has(cap) && grant.until.is_none_or(|until| now < until))
    }
}

impl Rights {
    /// The parts of the org on which a capability was given beside what holds everywhere; nothing where everything is held.
    pub fn given_on(&self, cap: Cap, now: Millis) -> impl Iterator<Item = &Target> {
        let limited: &[Limited] = match self {
            Self::All => &[],
            Self::Some { limited, .. } => limited,
        };
        let holds = move |grant: &&Limited| grant.held.has(cap) && grant.until.is_none_or(|until| now < until);
        limited.iter().filter(holds).map(|grant| &grant.on)
    }
}

impl Limited {
    fn gives(&self, asked: &Asked<'_>) -> bool {
        self.held.has(asked.cap) && self.until.is_none_or(|until| asked.now < until)
    }
}

/// A target as it is sorted and found, without a copy of its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place<'a> {
    Org,
    Project(&'a str),
    Application(&'a str),
    /// The id first: ids differ sooner than kinds.
    Entity(&'a str, &'a str),
}

impl<'a> Place<'a> {
    fn of(target: &'a Target) -> Self {
        match target {
            Target::Org => Self::Org,
            Target::Project(id) => Self::Project(id.as_str()),
            Target::Application(id) => Self::Application(id.as_str()),
            Target::Entity(kind, id) => Self::Entity(id.as_str(), kind.as_str()),
        }
    }
}

/// Whether a grant on one of the places that what is asked lies in gives it. Grants on other places are not looked at.
fn is_given(limited: &[Limited], asked: &Asked<'_>) -> bool {
    let entity = asked.entity.map(|(kind, id)| (kind.as_str(), id.as_str()));
    // A project and an application are within themselves.
    let itself = |name: &str| entity.filter(|(kind, _)| *kind == name).map(|(_, id)| id);
    let places = [
        Some(Place::Org),
        asked.project.map(|id| Place::Project(id.as_str())),
        itself("project").map(Place::Project),
        asked.application.map(|id| Place::Application(id.as_str())),
        itself("application").map(Place::Application),
        entity.map(|(kind, id)| Place::Entity(id, kind)),
    ];
    places.into_iter().flatten().any(|place| {
        let first = limited.partition_point(|grant| Place::of(&grant.on) < place);
        let mut on_it = limited[first..].iter().take_while(|grant| Place::of(&grant.on) == place);
        on_it.any(|grant| grant.gives(asked))
    })
}
