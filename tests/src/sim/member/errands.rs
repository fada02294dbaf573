//! What a node has to bring to an entity, wherever that is: commands of clients, of its relays and of its timers; and the
//! attempts at effects that it makes.

mod outbox;

use super::{FORWARD_MS, HANDOFF_WAIT_MS, Member, Out, Wake};
use crate::sim::{reading::Library, trio::Plant};
use quipu_rules::application::ApplicationState;
use quipu_runtime::kernel::{
    admission::is_for_next_owner,
    authorities::{Authorities, Wanted},
    cause::Cause,
    entity::DecidedRecord,
    principals::{KnownPrincipal, Standing},
    refusals::outcome_unknown,
    relay::{Purpose, Relay},
    timers::Found,
};
use quipu_schemas::{
    client_secret::ClientId,
    envelope::{CommandEnvelope, Receipt},
    ids::{CommandId, EntityId, Home, OrgId, StreamId},
    problem::Problem,
    reaction::{Effect, ReactionKey},
    record::Record,
};
use std::sync::Arc;

/// Who waits for a command's answer.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    Client {
        operation: u64,
    },
    Relay {
        partition: u16,
        relay: u64,
        key: ReactionKey,
        purpose: Purpose,
        envelope: Box<CommandEnvelope>,
    },
    Timer(ReactionKey),
}

/// Where an entity's answer goes.
#[derive(Debug, Clone)]
pub(crate) enum ReplyTo {
    Local { submission: u64 },
    Remote(Box<ForwardAnswer>),
}

/// The answer to a command that another node forwarded.
#[derive(Debug, Clone)]
pub(crate) struct ForwardAnswer {
    pub(crate) node: usize,
    pub(crate) boot: u64,
    pub(crate) submission: u64,
    pub(crate) attempt: u32,
    pub(crate) result: Result<Receipt, Problem>,
}

pub(super) struct Submission {
    envelope: Arc<CommandEnvelope>,
    origin: Origin,
    deadline: u64,
    attempt: u32,
    forwarded_to: Option<usize>,
}

pub(super) struct Running {
    partition: u16,
    relay: u64,
    key: ReactionKey,
    attempt: u32,
    effect: Effect,
    subject: String,
    cancelled: bool,
}

/// How the world ends an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Taken,
    Refused,
    Unanswered,
}

const OWNER_LOOK_MS: u64 = 20;
const RELAY_IDLE_MS: u64 = 300;
/// So few that the relays leave some of their work in the index.
const LOADED_MAX: usize = 8;

impl Member {
    /// Sends a command to its entity, on whichever node that is.
    pub(crate) fn submit(&mut self, envelope: Arc<CommandEnvelope>, origin: Origin) {
        let id = self.next_id();
        let deadline = self.monotonic() + HANDOFF_WAIT_MS;
        self.submissions.insert(
            id,
            Submission {
                envelope,
                origin,
                deadline,
                attempt: 0,
                forwarded_to: None,
            },
        );
        self.try_submit(id);
    }

    pub(super) fn try_submit(&mut self, id: u64) {
        let Some(submission) = self.submissions.get_mut(&id) else { return };
        submission.attempt += 1;
        let (mut envelope, attempt) = (submission.envelope.clone(), submission.attempt);
        submission.forwarded_to = None;
        let partition = self.partition(&envelope.stream);
        let holder = self
            .leases
            .holder(partition)
            .filter(|holder| *holder != self.id && !self.is_owner(partition));
        match holder {
            None => self.submit_here(envelope, ReplyTo::Local { submission: id }),
            Some(to) => {
                if let Some(submission) = self.submissions.get_mut(&id) {
                    submission.forwarded_to = Some(to);
                }
                if self.plant == Plant::ForwardsAgainUnderANewId
                    && attempt > 1
                    && matches!(self.submissions[&id].origin, Origin::Client { .. })
                {
                    let command_id =
                        CommandId::parse(format!("{}.{attempt}", envelope.command_id)).unwrap_or_else(|_| envelope.command_id.clone());
                    envelope = Arc::new(CommandEnvelope {
                        command_id,
                        ..(*envelope).clone()
                    });
                }
                self.later(FORWARD_MS, Wake::ForwardTimeout { submission: id, attempt });
                self.outs.push(Out::Forward {
                    to,
                    submission: id,
                    attempt,
                    envelope,
                });
            }
        }
    }

