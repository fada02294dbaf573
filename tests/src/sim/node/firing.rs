//! Timers.

use super::super::Rng;
use super::{READS_FAIL_PERCENT, SimNode, Waiter, mutant::Mutant};
use quipu_events::index::Wake;
use quipu_runtime::kernel::{
    cause::Cause,
    timers::{Found, Look, Now},
};

impl SimNode {
    pub(crate) fn fire_timers(&mut self, rng: &mut Rng) -> u64 {
        let early = if self.mutant == Some(Mutant::FiresEarly) { 5_000 } else { 0 };
        let now = Now {
            time: self.now.time + early,
            ..self.now
        };
        let owned = (0..self.writers.len() as u16).collect();
        let mut fired = 0;
        for look in self.timers.looks(&owned, now) {
            let found = if rng.chance(READS_FAIL_PERCENT) { None } else { self.ask(&look) };
            for wake in self.timers.found(&look, found, now) {
                fired += u64::from(self.fire(rng, wake, now));
            }
        }
        fired
    }

    pub(super) fn ask(&self, look: &Look) -> Option<Found> {
        let due = self
            .index
            .wakes_due_after(look.partition, look.before, look.after, look.limit)
            .ok()?;
        let next = self.index.next_wake_after(look.partition, look.before).ok()?;
        Some(Found { due, next })
    }

    pub(super) fn fire(&mut self, rng: &mut Rng, wake: Wake, now: Now) -> bool {
        let sleeps = self.mutant == Some(Mutant::ForgetsSleepers) && !self.entities.contains_key(&wake.key.stream);
        let cause = if sleeps || rng.chance(READS_FAIL_PERCENT) {
            None
        } else {
            let records = self.records(&wake.key.stream, wake.key.version).unwrap_or_default();
            records.first().map(|record| Cause::from(&record.header))
        };
        let Some(cause) = cause else {
            if self.mutant != Some(Mutant::ForgetsUnreadTimers) {
                self.timers.unread(&wake.key, now);
            }
            return false;
        };
        let ripe_at = self.clock.ripe_at(cause.time, wake.due, now.time);
        let due = if self.mutant == Some(Mutant::FiresEarly) { 0 } else { wake.due };
        let wake = Wake { due, ..wake };
        let Some(command) = self.timers.fire(&wake, &cause, ripe_at, now) else {
            return false;
        };
        self.kernel.push_back((command, Waiter::Timer(wake.key)));
        true
    }
}
