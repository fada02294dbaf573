//! What an org asks for besides the right to a command: a recent sign-in, an approval. The lists that say so guard themselves.

use super::{
    Admission,
    right::{Held as Holds, is_by_token, name},
};
use crate::kernel::{
    refusals::{approval_required, gate_guarded, step_up_guarded, step_up_required},
    rights::ActorRights,
};
use quipu_rules::rights::{Cap, Charter, Held, Roles};
use quipu_schemas::{
    context::Millis,
    envelope::{CommandBody, CommandEnvelope},
    gates::{APPROVALS_SETTING, STEP_UP_AGE_SETTING, STEP_UP_SETTING, gates, step_up_age_ms},
    ids::Kind,
    json::Json,
    limits::STEP_UP_DEFAULT_MS,
    rights::Capability,
};

/// How somebody becomes a member.
const JOINING: &str = "add_member";

/// What a command makes of its org's lists of what is guarded; `None` of what it leaves as it is.
#[derive(Debug, Default)]
pub(super) struct Guards {
    approvals: Option<Held>,
    recent: Option<Held>,
    age_ms: Option<Millis>,
}

impl Guards {
    /// By the settings that a command changes. What is not such a list is refused by the org's rules.
    pub(super) fn of(command: &CommandEnvelope, charter: &Charter) -> Self {
        let CommandBody::Given { command: given, .. } = &command.body else {
            return Self::default();
        };
        if command.stream.kind != Kind::ORG || name(command) != "change_settings" {
            return Self::default();
        }
        let setting = |name: &str| given.0.pointer("/change_settings/settings")?.get(name);
        let list = |name: &str| {
            let value = setting(name)?;
            let listed = if value.is_null() {
                Some(Vec::new())
            } else {
                gates(&Json(value.clone()))
            };
            Some(Roles::default().compile(&listed?, charter.catalogue()))
        };
        let age = |value: &serde_json::Value| match value.is_null() {
            true => Some(STEP_UP_DEFAULT_MS),
            false => step_up_age_ms(&Json(value.clone())),
        };
        Self {
            approvals: list(APPROVALS_SETTING),
            recent: list(STEP_UP_SETTING),
            age_ms: setting(STEP_UP_AGE_SETTING).and_then(age),
        }
    }

    /// Whether something is taken off the list of what takes an approval.
    fn drops_approval(&self, org: &ActorRights) -> bool {
        self.approvals.as_ref().is_some_and(|listed| !listed.covers(&org.gated))
    }

    /// Whether something is taken off the list of what takes a recent sign-in, or the sign-in may be longer ago.
    fn drops_step_up(&self, org: &ActorRights) -> bool {
        let (recent, age_ms) = &org.recent;
        let is_longer = !recent.is_empty() && self.age_ms.is_some_and(|age| age > *age_ms);
        is_longer || self.recent.as_ref().is_some_and(|listed| !listed.covers(recent))
    }
}

/// What a command leads to without its sender: what the org asks for besides the right is asked of whoever sends it, as for that.
pub(super) fn leads_to(command: &CommandEnvelope, charter: &Charter) -> Option<(Cap, Capability)> {
    let is_inviting = command.stream.kind == Kind::INVITE && name(command) == "create";
    let capability = Capability::of_command(&Kind::ORG, JOINING);
    let cap = is_inviting.then(|| charter.catalogue().cap(&capability)).flatten()?;
    Some((cap, capability))
}

impl Admission {
    /// What the org asks for besides the right: a recent sign-in, an approval. What was approved has both.
    pub(super) fn gates(&self, org: &ActorRights, cap: Cap, capability: &Capability) -> Result<(), Holds> {
        if self.is_approved() || self.is_invited() {
            return Ok(());
        }
        let (recent, age_ms) = &org.recent;
        let leads_to = self.leads_to.as_ref().map(|(cap, capability)| (*cap, capability));
        for (cap, capability) in [(cap, capability)].into_iter().chain(leads_to) {
            if recent.has(cap) && !self.is_recent(*age_ms)? {
                return Err(Holds::not(step_up_required(capability, *age_ms)));
            }
            if org.gated.has(cap) {
                return Err(Holds::not(approval_required(&self.command.stream, capability)));
            }
        }
        // Whoever could take an item off alone would need nobody for what it guards.
        if self.guards.drops_step_up(org) && !self.is_recent(*age_ms)? {
            return Err(Holds::not(step_up_guarded(capability, *age_ms)));
        }
        if self.guards.drops_approval(org) {
            return Err(Holds::not(gate_guarded(&self.command.stream, capability)));
        }
        Ok(())
    }

    /// Whether an approval of the org sent it: none does before people have agreed.
    fn is_approved(&self) -> bool {
        let sender = super::settles(&self.command.body).map(|key| &key.stream);
        let is_given = matches!(self.command.body, CommandBody::Given { .. });
        is_given && sender.is_some_and(|sender| sender.kind == Kind::APPROVAL && sender.org == self.command.stream.org)
    }

    /// Whether somebody joins who was asked in: whoever asked them met what the org asks for then.
    fn is_invited(&self) -> bool {
        let command = &self.command;
        let sender = super::settles(&command.body).map(|key| &key.stream);
        let is_joining = command.stream.kind == Kind::ORG && name(command) == JOINING;
        is_joining && sender.is_some_and(|sender| sender.kind == Kind::INVITE && sender.org == command.stream.org)
    }

    /// Whether a person acts for themselves who signed in with a second factor so many milliseconds ago at most. Keys and services never
    /// sign in; the node's own token needs no leave.
    fn is_recent(&self, age_ms: Millis) -> Result<bool, Holds> {
        if is_by_token(&self.command) {
            return Ok(true);
        }
        let session = self.shown_session()?;
        Ok(self.command.principal.is_person()
            && session.is_some_and(|session| {
                let is_young = self.now < session.auth_time.saturating_add(age_ms);
                is_young && session.act.is_empty() && session.amr.iter().any(|method| method == "mfa")
            }))
    }
}
