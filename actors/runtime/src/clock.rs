//! The clocks of this machine, and a node's time over them.

use crate::kernel::{
    clock::{Clock, Reading},
    timers::Now,
};
use parking_lot::Mutex;
use quipu_schemas::{context::Millis, limits};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Where a node reads its clocks: those of the machine, or those of a test.
#[derive(Clone)]
pub struct ClockSource(Arc<dyn Fn() -> Reading + Send + Sync>);

impl ClockSource {
    /// Clocks that are read by calling this. The elapsed part must never go back.
    pub fn new(read: impl Fn() -> Reading + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }
}

impl Default for ClockSource {
    #[expect(clippy::disallowed_methods, reason = "where node time is made of the clocks")]
    fn default() -> Self {
        let begun = Instant::now();
        Self::new(move || Reading {
            wall: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64),
            elapsed: begun.elapsed().as_millis() as u64,
        })
    }
}

impl fmt::Debug for ClockSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClockSource")
    }
}

/// A node's time, from its start on.
pub(crate) struct NodeClock {
    source: ClockSource,
    clock: Mutex<Clock>,
    /// The latest record time that this node met.
    newest_record: AtomicU64,
}

impl NodeClock {
    pub(crate) fn new(source: ClockSource) -> Self {
        let clock = Mutex::new(Clock::new(limits::CLOCK_HOLD_MS, (source.0)()));
        Self {
            source,
            clock,
            newest_record: AtomicU64::new(0),
        }
    }

    /// Node time now, and the elapsed time that belongs to it.
    pub(crate) fn now(&self) -> Now {
        // Read under the lock: readings come to the machine in the order in which they were taken.
        let mut clock = self.clock.lock();
        let reading = (self.source.0)();
        Now {
            time: clock.read(reading),
            elapsed: reading.elapsed,
        }
    }

    /// See [`Clock::ripe_at`].
    pub(crate) fn ripe_at(&self, set_at: Millis, due: Millis, now: Millis) -> Millis {
        self.clock.lock().ripe_at(set_at, due, now)
    }

    /// How far node time has stepped ahead: timers that were set before are ripe by at most as much later.
    pub(crate) fn stepped_ms(&self) -> u64 {
        self.clock.lock().lead()
    }

    /// Notes the time of a record.
    pub(crate) fn met(&self, record: Millis) {
        self.newest_record.fetch_max(record, Ordering::Relaxed);
    }

    /// What is wrong with the clocks, if it is more than [`limits::CLOCK_OFF_MAX_MS`].
    pub(crate) fn trouble(&self) -> Option<String> {
        let now = self.now();
        let (behind, ahead) = {
            let clock = self.clock.lock();
            let reading = (self.source.0)();
            (clock.wall_behind(reading), clock.wall_ahead(reading))
        };
        let records = self.newest_record.load(Ordering::Relaxed).saturating_sub(now.time);
        let off = |ms: u64| ms > limits::CLOCK_OFF_MAX_MS;
        let mut troubles = Vec::new();
        if off(behind) {
            troubles.push(format!(
                "the wall clock is {behind} ms behind this node's time; timers run on by elapsed time"
            ));
        }
        if off(ahead) {
            troubles.push(format!(
                "the wall clock is {ahead} ms ahead of this node's time, which follows once it has stayed so for {} s",
                limits::CLOCK_HOLD_MS / 1_000
            ));
        }
        if off(records) {
            troubles.push(format!(
                "this node's time is {records} ms behind the newest record; records of streams written then keep that time"
            ));
        }
        (!troubles.is_empty()).then(|| format!("{}; set the clock right", troubles.join("; ")))
    }
}
