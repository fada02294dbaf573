//! Rules of an org's own roles.

use crate::{
    decider::{AskedOf, Corrupt, Decider, Decision, NoWord, Refusal, Right},
    rights::{BUILT_IN, BadRole, NotHandedOn, RoleSpec, Roles, giver_of, may_hand_on},
};
use quipu_kinds::role::{RemoveOwnRole, RoleCommand, RoleEvent, SetOwnRole};
use quipu_schemas::{
    context::Context,
    ids::EntityId,
    limits::{ROLE_HOLDS_MAX, ROLE_NAME_MAX_CHARS, ROLES_MAX},
    problem::Problem,
    rights::{Pattern, is_role_name},
    role::Role as Member,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The entity that holds all of an org's own roles, so that one decision sees them together.
pub const ALL: EntityId = EntityId::from_static("all");

/// The kind `role`.
pub struct Role;

/// State: the org's own roles. Those that every org has are not among them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RoleState {
    /// What each holds, by name.
    pub roles: BTreeMap<String, Vec<Pattern>>,
}

impl RoleState {
    /// Each as the evaluator takes it.
    pub fn specs(&self) -> impl Iterator<Item = (&str, RoleSpec)> {
        self.roles
            .iter()
            .map(|(name, holds)| (name.as_str(), RoleSpec { holds: holds.clone() }))
    }
}

/// Why roles stay as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleRejection {
    /// The actor does not hand this on.
    NotHandedOn(NotHandedOn),
    /// All roles of an org are in one entity.
    WrongId(EntityId),
    /// The name is outside its grammar.
    BadName,
    /// Every org has a role of this name.
    BuiltIn(String),
    /// No role is called so.
    NotFound(String),
    /// It cannot inherit like this.
    Bad(BadRole),
    /// What only owners hand on is in no role of an org's own.
    Owners(Pattern),
    /// It names too much.
    HoldsTooMuch(usize),
    /// There are as many as there may be.
    TooMany,
}

impl Refusal for RoleRejection {
    fn problem(&self) -> Problem {
        match self {
            Self::NotHandedOn(why) => why.problem(),
            Self::WrongId(id) => Problem::new(422, "role_id", format!("an org's roles are in the entity `{ALL}`, not in {id}"))
                .field("id")
                .fix(format!("use the id `{ALL}`")),
            Self::BadName => Problem::new(
                422,
                "bad_role_name",
                format!("a role's name has at most {ROLE_NAME_MAX_CHARS} characters: lower-case words parted by `:`"),
            )
            .field("name")
            .fix("use words of a-z 0-9 _ - that begin with a letter"),
            Self::BuiltIn(name) => Problem::new(
                422,
                "built_in_role",
                format!("every org has the role {name}, and it stays as it is"),
            )
            .field("name")
            .fix("choose another name"),
            Self::NotFound(name) => Problem::new(404, "unknown_role", format!("the org has no role {name} of its own"))
                .field("name")
                .fix("see the view `roles`"),
            Self::Bad(why) => Problem::new(422, "bad_role", why.to_string())
                .field("holds")
                .fix("name roles that exist and do not inherit from this one"),
            Self::Owners(right) => Problem::new(
                422,
                "owner_right",
                format!("{right} is for owners to give, and in no role of an org's own"),
            )
            .field("holds")
            .fix("leave it out; an owner grants it to each principal"),
            Self::HoldsTooMuch(count) => Problem::new(
                422,
                "role_too_large",
                format!("{count} entries; a role has at most {ROLE_HOLDS_MAX}"),
            )
            .field("holds")
            .fix("name whole families, or inherit from another role"),
            Self::TooMany => Problem::new(409, "too_many_roles", format!("an org has at most {ROLES_MAX} roles of its own"))
                .fix("remove one that nobody has"),
        }
    }
}

impl From<NotHandedOn> for RoleRejection {
    fn from(why: NotHandedOn) -> Self {
        Self::NotHandedOn(why)
    }
}

impl Decider for Role {
    const KIND: &'static str = "role";
    const RULES_VERSION: u32 = 1;
    type State = RoleState;
    type Command = RoleCommand;
    type Word = NoWord;
    type Event = RoleEvent;
    type Rejection = RoleRejection;

    fn initial() -> RoleState {
        RoleState::default()
    }

    fn decide(state: &RoleState, asked: &AskedOf<Self>, context: &Context<'_>) -> Result<Decision<RoleEvent>, RoleRejection> {
        may_hand_on(Member::Admin, context)?;
        if context.stream.id != ALL {
            return Err(RoleRejection::WrongId(context.stream.id.clone()));
        }
        match asked.command() {
            RoleCommand::Set(set) => decide_set(state, set),
            RoleCommand::Remove(RemoveOwnRole { name }) => {
                if !state.roles.contains_key(name) {
                    return Err(RoleRejection::NotFound(name.chars().take(ROLE_NAME_MAX_CHARS).collect()));
                }
                Ok(Decision::one(RoleEvent::Removed { name: name.clone() }))
            }
        }
    }

    fn evolve(mut state: RoleState, event: &RoleEvent) -> Result<RoleState, Corrupt> {
        match event {
            RoleEvent::Set { name, holds } => {
                state.roles.insert(name.clone(), holds.clone());
            }
            RoleEvent::Removed { name } => {
                if state.roles.remove(name).is_none() {
                    return Err(Corrupt(format!("no such role: {event:?}")));
                }
            }
        }
        Ok(state)
    }

    fn right(_command: &str) -> Right {
        Right::Role(Member::Admin)
    }

    fn names_rights(command: &str) -> &'static [&'static str] {
        if command == "set" { &["/holds"] } else { &[] }
    }
}

fn decide_set(state: &RoleState, set: &SetOwnRole) -> Result<Decision<RoleEvent>, RoleRejection> {
    let SetOwnRole { name, holds } = set;
    if !is_role_name(name) {
        return Err(RoleRejection::BadName);
    }
    if BUILT_IN.contains(&name.as_str()) {
        return Err(RoleRejection::BuiltIn(name.clone()));
    }
    if holds.len() > ROLE_HOLDS_MAX {
        return Err(RoleRejection::HoldsTooMuch(holds.len()));
    }
    if let Some(right) = holds.iter().find(|right| giver_of(right) > Member::Admin) {
        return Err(RoleRejection::Owners(right.clone()));
    }
    // Sorted, each once: equal roles have equal events.
    let holds: Vec<Pattern> = holds.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
    match state.roles.get(name) {
        Some(held) if *held == holds => return Ok(Decision::Unchanged),
        None if state.roles.len() >= ROLES_MAX => return Err(RoleRejection::TooMany),
        Some(_) | None => {}
    }
    let mut roles = Roles::built_in(BUILT_IN.map(|name| (name, Default::default())));
    for (name, spec) in state.specs() {
        roles.set(name.to_owned(), spec);
    }
    let spec = RoleSpec { holds: holds.clone() };
    roles.check_inheritance(name, &spec).map_err(RoleRejection::Bad)?;
    Ok(Decision::one(RoleEvent::Set { name: name.clone(), holds }))
}

#[cfg(test)]
mod tests;
