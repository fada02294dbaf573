//! What a run met.

use quipu_events::disk::FaultCounts;
use std::collections::BTreeMap;

/// How often each thing happened in a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Actions taken.
    pub steps: u64,
    /// Commands sent, repetitions included.
    pub sent: u64,
    /// Receipts.
    pub acknowledged: u64,
    /// Refusals.
    pub refused: u64,
    /// Answers that say that nobody knows.
    pub unknown: u64,
    /// Repetitions of a command.
    pub repeated: u64,
    /// Deliveries of one command twice.
    pub duplicated: u64,
    /// Crashes of the node.
    pub crashes: u64,
    /// Syncs made to fail.
    pub failed_syncs: u64,
    /// Times the disk was full.
    pub full: u64,
    /// Clock jumps.
    pub jumps: u64,
    /// Requests that never reached the node.
    pub lost_requests: u64,
    /// Answers that never reached the client.
    pub lost_answers: u64,
    /// Times the clients were cut off.
    pub partitions: u64,
    /// Bursts of commands at once.
    pub bursts: u64,
    /// Events that the subscriber has read.
    pub fed: u64,
    /// Reads of views that waited for one's own write and got it.
    pub own_writes_read: u64,
    /// Refusals that named a version, checked against the history.
    pub versions_refused: u64,
    /// Entities that were asleep when something came for them.
    pub woken: u64,
    /// Bits flipped at the end, each found by verification.
    pub flips_found: u64,
    /// What the disk did.
    pub disk: FaultCounts,
    /// Commands that left a record, by `kind.command`.
    pub accepted: BTreeMap<String, u64>,
    /// Commands sent, by `kind.command`.
    pub tried: BTreeMap<String, u64>,
    /// Values that records name and that are kept beside the log.
    pub values_named: u64,
    /// Values beside the log that no record names: a crash or a refusal came in between.
    pub values_unnamed: u64,
    /// Effects that reached the sink.
    pub delivered: u64,
    /// Timers fired.
    pub fired: u64,
    /// Commands of runs in the name of somebody whom their creators had named, taken or refused.
    pub spoken_for: u64,
    /// Entities put to sleep.
    pub passivated: u64,
    /// Simulated time that passed, milliseconds.
    pub simulated_ms: u64,
    /// Records in the log at the end.
    pub records: u64,
}

impl Counts {
    /// Adds another run's.
    pub fn add(&mut self, other: &Counts) {
        for (mine, (_, theirs)) in self.cells().into_iter().zip(other.named()) {
            *mine += theirs;
        }
        for (mine, theirs) in [(&mut self.accepted, &other.accepted), (&mut self.tried, &other.tried)] {
            for (name, count) in theirs {
                *mine.entry(name.clone()).or_default() += count;
            }
        }
    }
}
