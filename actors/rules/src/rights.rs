//! **Who may**: one evaluator for commands, reads, feeds, the bus and the terminal.
//!
//! What somebody may do is what their own grants hold, cut by the scope of the credential that they showed and by what each actor
//! holds on whose behalf it is done: a right only shrinks on its way. Nothing is allowed by default. Everything here is pure: texts
//! are compiled once against a [`Catalogue`], a check compares numbers.

mod catalogue;
mod charter;
mod handing;
mod held;
mod named;
mod roles;

pub use catalogue::{Cap, Catalogue, NAMED};
pub use charter::{Charter, CommandRight, Given, role_name};
pub use handing::{NotHandedOn, acts_alone, acts_whole, giver_of, has_role, may_hand_on};
pub use held::{Held, Limited, Rights};
pub use named::{UnknownRight, known_rights};
pub use roles::{BUILT_IN, BadRole, RoleSpec, Roles};

use quipu_schemas::{
    context::Millis,
    ids::{EntityId, Kind},
    limits::ACT_CHAIN_MAX,
};

/// Code of what ended because the credential that it was caused by was revoked with all that it caused.
pub const CREDENTIAL_REVOKED: &str = "credential_revoked";

/// What somebody wants to do, and with what.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The capability that it takes.
    pub cap: Cap,
    /// The entity, where it is one.
    pub entity: Option<(&'a Kind, &'a EntityId)>,
    /// The application that the entity belongs to.
    pub application: Option<&'a EntityId>,
    /// The project that the entity or its application belongs to.
    pub project: Option<&'a EntityId>,
    /// Now, by the clock of whoever asks: an expired grant holds nothing.
    pub now: Millis,
}

/// Everybody whose rights count for one request: all of them must hold what is asked.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a> {
    /// The principal's own.
    pub principal: &'a Rights,
    /// Those of the credential; `None`: it is not cut.
    pub scope: Option<&'a Rights>,
    /// Those of each actor in between, the nearest first. One beyond [`ACT_CHAIN_MAX`] counts as holding nothing.
    pub actors: &'a [&'a Rights],
}

/// Who of a [`Chain`] does not hold what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lacking {
    /// The principal.
    Principal,
    /// The credential.
    Scope,
    /// The actor at this place.
    Actor(usize),
}

impl Chain<'_> {
    /// Whether all of them hold it; who is the first that does not.
    pub fn permits(&self, asked: &Asked<'_>) -> Result<(), Lacking> {
        if !self.principal.holds(asked) {
            return Err(Lacking::Principal);
        }
        if self.scope.is_some_and(|scope| !scope.holds(asked)) {
            return Err(Lacking::Scope);
        }
        let within = &self.actors[..self.actors.len().min(ACT_CHAIN_MAX)];
        match within.iter().position(|actor| !actor.holds(asked)) {
            Some(at) => Err(Lacking::Actor(at)),
            None if within.len() < self.actors.len() => Err(Lacking::Actor(ACT_CHAIN_MAX)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
