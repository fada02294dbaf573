//! The contract of every log against a person's own servers: what the test suite runs on ours.

use crate::{
    backend::{Backend, OpenError},
    contract::{self, Subject},
    port::{Log, LogMeta, Place},
};
use quipu_schemas::position::LogId;
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// What became of one promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The promise, in words.
    pub promise: &'static str,
    /// Partitions of the log on which it was tried.
    pub partitions: u16,
    /// Why it does not hold, if it does not.
    pub failure: Option<String>,
}

/// What the servers showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// What the log says of itself, its durability included.
    pub meta: LogMeta,
    /// Each promise on each number of partitions.
    pub checks: Vec<Check>,
    /// What cannot be tried from outside.
    pub not_tried: &'static str,
}

type Promise = (&'static str, fn(&mut dyn Subject));

const PROMISES: [Promise; 9] = [
    (
        "offsets are contiguous, and claims take none",
        contract::offsets_are_contiguous_and_claims_take_none,
    ),
    (
        "a claim raises the epoch and fences the owner before",
        contract::a_claim_raises_the_epoch_and_fences_the_owner_before,
    ),
    (
        "what does not continue the partition is refused",
        contract::what_does_not_continue_the_partition_is_refused,
    ),
    (
        "acknowledged frames are there after opening again, whole",
        contract::acknowledged_frames_are_durable_and_whole,
    ),
    (
        "appends complete in the order of their submission",
        contract::appends_complete_in_submission_order,
    ),
    (
        "reads give whole frames and never skip",
        contract::reads_return_whole_frames_and_never_skip,
    ),
    ("reads repeat byte for byte", contract::reads_repeat_byte_for_byte),
    ("places give their records", contract::places_give_their_records),
    ("the head is the durable end", contract::the_head_is_the_durable_end),
];

/// Numbers of partitions on which everything is tried.
const PARTITIONS: [u16; 2] = [16, 1];

/// A log of its own on the servers, for one promise; deleted when dropped.
struct Live {
    backend: Backend,
    partitions: u16,
    log: Option<Arc<dyn Log>>,
}

impl Live {
    fn open(backend: Backend, partitions: u16) -> Result<Self, OpenError> {
        let log = backend.open(None, partitions, LogId([0; 16]))?.log;
        Ok(Self {
            backend,
            partitions,
            log: Some(log),
        })
    }
}

impl Subject for Live {
    fn log(&self) -> Arc<dyn Log> {
        self.log.clone().expect("it is open")
    }

    fn reopen(&mut self) -> bool {
        self.log = None;
        let opened = self.backend.open(None, self.partitions, LogId([0; 16]));
        self.log = Some(opened.unwrap_or_else(|error| panic!("it does not open again: {error}")).log);
        true
    }

    fn make_next_unknown(&mut self, _: u16) {
        unreachable!("no promise that is tried asks for it");
    }

    fn recover(&mut self) {}

    fn damage(&mut self, _: Place) -> bool {
        false
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.log = None;
        // What cannot be deleted is found by its name, which begins with `verify`.
        let _ = self.backend.remove();
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it panicked")
        .to_owned()
}

/// Tries every promise that can be tried from outside, each on a log of its own, which is deleted afterwards. `run` tells this
/// run's logs from others'. `progress` hears of each promise. Blocks. A promise that does not hold is a check that failed; servers that
/// take no log at all are an error.
pub fn certify(backend: &Backend, run: &str, mut progress: impl FnMut(&Check)) -> Result<Certificate, OpenError> {
    let mut checks = Vec::new();
    let mut meta = None;
    for partitions in PARTITIONS {
        for (number, (promise, holds)) in PROMISES.iter().enumerate() {
            let mut live = Live::open(
                backend.named(&format!("verify_{run}_{partitions}_{number}"), partitions),
                partitions,
            )?;
            meta.get_or_insert_with(|| live.log().meta());
            let failure = catch_unwind(AssertUnwindSafe(|| holds(&mut live)))
                .err()
                .map(|panic| words(&*panic));
            let check = Check {
                promise,
                partitions,
                failure,
            };
            progress(&check);
            checks.push(check);
        }
    }
    let not_tried = "unknown outcomes, damage, and the loss of servers or of power: they need a fault, which nobody makes on your servers";
    let meta = meta.ok_or(OpenError::NoDirectory)?;
    Ok(Certificate { meta, checks, not_tried })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_that_does_not_hold_is_told_beside_those_that_do() {
        // A log in memory forgets when it is opened again.
        let certificate = certify(&Backend::Memory, "test", |_| {}).unwrap();
        let failed: Vec<&str> = certificate
            .checks
            .iter()
            .filter(|c| c.failure.is_some())
            .map(|c| c.promise)
            .collect();
        assert!(
            failed.contains(&"acknowledged frames are there after opening again, whole"),
            "{failed:?}"
        );
        assert!(!failed.contains(&"offsets are contiguous, and claims take none"), "{failed:?}");
        assert_eq!(certificate.checks.len(), PROMISES.len() * PARTITIONS.len());
    }
}
