//! What leaves: work that has its turn, and words on what has happened.

use super::{
    Relay, Work, commands,
    words::{Item, Purpose, RelayAction, Stage, first_of_org},
};
use quipu_schemas::{
    context::Millis,
    ids::OrgId,
    reaction::{Effect, Outcome, ReactionKey, Settled},
};

impl Relay {
    pub(super) fn is_in_order(&self, key: &ReactionKey) -> bool {
        let order = self.items.get(key).and_then(|item| item.order_key.as_ref());
        order.is_none_or(|order| self.orders.get(order).is_some_and(|order| order.lets(key)))
    }

    /// Leaves what a suspended org has not begun in the index, where it waits without taking room.
    pub(super) fn put_back(&mut self, org: &OrgId) {
        let of_org = self.items.range(first_of_org(org)..).take_while(|(key, _)| key.stream.org == *org);
        let at_rest: Vec<(ReactionKey, u64)> = of_org
            .filter(|(_, item)| item.is_at_rest())
            .map(|(key, item)| (key.clone(), item.offset))
            .collect();
        for (key, offset) in at_rest {
            self.reading.leave(&key, offset, true);
            self.remove(&key);
        }
    }

    /// Sends what says something that has happened already.
    pub(super) fn say(&mut self, key: &ReactionKey) -> Option<RelayAction> {
        let item = self.items.get_mut(key)?;
        item.stage = Stage::Submitting;
        if let Some((purpose, envelope)) = item.again.take() {
            return Some(RelayAction::Submit {
                key: key.clone(),
                purpose,
                envelope,
            });
        }
        if let Some(action) = tell(key, item) {
            return Some(action);
        }
        let envelope = commands::settle(key, item, Outcome::Cancelled { partial: None });
        Some(commands::submit(key, Purpose::Settle, envelope))
    }

    /// Begins one that has a slot. An at-most-once effect whose destination is left alone waits without a recorded start:
    /// it was never sent, and after a crash a start alone would make it lost.
    pub(super) fn begin(
        &mut self,
        key: &ReactionKey,
        now: Millis,
        closed_for: &dyn Fn(&Effect, &OrgId) -> Option<u64>,
    ) -> Option<RelayAction> {
        let item = self.items.get_mut(key)?;
        if let Work::Perform(perform) = &item.work
            && !perform.effect.facts().is_repeatable
            && let Some(wait) = closed_for(&perform.effect, &key.stream.org)
        {
            self.release_slot(key);
            self.stand(key, Stage::Until(now + wait.max(1)));
            return None;
        }
        if let Some(order) = item.order_key.as_ref().and_then(|order| self.orders.get_mut(order)) {
            order.busy = Some(key.clone());
        }
        item.stage = Stage::Submitting;
        match &item.work {
            Work::Dispatch(dispatch) => {
                let envelope = commands::dispatch(key, dispatch, &item.cause);
                Some(commands::submit(key, Purpose::Dispatch, envelope))
            }
            Work::Perform(perform) => {
                item.attempts += 1;
                if perform.effect.facts().is_repeatable {
                    item.stage = Stage::Running;
                    return commands::perform(key, item);
                }
                let started = Settled::Started { attempt: item.attempts };
                let envelope = commands::note(key, item, started, &commands::step("s", item));
                Some(commands::submit(key, Purpose::Start, envelope))
            }
        }
    }
}

/// The word to a sender who waits for its receiver's answer.
pub(super) fn tell(key: &ReactionKey, item: &Item) -> Option<RelayAction> {
    let (awaited, answer) = item.awaited().zip(item.answer.as_ref())?;
    let envelope = commands::tell(key, &awaited.name, answer.clone(), &item.cause);
    Some(commands::submit(key, Purpose::Tell, envelope))
}