    /// Another node forwards a command; it goes no further.
    pub(crate) fn forwarded(&mut self, envelope: Arc<CommandEnvelope>, mut to: ForwardAnswer) {
        if self.leaving {
            to.result = Err(Problem::new(503, "stopping", "the node is stopping").retry_after(5));
            return self.outs.push(Out::Forwarded(to));
        }
        self.submit_here(envelope, ReplyTo::Remote(Box::new(to)));
    }

    pub(crate) fn forward_ended(&mut self, id: u64, attempt: u32, result: Result<Receipt, Problem>) {
        let Some(submission) = self
            .submissions
            .get(&id)
            .filter(|s| s.attempt == attempt && s.forwarded_to.is_some())
        else {
            return;
        };
        let again = result.as_ref().is_err_and(|problem| is_for_next_owner(problem, true, false));
        let late = self.monotonic() >= submission.deadline;
        self.ended(id, again && !late, result);
    }

    /// An entity of this node answers.
    pub(super) fn answered(&mut self, id: u64, result: Result<Receipt, Problem>) {
        let Some(submission) = self.submissions.get(&id) else { return };
        let again = result.as_ref().is_err_and(|problem| is_for_next_owner(problem, true, false));
        let late = self.monotonic() >= submission.deadline;
        self.ended(id, again && !late, result);
    }

    fn ended(&mut self, id: u64, again: bool, result: Result<Receipt, Problem>) {
        if again && !self.leaving {
            return self.later(OWNER_LOOK_MS, Wake::Submit(id));
        }
        let Some(Submission { envelope, origin, .. }) = self.submissions.remove(&id) else {
            return;
        };
        match origin {
            Origin::Client { operation } => {
                let (stream, id) = (envelope.stream.clone(), envelope.command_id.clone());
                self.outs.push(Out::Answer {
                    operation,
                    stream,
                    id,
                    result,
                });
            }
            Origin::Relay {
                partition,
                relay,
                key,
                purpose,
                envelope,
            } => {
                let now = self.wall();
                let actions = match &mut self.part(partition).relay {
                    Some((ours, machine)) if *ours == relay => machine.submitted(&key, purpose, envelope, result, now),
                    _ => return,
                };
                self.relay_actions(partition, actions);
                self.relay_step(partition, None);
            }
            Origin::Timer(key) => {
                let now = self.timer_now();
                if let Some(poisoned) = self.timers.answered(&key, &result, now) {
                    self.broken.push(poisoned.detail);
                }
            }
        }
    }

    /// What waits for an owner that another node replaced may have been decided there or here.
    pub(super) fn owners_changed(&mut self) {
        let moved = |s: &Submission| {
            let holder = self.leases.holder(self.partition(&s.envelope.stream));
            s.forwarded_to.is_some_and(|to| holder.is_some_and(|holder| holder != to))
        };
        let moved: Vec<(u64, u32)> = self
            .submissions
            .iter()
            .filter(|(_, s)| moved(s))
            .map(|(id, s)| (*id, s.attempt))
            .collect();
        for (id, attempt) in moved {
            self.forward_ended(id, attempt, Err(outcome_unknown()));
        }
    }

    pub(super) fn start_relay(&mut self, partition: u16) {
        let id = self.next_id();
        self.part(partition).relay = Some((id, Relay::new(id, LOADED_MAX)));
        let again = self.unsettled.remove(&partition).unwrap_or_default();
        self.send_again(partition, again);
        self.relay_step(partition, None);
        self.later(RELAY_IDLE_MS, Wake::Relay { partition, relay: id });
    }

    /// A planted defect: what may be stored is appended once more.
    fn send_again(&mut self, partition: u16, again: Vec<DecidedRecord>) {
        for decided in again {
            let id = self.batch_id();
            let incarnation = self.part(partition).writer.incarnation();
            if let Ok(batch) = self.part(partition).writer.submit(decided, incarnation, id) {
                self.append(batch);
            }
        }
    }

