//! What fails without a client that hears of it: dead effects, model calls, failed turns, late timers.

use super::Node;
use crate::{
    api::{Backlog, HealthPart},
    core::Core,
    kernel::{relay::Standing, vitals::Vitals},
    mailbox::RelayMsg,
    refusals::index_problem,
};
use quipu_schemas::{context::Millis, limits, problem::Problem};
use std::{sync::atomic::Ordering, time::Duration};
use tokio::sync::oneshot;

/// How long a relay may take to say how much it holds.
const PATIENCE: Duration = Duration::from_millis(500);

impl Node {
    /// What is counted of attempts, model calls and turns since the node started.
    pub fn vitals(&self) -> Vitals {
        self.0.core.vitals.lock().clone()
    }

    /// What waits in the node's own partitions. The index is asked at most once in [`limits::COUNTS_KEPT_MS`]. Blocks.
    pub fn backlog(&self) -> Result<Backlog, Problem> {
        let core = &self.0.core;
        let now = core.monotonic();
        let mut counted = core.counted.lock();
        if let Some((at, backlog)) = *counted
            && now < at + limits::COUNTS_KEPT_MS
        {
            return Ok(backlog);
        }
        let backlog = count(core)?;
        *counted = Some((now, backlog));
        Ok(backlog)
    }

    /// How the reactions stand that the relays hold in memory; the rest waits in the index.
    pub async fn outbox_standing(&self) -> Standing {
        let mut sum = Standing::default();
        for partition in &self.0.core.partitions {
            let Some(relay) = partition.relay.lock().clone() else { continue };
            let (sender, receiver) = oneshot::channel();
            if relay.send_message(RelayMsg::Standing(sender)).is_ok()
                && let Ok(Ok(standing)) = tokio::time::timeout(PATIENCE, receiver).await
            {
                sum.add(standing);
            }
        }
        sum
    }

    /// Commands that wait for entities.
    pub fn mailbox_depth(&self) -> usize {
        self.0.core.registry.mailbox_depth()
    }

    /// How often actors of partitions were started again since the node started.
    pub fn partition_restarts(&self) -> u64 {
        let restarts = |partition: &crate::partition::Partition| partition.restarts.load(Ordering::Relaxed);
        self.0.core.partitions.iter().map(restarts).sum()
    }

    /// Parts of health that have something to tell of; none where all is well.
    pub(super) fn troubles(&self) -> Vec<HealthPart> {
        let core = &self.0.core;
        let mut parts = Vec::new();
        if let Ok(backlog) = self.backlog() {
            parts.extend(dead_effects(backlog));
            parts.extend(late_timers(backlog));
        }
        let (vitals, now) = (core.vitals.lock(), core.monotonic());
        parts.extend(failing_models(&vitals, now));
        parts.extend(failed_turns(&vitals, now));
        parts
    }
}

fn count(core: &Core) -> Result<Backlog, Problem> {
    let mut sum = Backlog::default();
    let (now, stepped) = (core.clock.now().time, core.clock.stepped_ms());
    for partition in (0..core.meta.partitions).filter(|partition| core.is_owner(*partition)) {
        let depth = core
            .index
            .depth(partition, limits::OUTBOX_COUNTED_MAX)
            .map_err(|e| index_problem(&e))?;
        sum.pending += depth.pending;
        sum.dead += depth.dead;
        // The earliest first.
        let due = core
            .index
            .wakes_due(partition, now, limits::TIMERS_COUNTED_MAX)
            .map_err(|e| index_problem(&e))?;
        sum.due += due.len() as u64;
        let (late, late_ms) = lateness(due.iter().map(|wake| wake.due), now, stepped);
        sum.late += late;
        sum.late_ms = sum.late_ms.max(late_ms);
    }
    Ok(sum)
}

/// How many are late, and by how much the latest. A timer that was set before node time stepped ahead is ripe by as much
/// later.
fn lateness(due: impl Iterator<Item = Millis>, now: Millis, stepped_ms: u64) -> (u64, u64) {
    let late = due
        .map(|due| now.saturating_sub(due))
        .filter(|ms| ms.saturating_sub(stepped_ms) > limits::TIMER_LATE_MS);
    late.fold((0, 0), |(count, longest), ms| (count + 1, longest.max(ms)))
}

fn dead_effects(backlog: Backlog) -> Option<HealthPart> {
    let count = backlog.dead;
    (count > 0).then(|| {
        let detail =
            format!("effects that were given up: {count}; `quipu outbox ls` says why; `quipu outbox retry` or `drop` each of them");
        HealthPart::degraded("effects", count, detail)
    })
}

fn late_timers(backlog: Backlog) -> Option<HealthPart> {
    let Backlog { late, late_ms, .. } = backlog;
    (late > 0).then(|| {
        let seconds = late_ms / 1_000;
        let detail =
            format!("timers that are late: {late}, one by {seconds} s; the log line `timer not fired` says why; see parked streams");
        HealthPart::degraded("timers", late, detail)
    })
}

fn failing_models(vitals: &Vitals, now: u64) -> Option<HealthPart> {
    let recent = vitals
        .errors()
        .iter()
        .map(|(name, errors)| (name, errors, errors.recent.count(now)));
    let failing: Vec<_> = recent.filter(|(_, _, count)| *count > 0).collect();
    let sum = failing.iter().map(|(_, _, count)| count).sum();
    (!failing.is_empty()).then(|| {
        let each = failing
            .iter()
            .map(|(name, errors, count)| format!("{count} of `{name}`, the last with {}", errors.last));
        let each = each.collect::<Vec<_>>().join("; ");
        let minutes = limits::TROUBLE_RECENT_MS / 60_000;
        let detail = format!("model calls failed in the last {minutes} minutes: {each}; look at the provider, its key and its limits");
        HealthPart::degraded("models", sum, detail)
    })
}

fn failed_turns(vitals: &Vitals, now: u64) -> Option<HealthPart> {
    let (count, code) = vitals.failed_turns(now);
    (count > 0).then(|| {
        let minutes = limits::TROUBLE_RECENT_MS / 60_000;
        let detail = format!(
            "turns without an answer in the last {minutes} minutes: {count}, the last with {code}; `quipu get turns` shows them; ask again"
        );
        HealthPart::degraded("turns", count, detail)
    })
}

#[cfg(test)]
mod tests;
