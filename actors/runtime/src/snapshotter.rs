//! Writes snapshots off the hot path, and audits a sample of them by refolding from zero.

use crate::{core::Core, kernel::entity::Snapshot, library::Cancel, mailbox::SnapshotMsg};
use quipu_events::index::PageFrom;
use quipu_schemas::{digest::Digest, ids::StreamId};
use std::sync::{Arc, atomic::Ordering};
use tokio::sync::{Mutex, mpsc};

/// One snapshot in `AUDIT_EVERY` is refolded from zero and compared.
const AUDIT_EVERY: u64 = 16;

/// Runs until the node drops its end of the channel.
pub(crate) async fn run(core: Arc<Core>, queue: Arc<Mutex<mpsc::Receiver<SnapshotMsg>>>) {
    let mut queue = queue.lock().await;
    let mut written = 0u64;
    let mut stopped = core.stopped.subscribe();
    loop {
        // The core holds the other end of the queue, so it never closes by itself.
        let message = tokio::select! {
            message = queue.recv() => message,
            _ = stopped.wait_for(|stopped| *stopped) => None,
        };
        let Some(message) = message else { return };
        written += 1;
        let core = core.clone();
        let audit = written % AUDIT_EVERY == 1;
        let _ = tokio::task::spawn_blocking(move || store(&core, &message, audit)).await;
    }
}

fn store(core: &Core, message: &SnapshotMsg, audit: bool) {
    let SnapshotMsg { stream, snapshot, offset } = message;
    let Some(handler) = core.kinds.get(&stream.kind) else { return };
    if audit && !is_right(core, stream, snapshot) {
        core.counters.snapshots_wrong.fetch_add(1, Ordering::Relaxed);
        tracing::error!(%stream, version = snapshot.version, "snapshot differs from a refold of the log; not stored");
        return;
    }
    match core.index.put_snapshot(
        stream,
        &quipu_events::snapshots::Snapshot {
            version: snapshot.version,
            offset: *offset,
            record: snapshot.record_hash,
            schema: handler.shape(),
            rules: handler.rules_version(),
            bytes: snapshot.bytes.clone(),
        },
    ) {
        Ok(()) => {
            core.counters.snapshots.fetch_add(1, Ordering::Relaxed);
        }
        Err(error) => tracing::warn!(%stream, %error, "snapshot not stored"),
    }
}

fn is_right(core: &Core, stream: &StreamId, snapshot: &Snapshot) -> bool {
    let Some(handler) = core.kinds.get(&stream.kind) else { return true };
    let Ok(mut records) = core.read_on(stream, PageFrom::Version(0), &Cancel::default()) else {
        return true;
    };
    let mut found = false;
    let mut up_to = records.by_ref().map(|(_, record)| record).take_while(|record| {
        let goes_on = !found;
        found |= record.hash == snapshot.record_hash;
        goes_on
    });
    let refolded = handler.recover(stream, None, &mut up_to);
    // What cannot be read, or is not there, says nothing against the snapshot.
    if records.end().is_err() || !found {
        return true;
    }
    match refolded {
        Ok(entity) => entity
            .snapshot()
            .is_some_and(|refolded| Digest::of(&[&refolded.bytes]) == Digest::of(&[&snapshot.bytes])),
        Err(_) => false,
    }
}
