//! The state as it is by the clock: what is over counts as over, whether an event says so yet or not.

use super::state::{Limit, QuotaState};
use quipu_kinds::quota::{Freed, Hold, QuotaEvent};
use quipu_schemas::{
    context::Millis,
    ids::EntityId,
    limits::{QUOTA_FREED_MAX, QUOTA_LAPSES_MAX},
    quota::{Level, Unit, Window},
};
use std::collections::{BTreeMap, BTreeSet};

/// Marks that are told, in percent, the highest first.
const MARKS: [u8; 3] = [100, 95, 80];

/// A state at a time.
pub(super) struct Clock<'a> {
    pub(super) state: &'a QuotaState,
    pub(super) now: Millis,
}

/// Where something is held, and of what.
pub(super) type Place<'a> = (&'a Level, &'a Unit);

impl<'a> Clock<'a> {
    pub(super) fn new(state: &'a QuotaState, now: Millis) -> Self {
        Self { state, now }
    }

    /// The window that is now, where it is a later one than the state knows. A clock that went back turns nothing.
    pub(super) fn turned(&self, window: Window) -> Option<QuotaEvent> {
        let (since, until) = window.around(self.now)?;
        let is_known = self.state.windows.get(&window).is_some_and(|turning| turning.since >= since);
        (!is_known).then_some(QuotaEvent::Turned { window, since, until })
    }

    /// All windows that there are limits for and that have turned.
    pub(super) fn all_turned(&self) -> Vec<QuotaEvent> {
        self.state.windows.keys().filter_map(|window| self.turned(*window)).collect()
    }

    /// When the window that is now ends.
    pub(super) fn turns_at(&self, window: Window) -> Option<Millis> {
        let (_, until) = window.around(self.now)?;
        let known = self.state.windows.get(&window).map_or(0, |turning| turning.until);
        Some(until.max(known))
    }

    /// What is used of a limit in the window that is now.
    pub(super) fn used(&self, window: Window, limit: &Limit) -> u64 {
        if self.turned(window).is_some() { 0 } else { limit.used }
    }

    fn noticed(&self, window: Window, limit: &Limit) -> u8 {
        if self.turned(window).is_some() { 0 } else { limit.noticed }
    }

    /// Reservations whose time is over.
    pub(super) fn due(&self) -> impl Iterator<Item = &'a EntityId> {
        let due = self.state.lapses.iter().take_while(|(until, _)| *until <= self.now);
        due.map(|(_, key)| key)
    }

    fn holds_of(&self, key: &EntityId) -> &'a [Hold] {
        self.state.open.get(key).map_or(&[], |reservation| &reservation.holds)
    }

    /// The event by which reservations lapse whose time is over: as many as an event may name.
    pub(super) fn lapsed(&self) -> QuotaEvent {
        let (mut keys, mut freed) = (Vec::new(), BTreeMap::<Place<'a>, u64>::new());
        for key in self.due().take(QUOTA_LAPSES_MAX) {
            if freed.len() >= QUOTA_FREED_MAX {
                break;
            }
            keys.push(key.clone());
            for (place, amount) in places(self.holds_of(key)) {
                if self.state.account(place.0, place.1).is_some() {
                    *freed.entry(place).or_default() += amount;
                }
            }
        }
        let freed = freed.into_iter().map(|((level, unit), amount)| Freed {
            level: level.clone(),
            unit: unit.clone(),
            amount,
        });
        QuotaEvent::Lapsed {
            until: self.now,
            keys,
            freed: freed.collect(),
        }
    }

    /// What reservations whose time is over hold in these places. Those beyond what one event names are few, and each is looked
    /// at only until the events after it have let it lapse.
    pub(super) fn over(&self, wanted: &BTreeSet<Place<'_>>) -> BTreeMap<Place<'a>, u64> {
        let mut over = BTreeMap::new();
        for key in self.due() {
            for (place, amount) in places(self.holds_of(key)).filter(|(place, _)| wanted.contains(place)) {
                *over.entry(place).or_default() += amount;
            }
        }
        over
    }

    /// What is told of a limit where this much is used and held of it.
    pub(super) fn notice(&self, level: &Level, unit: &Unit, window: Window, limit: &Limit, (used, held): (u64, u64)) -> Option<QuotaEvent> {
        let percent = mark(limit.limit, used, held)?;
        (percent > self.noticed(window, limit)).then(|| QuotaEvent::Noticed {
            level: level.clone(),
            unit: unit.clone(),
            window,
            percent,
            limit: limit.limit,
            used,
            held,
        })
    }
}

/// The highest mark that so much of a limit has come to.
fn mark(limit: u64, used: u64, held: u64) -> Option<u8> {
    let spoken_for = u128::from(used) + u128::from(held);
    let reaches = |percent: &u8| spoken_for > 0 && spoken_for * 100 >= u128::from(limit) * u128::from(*percent);
    MARKS.into_iter().find(reaches)
}

/// Everywhere that holds count, with how much.
pub(super) fn places(holds: &[Hold]) -> impl Iterator<Item = (Place<'_>, u64)> {
    holds
        .iter()
        .flat_map(|hold| hold.levels.iter().map(move |level| ((level, &hold.unit), hold.amount)))
}
