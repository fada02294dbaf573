//! The ractor shell of one partition's relay.

use crate::{
    core::Core,
    kernel::relay::{Loaded, Page, PageRow, Purpose, Relay, RelayAction, find},
    mailbox::RelayMsg,
    performers::{Attempt, CancelSource, Performers, cancel_pair},
    refusals::{index_problem, read_problem},
};
use quipu_events::index::{Pending, PendingCursor, PendingKind};
use quipu_schemas::{
    ids::{OrgId, StreamId},
    limits,
    problem::Problem,
    reaction::{Effect, ReactionKey},
    record::{self, Record},
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Longest pause between two steps while there is anything to do.
const IDLE_STEP: Duration = Duration::from_secs(1);

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
        _: ActorRef<RelayMsg>,
        (core, partition, performers): Self::Arguments,
    ) -> Result<RelayState, ActorProcessingErr> {
        let seed = crate::ingress::entropy().map_or(1, |bits| bits as u64);
        // Nothing is read before the first message: whoever sends it has made this relay known.
        Ok(RelayState {
            core,
            partition,
            performers,
            relay: Relay::new(seed, limits::OUTBOX_LOADED_MAX),
            cancels: BTreeMap::new(),
            planned: None,
        })
    }

    async fn handle(&self, myself: ActorRef<RelayMsg>, message: RelayMsg, state: &mut RelayState) -> Result<(), ActorProcessingErr> {
        let now = state.core.now();
        let mut actions = Vec::new();
        match message {
            RelayMsg::Records(records) => {
                for (offset, record) in records {
                    actions.extend(state.relay.record(offset, &record));
                }
            }
            RelayMsg::Page(page) => state.relay.page(page, now),
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
            RelayMsg::Reload => state.relay.look_again(),
            RelayMsg::Rows(sender) => {
                let _ = sender.send(state.relay.rows());
                return Ok(());
            }
            RelayMsg::Standing(sender) => {
                let _ = sender.send(state.relay.standing());
                return Ok(());
            }
        }
        let (core, performers) = (state.core.clone(), state.performers.clone());
        let closed_for = |effect: &Effect, org: &OrgId| performers.closed_for(effect, org);
        actions.extend(
            state
                .relay
                .step(now, &|org| core.holds_back(org), &mut core.stops(now), &closed_for),
        );
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
    fn perform(&mut self, myself: &ActorRef<RelayMsg>, action: RelayAction) {
        let myself = myself.clone();
        match action {
            RelayAction::Load { after, most, without } => {
                let (core, partition) = (self.core.clone(), self.partition);
                tokio::task::spawn_blocking(move || {
                    let page = read_page(&core, partition, after, most, &without);
                    if let Err(problem) = &page {
                        tracing::error!(partition, %problem, "pending work could not be read; reading it again");
                    }
                    let _ = myself.send_message(RelayMsg::Page(page.ok()));
                });
            }
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
                correlation,
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
                    correlation,
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
        if self.relay.is_idle() {
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

/// Reads a page of pending reactions: where they are from the index, what they are from the log, each stream once. Fails
/// where any of it cannot be read now, so that nothing is skipped. Blocks.
fn read_page(core: &Core, partition: u16, after: Option<PendingCursor>, most: usize, without: &BTreeSet<OrgId>) -> Result<Page, Problem> {
    let end = core.index.next_offset(partition);
    let rows = core
        .index
        .pending_without(partition, after, most, without)
        .map_err(|e| index_problem(&e))?;
    let mut by_stream: BTreeMap<&StreamId, Vec<&Pending>> = BTreeMap::new();
    for row in &rows {
        by_stream.entry(&row.key.stream).or_default().push(row);
    }
    let mut found = BTreeMap::new();
    for (stream, rows) in by_stream {
        let keys: BTreeSet<ReactionKey> = rows.iter().map(|row| row.key.clone()).collect();
        match records_of(core, stream, &rows) {
            Ok(records) => found.extend(find(&keys, records.iter())),
            // It is out of service; its reactions are looked at again later.
            Err(problem) if problem.code == "stream_parked" => {}
            Err(problem) => return Err(problem),
        }
    }
    let mut page = Page { rows: Vec::new(), end };
    for row in rows {
        let loaded = match found.remove(&row.key) {
            Some(found) => {
                let attempts = core.index.attempts(&row.key).map_err(|e| index_problem(&e))?;
                Some(Loaded::new(found, &attempts, core.settled(&row.key)?))
            }
            None => {
                tracing::error!(key = %row.key, "the record of a pending reaction cannot be read");
                None
            }
        };
        page.rows.push(PageRow {
            key: row.key,
            offset: row.position.offset,
            loaded,
        });
    }
    Ok(page)
}

/// The records that tell what a stream's pending reactions are. Effects may be cancelled by any later one.
fn records_of(core: &Core, stream: &StreamId, rows: &[&Pending]) -> Result<Vec<Record>, Problem> {
    let first = rows.iter().map(|row| row.key.version).min().unwrap_or(0);
    if rows.iter().all(|row| row.kind != PendingKind::Effect) {
        let mut places: Vec<_> = rows.iter().map(|row| row.place).collect();
        places.dedup();
        let bytes = core.log.read_at(&places).map_err(|e| read_problem(&e));
        let decoded: Option<Vec<Record>> = bytes?.iter().map(|bytes| record::decode(bytes).ok()).collect();
        if let Some(records) = decoded {
            return Ok(records);
        }
    }
    core.records(stream, first)
}
