//! Roles: names for sets of capabilities, which inherit from each other.

use super::{Cap, Catalogue, Held};
use quipu_schemas::{limits, rights::Pattern};
use std::collections::{BTreeMap, BTreeSet};

/// The roles that every org has, the highest first. No org has another one of such a name.
pub const BUILT_IN: [&str; 4] = ["owner", "admin", "member", "viewer"];

/// What a role holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoleSpec {
    /// Capabilities, families, and the roles that it inherits from.
    pub holds: Vec<Pattern>,
}

/// Why a role cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRole {
    /// It inherits from itself.
    #[error("role `{0}` would inherit from itself")]
    Cycle(String),
    /// It inherits from one that does not exist.
    #[error("role `{0}` does not exist")]
    Unknown(String),
    /// It inherits over too many steps.
    #[error("role `{0}` would inherit over more than {max} steps (ROLE_DEPTH_MAX)", max = limits::ROLE_DEPTH_MAX)]
    TooDeep(String),
    /// No capability is called so.
    #[error("capability `{0}` does not exist")]
    NoCapability(Pattern),
}

fn parents(spec: &RoleSpec) -> impl Iterator<Item = &str> {
    spec.holds.iter().filter_map(|pattern| match pattern {
        Pattern::Role(role) => Some(role.as_str()),
        Pattern::One(_) | Pattern::Family(_) => None,
    })
}

/// Whether one role inherits from another, over however many steps.
fn inherits<'a>(name: &'a str, from: &str, with: impl Fn(&str) -> Option<&'a RoleSpec>) -> bool {
    let (mut open, mut seen) = (vec![name], BTreeSet::new());
    while let Some(role) = open.pop() {
        for parent in with(role).map(parents).into_iter().flatten() {
            if parent == from {
                return true;
            }
            if seen.insert(parent) {
                open.push(parent);
            }
        }
    }
    false
}

/// The roles of an org: its own, and those that every org has.
#[derive(Debug, Clone, Default)]
pub struct Roles {
    built_in: BTreeMap<&'static str, Held>,
    own: BTreeMap<String, RoleSpec>,
}

impl Roles {
    /// Those that every org has.
    pub fn built_in(roles: impl IntoIterator<Item = (&'static str, Held)>) -> Self {
        Self {
            built_in: roles.into_iter().collect(),
            own: BTreeMap::new(),
        }
    }

    /// Whether there is one of this name.
    pub fn has(&self, name: &str) -> bool {
        self.built_in.contains_key(name) || self.own.contains_key(name)
    }

    /// Whether a role may be kept beside the others: what it names exists, it does not come back to itself, and it is not too deep.
    pub fn check<'a>(&'a self, name: &'a str, spec: &'a RoleSpec, catalogue: &Catalogue) -> Result<(), BadRole> {
        if let Some(pattern) = spec.holds.iter().find(|pattern| !catalogue.knows(pattern)) {
            return Err(BadRole::NoCapability(pattern.clone()));
        }
        self.check_inheritance(name, spec)
    }

    /// As [`Roles::check`], for those who do not know every capability: what names none holds nothing.
    pub fn check_inheritance<'a>(&'a self, name: &'a str, spec: &'a RoleSpec) -> Result<(), BadRole> {
        let with = |role: &str| -> Option<&'a RoleSpec> { if role == name { Some(spec) } else { self.own.get(role) } };
        self.walk(name, with)?;
        // Those that inherit from it get deeper with it.
        let mut known = BTreeMap::new();
        for other in self.own.keys().filter(|other| *other != name) {
            let is_too_deep = self.depth(other, limits::ROLE_DEPTH_MAX, &with, &mut known).is_none();
            if is_too_deep && inherits(other, name, with) {
                return Err(BadRole::TooDeep(other.clone()));
            }
        }
        Ok(())
    }

    /// Whether what a role names exists, whether it comes back to itself, and how deep it is. A role further down that names one
    /// which was removed since does not hinder this one.
    fn walk<'a>(&'a self, name: &'a str, with: impl Fn(&str) -> Option<&'a RoleSpec> + Copy) -> Result<(), BadRole> {
        if inherits(name, name, with) {
            return Err(BadRole::Cycle(name.to_owned()));
        }
        let mut named = with(name).map(parents).into_iter().flatten();
        if let Some(gone) = named.find(|role| !self.has(role)) {
            return Err(BadRole::Unknown(gone.to_owned()));
        }
        match self.depth(name, limits::ROLE_DEPTH_MAX, &with, &mut BTreeMap::new()) {
            Some(_) => Ok(()),
            None => Err(BadRole::TooDeep(name.to_owned())),
        }
    }

    /// Steps to the farthest role that this one inherits from; `None` where they are more than `left`. Each role is looked at once,
    /// so that the cost is that of the entries of all roles, however they are tied.
    pub(super) fn depth<'a>(
        &'a self,
        name: &'a str,
        left: usize,
        with: &impl Fn(&str) -> Option<&'a RoleSpec>,
        known: &mut BTreeMap<&'a str, usize>,
    ) -> Option<usize> {
        if let Some(depth) = known.get(name) {
            return (*depth <= left).then_some(*depth);
        }
        let spec = if self.built_in.contains_key(name) { None } else { with(name) };
        let mut deepest = 0;
        for parent in spec.map(parents).into_iter().flatten() {
            deepest = deepest.max(self.depth(parent, left.checked_sub(1)?, with, known)? + 1);
        }
        known.insert(name, deepest);
        Some(deepest)
    }

    /// Keeps a role that was checked.
    pub fn set(&mut self, name: String, spec: RoleSpec) {
        self.own.insert(name, spec);
    }

    /// Forgets a role; what inherits from it or was granted it holds that part no longer.
    pub fn remove(&mut self, name: &str) {
        self.own.remove(name);
    }

    /// What patterns hold together. What is unknown holds nothing, and inheritance ends at its bound, whatever a log says.
    pub fn compile<'a>(&self, patterns: impl IntoIterator<Item = &'a Pattern>, catalogue: &Catalogue) -> Held {
        let mut caps: BTreeSet<Cap> = BTreeSet::new();
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut level: Vec<&Pattern> = patterns.into_iter().collect();
        let mut built_in: Vec<&Held> = Vec::new();
        // One step for the role that is granted, and one for what the last one holds.
        for _ in 0..limits::ROLE_DEPTH_MAX + 2 {
            let mut next = Vec::new();
            for pattern in level {
                match pattern {
                    Pattern::One(capability) => caps.extend(catalogue.cap(capability)),
                    Pattern::Family(family) => caps.extend(catalogue.family(family)),
                    Pattern::Role(role) if !seen.insert(role) => {}
                    Pattern::Role(role) => match (self.built_in.get(role.as_str()), self.own.get(role)) {
                        (Some(held), _) => built_in.push(held),
                        (None, Some(spec)) => next.extend(&spec.holds),
                        (None, None) => {}
                    },
                }
            }
            level = next;
        }
        let given = catalogue
            .all()
            .map(|(_, cap)| cap)
            .filter(|cap| built_in.iter().any(|held| held.has(*cap)));
        caps.extend(given);
        caps.into_iter().collect()
    }
}
