//! One partition's relay: carries out stored reactions until each is settled.
//!
//! Pending = stored reaction without final settlement, so the relay's memory may vanish at any moment: it is read
//! again from the index, which is derived from the log. It holds at most so many reactions, and asks for the next page
//! when there is room. Dispatches and effects leave only after their record is durable. Effects with an order key leave
//! one at a time, in version order. Orgs and destinations share what may be under way at a time. What a stopped principal
//! caused waits in its place until it is resumed.

mod attempts;
mod commands;
mod holding;
mod lanes;
mod reading;
mod sending;
mod standing;
mod words;

pub use commands::{fire, person_note};
pub use standing::Standing;
pub use words::{Found, Loaded, Page, PageRow, Purpose, RelayAction, Row, Work, find};

use super::{cause::Cause, stops::Stop};
use lanes::Lanes;
use quipu_schemas::{
    context::Millis,
    ids::{OrgId, StreamId},
    limits,
    pause::Jitter,
    reaction::{Effect, Outcome, Reaction, ReactionKey, Settled},
    record::Record,
};
use reading::{Reading, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use words::{Item, Stage, first_of};

/// Reactions of one order key: the first may go, once nothing of it is under way.
#[derive(Default)]
struct Order {
    waiting: BTreeSet<ReactionKey>,
    busy: Option<ReactionKey>,
}

impl Order {
    fn lets(&self, key: &ReactionKey) -> bool {
        match &self.busy {
            Some(busy) => busy == key,
            None => self.waiting.first() == Some(key),
        }
    }
}

/// The relay of one partition.
pub struct Relay {
    /// Most reactions in memory.
    bound: usize,
    items: BTreeMap<ReactionKey, Item>,
    /// How many of each org.
    of_orgs: BTreeMap<OrgId, usize>,
    orders: BTreeMap<String, Order>,
    /// Those that wait for a time.
    due: BTreeSet<(Millis, ReactionKey)>,
    /// Those that say what has happened already.
    urgent: BTreeSet<ReactionKey>,
    dispatches: Lanes,
    effects: Lanes,
    apart: usize,
    reading: Reading,
    jitter: Jitter,
}

impl Relay {
    /// A relay that has read nothing yet and holds at most `bound` reactions; `seed` drives the jitter of pauses.
    pub fn new(seed: u64, bound: usize) -> Self {
        Self {
            bound: bound.max(1),
            items: BTreeMap::new(),
            of_orgs: BTreeMap::new(),
            orders: BTreeMap::new(),
            due: BTreeSet::new(),
            urgent: BTreeSet::new(),
            dispatches: Lanes::new(limits::OUTBOX_DISPATCHING_MAX),
            effects: Lanes::new(limits::OUTBOX_RUNNING_MAX),
            apart: 0,
            reading: Reading::new(),
            jitter: Jitter::seeded(seed),
        }
    }

    /// Reactions in memory.
    pub fn depth(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing is left to do: nothing in memory, and nothing to read or look at again in the index.
    pub fn is_idle(&self) -> bool {
        self.items.is_empty() && self.reading.is_whole()
    }

    /// Rows for people, in key order.
    pub fn rows(&self) -> Vec<Row> {
        self.items.iter().map(|(key, item)| item.row(key)).collect()
    }

    /// Looks at everything in the index again: something that is not in memory is pending anew.
    pub fn look_again(&mut self) {
        self.reading.restart_all();
    }

    fn room(&self) -> usize {
        self.bound.saturating_sub(self.items.len() - self.apart)
    }

    fn of_org(&self, org: &OrgId) -> usize {
        self.of_orgs.get(org).copied().unwrap_or(0)
    }

    /// Takes the page that [`RelayAction::Load`] asked for; `None`: it could not be read.
    pub fn page(&mut self, page: Option<Page>, now: Millis) {
        if !self.reading.is_asked() {
            return;
        }
        let Some(page) = page else {
            return self.reading.failed(now, &mut self.jitter);
        };
        for row in page.rows.iter().take_while(|row| row.offset < page.end) {
            if self.items.contains_key(&row.key) {
                continue;
            }
            let (Verdict::Take { cancelled }, Some(loaded)) = (self.reading.verdict(row), &row.loaded) else {
                continue;
            };
            self.load(row.key.clone(), row.offset, loaded.clone(), cancelled);
        }
        self.reading.took(&page, now);
    }

    fn load(&mut self, key: ReactionKey, offset: u64, loaded: Loaded, cancelled: bool) {
        let Found {
            work,
            cause,
            cancelled: before,
        } = loaded.found;
        let mut item = Item::new(&key, offset, work, cause);
        item.attempts = loaded.attempts;
        item.unsent = loaded.unsent;
        item.retried = loaded.retried;
        item.cancelled = cancelled || before;
        item.answer = loaded.settled.filter(|_| item.awaited().is_some());
        if let Some(at) = loaded.retry_at.filter(|_| !item.cancelled) {
            item.stage = Stage::Until(at);
        }
        if loaded.started && !item.cancelled {
            // Started, and the node stopped: for an at-most-once effect nobody knows what happened.
            item.again = Some((
                Purpose::Settle,
                Box::new(commands::settle(&key, &item, Outcome::Lost { detail: None })),
            ));
            item.stage = Stage::Ready;
        }
        self.take(key, item);
    }

    /// Takes a reaction into memory, unless its org has no room left there.
    fn take(&mut self, key: ReactionKey, item: Item) {
        let org = &key.stream.org;
        if self.reading.is_left(org) || self.of_org(org) >= self.room() {
            return self.reading.leave(&key, item.offset, false);
        }
        *self.of_orgs.entry(org.clone()).or_default() += 1;
        if let Some(order) = &item.order_key {
            self.orders.entry(order.clone()).or_default().waiting.insert(key.clone());
        }
        let stage = item.stage.clone();
        self.items.insert(key.clone(), item);
        self.stand(&key, stage);
    }

    fn remove(&mut self, key: &ReactionKey) {
        self.unqueue(key);
        self.release_slot(key);
        let Some(item) = self.items.remove(key) else { return };
        self.reading.gone(key);
        let org = &key.stream.org;
        if item.is_apart {
            self.apart -= 1;
        } else {
            self.less_of(org);
        }
        if self.has_room(org) {
            self.reading.has_room(org);
        }
        let Some(name) = item.order_key else { return };
        let Some(order) = self.orders.get_mut(&name) else { return };
        order.waiting.remove(key);
        if order.busy.as_ref() == Some(key) {
            order.busy = None;
        }
        match order.waiting.first().cloned() {
            Some(next) => self.queue(&next),
            None => drop(self.orders.remove(&name)),
        }
    }

    fn less_of(&mut self, org: &OrgId) {
        let left = self.of_org(org).saturating_sub(1);
        if left == 0 {
            self.of_orgs.remove(org);
        } else {
            self.of_orgs.insert(org.clone(), left);
        }
    }

    /// Whether half of an org's share of the memory is free again.
    fn has_room(&self, org: &OrgId) -> bool {
        self.of_org(org) <= self.room() / 2
    }

    /// Gives its slot back, if it holds one.
    fn release_slot(&mut self, key: &ReactionKey) {
        let Some(item) = self.items.get_mut(key) else { return };
        if std::mem::take(&mut item.has_slot) {
            let lanes = if item.is_dispatch() {
                &mut self.dispatches
            } else {
                &mut self.effects
            };
            lanes.release(&item.destination, &key.stream.org);
        }
    }

    /// Where it stands from now on.
    fn stand(&mut self, key: &ReactionKey, stage: Stage) {
        self.unqueue(key);
        let Some(item) = self.items.get_mut(key) else { return };
        if let Stage::Until(at) = stage {
            self.due.insert((at, key.clone()));
        }
        item.stage = stage;
        self.queue(key);
    }

    /// Lines a ready one up, if its order lets it go.
    fn queue(&mut self, key: &ReactionKey) {
        let Some(item) = self.items.get(key).filter(|item| item.stage == Stage::Ready) else {
            return;
        };
        if item.is_urgent() {
            self.urgent.insert(key.clone());
        } else if item
            .order_key
            .as_ref()
            .is_none_or(|order| self.orders.get(order).is_some_and(|o| o.lets(key)))
        {
            let lanes = if item.is_dispatch() {
                &mut self.dispatches
            } else {
                &mut self.effects
            };
            lanes.add(&item.destination, key);
        }
    }

    fn unqueue(&mut self, key: &ReactionKey) {
        let Some(item) = self.items.get(key) else { return };
        match item.stage {
            Stage::Until(at) => drop(self.due.remove(&(at, key.clone()))),
            Stage::Ready => {
                self.urgent.remove(key);
                let lanes = if item.is_dispatch() {
                    &mut self.dispatches
                } else {
                    &mut self.effects
                };
                lanes.remove(&item.destination, key);
            }
            Stage::Submitting | Stage::Running => {}
        }
    }

    /// Takes a record of this partition that is now durable.
    pub fn record(&mut self, offset: u64, record: &Record) -> Vec<RelayAction> {
        let mut actions = Vec::new();
        if let Some(settlement) = &record.header.settlement {
            match &settlement.outcome {
                Settled::Retried => self.look_again(),
                Settled::Dropped => self.dropped(&settlement.key),
                _ => {}
            }
        }
        let takes = record.header.reactions > 0 && self.reading.takes(offset);
        let cause = Cause::from(&record.header);
        for (key, reaction) in record.keyed_reactions() {
            if let Reaction::CancelEffect { name } = reaction {
                actions.extend(self.cancel(&key.stream, name));
            } else if takes
                && !self.items.contains_key(&key)
                && let Some(work) = Work::of(reaction)
            {
                let item = Item::new(&key, offset, work, cause.clone());
                self.take(key, item);
            }
        }
        actions
    }

    /// A person gave it up. Whoever waits for its answer learns that.
    fn dropped(&mut self, key: &ReactionKey) {
        let Some(item) = self.items.get_mut(key) else {
            return self.look_again();
        };
        if item.awaited().is_none() {
            return self.remove(key);
        }
        if item.is_at_rest() {
            self.unqueue(key);
            if let Some(item) = self.items.get_mut(key) {
                item.answer = Some(Settled::Dropped);
            }
            self.stand(key, Stage::Ready);
        }
    }

    fn cancel(&mut self, stream: &StreamId, name: &str) -> Option<RelayAction> {
        let of_stream = self.items.range(first_of(stream)..).take_while(|(key, _)| key.stream == *stream);
        let named = |item: &Item| matches!(&item.work, Work::Perform(perform) if perform.name == name);
        let Some(key) = of_stream.into_iter().find(|(_, item)| named(item)).map(|(key, _)| key.clone()) else {
            self.reading.cancelled(stream, name);
            return None;
        };
        self.unqueue(&key);
        let item = self.items.get_mut(&key)?;
        item.cancelled = true;
        match item.stage {
            Stage::Running => return Some(RelayAction::Cancel(key)),
            // Not under way: the next step settles it without sending.
            Stage::Until(_) | Stage::Ready => {
                item.stage = Stage::Ready;
                self.queue(&key);
            }
            Stage::Submitting => {}
        }
        None
    }

    /// What can be done at `now`. `is_suspended` holds back everything of a suspended org, `stop_of` what whoever is stopped
    /// caused; `closed_for` says for how many milliseconds an effect's destination is left alone, because its breaker is open.
    pub fn step(
        &mut self,
        now: Millis,
        is_suspended: &dyn Fn(&OrgId) -> bool,
        stop_of: &mut dyn FnMut(&Cause, &OrgId) -> Stop,
        closed_for: &dyn Fn(&Effect, &OrgId) -> Option<u64>,
    ) -> Vec<RelayAction> {
        let mut actions = Vec::new();
        while let Some((_, key)) = self.due.first().filter(|(at, _)| *at <= now).cloned() {
            self.stand(&key, Stage::Ready);
        }
        let (of_orgs, room) = (&self.of_orgs, self.room());
        let has_room = |org: &OrgId| of_orgs.get(org).copied().unwrap_or(0) <= room / 2;
        self.reading.look(now, is_suspended, &has_room);
        for key in std::mem::take(&mut self.urgent) {
            actions.extend(self.say(&key));
        }
        let mut suspended: BTreeMap<OrgId, bool> = BTreeMap::new();
        while let Some(key) = self.dispatches.next().or_else(|| self.effects.next()) {
            if let Some(item) = self.items.get_mut(&key) {
                item.has_slot = true;
            }
            let org = key.stream.org.clone();
            if *suspended.entry(org.clone()).or_insert_with(|| is_suspended(&org)) {
                self.release_slot(&key);
                self.put_back(&org);
            } else if self.is_in_order(&key) {
                match self.stop_of(&key, stop_of) {
                    Stop::Waits => self.hold(&key, now),
                    Stop::Ends(why) => actions.extend(self.end(&key, why)),
                    Stop::Goes => {
                        self.let_go(&key);
                        actions.extend(self.begin(&key, now, closed_for));
                    }
                }
            } else {
                // Something older of its order came back; it is lined up when that has left.
                self.release_slot(&key);
            }
        }
        let room = self.room();
        actions.extend(self.reading.ask(now, self.bound, room));
        actions
    }

    /// When [`Relay::step`] has something to do next, if only time is missing.
    pub fn next_due(&self) -> Option<Millis> {
        let due = self.due.first().map(|(at, _)| *at);
        due.into_iter().chain(self.reading.next_due(self.bound, self.room())).min()
    }
}

#[cfg(test)]
mod tests;
