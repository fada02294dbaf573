//! Follows the partitions that other nodes own, so that this one can answer questions about them and take them over.

use crate::core::Core;
use quipu_events::index::CaughtUp;
use quipu_schemas::limits::SHADOW_LOOK_MS;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// Runs until the node stops.
pub(crate) async fn run(core: Arc<Core>) {
    let grown: Arc<Vec<AtomicBool>> = Arc::new((0..core.meta.partitions).map(|_| AtomicBool::new(true)).collect());
    let told = Arc::new(Notify::new());
    let (hint, wake) = (grown.clone(), told.clone());
    core.log.follow(Box::new(move |partition| {
        if let Some(grown) = hint.get(usize::from(partition)) {
            grown.store(true, Ordering::Release);
            wake.notify_one();
        }
    }));
    let mut stopped = core.stopped.subscribe();
    let mut look = tokio::time::interval(Duration::from_millis(SHADOW_LOOK_MS));
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let all = tokio::select! {
            _ = look.tick() => true,
            () = told.notified() => false,
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        let (reader, grown) = (core.clone(), grown.clone());
        let read = tokio::task::spawn_blocking(move || {
            for (partition, grown) in (0u16..).zip(grown.iter()) {
                // Swapped first: what grows while it is read is told again.
                if (grown.swap(false, Ordering::AcqRel) || all) && !reader.is_owner(partition) {
                    follow(&reader, partition);
                }
            }
        });
        // A crash of one round was logged; the next one goes on.
        let _ = read.await;
    }
}

/// Reads a partition to its end, as the log has it now. Blocks.
pub(crate) fn follow(core: &Core, partition: u16) {
    let mut caught = CaughtUp::default();
    let asked = core.monotonic();
    let read = core.read_on_to_end(partition, &mut caught);
    let trouble = read
        .err()
        .map(|error| error.to_string())
        .or_else(|| caught.stopped.remove(&partition).map(|why| why.to_string()));
    core.caught_up(partition, caught.records);
    match trouble {
        None => core.followed(partition, asked),
        Some(why) => tracing::warn!(
            partition,
            why,
            "a partition that this node does not own cannot be followed to its end"
        ),
    }
}
