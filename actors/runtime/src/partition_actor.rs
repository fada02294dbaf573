//! The ractor shell of one partition's ownership: asks for the lease, claims, reads to the end, opens and closes
//! admission. It supervises the partition's relay and entities: a crash drops the entity, which recovers from the log.

use crate::{
    core::Core,
    kernel::ownership::{Action, ClaimOutcome, Input, LeaseAnswer, Ownership, Timing},
    mailbox::{PartitionMsg, RelayMsg},
    relay_actor::RelayActor,
};
use quipu_events::{
    index::CaughtUp,
    leases::{self, Leases},
    port::{AppendError, Head},
};
use quipu_schemas::limits;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

pub(crate) struct PartitionActor;

pub(crate) struct PartitionState {
    core: Arc<Core>,
    partition: u16,
    performers: Arc<crate::performers::Performers>,
    leases: Arc<dyn Leases>,
    owner: Arc<str>,
    ownership: Ownership,
    /// The end of the log that the last claim made.
    head: Option<Head>,
    relay: Option<ActorRef<RelayMsg>>,
    planned: Option<u64>,
}

pub(crate) struct PartitionArgs {
    pub(crate) core: Arc<Core>,
    pub(crate) partition: u16,
    pub(crate) performers: Arc<crate::performers::Performers>,
    pub(crate) leases: Arc<dyn Leases>,
    /// Name or address written into claim frames.
    pub(crate) owner: Arc<str>,
}

/// The machine's times for leases of this life.
fn timing(lease_ms: u64) -> Timing {
    Timing {
        lease_ms,
        margin_ms: lease_ms / 10,
        renew_ms: lease_ms / 3,
        drain_ms: limits::DRAIN_MS.min(lease_ms),
        rest_ms: limits::OWNERSHIP_REST_MS,
    }
}

impl Actor for PartitionActor {
    type Msg = PartitionMsg;
    type State = PartitionState;
    type Arguments = PartitionArgs;

