//! What is known of rights before any org is: capabilities, the roles that every org has, and what each command takes.

use super::{Cap, Catalogue, Held, Limited, NAMED, Rights, RoleSpec, Roles};
use crate::decider::Right;
use quipu_schemas::{
    context::Millis,
    ids::Kind,
    rights::{Capability, Pattern, Target},
    role::Role,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// What a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandRight {
    /// The capability that is asked for.
    pub cap: Cap,
    /// Who holds it, and whether the kernel lets others pass to the rules.
    pub right: Right,
    /// The field that may name a principal in whose name its entity is to act: that takes `cap:principal.act_as` as well.
    pub names_actor: Option<&'static str>,
    /// Where it names capabilities or targets, as JSON pointers.
    pub names_rights: &'static [&'static str],
    /// What whoever manages all entities of the kind holds, where there is such a capability.
    pub manage: Option<Cap>,
}

/// Something that was given to a principal: what, on what, until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Given {
    /// A capability, a family of them, or a role.
    pub right: Pattern,
    /// On what.
    pub on: Target,
    /// Until when; the moment itself is outside.
    pub until: Option<Millis>,
}

/// Made once, when a node starts, from the kinds and views that it has.
#[derive(Debug, Clone)]
pub struct Charter {
    catalogue: Catalogue,
    built_in: Roles,
    held: BTreeMap<Role, Arc<Held>>,
    commands: BTreeMap<Kind, BTreeMap<String, CommandRight>>,
}

/// Every role, the lowest first.
const ROLES: [Role; 4] = [Role::Viewer, Role::Member, Role::Admin, Role::Owner];

/// What admins hold besides commands and others only by a grant: to read who was refused what, and to spend from others' budgets.
const OF_ADMINS: [&str; 3] = ["audit.read", "denial.read", "quota.manage"];

/// The name of a role that every org has.
pub const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Member => "member",
        Role::Admin => "admin",
        Role::Owner => "owner",
    }
}

/// Which role and higher ones hold a command's capability.
fn lowest(right: Right) -> Role {
    match right {
        Right::Role(role) => role,
        Right::Rules => Role::Member,
    }
}

impl Charter {
    /// From the commands of kinds, with what each takes, and from what can be read besides the kinds.
    pub fn new(commands: impl IntoIterator<Item = (Kind, String, Right)>, reads: impl IntoIterator<Item = Capability>) -> Self {
        let commands: Vec<_> = commands.into_iter().collect();
        let of_kinds = commands.iter().map(|(kind, ..)| Capability::of_command(kind, "read"));
        let reads: Vec<Capability> = of_kinds.chain(reads).collect();
        let of_commands = commands.iter().map(|(kind, command, _)| Capability::of_command(kind, command));
        let catalogue = Catalogue::new(of_commands.chain(reads.iter().cloned()));
        let cap = |capability: &Capability| catalogue.cap(capability);
        let mut lowest_of: BTreeMap<Cap, Role> = reads.iter().filter_map(cap).map(|cap| (cap, Role::Viewer)).collect();
        lowest_of.extend(cap(&Capability::named("personal.read")).map(|cap| (cap, Role::Member)));
        let of_admins = OF_ADMINS.iter().filter_map(|name| cap(&Capability::named(name)));
        lowest_of.extend(of_admins.map(|cap| (cap, Role::Admin)));
        let mut by_kind: BTreeMap<Kind, BTreeMap<String, CommandRight>> = BTreeMap::new();
        for (kind, command, right) in commands {
            let capability = Capability::of_command(&kind, &command);
            let Some(cap) = cap(&capability) else { continue };
            // What stands by name in the catalogue is given, never held by a role that every org has.
            if !NAMED.iter().any(|(_, name)| *name == capability.as_str()) {
                lowest_of.insert(cap, lowest(right));
            }
            let manage = catalogue.cap(&Capability::of_command(&kind, "manage"));
            let right = CommandRight {
                cap,
                right,
                names_actor: None,
                names_rights: &[],
                manage,
            };
            by_kind.entry(kind).or_default().insert(command, right);
        }
        let held = |role: Role| -> Held {
            let of_role = lowest_of.iter().filter(|(_, lowest)| role >= **lowest);
            of_role.map(|(cap, _)| *cap).collect()
        };
        Self {
            built_in: Roles::built_in(ROLES.map(|role| (role_name(role), held(role)))),
            held: ROLES.map(|role| (role, Arc::new(held(role)))).into(),
            commands: by_kind,
            catalogue,
        }
    }

    /// With the fields of commands that name a principal in whose name their entity is to act.
    pub fn naming(mut self, fields: impl IntoIterator<Item = (Kind, String, &'static str)>) -> Self {
        for (kind, command, field) in fields {
            if let Some(right) = self.commands.get_mut(&kind).and_then(|commands| commands.get_mut(&command)) {
                right.names_actor = Some(field);
            }
        }
        self
    }

    /// With the places of commands at which they name capabilities or targets.
    pub fn naming_rights(mut self, places: impl IntoIterator<Item = (Kind, String, &'static [&'static str])>) -> Self {
        for (kind, command, places) in places {
            if let Some(right) = self.commands.get_mut(&kind).and_then(|commands| commands.get_mut(&command)) {
                right.names_rights = places;
            }
        }
        self
    }

    /// The kinds whose commands clients send.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.commands.keys()
    }

    /// All capabilities.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// What a command of clients takes; `None` where no kind has it.
    pub fn command(&self, kind: &Kind, command: &str) -> Option<CommandRight> {
        self.commands.get(kind)?.get(command).copied()
    }

    /// The roles of an org: those that every org has, and its own.
    pub fn roles<'a>(&self, own: impl IntoIterator<Item = (&'a String, &'a RoleSpec)>) -> Roles {
        let mut roles = self.built_in.clone();
        for (name, spec) in own {
            roles.set(name.clone(), spec.clone());
        }
        roles
    }

    /// What somebody holds by their role in an org and by what they were given there.
    pub fn rights<'a>(&self, role: Option<Role>, given: impl IntoIterator<Item = &'a Given>, roles: &Roles) -> Rights {
        let (mut lasting, mut limited) = (Vec::new(), Vec::new());
        for given in given {
            if given.on == Target::Org && given.until.is_none() {
                lasting.push(&given.right);
            } else {
                limited.push(Limited {
                    held: Arc::new(roles.compile([&given.right], &self.catalogue)),
                    on: given.on.clone(),
                    until: given.until,
                });
            }
        }
        let by_role = || role.and_then(|role| self.held.get(&role)).cloned().unwrap_or_default();
        if lasting.is_empty() {
            return Rights::new(by_role(), limited);
        }
        let of_role = role.map(|role| Pattern::Role(role_name(role).to_owned()));
        let lasting = roles.compile(lasting.into_iter().chain(&of_role), &self.catalogue);
        Rights::new(Arc::new(lasting), limited)
    }

    /// What a credential is cut to; without scopes it is not cut.
    pub fn scope(&self, scopes: &[Pattern], roles: &Roles) -> Rights {
        if scopes.is_empty() {
            return Rights::All;
        }
        Rights::new(Arc::new(roles.compile(scopes, &self.catalogue)), Vec::new())
    }
}

#[cfg(test)]
mod tests;
