//! Rights as the kernel asks for them: of an actor in an org, and of a key.

use super::entity::{Active, Entity};
use quipu_rules::{
    api_key::{ApiKeyState, Tried},
    org::{Org, OrgState},
    rights::{Charter, Given, Held, Rights, Roles},
};
use quipu_schemas::{
    context::Millis,
    ids::{CredentialId, EntityId, PrincipalId},
    network::Network,
    rights::Pattern,
    role::Role,
};

/// What is known of one org, and of one principal in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OrgView {
    /// Version of the org's stream; 0: there is no such org.
    pub version: u64,
    /// Whether it is suspended.
    pub suspended: bool,
    /// Whether commands to it need an idempotency key of their sender's.
    pub requires_key: bool,
    /// The principal's role, if they are a member.
    pub role: Option<Role>,
}

impl OrgView {
    /// What a folded org says of a principal.
    pub fn of(org: &Active<Org>, principal: Option<&PrincipalId>) -> Self {
        let state = org.typed_state();
        Self {
            version: org.version(),
            suspended: matches!(state, OrgState::Suspended { .. }),
            requires_key: state.requires_key(),
            role: principal.and_then(|principal| state.role(principal)),
        }
    }
}

/// What is known of one principal in one org.
#[derive(Debug, Clone, PartialEq)]
pub struct ActorRights {
    /// The org, and the principal's role in it.
    pub org: OrgView,
    /// Whether they are somebody there: a member, or somebody who was given something.
    pub is_known: bool,
    /// What they hold there.
    pub rights: Rights,
    /// What takes an approval there, whoever holds it.
    pub gated: Held,
    /// What takes a recent sign-in there, and how many milliseconds ago it may be.
    pub recent: (Held, Millis),
}

impl ActorRights {
    /// Of somebody with this role in the org, who was given this.
    pub fn of(org: OrgView, given: &[Given], roles: &Roles, charter: &Charter) -> Self {
        Self {
            org,
            is_known: org.role.is_some() || !given.is_empty(),
            rights: charter.rights(org.role, given, roles),
            gated: Held::default(),
            recent: (Held::default(), 0),
        }
    }

    /// The same of somebody who was given something, whether or not it counts now.
    pub fn somebody(self, is_given: bool) -> Self {
        Self {
            is_known: self.is_known || is_given,
            ..self
        }
    }

    /// The same where some commands take an approval.
    pub fn gated(self, gates: &[Pattern], roles: &Roles, charter: &Charter) -> Self {
        let gated = roles.compile(gates, charter.catalogue());
        Self { gated, ..self }
    }

    /// The same where some commands take a recent sign-in.
    pub fn recent(self, (asked, age_ms): &(Vec<Pattern>, Millis), roles: &Roles, charter: &Charter) -> Self {
        let recent = (roles.compile(asked, charter.catalogue()), *age_ms);
        Self { recent, ..self }
    }

    /// Of everybody in an org that does not exist.
    pub fn nobody() -> Self {
        Self {
            org: OrgView::default(),
            is_known: false,
            rights: Rights::none(),
            gated: Held::default(),
            recent: (Held::default(), 0),
        }
    }
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownKey {
    /// Its name among the credentials of its org.
    pub credential: CredentialId,
    /// Who acts by it.
    pub principal: PrincipalId,
    /// What it is cut to; [`Rights::All`] where it is not.
    pub scope: Rights,
    state: ApiKeyState,
}

impl KnownKey {
    /// A key as its entity has it; `None` where it was never made.
    pub fn of(id: &EntityId, state: &ApiKeyState, roles: &Roles, charter: &Charter) -> Option<Self> {
        Some(Self {
            credential: CredentialId::of_api_key(id.clone()),
            principal: state.principal()?.clone(),
            scope: charter.scope(state.scopes(), roles),
            state: state.clone(),
        })
    }

    /// Whether it counts no longer at this moment.
    pub fn has_ended(&self, now: Millis) -> bool {
        self.state.check(now).is_err()
    }

    /// Whether it was revoked with all that it caused.
    pub fn ends_what_it_caused(&self) -> bool {
        matches!(self.state, ApiKeyState::Revoked { cascade: true, .. })
    }

    /// Whether what is shown has to be hashed by Argon2id before it can be compared.
    pub fn takes_argon2id(&self) -> bool {
        self.state.takes_argon2id()
    }

    /// Whether what is shown opens it now.
    pub fn is_opened_by(&self, tried: impl Into<Tried>, now: Millis) -> bool {
        self.state.verify(tried, now).is_ok()
    }

    /// Whether it counts no longer and this is its text: whoever shows it once had it.
    pub fn has_ended_with(&self, tried: &Tried, now: Millis) -> bool {
        self.has_ended(now) && self.state.is_text(tried)
    }

    /// The networks that it may come from; any where there are none.
    pub fn networks(&self) -> &[Network] {
        self.state.networks()
    }

    /// Whether somebody else than its principal made it, and may act by it.
    pub fn is_anothers(&self) -> bool {
        self.state.made_by().is_some()
    }

    /// Whether it opens less than its principal may.
    pub fn is_narrow(&self) -> bool {
        !self.state.scopes().is_empty() || !self.state.networks().is_empty()
    }
}
