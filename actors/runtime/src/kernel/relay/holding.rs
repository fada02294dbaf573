//! What whoever is stopped caused: it waits in its place, or ends without having left.

use super::{
    Relay, Work, commands,
    words::{Purpose, RelayAction, Stage},
};
use crate::kernel::{
    cause::Cause,
    stops::{Ending, Stop},
};
use quipu_schemas::{
    context::Millis,
    ids::OrgId,
    limits,
    reaction::{Effect, Outcome, ReactionKey},
};

impl Relay {
    /// What becomes of one that has its turn. What the org itself needs is done whoever was stopped: keys that are to be
    /// destroyed, texts that are to be sealed, connections that are to be kept up.
    pub(super) fn stop_of(&self, key: &ReactionKey, stop_of: &mut dyn FnMut(&Cause, &OrgId) -> Stop) -> Stop {
        let Some(item) = self.items.get(key) else { return Stop::Goes };
        match &item.work {
            Work::Perform(perform) => match &perform.effect {
                Effect::Shred(_) | Effect::Seal(_) | Effect::Refresh(_) => Stop::Goes,
                Effect::LlmInvoke(_) | Effect::Webhook(_) | Effect::Http(_) | Effect::Tool(_) | Effect::Mail(_) => {
                    stop_of(&item.cause, &key.stream.org)
                }
            },
            // Its receiver refuses it, and its sender hears of that.
            Work::Dispatch(_) => match stop_of(&item.cause, &key.stream.org) {
                Stop::Waits => Stop::Waits,
                Stop::Goes | Stop::Ends(_) => Stop::Goes,
            },
        }
    }

    /// Leaves one where it is until it is looked at again. Whatever waits behind it in its order waits with it.
    pub(super) fn hold(&mut self, key: &ReactionKey, now: Millis) {
        self.release_slot(key);
        if let Some(item) = self.items.get_mut(key)
            && !item.is_apart
            && self.apart < limits::OUTBOX_HELD_MAX
        {
            item.is_apart = true;
            self.apart += 1;
            let org = &key.stream.org;
            self.less_of(org);
            if self.has_room(org) {
                self.reading.has_room(org);
            }
        }
        self.stand(key, Stage::Until(now + limits::OUTBOX_LOOK_MS));
    }

    /// It waits no longer, and counts as its org's again.
    pub(super) fn let_go(&mut self, key: &ReactionKey) {
        let Some(item) = self.items.get_mut(key).filter(|item| item.is_apart) else {
            return;
        };
        item.is_apart = false;
        self.apart -= 1;
        *self.of_orgs.entry(key.stream.org.clone()).or_default() += 1;
    }

    /// Ends an effect that never goes: it says why, and waits for a person like every other that failed.
    pub(super) fn end(&mut self, key: &ReactionKey, why: Ending) -> Option<RelayAction> {
        self.release_slot(key);
        let item = self.items.get_mut(key)?;
        item.stage = Stage::Submitting;
        let failed = Outcome::Failed {
            code: why.code.into(),
            detail: why.detail,
        };
        let envelope = commands::settle(key, item, failed);
        Some(commands::submit(key, Purpose::Settle, envelope))
    }
}
