//! One partition's relay: carries out stored reactions until each is settled.
//!
//! Pending = stored reaction without final settlement, so the relay's memory may vanish at any moment: it is loaded
//! again from the index, which is derived from the log. Dispatches and effects leave only after their record is
//! durable. Effects with an order key leave one at a time, in version order.

mod standing;

pub use standing::Standing;

use crate::performers::{AttemptEnd, BREAKER_OPEN};
use quipu_schemas::{
    context::Millis,
    digest::Digest,
    envelope::{CommandBody, CommandEnvelope, DataClass, KernelCommand, Receipt},
    ids::{OrgId, PrincipalId, StreamId},
    limits,
    problem::Problem,
    reaction::{Dispatch, Effect, Outcome, Perform, Reaction, ReactionKey, Settled},
    record::{Header, Record},
};
use std::collections::{BTreeMap, BTreeSet};

/// Most effects that one partition performs at a time.
const RUNNING_MAX: usize = 64;
/// Reactions kept in memory; the rest waits in the index.
pub const LOADED_MAX: usize = 10_000;
/// First pause before a kernel command that could not be stored is sent again.
const RESEND_MS: u64 = 50;
const RESEND_MAX_MS: u64 = 5_000;

/// What a consequence inherits from its cause.
#[derive(Debug, Clone, PartialEq)]
pub struct Cause {
    /// In whose name it is done: the sender's of the causing command, unless the entity acts in another's.
    pub principal: PrincipalId,
    /// For whom.
    pub on_behalf_of: Option<PrincipalId>,
    /// Correlation.
    pub correlation: Option<String>,
    /// Trace.
    pub traceparent: Option<String>,
    /// Label.
    pub environment: Option<String>,
    /// Label.
    pub data_class: DataClass,
    /// Record time.
    pub time: Millis,
}

impl From<&Header> for Cause {
    fn from(header: &Header) -> Self {
        let (principal, on_behalf_of) = match &header.acts_as {
            Some(acting) => (&acting.principal, &acting.on_behalf_of),
            None => (&header.principal, &header.on_behalf_of),
        };
        Self {
            principal: principal.clone(),
            on_behalf_of: on_behalf_of.clone(),
            correlation: header.correlation.clone(),
            traceparent: header.traceparent.clone(),
            environment: header.environment.clone(),
            data_class: header.data_class,
            time: header.time,
        }
    }
}

impl Cause {
    /// Whose key seals what an effect brings back: `org/actor`.
    pub fn subject(&self, org: &OrgId) -> String {
        format!("{org}/{}", self.on_behalf_of.as_ref().unwrap_or(&self.principal))
    }
}

/// A reaction that the relay carries out (timers have their own queue).
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "few are in memory at a time, and each is moved once")]
pub enum Work {
    /// Send a command.
    Dispatch(Dispatch),
    /// Act on the world.
    Perform(Perform),
}

/// A pending reaction as loaded from the index.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Which.
    pub key: ReactionKey,
    /// What.
    pub work: Work,
    /// Its cause.
    pub cause: Cause,
    /// Attempts recorded so far.
    pub attempts: u32,
    /// How often a person asked for it again.
    pub retried: u32,
    /// Whether a start was recorded without an end.
    pub started: bool,
    /// When the next attempt is due.
    pub retry_at: Option<Millis>,
    /// Whether the entity asked for its end.
    pub cancelled: bool,
}

/// Why a kernel command is submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A dispatch to its receiver.
    Dispatch,
    /// The durable start of an at-most-once effect.
    Start,
    /// A failed attempt, before the pause.
    AttemptFailed,
    /// The end of an effect.
    Settle,
    /// Giving up on a command that keeps crashing its receiver.
    Park,
}

/// What the relay asks its shell to do.
#[derive(Debug)]
pub enum RelayAction {
    /// Submit this command and report the answer with [`Relay::submitted`].
    Submit {
        /// The reaction.
        key: ReactionKey,
        /// Why.
        purpose: Purpose,
        /// The command.
        envelope: Box<CommandEnvelope>,
    },
    /// Perform an attempt and report its end with [`Relay::performed`].
    Perform {
        /// The reaction.
        key: ReactionKey,
        /// Attempt, from 1.
        attempt: u32,
        /// The effect.
        effect: Box<Effect>,
        /// Whose key seals the result.
        subject: String,
        /// Record time of the event that it follows from.
        recorded_at: Millis,
    },
    /// Abort the attempt under way.
    Cancel(ReactionKey),
}

