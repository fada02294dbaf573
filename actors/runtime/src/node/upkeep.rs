//! What a node does beside its actors, again and again.

use crate::{core::Core, mailbox::EntityMsg};
use quipu_events::{
    blobs::sweep,
    index::{Index, IndexError},
    port::{Log, ReadError},
};
use quipu_schemas::limits;
use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Notes which keys other nodes have told: one that leaves still passes on commands, and is then among the nodes no longer.
pub(super) async fn note_keys(core: Arc<Core>) {
    const LOOK_EVERY: Duration = Duration::from_millis(500);
    while !core.stopping.load(Ordering::Acquire) {
        if let Some(cluster) = core.cluster() {
            cluster.note_keys();
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Moves the index's tail into its file behind the log: when it is large, or after a while. Runs on a thread of its own, and
/// holds the node only while it works, so that a node that is dropped without a stop is gone.
pub(super) async fn flush_index(core: Weak<Core>) {
    const LOOK_EVERY: Duration = Duration::from_millis(50);
    let longest = Duration::from_millis(limits::INDEX_FLUSH_MS);
    let Some(mut durable) = core.upgrade().map(|core| core.durable.subscribe()) else {
        return;
    };
    let mut flushed_at = Instant::now();
    loop {
        let core = loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let Some(core) = core.upgrade() else { return };
            // Looked at after each wait: the last notice of a stop may have come during a pause.
            if core.stopping.load(Ordering::Acquire) {
                return;
            }
            let waiting = core.index.tail_len();
            if waiting >= limits::INDEX_TAIL_RECORDS || (waiting > 0 && flushed_at.elapsed() >= longest) {
                break core;
            }
            if waiting == 0 {
                drop(core);
                if durable.changed().await.is_err() {
                    return;
                }
            }
        };
        flush(&core.index, &core.stopping).await;
        flushed_at = Instant::now();
    }
}

/// Moves what is in the tail now, in small steps with pauses: one large step would take a processor from the commands for a
/// tenth of a second. Where the tail grows faster than that, in large ones without.
async fn flush(index: &Index, stopping: &AtomicBool) {
    const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));
    let mut left = index.tail_len();
    while left > 0 && !stopping.load(Ordering::Acquire) {
        let begun = Instant::now();
        let is_behind = index.tail_len() > limits::INDEX_TAIL_RECORDS;
        let step = if is_behind {
            limits::INDEX_TAIL_RECORDS
        } else {
            limits::INDEX_FLUSH_STEP
        };
        match index.flush(step) {
            Ok(0) => return,
            Ok(moved) => left = left.saturating_sub(moved),
            // Closing flushes what was left, and then refuses: the last flush of this loop may come after it.
            Err(IndexError::Closed) => return,
            Err(error) => {
                tracing::error!(%error, "the index falls behind; it is rebuilt from the log at the next start");
                return;
            }
        }
        if left > 0 && !is_behind {
            tokio::time::sleep((2 * begun.elapsed()).clamp(PAUSE.0, PAUSE.1)).await;
        }
    }
}

/// Deletes large values that no record names, once a day: uploads that nobody used, and what a crash left; and those whose time
/// is over by a rule of their org, or whose subject was erased.
pub(super) async fn sweep_blobs(core: Arc<Core>) {
    let Some(blobs) = core.keys.blobs().cloned() else { return };
    let mut stopped = core.stopped.subscribe();
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(limits::BLOB_SWEEP_EVERY_MS)) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        let (log, blobs, now, erased) = (core.log.clone(), blobs.clone(), core.now(), core.keys.erased());
        let swept = tokio::task::spawn_blocking(move || sweep::sweep(&*log, &*blobs, now, limits::BLOB_GRACE_MS, &erased)).await;
        match swept {
            Ok(Ok(swept)) => tracing::info!(
                deleted = swept.deleted,
                bytes = swept.bytes,
                over = swept.over,
                "deleted large values that no record names, or whose time was over"
            ),
            Ok(Err(error)) => tracing::warn!(%error, "could not delete large values that no record names; trying again tomorrow"),
            Err(_) => tracing::error!("the sweep of large values crashed"),
        }
    }
}

/// Puts idle entities to sleep, a few at a time: what was touched together does not end together.
pub(super) async fn passivate(core: Arc<Core>, after_ms: u64, active_max: usize) {
    let every = Duration::from_millis((after_ms / 4).clamp(10, 50));
    let mut stopped = core.stopped.subscribe();
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
        let before = core.monotonic().saturating_sub(after_ms);
        for actor in core.registry.idle(before, active_max, limits::PASSIVATIONS_MAX) {
            let _ = actor.send_message(EntityMsg::Passivate);
        }
    }
}

