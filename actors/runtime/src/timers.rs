//! Fires durable timers: never before they are due by the node's clock, late rather than never, once.

use crate::{
    core::{Core, lock},
    kernel::relay::fire,
};
use quipu_events::index::Wake;
use quipu_schemas::{limits::POISON_CRASHES, reaction::ReactionKey};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

/// Timers fired at a time.
const FIRING_MAX: usize = 256;
/// The queue is looked at this often even when nothing says so.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Pause after a fire that could not be stored.
const REFIRE: Duration = Duration::from_millis(250);

/// Runs until the node stops.
pub(crate) async fn run(core: Arc<Core>) {
    let firing: Arc<Mutex<BTreeSet<ReactionKey>>> = Arc::default();
    let crashes: Arc<Mutex<BTreeMap<ReactionKey, u32>>> = Arc::default();
    let mut changed = core.timers.subscribe();
    while !core.stopping.load(Ordering::Acquire) {
        let now = core.now();
        let mut due = Vec::new();
        let mut next: Option<u64> = None;
        for partition in (0..core.meta.partitions).filter(|partition| core.is_owner(*partition)) {
            let found = core
                .index
                .wakes_due(partition, now, FIRING_MAX)
                .and_then(|due| Ok((due, core.index.next_wake(partition)?)));
            match found {
                Ok((found, at)) => {
                    due.extend(found);
                    next = next.into_iter().chain(at).min();
                }
                Err(error) => tracing::error!(partition, %error, "timers cannot be read from the index"),
            }
        }
        let mut fired = 0;
        for wake in due {
            if !lock(&firing).insert(wake.key.clone()) {
                continue;
            }
            fired += 1;
            let (core, firing, crashes) = (core.clone(), firing.clone(), crashes.clone());
            tokio::spawn(async move {
                let cause = match core.cause_of(&wake.key) {
                    Ok(cause) => cause,
                    Err(problem) => {
                        tracing::error!(key = %wake.key, %problem, "the record that set a timer cannot be read");
                        return;
                    }
                };
                match core.submit(fire(&wake.key, &wake.name, wake.due, &cause)).await {
                    Ok(_) => {
                        lock(&crashes).remove(&wake.key);
                    }
                    Err(problem) => {
                        tracing::warn!(key = %wake.key, %problem, "timer not fired; it is tried again");
                        if problem.code == "command_crashed" {
                            poisoned(&core, &crashes, &wake);
                        }
                        tokio::time::sleep(REFIRE).await;
                    }
                }
                lock(&firing).remove(&wake.key);
                core.timers.send_modify(|n| *n += 1);
            });
        }
        if fired >= FIRING_MAX {
            continue;
        }
        let wait = match next {
            Some(at) if at > now => Duration::from_millis(at - now).min(LOOK_EVERY),
            // Due ones are being fired; their end wakes us.
            Some(_) | None => LOOK_EVERY,
        };
        let _ = tokio::time::timeout(wait, changed.changed()).await;
    }
}

/// Counts a crash; after too many the stream waits for a person, and so does its timer.
fn poisoned(core: &Core, crashes: &Mutex<BTreeMap<ReactionKey, u32>>, wake: &Wake) {
    let mut crashes = lock(crashes);
    let count = crashes.entry(wake.key.clone()).or_default();
    *count += 1;
    if *count >= POISON_CRASHES {
        let detail = format!("timer `{}` ({}) crashed it {count} times", wake.name, wake.key);
        crashes.remove(&wake.key);
        core.take_out(&wake.key.stream, &detail);
    }
}