#[derive(Debug, Clone, PartialEq)]
enum Stage {
    /// May go as soon as its order key, destination and org allow.
    Ready,
    /// Waits for a time.
    Until(Millis),
    /// A kernel command about it is on its way.
    Submitting,
    /// An attempt is under way.
    Running,
    /// Dead: waits for a person.
    Dead,
}

#[derive(Debug, Clone)]
struct Item {
    work: Work,
    cause: Cause,
    /// Attempts made since it was first asked for, or last asked for again.
    attempts: u32,
    /// How often a person asked for it again; with the attempt it makes command ids unique.
    retried: u32,
    stage: Stage,
    cancelled: bool,
    crashes: u32,
    resends: u32,
    /// What to submit once the pause of a failed submission is over.
    again: Option<(Purpose, Box<CommandEnvelope>)>,
    order_key: Option<String>,
}

/// A row for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Which.
    pub key: ReactionKey,
    /// Effect name, or `dispatch`.
    pub effect: &'static str,
    /// Where to.
    pub destination: String,
    /// Delivery state.
    pub status: &'static str,
    /// Attempts made.
    pub attempts: u32,
    /// When the next is due.
    pub next_attempt_at: Option<Millis>,
}

/// The relay of one partition.
pub struct Relay {
    items: BTreeMap<ReactionKey, Item>,
    orders: BTreeMap<String, BTreeSet<ReactionKey>>,
    running: usize,
    overflowed: bool,
    jitter: u64,
}

impl Relay {
    /// An empty relay; `seed` drives the jitter of pauses.
    pub fn new(seed: u64) -> Self {
        Self {
            items: BTreeMap::new(),
            orders: BTreeMap::new(),
            running: 0,
            overflowed: false,
            jitter: seed | 1,
        }
    }

    /// Whether pending reactions were left in the index and there is room to load them.
    pub fn wants_loading(&self) -> bool {
        self.overflowed && self.items.len() < LOADED_MAX / 2
    }

    /// Says that everything pending in the index is loaded.
    pub fn loaded_all(&mut self) {
        self.overflowed = false;
    }

    /// Reactions in memory.
    pub fn depth(&self) -> usize {
        self.items.len()
    }

    /// Rows for people, in key order.
    pub fn rows(&self) -> Vec<Row> {
        self.items
            .iter()
            .map(|(key, item)| {
                let (effect, destination) = match &item.work {
                    Work::Dispatch(dispatch) => ("dispatch", dispatch.to.to_string()),
                    Work::Perform(perform) => (perform.effect.name(), perform.effect.destination()),
                };
                let (status, next) = match &item.stage {
                    Stage::Dead => ("dead", None),
                    Stage::Running | Stage::Submitting => ("processing", None),
                    Stage::Until(at) => (if item.attempts > 0 { "failed" } else { "pending" }, Some(*at)),
                    Stage::Ready => ("pending", None),
                };
                Row {
                    key: key.clone(),
                    effect,
                    destination,
                    status,
                    attempts: item.attempts,
                    next_attempt_at: next,
                }
            })
            .collect()
    }

    /// Takes a pending reaction from the index. Idempotent.
    pub fn load(&mut self, loaded: Loaded) {
        if self.items.contains_key(&loaded.key) {
            return;
        }
        if self.items.len() >= LOADED_MAX {
            self.overflowed = true;
            return;
        }
        let mut item = self.item(&loaded.key, loaded.work, loaded.cause);
        item.attempts = loaded.attempts;
        item.retried = loaded.retried;
        item.cancelled = loaded.cancelled;
        if let Some(at) = loaded.retry_at {
            item.stage = Stage::Until(at);
        }
        if loaded.started && !item.cancelled {
            // Started, and the node stopped: for an at-most-once effect nobody knows what happened.
            let envelope = settle(&loaded.key, &item, Outcome::Lost { detail: None });
            item.again = Some((Purpose::Settle, Box::new(envelope)));
        }
        self.insert(loaded.key, item);
    }

    fn item(&self, key: &ReactionKey, work: Work, cause: Cause) -> Item {
        let order_key = match &work {
            Work::Perform(perform) => perform.effect.order_key(&key.stream),
            // A stream's commands to another entity arrive in the order in which they were decided.
            Work::Dispatch(dispatch) => Some(format!("{} > {}", key.stream, dispatch.to)),
        };
        Item {
            work,
            cause,
            attempts: 0,
            retried: 0,
            stage: Stage::Ready,
            cancelled: false,
            crashes: 0,
            resends: 0,
            again: None,
            order_key,
        }
    }