/// Reads the whole log again, slowly: damage in what nobody reads is found before it is needed, and health names it like any
/// other that a read met.
pub(super) async fn scrub(core: Arc<Core>) {
    const EVERY: Duration = Duration::from_secs(1);
    let mut stopped = core.stopped.subscribe();
    let mut scrub = Scrub::default();
    loop {
        let log = core.log.clone();
        let read = tokio::task::spawn_blocking(move || {
            let is_over = scrub.step(&*log, limits::SCRUB_BYTES_PER_SECOND);
            (scrub, is_over)
        });
        // A crash ends the task, which starts again from the beginning; so does the end of the runtime.
        let Ok((next, is_over)) = read.await else { return };
        scrub = next;
        let pause = if is_over {
            Duration::from_millis(limits::SCRUB_REST_MS)
        } else {
            EVERY
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// Where reading the log again has come to.
#[derive(Debug, Default, Clone, Copy)]
struct Scrub {
    partition: u16,
    offset: u64,
}

impl Scrub {
    /// Reads about so many bytes; true where that was the end of the last partition.
    fn step(&mut self, log: &dyn Log, bytes: usize) -> bool {
        match log.read(self.partition, self.offset, bytes) {
            Ok(frames) => {
                let end = frames.last().map(|frame| frame.first_offset + frame.records.len() as u64);
                if let Some(end) = end.filter(|end| *end > self.offset) {
                    self.offset = end;
                    return false;
                }
            }
            // The log remembers it: what lies behind is not read by anybody any more.
            Err(error @ ReadError::Damaged { .. }) => {
                tracing::error!(partition = self.partition, %error, "found damage in the log");
            }
            Err(error) => tracing::warn!(partition = self.partition, %error, "the log could not be read again for damage"),
        }
        self.offset = 0;
        self.partition += 1;
        if self.partition < log.meta().partitions {
            return false;
        }
        self.partition = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quipu_events::{
        contract::Owner,
        disk::SimDisk,
        embedded::{EmbeddedLog, EmbeddedOptions},
        index::IndexEntry,
    };
    use quipu_schemas::{digest::Digest, position::LogId, record};
    use std::path::Path;

    fn pass(log: &EmbeddedLog) -> usize {
        let (mut scrub, mut steps) = (Scrub::default(), 1);
        while !scrub.step(log, 4 * 1024) {
            steps += 1;
            assert!(steps < 10_000, "it comes to an end");
        }
        steps
    }

    #[test]
    fn damage_in_a_sealed_segment_is_found_without_a_reader() {
        let (disk, dir) = (SimDisk::new(1), Path::new("/d"));
        let options = EmbeddedOptions {
            partitions: 2,
            log_id: Some(LogId([1; 16])),
            segment_bytes: 16 * 1024,
        };
        let log = EmbeddedLog::open_on(Arc::new(disk.clone()), dir, &options).expect("a log");
        let mut owners = [Owner::claim(&log, 0), Owner::claim(&log, 1)];
        for owner in &mut owners {
            (0..60).for_each(|_| drop(owner.write(&log, 3)));
        }
        drop(log);
        // Opened again, sealed segments are known by their sidecars alone.
        let log = EmbeddedLog::open_on(Arc::new(disk.clone()), dir, &options).expect("a log");
        assert!(pass(&log) > 4, "in steps");
        assert!(log.damage(0).is_none() && log.damage(1).is_none());
        drop(log);
        let first = dir.join("log/0000000000000001.seg");
        disk.flip(&first, 8 * 8 * 1024);
        let log = EmbeddedLog::open_on(Arc::new(disk), dir, &options).expect("a log");
        assert!(log.damage(0).is_none() && log.damage(1).is_none(), "nobody has read there");
        pass(&log);
        assert_eq!(
            [0, 1].iter().filter(|p| log.damage(**p).is_some()).count(),
            1,
            "one frame, one partition"
        );
    }

    #[tokio::test]
    async fn tail_is_flushed_in_steps_until_it_is_empty() {
        let log = quipu_events::memory::MemoryLog::new(LogId([1; 16]), 1);
        let index = Index::in_memory(&log.meta()).expect("an index");
        let entry = |offset: u64| {
            let encoded = quipu_events::contract::record("acme/conversation/a", offset + 1, Digest::ZERO, 10);
            let header = record::decode(&encoded.bytes).expect("a record").header;
            let place = quipu_events::port::Place { unit: 1, at: 0, len: 1 };
            IndexEntry::new(offset, place, encoded.hash, &header, &[])
        };
        let entries = (0..2 * limits::INDEX_FLUSH_STEP as u64 + 10).map(entry).collect();
        index.note_durable(0, entries).expect("noted");
        flush(&index, &AtomicBool::new(true)).await;
        assert_eq!(
            index.tail_len(),
            2 * limits::INDEX_FLUSH_STEP + 10,
            "a node that stops leaves it to the close"
        );
        flush(&index, &AtomicBool::new(false)).await;
        assert_eq!(index.tail_len(), 0);
    }
}