    async fn pre_start(&self, myself: ActorRef<PartitionMsg>, args: PartitionArgs) -> Result<PartitionState, ActorProcessingErr> {
        let PartitionArgs {
            core,
            partition,
            performers,
            leases,
            owner,
        } = args;
        *core.partition(partition).supervisor.lock() = Some(myself.clone());
        let ownership = Ownership::new(timing(leases.lease_ms()));
        // A partition that damage keeps from being read to its end is not claimed: what it holds is served, and no more.
        if core.is_unreadable(partition) || !leases.is_wanted(partition) {
            core.opened(partition);
        } else {
            myself.send_message(PartitionMsg::Input(Input::Own))?;
        }
        Ok(PartitionState {
            core,
            partition,
            performers,
            leases,
            owner,
            ownership,
            head: None,
            relay: None,
            planned: None,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<PartitionMsg>,
        message: PartitionMsg,
        state: &mut PartitionState,
    ) -> Result<(), ActorProcessingErr> {
        let input = match message {
            PartitionMsg::Input(Input::Own) if state.core.is_unreadable(state.partition) => return Ok(()),
            PartitionMsg::Input(input) => input,
            PartitionMsg::Claimed(outcome) => Input::Claimed(state.claimed(outcome)),
            PartitionMsg::RestartRelay => {
                if state.relay.is_some() {
                    state.start_relay(&myself)?;
                }
                return Ok(());
            }
        };
        if input == Input::Tick {
            state.planned = None;
        }
        let now = state.core.monotonic();
        for action in state.ownership.step(input, now) {
            state.perform(&myself, action)?;
        }
        state.core.leased(state.partition, state.ownership.refuses_until());
        state.plan(&myself, now);
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<PartitionMsg>, state: &mut PartitionState) -> Result<(), ActorProcessingErr> {
        // So that the next owner need not wait for its end.
        if let Some(grant) = state.ownership.lease_held() {
            state.leases.release(state.partition, grant).await;
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<PartitionMsg>,
        event: SupervisionEvent,
        state: &mut PartitionState,
    ) -> Result<(), ActorProcessingErr> {
        let (who, crash) = match event {
            SupervisionEvent::ActorFailed(who, error) => (who, Some(error.to_string())),
            SupervisionEvent::ActorTerminated(who, _, _) => (who, None),
            _ => return Ok(()),
        };
        let core = &state.core;
        if state.relay.as_ref().is_some_and(|relay| who.get_id() == relay.get_id()) {
            if let Some(error) = crash
                && !core.stopping.load(Ordering::Acquire)
            {
                tracing::error!(partition = state.partition, error, "relay crashed; it starts again from the index");
                core.partition(state.partition).restarts.fetch_add(1, Ordering::Relaxed);
                myself.send_message(PartitionMsg::RestartRelay)?;
            }
            return Ok(());
        }
        if let Some(stream) = core.registry.ended(who.get_id())
            && let Some(error) = crash
        {
            core.counters.crashed.fetch_add(1, Ordering::Relaxed);
            core.partition(state.partition).restarts.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%stream, error, "entity crashed; it recovers from the log with its next command");
        }
        Ok(())
    }
}

impl PartitionState {
    fn perform(&mut self, myself: &ActorRef<PartitionMsg>, action: Action) -> Result<(), ActorProcessingErr> {
        let (core, partition) = (self.core.clone(), self.partition);
        match action {
            Action::AskLease { asked_at } => self.ask(myself, asked_at, None),
            Action::RenewLease { grant, asked_at } => self.ask(myself, asked_at, Some(grant)),
            Action::ReleaseLease { grant } => {
                let leases = self.leases.clone();
                tokio::spawn(async move { leases.release(partition, grant).await });
            }
            Action::Claim => {
                let (core, owner, myself) = (core.clone(), self.owner.clone(), myself.clone());
                tokio::task::spawn_blocking(move || {
                    let claimed = core.log.claim(partition, &owner);
                    let _ = myself.send_message(PartitionMsg::Claimed(claimed));
                });
            }
            Action::ReadToEnd { epoch } => {
                let (core, myself) = (core.clone(), myself.clone());
                tokio::task::spawn_blocking(move || {
                    let _ = myself.send_message(PartitionMsg::Input(read_to_end(&core, partition, epoch)));
                });
            }
            Action::ReadBack { epoch, batch } => {
                let (core, myself) = (core.clone(), myself.clone());
                tokio::task::spawn_blocking(move || {
                    let stored = core.is_stored(partition, batch);
                    let input = stored.map_or(Input::RestoreFailed { epoch }, |stored| Input::ReadBack { epoch, batch, stored });
                    let _ = myself.send_message(PartitionMsg::Input(input));
                });
            }
            // Its commands were answered `outcome_unknown` when the append failed; a repeat finds the receipt or is decided.
            Action::Settle { stored, .. } => tracing::info!(partition, stored, "looked up the unknown outcome of an append in the log"),
            Action::Admit { epoch } => {
                let Some(head) = self.head.filter(|head| head.epoch == epoch) else {
                    return Err(format!("partition {partition} is to admit under epoch {epoch}, which it did not claim").into());
                };
                core.admit(partition, head);
                self.start_relay(myself)?;
                core.opened(partition);
            }
            Action::StopAdmission => core.close_admission(partition),
            Action::Drain { epoch } => {
                let (core, myself) = (core.clone(), myself.clone());
                tokio::spawn(async move {
                    core.drained(partition).await;
                    let _ = myself.send_message(PartitionMsg::Input(Input::Drained { epoch }));
                });
            }
            Action::Abandon => {
                if let Some(relay) = self.relay.take() {
                    relay.stop(None);
                }
                core.abandon(partition);
                core.opened(partition);
            }
        }
        Ok(())
    }

    fn ask(&self, myself: &ActorRef<PartitionMsg>, asked_at: u64, grant: Option<u64>) {
        let (core, leases, partition, myself) = (self.core.clone(), self.leases.clone(), self.partition, myself.clone());
        tokio::spawn(async move {
            let answer = match grant {
                None => leases.ask(partition).await,
                Some(grant) => leases.renew(partition, grant).await,
            };
            let answer = match answer {
                leases::LeaseAnswer::Granted { grant } => LeaseAnswer::Granted { grant },
                leases::LeaseAnswer::Refused { free_in_ms } => LeaseAnswer::Refused {
                    until: core.monotonic() + free_in_ms,
                },
                leases::LeaseAnswer::Unknown => LeaseAnswer::Unknown,
            };
            // Nobody who starts the node waits for another's lease to end, or for a store to come back.
            if !matches!(answer, LeaseAnswer::Granted { .. }) {
                core.opened(partition);
            }
            let _ = myself.send_message(PartitionMsg::Input(Input::Lease { asked_at, answer }));
        });
    }

    fn claimed(&mut self, outcome: Result<Head, AppendError>) -> ClaimOutcome {
        match outcome {
            Ok(head) => {
                self.head = Some(head);
                ClaimOutcome::Durable {
                    epoch: head.epoch,
                    next_offset: head.next_offset,
                }
            }
            Err(AppendError::Fenced { .. } | AppendError::Conflict { .. }) => ClaimOutcome::Stale,
            Err(AppendError::Unknown(why)) => {
                tracing::warn!(partition = self.partition, %why, "a claim got no answer; the partition stays closed until one does");
                ClaimOutcome::Unknown
            }
            Err(error @ (AppendError::Full | AppendError::Invalid(_) | AppendError::Poisoned(_))) => {
                self.core.refuse(self.partition, &error);
                ClaimOutcome::Failed
            }
        }
    }

    fn start_relay(&mut self, myself: &ActorRef<PartitionMsg>) -> Result<(), ActorProcessingErr> {
        if let Some(relay) = self.relay.take() {
            relay.stop(None);
        }
        let args = (self.core.clone(), self.partition, self.performers.clone());
        let (relay, _) = ractor::ActorRuntime::spawn_linked_instant(None, RelayActor, args, myself.get_cell())?;
        *self.core.partition(self.partition).relay.lock() = Some(relay.clone());
        // It reads the index only now: what became durable before it could be told is there.
        relay.send_message(RelayMsg::Step { planned: false })?;
        self.relay = Some(relay);
        Ok(())
    }

    /// Plans the next tick: when the machine has something to do by itself.
    fn plan(&mut self, myself: &ActorRef<PartitionMsg>, now: u64) {
        let Some(due) = self.ownership.next_due() else { return };
        let at = due.max(now + 1);
        if self.planned.is_some_and(|planned| planned <= at) {
            return;
        }
        self.planned = Some(at);
        myself.send_after(Duration::from_millis(at - now), || PartitionMsg::Input(Input::Tick));
    }
}

/// Brings the index to the durable end.
fn read_to_end(core: &Core, partition: u16, epoch: u64) -> Input {
    let mut caught = CaughtUp::default();
    let read = core.read_on_to_end(partition, &mut caught);
    let trouble = match (read, caught.stopped.remove(&partition)) {
        (Err(error), _) => error.to_string(),
        (Ok(()), Some(stopped)) => stopped.to_string(),
        (Ok(()), None) => match core.log.head(partition) {
            Ok(head) => {
                core.caught_up(partition, caught.records);
                return Input::CaughtUp {
                    epoch,
                    newest: head.epoch,
                    next_offset: core.index.next_offset(partition),
                };
            }
            Err(error) => error.to_string(),
        },
    };
    core.refuse(partition, &AppendError::Poisoned(trouble));
    Input::RestoreFailed { epoch }
}