    fn insert(&mut self, key: ReactionKey, item: Item) {
        if let Some(order) = &item.order_key {
            self.orders.entry(order.clone()).or_default().insert(key.clone());
        }
        self.items.insert(key, item);
    }

    fn remove(&mut self, key: &ReactionKey) {
        let Some(item) = self.items.remove(key) else { return };
        if item.stage == Stage::Running {
            self.running = self.running.saturating_sub(1);
        }
        if let Some(order) = item.order_key
            && let Some(queue) = self.orders.get_mut(&order)
        {
            queue.remove(key);
            if queue.is_empty() {
                self.orders.remove(&order);
            }
        }
    }

    /// Takes a record of this partition that is now durable.
    pub fn record(&mut self, record: &Record) -> Vec<RelayAction> {
        let mut actions = Vec::new();
        if let Some(settlement) = &record.header.settlement {
            match &settlement.outcome {
                Settled::Retried => {
                    if let Some(item) = self.items.get_mut(&settlement.key)
                        && item.stage == Stage::Dead
                    {
                        item.stage = Stage::Ready;
                        item.attempts = 0;
                        item.retried += 1;
                    }
                }
                Settled::Dropped => self.remove(&settlement.key),
                _ => {}
            }
        }
        let cause = Cause::from(&record.header);
        for (key, reaction) in record.keyed_reactions() {
            let work = match reaction {
                Reaction::Dispatch(dispatch) => Work::Dispatch(dispatch.clone()),
                Reaction::Perform(perform) => Work::Perform(perform.clone()),
                Reaction::CancelEffect { name } => {
                    actions.extend(self.cancel(&key.stream, name));
                    continue;
                }
                Reaction::WakeAt { .. } | Reaction::CancelWake { .. } => continue,
            };
            if self.items.contains_key(&key) {
                continue;
            }
            if self.items.len() >= LOADED_MAX {
                self.overflowed = true;
                continue;
            }
            let item = self.item(&key, work, cause.clone());
            self.insert(key, item);
        }
        actions
    }

    fn cancel(&mut self, stream: &StreamId, name: &str) -> Option<RelayAction> {
        let key = self.items.iter().find_map(|(key, item)| match &item.work {
            Work::Perform(perform) if key.stream == *stream && perform.name == name && item.stage != Stage::Dead => Some(key.clone()),
            _ => None,
        })?;
        let item = self.items.get_mut(&key)?;
        item.cancelled = true;
        match item.stage {
            Stage::Running => Some(RelayAction::Cancel(key)),
            // Not under way: the next step settles it without sending.
            Stage::Until(_) => {
                item.stage = Stage::Ready;
                None
            }
            Stage::Ready | Stage::Submitting | Stage::Dead => None,
        }
    }

