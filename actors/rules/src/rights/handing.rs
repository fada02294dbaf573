//! Who may hand rights on. It takes a role: a right that somebody was granted is not theirs to give, and neither a credential that is
//! cut nor somebody who acts for somebody else hands anything on, so no way leads from fewer rights to more.

use crate::decider::Refusal;
use quipu_schemas::{
    context::Context,
    ids::PrincipalId,
    problem::Problem,
    rights::{Capability, Pattern},
    role::Role,
};

/// Why somebody hands no rights on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotHandedOn {
    /// The role is too low.
    RoleNeeded {
        /// Who acts.
        actor: PrincipalId,
        /// What it takes.
        needed: Role,
        /// What they have.
        held: Option<Role>,
    },
    /// The credential opens less than its principal may.
    Narrowed,
    /// Somebody acts on behalf of this one, and may less.
    Delegated(PrincipalId),
}

impl Refusal for NotHandedOn {
    fn problem(&self) -> Problem {
        match self {
            Self::RoleNeeded { actor, needed, held } => {
                let word = |role: &Role| format!("{role:?}").to_lowercase();
                let held = held.as_ref().map_or_else(|| "no member".to_owned(), word);
                let needed = word(needed);
                Problem::new(403, "role_needed", format!("{actor} is {held}; this takes {needed}"))
                    .fix(format!("ask somebody who is {needed} of the org"))
            }
            Self::Narrowed => Problem::new(
                403,
                "narrow_credential",
                "a key or session that was cut (scopes, networks) hands no rights on",
            )
            .fix("use one that is not cut, or ask somebody who has one"),
            Self::Delegated(actor) => Problem::new(
                403,
                "delegated",
                format!("whoever acts on behalf of {actor} hands none of their rights on"),
            )
            .fix(format!("let {actor} send it")),
        }
    }
}

/// Whether the actor may hand on what takes this role.
pub fn may_hand_on(needed: Role, context: &Context<'_>) -> Result<(), NotHandedOn> {
    acts_whole(context)?;
    has_role(needed, context)
}

/// Whether the actor acts with all their rights, and for themselves: nobody else hands anything on.
pub fn acts_whole(context: &Context<'_>) -> Result<(), NotHandedOn> {
    if context.authority.narrowed {
        return Err(NotHandedOn::Narrowed);
    }
    acts_alone(context)
}

/// Whether nobody acts on the actor's behalf.
pub fn acts_alone(context: &Context<'_>) -> Result<(), NotHandedOn> {
    // The holder of the node's token may everything, for whomever.
    if context.actor() != context.principal && *context.principal != PrincipalId::BOOTSTRAP {
        return Err(NotHandedOn::Delegated(context.actor().clone()));
    }
    Ok(())
}

/// Whether the actor has this role, or a higher one.
pub fn has_role(needed: Role, context: &Context<'_>) -> Result<(), NotHandedOn> {
    if context.at_least(needed) {
        return Ok(());
    }
    Err(NotHandedOn::RoleNeeded {
        actor: context.actor().clone(),
        needed,
        held: context.authority.role,
    })
}

/// Who may give or take this: what only owners may do, only owners hand on. To act as others is to act as an owner as well.
pub fn giver_of(pattern: &Pattern) -> Role {
    let is_owners = |capability: &Capability| {
        let verb = capability.as_str().split_once('.').map_or("", |(_, verb)| verb);
        match capability.family() {
            "org" => matches!(verb, "suspend" | "resume" | "create" | "manage"),
            "principal" => verb != "read",
            _ => false,
        }
    };
    let is_owners = match pattern {
        Pattern::One(capability) => is_owners(capability),
        Pattern::Family(family) => matches!(family.as_str(), "org" | "principal"),
        Pattern::Role(role) => role == "owner",
    };
    if is_owners { Role::Owner } else { Role::Admin }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_owners_may_is_handed_on_by_owners() {
        for text in [
            "role:owner",
            "cap:org.*",
            "cap:org.suspend",
            "cap:org.resume",
            "cap:principal.act_as",
            "cap:principal.*",
        ] {
            assert_eq!(giver_of(&text.parse().unwrap()), Role::Owner, "{text}");
        }
        for text in [
            "role:admin",
            "role:clerk",
            "cap:org.rename",
            "cap:org.read",
            "cap:run.*",
            "cap:principal.read",
        ] {
            assert_eq!(giver_of(&text.parse().unwrap()), Role::Admin, "{text}");
        }
    }
}
