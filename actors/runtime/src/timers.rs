//! The shell that fires durable timers: it asks the index, reads the records that set them, and submits what follows. What
//! to fire and when to look again is decided by [`Timers`](crate::kernel::timers::Timers).

use crate::{
    core::Core,
    kernel::timers::{Found, Look},
};
use quipu_events::index::Wake;
use quipu_schemas::reaction::ReactionKey;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Runs until the node stops.
pub(crate) async fn run(core: Arc<Core>) {
    let mut changed = core.timers.subscribe();
    while !core.stopping.load(Ordering::Acquire) {
        let owned = (0..core.meta.partitions).filter(|partition| core.is_owner(*partition)).collect();
        let now = core.clock.now();
        let looks = core.due.lock().looks(&owned, now);
        for wake in look(&core, looks).await {
            tokio::spawn(fire(core.clone(), wake));
        }
        let wait = core.due.lock().wait_ms(core.clock.now());
        if wait > 0 {
            let _ = tokio::time::timeout(Duration::from_millis(wait), changed.changed()).await;
        }
    }
}

/// Asks the index, away from the threads that everybody shares.
async fn look(core: &Arc<Core>, looks: Vec<Look>) -> Vec<Wake> {
    let (asked, questions) = (core.clone(), looks.clone());
    let asking = tokio::task::spawn_blocking(move || questions.iter().map(|look| ask(&asked, look)).collect::<Vec<_>>());
    // A crash of it was logged; the machine asks again after a pause.
    let answers = asking.await.unwrap_or_else(|_| vec![None; looks.len()]);
    let (now, mut due) = (core.clock.now(), core.due.lock());
    let answered = looks.into_iter().zip(answers);
    answered.flat_map(|(look, found)| due.found(&look, found, now)).collect()
}

fn ask(core: &Core, look: &Look) -> Option<Found> {
    let partition = look.partition;
    let found = core
        .index
        .wakes_due_after(partition, look.before, look.after, look.limit)
        .and_then(|due| {
            let next = core.index.next_wake_after(partition, look.before)?;
            Ok(Found { due, next })
        });
    found
        .inspect_err(|error| tracing::error!(partition, %error, "timers cannot be read from the index"))
        .ok()
}

/// A timer that is being fired. However that ends, the machine hears of it.
struct Firing {
    core: Arc<Core>,
    key: ReactionKey,
    is_told: bool,
}

impl Drop for Firing {
    fn drop(&mut self) {
        if !self.is_told {
            self.core.due.lock().unread(&self.key, self.core.clock.now());
        }
        self.core.timers.send_modify(|n| *n += 1);
    }
}

async fn fire(core: Arc<Core>, wake: Wake) {
    let mut firing = Firing {
        core: core.clone(),
        key: wake.key.clone(),
        is_told: false,
    };
    let (reader, key) = (core.clone(), wake.key.clone());
    let cause = match tokio::task::spawn_blocking(move || reader.cause_of(&key)).await {
        Ok(Ok(cause)) => cause,
        Ok(Err(problem)) => {
            tracing::error!(key = %wake.key, %problem, "the record that set a timer could not be read; reading it again");
            return;
        }
        // The crash was logged.
        Err(_) => return,
    };
    let now = core.clock.now();
    let ripe_at = core.clock.ripe_at(cause.time, wake.due, now.time);
    let Some(command) = core.due.lock().fire(&wake, &cause, ripe_at, now) else {
        firing.is_told = true;
        return;
    };
    let answer = core.submit(command).await;
    if let Err(problem) = &answer {
        tracing::warn!(key = %wake.key, %problem, "timer not fired; trying again");
    }
    firing.is_told = true;
    let poisoned = core.due.lock().answered(&wake.key, &answer, core.clock.now());
    if let Some(poisoned) = poisoned {
        let taker = core.clone();
        // A crash of it was logged.
        let _ = tokio::task::spawn_blocking(move || taker.take_out(&poisoned.stream, &poisoned.detail)).await;
    }
}
