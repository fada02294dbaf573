//! A node's time, as a pure machine fed with readings of two clocks: the wall clock, which may be set wrong and be corrected,
//! and one that only counts elapsed time.
//!
//! Node time starts at the wall clock and then runs with elapsed time, so that no step of the wall clock stops it or makes
//! a delay shorter:
//! - The wall clock steps back: node time runs on.
//! - The wall clock steps ahead: node time follows once the wall clock has stayed ahead for the whole hold time, by the
//!   least that it was ahead meanwhile. A clock that was wrong for a moment leaves no trace in due times and records.
//! - The wall clock takes back a step that was followed: node time follows it back, but never behind where it would be
//!   without any step.
//!
//! A timer that was set before a step that node time followed becomes ripe by as much later: [`Clock::ripe_at`].

use quipu_schemas::{context::Millis, limits::CLOCK_STEPS_MAX};
use std::collections::VecDeque;

/// Differences between the clocks that only come from reading one after the other.
const JITTER_MS: u64 = 50;

/// Both clocks, read at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock.
    pub wall: Millis,
    /// Milliseconds of a clock that only counts, from any beginning.
    pub elapsed: u64,
}

/// A step ahead that node time followed.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// Node time just before.
    before: Millis,
    by: u64,
}

/// The wall clock is ahead, and node time does not follow yet.
#[derive(Debug, Clone, Copy)]
struct Ahead {
    since: u64,
    least: u64,
}

/// The time of one node, from its start on.
#[derive(Debug)]
pub struct Clock {
    hold_ms: u64,
    first: Reading,
    steps: VecDeque<Step>,
    ahead: Option<Ahead>,
}

impl Clock {
    /// A clock that follows steps ahead once they have lasted `hold_ms`.
    pub fn new(hold_ms: u64, first: Reading) -> Self {
        Self {
            hold_ms,
            first,
            steps: VecDeque::new(),
            ahead: None,
        }
    }

    /// How far node time has stepped ahead since the start.
    pub fn lead(&self) -> u64 {
        self.steps.iter().map(|step| step.by).sum()
    }

    /// Where node time would be without any step.
    fn line(&self, elapsed: u64) -> Millis {
        self.first.wall.saturating_add(elapsed.saturating_sub(self.first.elapsed))
    }

    /// Node time at this reading.
    pub fn read(&mut self, now: Reading) -> Millis {
        let line = self.line(now.elapsed);
        let (over, lead) = (now.wall.saturating_sub(line), self.lead());
        if over + JITTER_MS < lead {
            self.give_back(lead - over);
            self.ahead = None;
        } else if over <= lead {
            self.ahead = None;
        } else {
            let ahead = self.ahead.get_or_insert(Ahead {
                since: now.elapsed,
                least: over,
            });
            ahead.least = ahead.least.min(over);
            if now.elapsed.saturating_sub(ahead.since) >= self.hold_ms {
                let by = ahead.least - lead;
                self.ahead = None;
                self.follow(line + lead, by);
            }
        }
        line.saturating_add(self.lead())
    }

    fn follow(&mut self, before: Millis, by: u64) {
        // What differs by no more than a reading does not become a step of its own.
        match self.steps.back_mut() {
            Some(last) if by <= JITTER_MS => last.by += by,
            _ => self.steps.push_back(Step { before, by }),
        }
        if self.steps.len() > CLOCK_STEPS_MAX
            && let Some(oldest) = self.steps.pop_front()
            && let Some(next) = self.steps.front_mut()
        {
            // Timers set between the two become ripe late.
            next.by += oldest.by;
        }
    }

    fn give_back(&mut self, mut by: u64) {
        while by > 0
            && let Some(last) = self.steps.back_mut()
        {
            let taken = by.min(last.by);
            (last.by, by) = (last.by - taken, by - taken);
            if last.by == 0 {
                self.steps.pop_back();
            }
        }
    }

    /// By how much the wall clock is behind node time at this reading.
    pub fn wall_behind(&self, now: Reading) -> u64 {
        (self.line(now.elapsed) + self.lead()).saturating_sub(now.wall)
    }

    /// By how much the wall clock is ahead of node time at this reading.
    pub fn wall_ahead(&self, now: Reading) -> u64 {
        now.wall.saturating_sub(self.line(now.elapsed) + self.lead())
    }

