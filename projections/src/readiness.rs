//! Whether the views may answer, and how late they are: decided from how far they and the log are.
//!
//! A store that is made from nothing holds a part of the rows until it has seen the log as it was when it was opened. A
//! part that looks like the whole is worse than no answer, so until then queries are refused. From then on views only
//! lag, and their answers say where they stand.

use quipu_schemas::{
    context::Millis,
    limits::{VIEW_LAG_DEGRADED_MS, VIEW_LAG_DEGRADED_RECORDS},
};

/// What the views are to whoever reads them.
#[derive(Debug, Default)]
pub struct Readiness {
    stage: Stage,
    /// An end of the log that has not been reached, and since when it is known.
    waited_for: Option<(Vec<u64>, Millis)>,
}

#[derive(Debug, Default)]
enum Stage {
    /// The store has not been opened yet.
    #[default]
    Unknown,
    /// It is made from nothing, up to these ends of partitions.
    Building(Vec<u64>),
    /// It has been whole.
    Whole,
}

/// How late the views are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lateness {
    /// Records that they have not seen.
    pub records: u64,
    /// For how long at least the oldest of them has been waiting.
    pub ms: Millis,
}

impl Lateness {
    /// Whether it is more than a passing moment.
    pub fn is_degraded(self) -> bool {
        self.records >= VIEW_LAG_DEGRADED_RECORDS || self.ms >= VIEW_LAG_DEGRADED_MS
    }
}

fn reached(seen: &[u64], wanted: &[u64], stopped: &[u16]) -> bool {
    (0u16..)
        .zip(seen.iter().zip(wanted))
        .all(|(partition, (seen, wanted))| seen >= wanted || stopped.contains(&partition))
}

impl Readiness {
    /// A store answers from now on: whether it has ever been whole, and the ends of the log.
    pub fn begin(&mut self, whole: bool, end: &[u64]) {
        self.stage = if whole || end.iter().all(|end| *end == 0) {
            Stage::Whole
        } else {
            Stage::Building(end.to_vec())
        };
    }

    /// Whether nothing is known of the store yet.
    pub fn is_unknown(&self) -> bool {
        matches!(self.stage, Stage::Unknown)
    }

    /// Whether the store holds a part of the rows only.
    pub fn is_building(&self) -> bool {
        matches!(self.stage, Stage::Building(_))
    }

    /// Whether a store that is being made has come as far as the log was when it was opened. A stopped partition has no
    /// more to give. Whoever notes that durably then calls [`Readiness::begin`].
    pub fn has_arrived(&self, seen: &[u64], stopped: &[u16]) -> bool {
        match &self.stage {
            Stage::Building(target) => reached(seen, target, stopped),
            Stage::Unknown | Stage::Whole => false,
        }
    }

    /// Looks how late the views are; the more often it looks, the closer the age.
    pub fn late(&mut self, seen: &[u64], end: &[u64], stopped: &[u16], now: Millis) -> Lateness {
        let there = |wanted: &[u64]| reached(seen, wanted, stopped);
        if self.waited_for.as_ref().is_none_or(|(wanted, _)| there(wanted)) {
            self.waited_for = (!there(end)).then(|| (end.to_vec(), now));
        }
        Lateness {
            records: end.iter().zip(seen).map(|(end, seen)| end.saturating_sub(*seen)).sum(),
            ms: self.waited_for.as_ref().map_or(0, |(_, since)| now.saturating_sub(*since)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_made_from_nothing_answers_once_it_is_whole() {
        let mut readiness = Readiness::default();
        assert!(readiness.is_unknown() && !readiness.is_building());
        readiness.begin(false, &[10, 0, 5]);
        assert!(readiness.is_building());
        for (seen, stopped, arrived) in [
            ([0, 0, 0], vec![], false),
            ([10, 0, 4], vec![], false),
            ([12, 7, 5], vec![], true),
            ([10, 0, 2], vec![2], true),
            ([9, 0, 2], vec![2], false),
        ] {
            assert_eq!(readiness.has_arrived(&seen, &stopped), arrived, "{seen:?} {stopped:?}");
        }
        readiness.begin(true, &[20, 0, 5]);
        assert!(!readiness.is_building() && !readiness.has_arrived(&[20, 0, 5], &[]));
        readiness.begin(false, &[0, 0, 0]);
        assert!(!readiness.is_building(), "of an empty log nothing is missing");
    }

    #[test]
    fn lateness_counts_records_and_the_time_they_wait() {
        let mut readiness = Readiness::default();
        let late = |records, ms| Lateness { records, ms };
        assert_eq!(readiness.late(&[5], &[5], &[], 1_000), late(0, 0));
        assert_eq!(readiness.late(&[5], &[8], &[], 2_000), late(3, 0));
        assert_eq!(readiness.late(&[7], &[9], &[], 3_000), late(2, 1_000), "record 7 has waited since");
        // What was waited for is there, and more has come: its wait begins.
        assert_eq!(readiness.late(&[8], &[12], &[], 4_000), late(4, 0));
        assert!(!readiness.late(&[8], &[12], &[], 4_000 + VIEW_LAG_DEGRADED_MS - 1).is_degraded());
        assert!(readiness.late(&[8], &[12], &[], 4_000 + VIEW_LAG_DEGRADED_MS).is_degraded());
        assert_eq!(readiness.late(&[12], &[12], &[], 90_000), late(0, 0));
        assert!(readiness.late(&[12], &[12 + VIEW_LAG_DEGRADED_RECORDS], &[], 90_001).is_degraded());
        // A stopped partition is told of elsewhere.
        assert_eq!(readiness.late(&[12], &[13], &[0], 900_000), late(1, 0));
    }
}
