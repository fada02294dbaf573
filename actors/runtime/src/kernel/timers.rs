//! Which durable timers a node fires, and when it looks for them again.
//!
//! The set timers stand in the index; this machine remembers only the ones that are being fired and the ones that could
//! not be. It walks through what is due page by page, so that timers that cannot be fired now do not keep their place in
//! front of the others, and begins again at the front when it has come to the end.

use super::relay::fire;
use crate::kernel::cause::Cause;
use quipu_events::index::{Wake, WakePlace};
use quipu_schemas::{
    context::Millis,
    envelope::{CommandEnvelope, Receipt},
    ids::StreamId,
    limits::{POISON_CRASHES, TIMERS_FIRING_MAX, TIMERS_PAUSED_MAX},
    pause::doubled_ms,
    problem::Problem,
    reaction::ReactionKey,
};
use std::collections::{BTreeMap, BTreeSet};

/// Timers asked for in one look at a partition.
const PAGE: usize = 256;
/// The index is asked this often even when nothing says so.
const LOOK_EVERY_MS: u64 = 5_000;
/// First and longest pause after a fire that could not be stored.
const REFIRE_MS: (u64, u64) = (250, 30_000);
/// Pause of a timer whose stream is parked, unless that is lifted before; and the longest pause of one that is not ripe.
const PARKED_MS: u64 = 60_000;

/// The node's clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Node time: what due times are compared with.
    pub time: Millis,
    /// Milliseconds of a clock that only goes forward: what pauses are counted by.
    pub elapsed: u64,
}

/// A question to the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Of this partition.
    pub partition: u16,
    /// Due then or earlier; and when is the next one due after it?
    pub before: Millis,
    /// Only timers behind this place.
    pub after: Option<WakePlace>,
    /// At most so many.
    pub limit: usize,
}

/// What the index answered.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The timers, the earliest first.
    pub due: Vec<Wake>,
    /// When the next one behind [`Look::before`] is due.
    pub next: Option<Millis>,
}

/// A stream that crashes on its timer again and again: it is to be parked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poisoned {
    /// The stream.
    pub stream: StreamId,
    /// Why, for people.
    pub detail: String,
}

#[derive(Debug, Default)]
struct Walk {
    after: Option<WakePlace>,
    /// The last page was full, or had no room.
    more: bool,
    next: Option<Millis>,
    retry_at: Option<u64>,
}

#[derive(Debug)]
struct Pause {
    until: u64,
    failures: u32,
    crashes: u32,
}

/// The timers of the partitions that one node owns.
#[derive(Debug, Default)]
pub struct Timers {
    walks: BTreeMap<u16, Walk>,
    firing: BTreeMap<ReactionKey, String>,
    paused: BTreeMap<ReactionKey, Pause>,
    rounds: usize,
}

impl Timers {
    /// What to ask the index now, for the partitions that the node owns. Each answer goes to [`Timers::found`].
    pub fn looks(&mut self, owned: &BTreeSet<u16>, now: Now) -> Vec<Look> {
        self.walks.retain(|partition, _| owned.contains(partition));
        if self.firing.len() >= TIMERS_FIRING_MAX {
            return Vec::new();
        }
        self.rounds = self.rounds.wrapping_add(1);
        let mut looks: Vec<Look> = owned
            .iter()
            .map(|partition| {
                let walk = self.walks.entry(*partition).or_default();
                walk.retry_at = None;
                Look {
                    partition: *partition,
                    before: now.time,
                    after: walk.after,
                    limit: PAGE,
                }
            })
            .collect();
        // Another partition comes first each time, so that none waits for the room that the others leave.
        let first = self.rounds % looks.len().max(1);
        looks.rotate_left(first);
        looks
    }

    /// What the index answered to a look; `None` if it did not. The timers to fire: each is reported to
    /// [`Timers::unread`], [`Timers::fire`] or [`Timers::answered`].
    pub fn found(&mut self, look: &Look, found: Option<Found>, now: Now) -> Vec<Wake> {
        let Some(walk) = self.walks.get_mut(&look.partition) else {
            return Vec::new();
        };
        let Some(Found { due, next }) = found else {
            walk.more = false;
            walk.retry_at = Some(now.elapsed + REFIRE_MS.0);
            return Vec::new();
        };
        let is_full = due.len() >= look.limit;
        let mut taken = Vec::new();
        (walk.more, walk.next) = (is_full, next);
        for wake in due {
            let place = wake.place();
            let waits = self.paused.get(&wake.key).is_some_and(|pause| pause.until > now.elapsed);
            if !waits && !self.firing.contains_key(&wake.key) {
                if self.firing.len() >= TIMERS_FIRING_MAX {
                    walk.more = true;
                    return taken;
                }
                self.firing.insert(wake.key.clone(), wake.name.clone());
                taken.push(wake);
            }
            walk.after = Some(place);
        }
        if !is_full {
            walk.after = None;
        }
        taken
    }

