//! Who is behind a command besides whoever acts: who else may have its credential, or sends it.

use super::{Admission, actor};
use crate::kernel::principals::{KnownPrincipal, KnownSession};
use quipu_rules::principal::keys_of;
use quipu_schemas::ids::PrincipalId;

impl Admission {
    /// What is known of somebody. Of a name that no principal has nothing is, nor where the kernel or the node speaks.
    pub(super) fn known_of(&self, who: &PrincipalId) -> Option<&KnownPrincipal> {
        self.known(&self.command.home_of(who)).ok().flatten()
    }

    /// Whether it came by a credential that opens less than its principal may, or that somebody else uses for its principal.
    pub(super) fn is_narrowed(&self) -> bool {
        let is_key = matches!(&self.key, Some(Some(key)) if key.is_narrow());
        is_key
            || self
                .shown_session()
                .is_ok_and(|session| session.is_some_and(KnownSession::is_narrow))
    }

    /// Whether somebody else acts by the session that was shown, made the key, may know the secret of the service's client, or may have the
    /// private key that the agent or service logged in by. What agents send for others is nobody's own either.
    pub(super) fn is_through_another(&self) -> bool {
        if matches!(&self.key, Some(Some(key)) if key.is_anothers()) {
            return true;
        }
        let session = self.shown_session();
        let is_person = self.command.principal.is_person();
        let is_others = |session: &KnownSession| session.org_client().is_some() || keys_of(&session.amr).next().is_some();
        let is_sent = actor(&self.command) != &self.command.principal
            && self.known_of(&self.command.principal).is_some_and(KnownPrincipal::is_automaton);
        is_sent || session.is_ok_and(|session| session.is_some_and(|session| !session.act.is_empty() || (!is_person && is_others(session))))
    }

    /// Who acts by the session that was shown.
    pub(super) fn acting(&self) -> Vec<PrincipalId> {
        let session = self.shown_session().ok().flatten();
        session.map_or_else(Vec::new, |session| session.act.iter().map(|home| home.id.clone()).collect())
    }
}
