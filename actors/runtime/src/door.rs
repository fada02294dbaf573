//! The door to entities: finds the one that a command is for, on this node or another, and waits for its answer.

use crate::{
    core::Core,
    entity_actor::EntityActor,
    kernel::{admission, authorities, refusals::outcome_unknown},
    mailbox::{EntityMsg, Reply},
    refusals::{not_open, stopping, unknown_kind},
    shadow,
};
use quipu_events::leases::Member;
use quipu_schemas::{
    envelope::{CommandEnvelope, Receipt},
    limits,
    position::Position,
    problem::Problem,
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::{sync::oneshot, time::timeout};

impl Core {
    /// Sends a command in stored form to its entity, on whichever node that is, and waits for the answer. While the entity's
    /// partition changes hands the command waits, at most [`limits::HANDOFF_WAIT_MS`]: it goes to the next owner under the
    /// same id, so that one that the last owner had decided gets its first receipt.
    pub(crate) async fn submit(self: &Arc<Self>, envelope: CommandEnvelope) -> Result<Receipt, Problem> {
        let partition = envelope.stream.partition(self.meta.partitions);
        let envelope = Arc::new(envelope);
        let deadline = Instant::now() + Duration::from_millis(limits::HANDOFF_WAIT_MS);
        let mut owners = self.owners.subscribe();
        loop {
            owners.mark_unchanged();
            let elsewhere = self
                .cluster
                .get()
                .filter(|_| !self.is_owner(partition))
                .and_then(|cluster| Some((cluster, cluster.elsewhere(partition)?)));
            let is_elsewhere = elsewhere.is_some();
            let answer = match elsewhere {
                None => self.submit_here(envelope.clone()).await,
                Some((cluster, owner)) => tokio::select! {
                    answer = cluster.forward(&owner, &envelope) => answer,
                    () = self.held_by_another(partition, &owner) => Err(outcome_unknown()),
                },
            };
            let is_damaged = self.is_unreadable(partition);
            let again = answer
                .as_ref()
                .is_err_and(|problem| admission::is_for_next_owner(problem, self.is_shared, is_damaged));
            if !again || self.stopping.load(Ordering::Acquire) || Instant::now() >= deadline {
                let receipt = answer.map_err(|problem| if again { for_now(partition, problem) } else { problem })?;
                return if is_elsewhere && authorities::is_about(&envelope.stream.kind) {
                    self.known_here(receipt).await
                } else {
                    Ok(receipt)
                };
            }
            // What the owner itself sees of its lease reaches nobody else: looked at now and then.
            let _ = timeout(OWNER_LOOK_EVERY, owners.changed()).await;
        }
    }

    /// What another node has decided about rights is known here before whoever asked for it hears of it: a key that they revoked at
    /// this node opens nothing at this node from then on.
    async fn known_here(self: &Arc<Self>, receipt: Receipt) -> Result<Receipt, Problem> {
        let deadline = Instant::now() + Duration::from_millis(limits::HANDOFF_WAIT_MS);
        let is_known = self.reads_behind(receipt.position, deadline).await;
        is_known.then_some(receipt).ok_or_else(outcome_unknown)
    }

    /// Whether this node knows all that stands in the log up to a position, at the latest by then.
    pub(crate) async fn reads_behind(self: &Arc<Self>, position: Position, deadline: Instant) -> bool {
        let Position { partition, offset, .. } = position;
        loop {
            let core = self.clone();
            // Read even where another reader has come as far: only behind it is all known that it has read.
            let read = tokio::task::spawn_blocking(move || {
                if !core.is_owner(partition) {
                    shadow::follow(&core, partition);
                }
            });
            let is_read = read.await.is_ok();
            if is_read && self.index.next_offset(partition) > offset {
                return true;
            }
            if Instant::now() >= deadline || self.stopping.load(Ordering::Acquire) {
                return false;
            }
            tokio::time::sleep(OWNER_LOOK_EVERY).await;
        }
    }

    /// Waits until a partition's lease is another node's.
    async fn held_by_another(&self, partition: u16, owner: &Member) {
        let mut owners = self.owners.subscribe();
        while self
            .cluster
            .get()
            .and_then(|cluster| cluster.leases.holder(partition))
            .is_none_or(|holder| holder.node == owner.node)
        {
            if owners.changed().await.is_err() {
                return;
            }
        }
    }

    /// Sends a command in stored form to an entity of this node, and waits for the answer.
    pub(crate) async fn submit_here(self: &Arc<Self>, envelope: Arc<CommandEnvelope>) -> Result<Receipt, Problem> {
        let (sender, receiver) = oneshot::channel();
        self.send(envelope, Reply::new(sender));
        receiver.await.unwrap_or_else(|_| Err(outcome_unknown()))
    }

    fn send(self: &Arc<Self>, envelope: Arc<CommandEnvelope>, reply: Reply) {
        let stream = envelope.stream.clone();
        if self.kinds.get(&stream.kind).is_none() {
            return reply.send(Err(unknown_kind(&stream.kind, &self.kinds)));
        }
        let partition = stream.partition(self.meta.partitions);
        if let Some(problem) = self.partition(partition).writer.lock().refuses() {
            return reply.send(Err(problem.clone()));
        }
        let mut shard = self.registry.shard(&stream);
        for _ in 0..2 {
            let slot = match shard.get(&stream) {
                Some(slot) => slot.clone(),
                None => {
                    let Some(supervisor) = self.partition(partition).supervisor.lock().clone() else {
                        return reply.send(Err(stopping()));
                    };
                    let spawned = ractor::ActorRuntime::spawn_linked_instant(
                        None,
                        EntityActor,
                        (self.clone(), stream.clone()),
                        supervisor.get_cell(),
                    );
                    let Ok((actor, _)) = spawned else {
                        return reply.send(Err(stopping()));
                    };
                    self.registry.insert(&mut shard, &stream, actor)
                }
            };
            if let Err(problem) = admission::queued(&envelope, slot.waiting.load(Ordering::Acquire)) {
                self.counters.overloaded.fetch_add(1, Ordering::Relaxed);
                return reply.send(Err(problem));
            }
            slot.last_used.store(self.monotonic(), Ordering::Relaxed);
            if slot.actor.get_status() >= ractor::ActorStatus::Stopping {
                self.registry.remove_from(&mut shard, &stream);
                continue;
            }
            let waiting = self.registry.wait(&slot);
            // A dead actor drops the message, and with it the reply, which then answers for itself.
            let _ = slot.actor.send_message(EntityMsg::Command {
                envelope,
                reply,
                _waiting: waiting,
            });
            return;
        }
        reply.send(Err(outcome_unknown()));
    }
}

const OWNER_LOOK_EVERY: Duration = Duration::from_millis(20);

/// What was waited out in vain may still pass: whoever has a queue of commands keeps this one.
fn for_now(partition: u16, problem: Problem) -> Problem {
    if problem.code != "partition_stopped" {
        return problem;
    }
    let mut passing = not_open(partition);
    passing.detail = format!("{}: {}", passing.detail, problem.detail);
    passing
}
