//! What a node does beside its actors, again and again.

use crate::core::Core;
use quipu_events::index::IndexError;
use quipu_schemas::limits;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Moves the index's tail into its file behind the log: when it is large, or after a while. Large flushes are cheaper a record.
pub(super) async fn flush_index(core: Arc<Core>) {
    const LOOK_EVERY: Duration = Duration::from_millis(50);
    let mut durable = core.durable.subscribe();
    let mut flushed_at = core.monotonic();
    let stopping = || core.stopping.load(Ordering::Acquire);
    // Looked at on both sides of the wait: the last notice of a stop may have come during a pause below.
    while !stopping() && durable.changed().await.is_ok() && !stopping() {
        tokio::time::sleep(LOOK_EVERY).await;
        while !stopping() && core.index.tail_len() < limits::INDEX_TAIL_RECORDS && core.monotonic() < flushed_at + limits::INDEX_FLUSH_MS {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let flusher = core.clone();
        let flushed = tokio::task::spawn_blocking(move || flusher.index.flush_all()).await;
        flushed_at = core.monotonic();
        // Closing flushes what was left, and then refuses: the last flush of this loop may come after it.
        if let Ok(Err(error)) = flushed
            && !matches!(error, IndexError::Closed)
        {
            tracing::error!(%error, "index falls behind; it is rebuilt from the log at the next start");
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
            let _ = actor.send_message(crate::entity_actor::EntityMsg::Passivate);
        }
    }
}