    /// What can be done at `now`. `is_suspended` holds back everything of a suspended org.
    pub fn step(&mut self, now: Millis, is_suspended: &dyn Fn(&OrgId) -> bool) -> Vec<RelayAction> {
        let mut actions = Vec::new();
        let mut suspended: BTreeMap<OrgId, bool> = BTreeMap::new();
        let due: Vec<ReactionKey> = self
            .items
            .iter()
            .filter(|(_, item)| match item.stage {
                Stage::Ready => true,
                Stage::Until(at) => at <= now,
                Stage::Submitting | Stage::Running | Stage::Dead => false,
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            let Some(item) = self.items.get_mut(&key) else { continue };
            if let Some((purpose, envelope)) = item.again.take() {
                item.stage = Stage::Submitting;
                actions.push(RelayAction::Submit { key, purpose, envelope });
                continue;
            }
            if let Some(order) = &item.order_key
                && self.orders.get(order).and_then(|queue| queue.first()) != Some(&key)
            {
                continue;
            }
            if item.cancelled {
                item.stage = Stage::Submitting;
                let envelope = Box::new(settle(&key, item, Outcome::Cancelled { partial: None }));
                actions.push(RelayAction::Submit {
                    key,
                    purpose: Purpose::Settle,
                    envelope,
                });
                continue;
            }
            if *suspended
                .entry(key.stream.org.clone())
                .or_insert_with(|| is_suspended(&key.stream.org))
            {
                continue;
            }
            match &item.work {
                Work::Dispatch(dispatch) => {
                    let envelope = Box::new(dispatch_envelope(&key, dispatch, &item.cause));
                    item.stage = Stage::Submitting;
                    actions.push(RelayAction::Submit {
                        key,
                        purpose: Purpose::Dispatch,
                        envelope,
                    });
                }
                Work::Perform(perform) => {
                    if self.running >= RUNNING_MAX {
                        continue;
                    }
                    item.attempts += 1;
                    if perform.effect.is_repeatable() {
                        item.stage = Stage::Running;
                        self.running += 1;
                        actions.push(perform_action(&key, item));
                    } else {
                        item.stage = Stage::Submitting;
                        let envelope = Box::new(note(&key, item, Settled::Started { attempt: item.attempts }, &step("s", item)));
                        actions.push(RelayAction::Submit {
                            key,
                            purpose: Purpose::Start,
                            envelope,
                        });
                    }
                }
            }
        }
        actions
    }

    /// When [`Relay::step`] has something to do next, if only time is missing.
    pub fn next_due(&self) -> Option<Millis> {
        self.items
            .values()
            .filter_map(|item| if let Stage::Until(at) = item.stage { Some(at) } else { None })
            .min()
    }

    /// A submitted kernel command was answered.
    pub fn submitted(
        &mut self,
        key: &ReactionKey,
        purpose: Purpose,
        envelope: Box<CommandEnvelope>,
        answer: Result<Receipt, Problem>,
        now: Millis,
    ) -> Vec<RelayAction> {
        let Some(item) = self.items.get_mut(key) else { return Vec::new() };
        match answer {
            Ok(_) => {
                item.resends = 0;
                match purpose {
                    Purpose::Dispatch | Purpose::Park => self.remove(key),
                    Purpose::Settle => {
                        let dead = matches!(&envelope.body, CommandBody::Kernel(KernelCommand::EffectSettled { dead: true, .. }));
                        if dead {
                            item.stage = Stage::Dead;
                            // A dead letter no longer holds up its order key.
                            if let Some(order) = item.order_key.take()
                                && let Some(queue) = self.orders.get_mut(&order)
                            {
                                queue.remove(key);
                                if queue.is_empty() {
                                    self.orders.remove(&order);
                                }
                            }
                        } else {
                            self.remove(key);
                        }
                    }
                    Purpose::Start => {
                        item.stage = Stage::Running;
                        self.running += 1;
                        return vec![perform_action(key, item)];
                    }
                    Purpose::AttemptFailed => {
                        let at = match &envelope.body {
                            CommandBody::Kernel(KernelCommand::EffectNote {
                                note: Settled::AttemptFailed { retry_at, .. },
                                ..
                            }) => *retry_at,
                            _ => now,
                        };
                        item.stage = if item.cancelled { Stage::Ready } else { Stage::Until(at) };
                    }
                }
            }
            Err(problem) => {
                if problem.code == "command_crashed" {
                    item.crashes += 1;
                    if item.crashes >= limits::POISON_CRASHES {
                        let detail = format!("crashed its receiver {} times: {}", item.crashes, problem.detail);
                        let park = CommandEnvelope {
                            command_id: key.command_id(&step("park", item)),
                            body: CommandBody::Kernel(KernelCommand::EffectNote {
                                key: key.clone(),
                                note: Settled::Parked { detail },
                            }),
                            expected_version: None,
                            ..*envelope
                        };
                        item.stage = Stage::Submitting;
                        return vec![RelayAction::Submit {
                            key: key.clone(),
                            purpose: Purpose::Park,
                            envelope: Box::new(park),
                        }];
                    }
                }
                item.resends += 1;
                let pause = (RESEND_MS << item.resends.min(10)).min(RESEND_MAX_MS);
                item.stage = Stage::Until(now + pause);
                item.again = Some((purpose, envelope));
            }
        }
        Vec::new()
    }

    /// An attempt came to its end.
    pub fn performed(&mut self, key: &ReactionKey, end: AttemptEnd, now: Millis) -> Vec<RelayAction> {
        let draw = self.draw();
        let Some(item) = self.items.get_mut(key) else { return Vec::new() };
        if item.stage == Stage::Running {
            self.running = self.running.saturating_sub(1);
        }
        let Work::Perform(perform) = &item.work else { return Vec::new() };
        let (purpose, envelope) = match end {
            AttemptEnd::Done(outcome) | AttemptEnd::Cancelled(outcome) => (Purpose::Settle, settle(key, item, outcome)),
            AttemptEnd::Retryable {
                code,
                detail,
                retry_after_ms,
            } => {
                if code == BREAKER_OPEN && perform.effect.is_repeatable() {
                    // Nothing was sent: the attempt does not count.
                    item.attempts -= 1;
                    item.stage = if item.cancelled {
                        Stage::Ready
                    } else {
                        Stage::Until(now + retry_after_ms.unwrap_or(RESEND_MAX_MS).max(1))
                    };
                    return Vec::new();
                }
                if item.attempts >= perform.retry.attempts || item.cancelled {
                    (Purpose::Settle, settle(key, item, Outcome::Failed { code, detail }))
                } else {
                    let longest = perform.retry.pause_ms(item.attempts + 1);
                    let pause = retry_after_ms.unwrap_or(0).max(if longest == 0 { 0 } else { draw % (longest + 1) });
                    let failed = Settled::AttemptFailed {
                        attempt: item.attempts,
                        code,
                        detail,
                        retry_at: now + pause,
                    };
                    (Purpose::AttemptFailed, note(key, item, failed, &step("f", item)))
                }
            }
        };
        item.stage = Stage::Submitting;
        vec![RelayAction::Submit {
            key: key.clone(),
            purpose,
            envelope: Box::new(envelope),
        }]
    }

    fn draw(&mut self) -> u64 {
        // xorshift64*: spreads retries; nothing depends on its quality.
        self.jitter ^= self.jitter >> 12;
        self.jitter ^= self.jitter << 25;
        self.jitter ^= self.jitter >> 27;
        self.jitter.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

fn step(what: &str, item: &Item) -> String {
    format!("{what}{}.{}", item.retried, item.attempts)
}

fn perform_action(key: &ReactionKey, item: &Item) -> RelayAction {
    match &item.work {
        Work::Perform(perform) => RelayAction::Perform {
            key: key.clone(),
            attempt: item.attempts,
            effect: Box::new(perform.effect.clone()),
            subject: item.cause.subject(&key.stream.org),
            recorded_at: item.cause.time,
        },
        Work::Dispatch(_) => unreachable!("only effects are performed"),
    }
}

/// A command that the kernel sends about (or for) a reaction. Its id follows from the key, so a repetition after a crash
/// is the same command.
fn envelope(key: &ReactionKey, step: &str, to: StreamId, body: CommandBody, cause: &Cause) -> CommandEnvelope {
    let command_id = key.command_id(step);
    let digest = Digest::of(&[command_id.as_str().as_bytes()]);
    CommandEnvelope {
        stream: to,
        digest,
        seed: u128::from_be_bytes(digest.0[..16].try_into().expect("16 bytes")),
        command_id,
        body,
        principal: cause.principal.clone(),
        on_behalf_of: cause.on_behalf_of.clone(),
        expected_version: None,
        environment: cause.environment.clone(),
        data_class: cause.data_class,
        correlation: cause.correlation.clone(),
        causation: Some(key.to_string()),
        traceparent: cause.traceparent.clone(),
    }
}

fn dispatch_envelope(key: &ReactionKey, dispatch: &Dispatch, cause: &Cause) -> CommandEnvelope {
    let body = CommandBody::Given {
        command: dispatch.command.clone(),
        settles: Some(key.clone()),
    };
    let mut envelope = envelope(key, "d", dispatch.to.clone(), body, cause);
    envelope.digest = Digest::of(&[dispatch.command.to_text().as_bytes()]);
    envelope
}

fn settle(key: &ReactionKey, item: &Item, outcome: Outcome) -> CommandEnvelope {
    let name = match &item.work {
        Work::Perform(perform) => perform.name.clone(),
        Work::Dispatch(_) => String::new(),
    };
    let dead = matches!(outcome, Outcome::Failed { .. } | Outcome::Lost { .. });
    let word = KernelCommand::EffectSettled {
        key: key.clone(),
        name,
        outcome,
        attempts: item.attempts,
        dead,
    };
    envelope(key, &step("e", item), key.stream.clone(), CommandBody::Kernel(word), &item.cause)
}

fn note(key: &ReactionKey, item: &Item, note: Settled, step: &str) -> CommandEnvelope {
    let word = KernelCommand::EffectNote { key: key.clone(), note };
    envelope(key, step, key.stream.clone(), CommandBody::Kernel(word), &item.cause)
}

/// The command that fires a timer.
pub fn fire(key: &ReactionKey, name: &str, due: Millis, cause: &Cause) -> CommandEnvelope {
    let word = KernelCommand::TimerFired {
        key: key.clone(),
        name: name.to_owned(),
        due,
    };
    envelope(key, "t", key.stream.clone(), CommandBody::Kernel(word), cause)
}

/// The command by which a person retries or drops an effect.
pub fn person_note(key: &ReactionKey, settled: Settled, cause: &Cause, step: &str) -> CommandEnvelope {
    let word = KernelCommand::EffectNote {
        key: key.clone(),
        note: settled,
    };
    envelope(key, step, key.stream.clone(), CommandBody::Kernel(word), cause)
}
