//! Whoever shows an access token, before anybody asks what it opens in an org.

use super::Node;
use crate::{kernel::principals::KnownSession, tokens::AccessClaims};
use quipu_schemas::{
    ids::{Home, OrgId},
    problem::Problem,
    role::Role,
};
use std::collections::BTreeSet;

/// A principal who acts now, by a session that lives now.
#[derive(Debug, Clone)]
pub struct Account {
    /// Who.
    pub home: Home,
    /// The session.
    pub session: KnownSession,
    /// Whether the session opens less than its principal may, or somebody else uses it for them.
    pub is_cut: bool,
    /// Whether they operate the platform, and may by this session.
    pub is_operator: bool,
}

impl Node {
    /// Whose an access token is by now; `None` where its session has ended, somebody of its chain was stopped, or it says something
    /// else than its session.
    pub fn account(&self, claims: &AccessClaims) -> Result<Option<Account>, Problem> {
        let Some(lineage) = self.lineage(&claims.home, &claims.sid)? else {
            return Ok(None);
        };
        let is_cut = lineage.iter().any(KnownSession::is_narrow);
        let (Some(known), Some(session)) = (self.principal(&claims.home)?, lineage.into_iter().next()) else {
            return Ok(None);
        };
        // Commands are cut by what the session says: a token that says less would open more than it says.
        let (said, held): (BTreeSet<_>, BTreeSet<_>) = (claims.scope.iter().collect(), session.patterns.iter().collect());
        if said != held {
            return Ok(None);
        }
        Ok(Some(Account {
            home: claims.home.clone(),
            session,
            is_cut,
            is_operator: known.operator && known.is_active() && !is_cut,
        }))
    }

    /// The sessions of a principal that are open.
    pub fn sessions_of(&self, home: &Home) -> Result<Vec<KnownSession>, Problem> {
        let known = self.principal(home)?;
        Ok(known.iter().flat_map(|known| known.sessions(self.now())).cloned().collect())
    }

    /// The role of a principal in an org, as commands are decided by; `None` where they are no member.
    pub fn role_in(&self, org: &OrgId, home: &Home) -> Result<Option<Role>, Problem> {
        Ok(self.rights_in(org, &home.id)?.org.role)
    }
}
