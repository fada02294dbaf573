//! What the checks and the scheduler look at.

use super::{SimNode, mutant::Mutant};
use quipu_events::port::Log;
use quipu_projections::progress::Wanted;
use quipu_runtime::kernel::relay::Relay;
use quipu_schemas::{
    context::Millis,
    digest::Digest,
    ids::StreamId,
    record::{self},
};

impl SimNode {
    /// Version of a stream that is durable.
    pub(crate) fn durable_version(&self, stream: &StreamId) -> u64 {
        self.index.stream_head(stream).ok().flatten().map_or(0, |head| head.version)
    }

    pub(crate) fn durable_end(&self, partition: u16) -> u64 {
        self.ends[usize::from(partition)]
    }

    /// Durable records from an offset on, as a subscriber gets them.
    pub(crate) fn feed(&self, partition: u16, from: u64, most: usize) -> Result<Vec<(u64, Digest)>, String> {
        let end = self.durable_end(partition);
        if from >= end {
            return Ok(Vec::new());
        }
        let frames = self.log.read(partition, from, 64 * 1024).map_err(|e| e.to_string())?;
        let mut out = Vec::new();
        for frame in frames {
            for (offset, (_, bytes)) in (frame.first_offset..).zip(&frame.records) {
                let skipped = self.mutant == Some(Mutant::FeedSkips) && offset % 7 == 3;
                if offset >= from && offset < end && out.len() < most && !skipped {
                    out.push((offset, record::decode(bytes).map_err(|e| e.to_string())?.hash));
                }
            }
        }
        Ok(out)
    }

    pub(crate) fn views_cover(&self, wanted: &Wanted) -> bool {
        self.mutant == Some(Mutant::ViewsSayTooMuch) || self.progress.covers(wanted).unwrap_or(false)
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.dead || self.writers.iter().any(|writer| writer.stopped().is_some())
    }

    /// Nothing on its way and nothing pending but timers and dead letters.
    pub(crate) fn is_quiet(&self) -> bool {
        let busy = !self.pages.is_empty() || !self.relays.iter().all(Relay::is_idle);
        self.inbox.is_empty()
            && self.kernel.is_empty()
            && self.batches.is_empty()
            && self.completions.is_empty()
            && self.running.is_empty()
            && !busy
    }

    /// When the next retry is due, if nothing but time is missing.
    pub(crate) fn next_retry(&self) -> Option<Millis> {
        let idle = self.inbox.is_empty()
            && self.kernel.is_empty()
            && self.batches.is_empty()
            && self.completions.is_empty()
            && self.running.is_empty();
        let due = self.relays.iter().filter_map(Relay::next_due).min();
        due.filter(|_| idle)
    }

    pub(crate) fn next_due(&self) -> Option<Millis> {
        (0..self.writers.len() as u16)
            .filter_map(|p| self.index.next_wake(p).ok().flatten())
            .min()
    }
}
