//! The ractor shell of one partition's relay.

use crate::{
    core::Core,
    kernel::relay::{Cause, LOADED_MAX, Loaded, Purpose, Relay, RelayAction, Row, Standing, Work},
    performers::{Attempt, AttemptEnd, CancelSource, Performers, cancel_pair},
};
use quipu_events::index::PendingKind;
use quipu_schemas::{
    envelope::{CommandEnvelope, Receipt},
    problem::Problem,
    reaction::{Reaction, ReactionKey},
    record::Record,
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// Suspended orgs and order keys are looked at again after this long without anything else to do.
const IDLE_STEP: Duration = Duration::from_secs(1);

pub(crate) enum RelayMsg {
    Records(Vec<Arc<Record>>),
    Submitted {
        key: ReactionKey,
        purpose: Purpose,
        envelope: Box<CommandEnvelope>,
        answer: Result<Receipt, Problem>,
    },
    Performed {
        key: ReactionKey,
        end: AttemptEnd,
    },
    Step {
        planned: bool,
    },
    Rows(oneshot::Sender<Vec<Row>>),
    Standing(oneshot::Sender<Standing>),
    /// Look into the index again: a dead effect was asked for again.
    Reload,
}

pub(crate) struct RelayActor;

pub(crate) struct RelayState {
    core: Arc<Core>,
    partition: u16,
    performers: Arc<Performers>,
    relay: Relay,
    cancels: BTreeMap<ReactionKey, CancelSource>,
    planned: Option<u64>,
}

impl Actor for RelayActor {
    type Msg = RelayMsg;
    type State = RelayState;
    type Arguments = (Arc<Core>, u16, Arc<Performers>);

    async fn pre_start(
        &self,
        myself: ActorRef<RelayMsg>,
        (core, partition, performers): Self::Arguments,
    ) -> Result<RelayState, ActorProcessingErr> {
        let seed = crate::ingress::entropy().map_or(1, |bits| bits as u64);
        let mut state = RelayState {
            core,
            partition,
            performers,
            relay: Relay::new(seed),
            cancels: BTreeMap::new(),
            planned: None,
        };
        state.load();
        myself.send_message(RelayMsg::Step { planned: false })?;
        Ok(state)
    }

    async fn handle(&self, myself: ActorRef<RelayMsg>, message: RelayMsg, state: &mut RelayState) -> Result<(), ActorProcessingErr> {
        let now = state.core.now();
        let mut actions = Vec::new();
        match message {
            RelayMsg::Records(records) => {
                for record in records {
                    actions.extend(state.relay.record(&record));
                }
            }
            RelayMsg::Submitted {
                key,
                purpose,
                envelope,
                answer,
            } => actions.extend(state.relay.submitted(&key, purpose, envelope, answer, now)),
            RelayMsg::Performed { key, end } => {
                state.cancels.remove(&key);
                actions.extend(state.relay.performed(&key, end, now));
            }
            RelayMsg::Step { planned } => {
                if planned {
                    state.planned = None;
                }
            }
            RelayMsg::Reload => state.load(),
            RelayMsg::Rows(sender) => {
                let _ = sender.send(state.relay.rows());
                return Ok(());
            }
            RelayMsg::Standing(sender) => {
                let _ = sender.send(state.relay.standing());
                return Ok(());
            }
        }
        if state.relay.wants_loading() {
            state.load();
        }
        let core = state.core.clone();
        actions.extend(state.relay.step(now, &|org| core.holds_back(org)));
        for action in actions {
            state.perform(&myself, action);
        }
        state.plan(&myself, now);
        Ok(())
    }

    /// Nobody hears how the attempts under way end; whoever owns the partition next makes them again, or calls them lost.
    async fn post_stop(&self, _: ActorRef<RelayMsg>, state: &mut RelayState) -> Result<(), ActorProcessingErr> {
        for attempt in state.cancels.values() {
            attempt.cancel();
        }
        Ok(())
    }
}

impl RelayState {
    fn load(&mut self) {
        self.relay.loaded_all();
        let pending = match self.core.index.pending(self.partition, None, LOADED_MAX) {
            Ok(pending) => pending,
            Err(error) => {
                tracing::error!(partition = self.partition, %error, "pending work cannot be read from the index");
                return;
            }
        };
        for row in pending {
            if !matches!(row.kind, PendingKind::Dispatch | PendingKind::Effect) {
                continue;
            }
            match self.read(&row.key) {
                Ok(Some(loaded)) => self.relay.load(loaded),
                Ok(None) => tracing::error!(key = %row.key, "pending reaction has no record"),
                Err(problem) => tracing::error!(key = %row.key, %problem, "pending reaction cannot be read"),
            }
        }
    }

    /// Reads a pending reaction back from the record that stores it.
    fn read(&self, key: &ReactionKey) -> Result<Option<Loaded>, Problem> {
        let records = self.core.records(&key.stream, key.version)?;
        let mut cancelled = false;
        let mut found = None;
        for record in &records {
            for (at, reaction) in record.keyed_reactions() {
                match reaction {
                    Reaction::Dispatch(dispatch) if at == *key => {
                        found = Some((Work::Dispatch(dispatch.clone()), Cause::from(&record.header)))
                    }
                    Reaction::Perform(perform) if at == *key => found = Some((Work::Perform(perform.clone()), Cause::from(&record.header))),
                    Reaction::CancelEffect { name } => {
                        cancelled |= matches!(&found, Some((Work::Perform(perform), _)) if perform.name == *name);
                    }
                    _ => {}
                }
            }
        }
        let Some((work, cause)) = found else { return Ok(None) };
        let attempts = self.core.index.attempts(key).map_err(|e| crate::core::index_problem(&e))?;
        let failed = attempts.failed.as_ref().map_or(0, |failed| failed.attempt);
        Ok(Some(Loaded {
            key: key.clone(),
            work,
            cause,
            attempts: attempts.started.max(failed),
            retried: attempts.retried,
            started: attempts.started > failed,
            retry_at: attempts.failed.as_ref().map(|failed| failed.retry_at),
            cancelled,
        }))
    }

    fn perform(&mut self, myself: &ActorRef<RelayMsg>, action: RelayAction) {
        let myself = myself.clone();
        match action {
            RelayAction::Submit { key, purpose, envelope } => {
                let core = self.core.clone();
                tokio::spawn(async move {
                    // Whoever has begun an attempt by this node's word must own the partition: forwarded, the word would let the
                    // next owner's relay and this one begin the same attempt.
                    let answer = match purpose {
                        Purpose::Start => core.submit_here(Arc::new((*envelope).clone())).await,
                        _ => core.submit((*envelope).clone()).await,
                    };
                    let _ = myself.send_message(RelayMsg::Submitted {
                        key,
                        purpose,
                        envelope,
                        answer,
                    });
                });
            }
            RelayAction::Perform {
                key,
                attempt,
                effect,
                subject,
                recorded_at,
            } => {
                let (handle, cancel) = cancel_pair();
                self.cancels.insert(key.clone(), handle);
                let performers = self.performers.clone();
                let attempt = Attempt {
                    key: key.clone(),
                    number: attempt,
                    effect: *effect,
                    subject,
                    org: key.stream.org.clone(),
                    recorded_at,
                    cancel,
                };
                tokio::spawn(async move {
                    let end = performers.perform(attempt).await;
                    let _ = myself.send_message(RelayMsg::Performed { key, end });
                });
            }
            RelayAction::Cancel(key) => {
                if let Some(handle) = self.cancels.get(&key) {
                    handle.cancel();
                }
            }
        }
    }

    /// Plans the next step: when something is due, or soon if anything waits for more than time.
    fn plan(&mut self, myself: &ActorRef<RelayMsg>, now: u64) {
        if self.relay.depth() == 0 {
            return;
        }
        let idle = now + IDLE_STEP.as_millis() as u64;
        let at = self.relay.next_due().map_or(idle, |due| due.clamp(now + 1, idle));
        if self.planned.is_some_and(|planned| planned <= at) {
            return;
        }
        self.planned = Some(at);
        myself.send_after(Duration::from_millis(at - now), || RelayMsg::Step { planned: true });
    }
}