    pub(super) fn relay_record(&mut self, partition: u16, offset: u64, record: &Record) {
        let actions = match &mut self.part(partition).relay {
            Some((_, relay)) => relay.record(offset, record),
            None => return,
        };
        self.relay_actions(partition, actions);
        self.relay_step(partition, None);
    }

    /// What this node knows of rights, read where it is not known yet.
    pub(super) fn known<T>(&mut self, ask: &mut dyn FnMut(&mut Authorities) -> Result<T, Wanted>) -> Result<Option<T>, String> {
        let library = Library {
            log: &*self.log,
            index: &self.index,
            kinds: &self.kinds,
        };
        library.known(&mut self.known, ask)
    }

    pub(super) fn principal(&mut self, home: &Home) -> Result<Option<Arc<KnownPrincipal>>, String> {
        Ok(self.known(&mut |known| known.principal(home, 0))?.flatten())
    }

    pub(super) fn application(&mut self, client: &ClientId) -> Result<Option<ApplicationState>, String> {
        self.known(&mut |known| known.application(&client.org, &client.id, 0))
    }

    pub(super) fn is_archived(&mut self, org: &OrgId, project: &EntityId) -> Result<bool, String> {
        let known = self.known(&mut |known| known.is_archived(org, project, 0))?;
        Ok(known.unwrap_or_default())
    }

    pub(crate) fn is_suspended_principal(&mut self, home: &Home) -> bool {
        let known = self.principal(home);
        known.is_ok_and(|known| known.is_some_and(|known| known.standing == Standing::Suspended))
    }

    pub(crate) fn is_suspended(&mut self, org: &OrgId) -> bool {
        let view = self.known(&mut |known| known.org(org, 0));
        view.is_ok_and(|view| view.is_some_and(|view| view.suspended))
    }

    /// Fires what is due in the partitions that this node owns.
    pub(crate) fn fire_timers(&mut self) -> u64 {
        let (now, mut fired) = (self.timer_now(), 0);
        let owned = (0..self.partitions()).filter(|partition| self.is_owner(*partition)).collect();
        for look in self.timers.looks(&owned, now) {
            let due = self.index.wakes_due_after(look.partition, look.before, look.after, look.limit);
            let next = self.index.next_wake_after(look.partition, look.before);
            let found = due.and_then(|due| Ok(Found { due, next: next? })).ok();
            for wake in self.timers.found(&look, found, now) {
                let records = self.library().records(&wake.key.stream, wake.key.version).unwrap_or_default();
                let Some(cause) = records.first().map(|record| Cause::from(&record.header)) else {
                    self.timers.unread(&wake.key, now);
                    continue;
                };
                let ripe_at = self.time.ripe_at(cause.time, wake.due, now.time);
                if let Some(command) = self.timers.fire(&wake, &cause, ripe_at, now) {
                    self.submit(Arc::new(command), Origin::Timer(wake.key));
                    fired += 1;
                }
            }
        }
        fired
    }

    /// Nothing on its way, and nothing pending but what waits for its time and dead letters.
    pub(crate) fn is_waiting_only(&self) -> bool {
        let mut relays = self.parts.iter().filter_map(|part| part.relay.as_ref());
        let waits = relays.all(|(_, relay)| relay.is_idle() || relay.next_due().is_some());
        self.inbox.is_empty()
            && self.submissions.is_empty()
            && self.running.is_empty()
            && waits
            && self.parts.iter().all(|part| part.writer.depth() == 0)
    }

    /// When something of the relays or timers is due, by the wall clock.
    pub(crate) fn next_due(&self) -> Option<u64> {
        let owned = (0u16..).zip(&self.parts).filter(|(partition, _)| self.is_owner(*partition));
        owned
            .filter_map(|(partition, part)| {
                self.index
                    .next_wake(partition)
                    .ok()
                    .flatten()
                    .into_iter()
                    .chain(part.relay.as_ref().and_then(|(_, r)| r.next_due()))
                    .min()
            })
            .min()
    }

    /// State of an entity in memory, for clients that look before they send.
    pub(crate) fn state_of(&self, stream: &StreamId) -> Option<serde_json::Value> {
        self.entities
            .get(stream)
            .filter(|_| self.is_owner(self.partition(stream)))
            .map(|slot| slot.entity.state().0)
    }
}