    /// The record that set a timer was read: the command that fires it, unless it is ripe only later by the node's clock.
    pub fn fire(&mut self, wake: &Wake, cause: &Cause, ripe_at: Millis, now: Now) -> Option<CommandEnvelope> {
        if ripe_at <= now.time {
            return Some(fire(&wake.key, &wake.name, wake.due, cause));
        }
        self.firing.remove(&wake.key);
        self.pause(&wake.key, now.elapsed + (ripe_at - now.time).min(PARKED_MS), |_| {});
        None
    }

    /// The record that set a timer could not be read.
    pub fn unread(&mut self, key: &ReactionKey, now: Now) {
        self.firing.remove(key);
        self.again(key, now);
    }

    /// A fired timer's command was answered.
    pub fn answered(&mut self, key: &ReactionKey, answer: &Result<Receipt, Problem>, now: Now) -> Option<Poisoned> {
        let name = self.firing.remove(key).unwrap_or_default();
        let code = match answer {
            Ok(_) => {
                self.paused.remove(key);
                return None;
            }
            Err(problem) => problem.code.as_str(),
        };
        match code {
            "stream_parked" => self.pause(key, now.elapsed + PARKED_MS, |_| {}),
            "command_crashed" => {
                self.again(key, now);
                let pause = self.paused.get_mut(key)?;
                pause.crashes += 1;
                if pause.crashes >= POISON_CRASHES {
                    let detail = format!("timer `{name}` ({key}) crashed it {} times", pause.crashes);
                    (pause.crashes, pause.until) = (0, now.elapsed + PARKED_MS);
                    return Some(Poisoned {
                        stream: key.stream.clone(),
                        detail,
                    });
                }
            }
            _ => self.again(key, now),
        }
        None
    }

    fn again(&mut self, key: &ReactionKey, now: Now) {
        let failures = self.paused.get(key).map_or(0, |pause| pause.failures);
        let pause = doubled_ms(REFIRE_MS, failures + 1);
        self.pause(key, now.elapsed + pause, |pause| pause.failures += 1);
    }

    fn pause(&mut self, key: &ReactionKey, until: u64, note: impl FnOnce(&mut Pause)) {
        if self.paused.len() >= TIMERS_PAUSED_MAX
            && !self.paused.contains_key(key)
            && let Some(next) = self.paused.iter().min_by_key(|(_, pause)| pause.until).map(|(key, _)| key.clone())
        {
            // It is only tried again earlier.
            self.paused.remove(&next);
        }
        let pause = self.paused.entry(key.clone()).or_insert(Pause {
            until,
            failures: 0,
            crashes: 0,
        });
        pause.until = until;
        note(pause);
    }

    /// A stream takes commands again: its timers wait no longer.
    pub fn unparked(&mut self, stream: &StreamId) {
        self.paused.retain(|key, _| key.stream != *stream);
    }

    /// How long until the next [`Timers::looks`], if nothing else happens, in milliseconds.
    pub fn wait_ms(&self, now: Now) -> u64 {
        if self.firing.len() >= TIMERS_FIRING_MAX {
            // The end of a fire wakes the shell.
            return LOOK_EVERY_MS;
        }
        if self.walks.values().any(|walk| walk.more) {
            return 0;
        }
        let due = self
            .walks
            .values()
            .filter_map(|walk| walk.next)
            .map(|at| at.saturating_sub(now.time));
        let retries = self.walks.values().filter_map(|walk| walk.retry_at);
        let pauses = self.paused.values().map(|pause| pause.until).filter(|until| *until > now.elapsed);
        let elapsed = retries.chain(pauses).map(|at| at.saturating_sub(now.elapsed));
        due.chain(elapsed)
            .map(|ms| ms.max(1))
            .min()
            .unwrap_or(LOOK_EVERY_MS)
            .min(LOOK_EVERY_MS)
    }

    /// Timers that are being fired.
    pub fn firing(&self) -> usize {
        self.firing.len()
    }

    /// Timers that are due and could not be fired.
    pub fn paused(&self) -> usize {
        self.paused.len()
    }
}

#[cfg(test)]
mod tests;
