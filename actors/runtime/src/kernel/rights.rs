//! Rights as the kernel asks for them: of an actor in an org, and of a key.

use super::orgs::OrgView;
use quipu_rules::rights::{Charter, Given, Rights, Roles};
use quipu_schemas::{
    context::Millis,
    ids::{CredentialId, PrincipalId},
};

/// What is known of one principal in one org.
#[derive(Debug, Clone, PartialEq)]
pub struct ActorRights {
    /// The org, and the principal's role in it.
    pub org: OrgView,
    /// Whether they are somebody there: a member, or somebody who was given something.
    pub is_known: bool,
    /// What they hold there.
    pub rights: Rights,
}

impl ActorRights {
    /// Of somebody with this role in the org, who was given this.
    pub fn of(org: OrgView, given: &[Given], roles: &Roles, charter: &Charter) -> Self {
        Self {
            org,
            is_known: org.role.is_some() || !given.is_empty(),
            rights: charter.rights(org.role, given, roles),
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
    /// Whether it was revoked.
    pub is_revoked: bool,
    /// When it expires; the moment itself is outside.
    pub expires_at: Option<Millis>,
}

impl KnownKey {
    /// Whether it counts no longer at this moment.
    pub fn has_ended(&self, now: Millis) -> bool {
        self.is_revoked || self.expires_at.is_some_and(|end| end <= now)
    }
}