    /// The node time at which a timer is ripe that was set at `set_at`: when it is due, and by as much later as node time
    /// has stepped ahead since. Timers of earlier lives of the node go by the time alone. `set_at` is a record's time, which may
    /// be ahead of the clock by which the timer was set. So one from before a step ended is older than the step, since later
    /// records have later times; so is one that was due before it ended, since nothing is set for the past; and of one that is still
    /// ahead of the clock at `now` nobody knows, so that it waits for every step rather than for too few.
    pub fn ripe_at(&self, set_at: Millis, due: Millis, now: Millis) -> Millis {
        if set_at < self.first.wall {
            return due;
        }
        let set_by = set_at.min(due);
        let since = self
            .steps
            .iter()
            .filter(|step| set_at > now || set_by < step.before.saturating_add(step.by));
        due.saturating_add(since.map(|step| step.by).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const START: Millis = 1_800_000_000_000;
    const HOLD: u64 = 60_000;

    /// Two clocks that a test moves.
    struct Two {
        clock: Clock,
        elapsed: u64,
        off: i64,
    }

    impl Two {
        fn new() -> Self {
            let first = Reading { wall: START, elapsed: 7 };
            Self {
                clock: Clock::new(HOLD, first),
                elapsed: 7,
                off: 0,
            }
        }

        fn reading(&self) -> Reading {
            Reading {
                wall: (START + self.elapsed - 7).saturating_add_signed(self.off),
                elapsed: self.elapsed,
            }
        }

        /// Node time after so long, read every second.
        fn pass(&mut self, ms: u64) -> Millis {
            for _ in 0..ms / 1_000 {
                self.elapsed += 1_000;
                self.clock.read(self.reading());
            }
            self.elapsed += ms % 1_000;
            self.clock.read(self.reading()) - START
        }
    }

    #[test]
    fn a_delay_of_a_stream_ahead_of_the_clock_keeps_its_length() {
        let mut two = Two::new();
        two.pass(1_000);
        // The stream's last record is ten minutes ahead; the timer is set by the clock, for half a second from now.
        let (set_at, due) = (START + 600_000, START + 1_500);
        two.off = 600_000;
        let before = two.pass(HOLD + 1_000);
        assert!(before > 600_000, "node time follows: {before}");
        assert_eq!(two.clock.ripe_at(set_at, due, START + before), due + 600_000);
        assert_eq!(
            two.clock.ripe_at(START + before, START + before + 500, START + before),
            START + before + 500
        );
    }

    #[test]
    fn a_delay_of_a_stream_far_ahead_waits_for_each_step() {
        let mut two = Two::new();
        two.pass(1_000);
        // An hour ahead, and further than the step that follows.
        let set_at = START + HOUR;
        two.off = 600_000;
        let now = START + two.pass(HOLD + 1_000);
        assert!(now < set_at, "the stream is ahead of the clock still");
        for due in [START + 44_000, START + 1_200_000] {
            assert_eq!(two.clock.ripe_at(set_at, due, now), due + 600_000);
        }
        // Once the clock has come to the stream's time, what was due before the step ended is known to be older.
        assert_eq!(two.clock.ripe_at(set_at, START + 44_000, set_at), START + 644_000);
    }

    #[test]
    fn a_step_back_does_not_stop_time() {
        let mut two = Two::new();
        assert_eq!(two.pass(5_000), 5_000);
        two.off = -(2 * HOUR as i64);
        assert_eq!(two.pass(0), 5_000);
        assert_eq!(two.pass(4_000), 9_000);
        assert_eq!(two.clock.wall_behind(two.reading()), 2 * HOUR);
        two.off = 0;
        assert_eq!(two.pass(1_000), 10_000);
        assert_eq!(two.clock.wall_behind(two.reading()), 0);
    }

    #[test]
    fn a_short_step_ahead_leaves_no_trace() {
        let mut two = Two::new();
        two.off = 10 * 365 * 24 * HOUR as i64;
        assert_eq!(two.pass(8_000), 8_000);
        assert!(two.clock.wall_ahead(two.reading()) > HOUR);
        two.off = 0;
        assert_eq!(two.pass(2 * HOLD), 8_000 + 2 * HOLD);
        assert_eq!(two.clock.ripe_at(START + 8_000, START + 9_000, START + HOUR), START + 9_000);
    }

    #[test]
    fn a_step_ahead_that_stays_is_followed_and_taken_back() {
        let mut two = Two::new();
        two.off = HOUR as i64;
        assert_eq!(two.pass(HOLD - 1_000), HOLD - 1_000);
        two.pass(2_000);
        assert_eq!(two.pass(9_000), HOLD + 10_000 + HOUR);
        two.off = 0;
        assert_eq!(two.pass(1_000), HOLD + 11_000);
        assert_eq!(two.clock.ripe_at(START + 1, START + HOUR, START + HOUR), START + HOUR);
        // It never falls behind the line on which it started.
        two.off = -(HOUR as i64);
        assert_eq!(two.pass(1_000), HOLD + 12_000);
    }

    #[test]
    fn a_followed_step_does_not_shorten_delays_set_before() {
        let mut two = Two::new();
        let set_at = START + two.pass(1_000);
        let due = set_at + HOUR;
        two.off = 3 * HOUR as i64;
        let now = START + two.pass(2 * HOLD);
        assert!(now >= due, "node time is past it");
        assert_eq!(two.clock.ripe_at(set_at, due, now), due + 3 * HOUR);
        // What is set afterwards, and what an earlier life set, goes by the time alone.
        assert_eq!(two.clock.ripe_at(now, now + 1_000, now), now + 1_000);
        assert_eq!(two.clock.ripe_at(START - 1, due, now), due);
    }

    #[test]
    fn a_wall_clock_that_wavers_is_followed_by_its_least() {
        let mut two = Two::new();
        for round in 0..200 {
            two.off = if round % 2 == 0 { 5_000 } else { 900 };
            two.pass(1_000);
        }
        let lead = two.clock.lead();
        assert!((850..=950).contains(&lead), "{lead}");
    }

    #[test]
    fn many_steps_are_bounded_and_none_is_forgotten() {
        let mut two = Two::new();
        for step in 1..=100 {
            two.off = step * 10_000;
            two.pass(HOLD + 2_000);
        }
        assert!(two.clock.steps.len() <= CLOCK_STEPS_MAX);
        assert_eq!(two.clock.lead(), 1_000_000);
        assert_eq!(two.clock.ripe_at(START, START + 5, START + HOUR), START + 5 + 1_000_000);
    }
}
