//! One incarnation of the node: writers, entities, relays, index and views, glued as the shells glue them, with every
//! hand-over a separate step that the scheduler may delay, reorder or lose in a crash.

use super::{Rng, log::SimLog, reading::Library, sink::Sink};
use quipu_events::{
    index::{Index, IndexEntry, Wake, command_mark},
    keyring::Keyring,
    port::{AppendError, Appended, Batch, Log},
};
use quipu_projections::{
    follower::Follower,
    progress::{Progress, Wanted},
    sqlite::SqliteStore,
    store::{Origin, ViewStore},
};
use quipu_rules::org::OrgState;
use quipu_runtime::{
    kernel::{
        admission::{Admission, OrgPartition, Question, Step, actor, within_lease},
        attempt::AttemptEnd,
        clock::{Clock, Reading},
        entity::{Admitted, Entity, EntityAction},
        orgs::{Lookup, OrgView, Orgs},
        refusals::outcome_unknown,
        relay::{Cause, Page, Purpose, Relay, RelayAction},
        seen_commands::SeenCommands,
        timers::{Found, Look, Now, Timers},
        writer::{Durable, Incarnation, Writer},
    },
    kinds::Kinds,
    values,
};
use quipu_schemas::{
    chat::{ChatMessage, ChatRole},
    context::Millis,
    digest::Digest,
    envelope::{CommandEnvelope, Receipt},
    ids::{CommandId, Kind, OrgId, PrincipalId, StreamId},
    json::Json,
    limits::SEEN_LOADED_MAX,
    personal::{Brought, Personal},
    position::{Cursor, Position},
    problem::Problem,
    reaction::{Effect, LlmAnswer, Outcome, Reaction, ReactionKey},
    record::{self, Record},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// So few that the relays leave most of their work in the index.
const LOADED_MAX: usize = 4;
/// Few, so that short lives reach it.
const COMMANDS_BEFORE_MARKS: u32 = 2;
/// Short, so that some steps of the clock are followed.
const CLOCK_HOLD_MS: u64 = 5_000;
/// How many in a hundred reads of the index or the log for a timer fail.
const READS_FAIL_PERCENT: u64 = 3;

/// A planted defect, by which the checks prove that they see. It lives in the simulation's glue alone: no build of the
/// node has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Answers before the record is durable.
    AnswersEarly,
    /// Forgets first receipts: a repetition is decided again.
    ForgetsReceipts,
    /// Takes a repetition as new if its first decision was in flight when the marks were loaded.
    ForgetsMarksInFlight,
    /// Drops one effect in three instead of performing it, and says that it was done.
    DropsEffects,
    /// Gives each attempt of an effect an id of its own.
    FreshEffectIds,
    /// Fires timers up to five seconds early.
    FiresEarly,
    /// Fires timers of entities in memory only.
    ForgetsSleepers,
    /// Says that the views have seen what they have not.
    ViewsSayTooMuch,
    /// Drops one record in seven from the feed.
    FeedSkips,
    /// Refuses by the version before the last.
    RefusesStale,
    /// Refuses by what is not durable yet.
    RefusesSpeculatively,
    /// Acknowledges in the wrong order: keeps an answer's place and gives it to another.
    SwapsPlaces,
    /// Passivates an entity that has records in flight, and wakes it from what is durable.
    PassivatesInFlight,
    /// Takes a page of pending work that could not be read for an empty one.
    ForgetsUnread,
    /// Takes the highest wall clock ever seen for the time.
    TrustsTheWallClock,
    /// Never fires a timer whose record it could not read once.
    ForgetsUnreadTimers,
    /// Takes commands of orgs that nobody has made.
    TakesEveryOrgForReal,
    /// Takes commands of a suspended org.
    ForgetsSuspensions,
}

/// All of them.
pub const MUTANTS: [Mutant; 18] = [
    Mutant::AnswersEarly,
    Mutant::ForgetsReceipts,
    Mutant::ForgetsMarksInFlight,
    Mutant::DropsEffects,
    Mutant::FreshEffectIds,
    Mutant::FiresEarly,
    Mutant::ForgetsSleepers,
    Mutant::ViewsSayTooMuch,
    Mutant::FeedSkips,
    Mutant::RefusesStale,
    Mutant::RefusesSpeculatively,
    Mutant::SwapsPlaces,
    Mutant::PassivatesInFlight,
    Mutant::ForgetsUnread,
    Mutant::TrustsTheWallClock,
    Mutant::ForgetsUnreadTimers,
    Mutant::TakesEveryOrgForReal,
    Mutant::ForgetsSuspensions,
];

/// [`SeenCommands`] as it was when `kill -9` found its defect.
#[derive(Default)]
struct LoadsLate {
    seen: u32,
    marks: Option<BTreeSet<u64>>,
}

impl LoadsLate {
    fn is_new<E>(&mut self, mark: u64, load: impl FnOnce() -> Result<Option<BTreeSet<u64>>, E>) -> Result<bool, E> {
        self.seen += 1;
        if self.seen <= COMMANDS_BEFORE_MARKS {
            return Ok(false);
        }
        if self.marks.is_none() {
            self.marks = Some(load()?.unwrap_or_default());
        }
        Ok(self.marks.as_mut().is_some_and(|marks| marks.insert(mark)))
    }
}

/// An answer to a client.
pub(crate) struct Answer {
    pub(crate) stream: StreamId,
    pub(crate) command_id: CommandId,
    pub(crate) result: Result<Receipt, Problem>,
}

enum Waiter {
    Client(StreamId, CommandId),
    Relay {
        partition: u16,
        key: ReactionKey,
        purpose: Purpose,
        envelope: Box<CommandEnvelope>,
    },
    Timer(ReactionKey),
}

struct Running {
    key: ReactionKey,
    attempt: u32,
    effect: Effect,
    subject: String,
    cancelled: bool,
}

pub(crate) struct SimNode {
    log: Arc<SimLog>,
    index: Index,
    keys: Arc<Keyring>,
    kinds: Kinds,
    writers: Vec<Writer>,
    relays: Vec<Relay>,
    entities: BTreeMap<StreamId, (Box<dyn Entity>, Incarnation, SeenCommands)>,
    /// Commands of clients on their way, in any order.
    pub(crate) inbox: Vec<CommandEnvelope>,
    /// Commands of the kernel on their way, in order.
    kernel: VecDeque<(CommandEnvelope, Waiter)>,
    batches: Vec<Batch>,
    completions: VecDeque<(u16, Result<Appended, AppendError>)>,
    running: Vec<Running>,
    /// Pages of pending work on their way to their relays, read when they were asked for.
    pages: VecDeque<(u16, Page)>,
    waiters: BTreeMap<(StreamId, u64), Waiter>,
    next_ticket: u64,
    clock: Clock,
    now: Now,
    timers: Timers,
    /// Elapsed time when a timer was set in this life, and the delay from then.
    set: BTreeMap<ReactionKey, (u64, u64)>,
    orgs: Orgs,
    views: Follower,
    progress: Arc<Progress>,
    pub(crate) answers: Vec<Answer>,
    pub(crate) broken: Vec<String>,
    /// Durable end of each partition.
    ends: Vec<u64>,
    asleep: BTreeSet<StreamId>,
    loads_late: BTreeMap<StreamId, LoadsLate>,
    /// Entities that were asleep when something came for them.
    pub(crate) woken: u64,
    batch: u64,
    dead: bool,
    mutant: Option<Mutant>,
}

impl SimNode {
    pub(crate) fn start(
        log: SimLog,
        keys: Arc<Keyring>,
        kinds: Kinds,
        seed: u64,
        first: Reading,
        mutant: Option<Mutant>,
    ) -> Result<Self, String> {
        let log = Arc::new(log);
        let meta = log.meta();
        let index = Index::in_memory(&meta).map_err(|e| e.to_string())?;
        index.catch_up(&*log, &mut |_| ()).map_err(|e| e.to_string())?;
        let mut writers = Vec::new();
        for partition in 0..meta.partitions {
            writers.push(Writer::new(partition, log.claim(partition, "sim").map_err(|e| e.to_string())?));
        }
        let ends = writers.iter().map(Writer::next_offset).collect();
        let store: Arc<dyn ViewStore> = Arc::new(SqliteStore::in_memory(Origin::of(&meta)).map_err(|e| e.to_string())?);
        let views = Follower::new(&*log, store).map_err(|e| e.to_string())?;
        let relays = (0..meta.partitions).map(|p| Relay::new(seed ^ u64::from(p), LOADED_MAX)).collect();
        Ok(Self {
            log,
            index,
            keys,
            kinds,
            writers,
            relays,
            entities: BTreeMap::new(),
            inbox: Vec::new(),
            kernel: VecDeque::new(),
            batches: Vec::new(),
            completions: VecDeque::new(),
            running: Vec::new(),
            pages: VecDeque::new(),
            waiters: BTreeMap::new(),
            next_ticket: 0,
            clock: Clock::new(CLOCK_HOLD_MS, first),
            now: Now {
                time: first.wall,
                elapsed: first.elapsed,
            },
            timers: Timers::default(),
            set: BTreeMap::new(),
            orgs: Orgs::new(4, 1_000),
            views,
            progress: Arc::new(Progress::new(Cursor::start(meta.log_id, meta.generation, meta.partitions))),
            answers: Vec::new(),
            broken: Vec::new(),
            ends,
            asleep: BTreeSet::new(),
            loads_late: BTreeMap::new(),
            woken: 0,
            batch: seed,
            dead: false,
            mutant,
        })
    }

    pub(crate) fn log(&self) -> &Arc<SimLog> {
        &self.log
    }
    pub(crate) fn index(&self) -> &Index {
        &self.index
    }
    pub(crate) fn entities(&self) -> impl Iterator<Item = (&StreamId, &dyn Entity)> {
        self.entities.iter().map(|(stream, (entity, ..))| (stream, &**entity))
    }
    pub(crate) fn views(&mut self) -> (&mut Follower, &Arc<Progress>) {
        (&mut self.views, &self.progress)
    }

    /// State of an entity in memory, for clients that look before they send.
    pub(crate) fn state_of(&self, stream: &StreamId) -> Option<serde_json::Value> {
        self.entities.get(stream).map(|(entity, ..)| entity.state().0)
    }

    /// Whether the one org of the simulation is suspended.
    pub(crate) fn is_suspended(&self) -> bool {
        let org = StreamId::of_org(&OrgId::from_static("acme"));
        let state = self
            .recover(&org)
            .ok()
            .and_then(|org| serde_json::from_value::<OrgState>(org.state().0).ok());
        matches!(state, Some(OrgState::Suspended { .. }))
    }

    /// The node looks at its clocks.
    pub(crate) fn at(&mut self, reading: Reading) -> Millis {
        let time = match self.mutant {
            Some(Mutant::TrustsTheWallClock) => self.now.time.max(reading.wall),
            _ => self.clock.read(reading),
        };
        self.now = Now {
            time,
            elapsed: reading.elapsed,
        };
        time
    }

    /// How long the node would wait before it looks for due timers again, if nothing else happens.
    pub(crate) fn timers_wait_ms(&self) -> u64 {
        self.timers.wait_ms(self.now)
    }

    /// Whether what it keeps of the one org is what the org's stream says.
    pub(crate) fn knows_its_org(&mut self) -> Result<bool, String> {
        let org = OrgId::from_static("acme");
        let stored = OrgView::of(&self.library().whole_org(&org)?, None);
        Ok(match self.orgs.look(&org, None, 0) {
            Lookup::Known(known) => known == stored,
            Lookup::Unsure(_) | Lookup::Missing => true,
        })
    }

    fn org(&mut self, org: &OrgId, actor: &PrincipalId) -> Result<OrgView, String> {
        if let Lookup::Known(view) = self.orgs.look(org, Some(actor), 0) {
            return Ok(view);
        }
        let read = self.library().whole_org(org)?;
        let view = OrgView::of(&read, Some(actor));
        self.orgs.insert(read, 0);
        Ok(view)
    }

    /// Looks up what admission asks for; what it decides is the machine's. Planted defects answer it wrongly.
    fn admit(&mut self, envelope: &Arc<CommandEnvelope>, ticket: u64) -> Result<Result<Admitted, Problem>, String> {
        let (stream, id) = (&envelope.stream, &envelope.command_id);
        // One node owns every partition, and its leases do not end.
        let org_partition = OrgPartition {
            is_fresh: true,
            is_elsewhere: false,
        };
        let is_late = self.mutant == Some(Mutant::ForgetsMarksInFlight) && {
            let load = || self.index.command_marks(stream, SEEN_LOADED_MAX).map_err(|e| e.to_string());
            // As it once was: what was decided before the marks were loaded, and was not durable then, is missing.
            self.loads_late.entry(stream.clone()).or_default().is_new(command_mark(id), load)?
        };
        let mut admission = Admission::of(ticket, envelope.clone(), self.log.meta().durability, org_partition);
        loop {
            let (_, _, seen) = self.entities.get_mut(stream).ok_or("entity vanished")?;
            match admission.step(seen) {
                Step::Ask(Question::Org { is_read_first }) => {
                    let mut view = self.org(&stream.org, actor(envelope))?;
                    match self.mutant {
                        Some(Mutant::TakesEveryOrgForReal) => view.version = view.version.max(1),
                        Some(Mutant::ForgetsSuspensions) => view.suspended = false,
                        _ => {}
                    }
                    admission.org(view, is_read_first);
                }
                Step::Ask(Question::Marks) => seen.load(self.index.command_marks(stream, SEEN_LOADED_MAX).map_err(|e| e.to_string())?),
                Step::Ask(Question::Receipt) => {
                    let receipt = self.index.command(stream, id).map_err(|e| e.to_string())?;
                    admission.receipt(receipt.filter(|_| !is_late && self.mutant != Some(Mutant::ForgetsReceipts)));
                }
                Step::Ask(Question::Settlement(key)) => {
                    let settled = self.index.settled(&key).map_err(|e| e.to_string())?;
                    admission.settlement(settled.map(|settled| settled.outcome));
                }
                Step::Admit(admitted) => return Ok(Ok(admitted)),
                Step::Refuse(problem) => return Ok(Err(problem)),
            }
        }
    }

    /// Version of a stream that is durable.
    pub(crate) fn durable_version(&self, stream: &StreamId) -> u64 {
        self.index.stream_head(stream).ok().flatten().map_or(0, |head| head.version)
    }

    pub(crate) fn durable_end(&self, partition: u16) -> u64 {
        self.ends[usize::from(partition)]
    }

    /// Durable records from an offset on, as a subscriber gets them.
    pub(crate) fn feed(&self, partition: u16, from: u64, most: usize) -> Result<Vec<(u64, Digest)>, String> {
        let end = self.durable_end(partition);
        if from >= end {
            return Ok(Vec::new());
        }
        let frames = self.log.read(partition, from, 64 * 1024).map_err(|e| e.to_string())?;
        let mut out = Vec::new();
        for frame in frames {
            for (offset, (_, bytes)) in (frame.first_offset..).zip(&frame.records) {
                let skipped = self.mutant == Some(Mutant::FeedSkips) && offset % 7 == 3;
                if offset >= from && offset < end && out.len() < most && !skipped {
                    out.push((offset, record::decode(bytes).map_err(|e| e.to_string())?.hash));
                }
            }
        }
        Ok(out)
    }

    pub(crate) fn views_cover(&self, wanted: &Wanted) -> bool {
        self.mutant == Some(Mutant::ViewsSayTooMuch) || self.progress.covers(wanted).unwrap_or(false)
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.dead || self.writers.iter().any(|writer| writer.stopped().is_some())
    }

    /// Nothing on its way and nothing pending but timers and dead letters.
    pub(crate) fn is_quiet(&self) -> bool {
        let busy = !self.pages.is_empty() || !self.relays.iter().all(Relay::is_idle);
        self.inbox.is_empty()
            && self.kernel.is_empty()
            && self.batches.is_empty()
            && self.completions.is_empty()
            && self.running.is_empty()
            && !busy
    }

    /// When the next retry is due, if nothing but time is missing.
    pub(crate) fn next_retry(&self) -> Option<Millis> {
        let idle = self.inbox.is_empty()
            && self.kernel.is_empty()
            && self.batches.is_empty()
            && self.completions.is_empty()
            && self.running.is_empty();
        let due = self.relays.iter().filter_map(Relay::next_due).min();
        due.filter(|_| idle)
    }

    pub(crate) fn next_due(&self) -> Option<Millis> {
        (0..self.writers.len() as u16)
            .filter_map(|p| self.index.next_wake(p).ok().flatten())
            .min()
    }

    fn partition(&self, stream: &StreamId) -> u16 {
        stream.partition(self.writers.len() as u16)
    }

    fn library(&self) -> Library<'_> {
        Library {
            log: &*self.log,
            index: &self.index,
            kinds: &self.kinds,
        }
    }

    fn records(&self, stream: &StreamId, from: u64) -> Result<Vec<Record>, String> {
        self.library().records(stream, from)
    }

    pub(crate) fn recover(&self, stream: &StreamId) -> Result<Box<dyn Entity>, String> {
        self.library().recover(stream)
    }

    /// Hands one waiting command to its entity. Clients' commands come in any order, the kernel's in theirs.
    pub(crate) fn deliver(&mut self, rng: &mut Rng, now: Millis) -> Option<String> {
        let from_kernel = !self.kernel.is_empty() && (self.inbox.is_empty() || rng.chance(60));
        let (envelope, waiter) = if from_kernel {
            self.kernel.pop_front()?
        } else if self.inbox.is_empty() {
            return None;
        } else {
            let at = rng.below(self.inbox.len() as u64) as usize;
            let envelope = self.inbox.swap_remove(at);
            let waiter = Waiter::Client(envelope.stream.clone(), envelope.command_id.clone());
            (envelope, waiter)
        };
        let line = format!(
            "deliver {} {} to {}",
            envelope.command_id,
            if from_kernel { "(kernel)" } else { "" },
            envelope.stream
        );
        if let Err(error) = self.command(envelope, waiter, now) {
            self.fail(&line, &error);
        }
        Some(line)
    }

    /// A machine without power reads nothing: it waits for its crash. Anything else is a broken promise.
    fn fail(&mut self, what: &str, error: &str) {
        if error.contains("simulated") {
            self.dead = true;
        } else {
            self.broken.push(format!("{what}: {error}"));
        }
    }

    fn command(&mut self, envelope: CommandEnvelope, waiter: Waiter, now: Millis) -> Result<(), String> {
        let stream = envelope.stream.clone();
        let partition = usize::from(self.partition(&stream));
        if !self.entities.contains_key(&stream) {
            // As in the shell: an entity whose earlier records are still on their way is not recovered yet.
            if self.writers[partition].is_pending(&stream) && self.mutant != Some(Mutant::PassivatesInFlight) {
                match waiter {
                    Waiter::Client(..) => self.inbox.push(envelope),
                    other => self.kernel.push_back((envelope, other)),
                }
                return Ok(());
            }
            let entity = self.recover(&stream)?;
            if self.asleep.remove(&stream) {
                self.woken += 1;
            }
            self.entities.insert(
                stream.clone(),
                (
                    entity,
                    self.writers[partition].incarnation(),
                    SeenCommands::after(COMMANDS_BEFORE_MARKS),
                ),
            );
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiters.insert((stream.clone(), ticket), waiter);
        let envelope = Arc::new(envelope);
        let admitted = match self.admit(&envelope, ticket)? {
            Ok(admitted) => admitted,
            Err(problem) => {
                self.reply(&stream, ticket, Err(problem), now);
                return Ok(());
            }
        };
        let needs = match self.entities.get(&stream) {
            Some((entity, ..)) => entity.needs(&envelope),
            None => Vec::new(),
        };
        let values = values::bring(&needs, &*self.keys).map_err(|e| e.to_string())?;
        let (entity, incarnation, _) = self.entities.get_mut(&stream).ok_or("entity vanished")?;
        if entity.is_settled() {
            *incarnation = self.writers[partition].renewed(*incarnation);
        }
        let actions = entity.command(now, admitted, &Brought::new(&*self.keys, values));
        let lost = entity.is_lost();
        self.entity_actions(&stream, actions, now);
        if lost {
            self.drop_entity(&stream, &outcome_unknown(), now);
        }
        Ok(())
    }

    fn entity_actions(&mut self, stream: &StreamId, actions: Vec<EntityAction>, now: Millis) {
        let partition = usize::from(self.partition(stream));
        for action in actions {
            match action {
                EntityAction::Reply(ticket, result) => self.reply(stream, ticket, within_lease(result, true), now),
                EntityAction::Keep(made) => {
                    if let Err(error) = values::keep(made, &*self.keys) {
                        return self.drop_entity(stream, &error.problem(), now);
                    }
                }
                EntityAction::Append(decided) => {
                    self.note_timers(&decided.record);
                    if self.mutant == Some(Mutant::AnswersEarly) {
                        let receipt = Receipt {
                            command_id: decided.record.header.command_id.clone(),
                            stream: stream.clone(),
                            version: decided.record.header.last_version(),
                            position: Position {
                                partition: partition as u16,
                                offset: self.writers[partition].next_offset(),
                                index: 0,
                            },
                            durability: self.log.meta().durability,
                            unchanged: false,
                            duplicate: false,
                            settled: None,
                        };
                        self.answers.push(Answer {
                            stream: stream.clone(),
                            command_id: receipt.command_id.clone(),
                            result: Ok(receipt),
                        });
                    }
                    let incarnation = self
                        .entities
                        .get(stream)
                        .map_or_else(Incarnation::default, |(_, incarnation, _)| *incarnation);
                    let id = self.batch_id();
                    match self.writers[partition].submit(decided, incarnation, id) {
                        Ok(batch) => self.batches.extend(batch),
                        Err(problem) => self.drop_entity(stream, &problem, now),
                    }
                }
            }
        }
    }

    /// No timer fires before its delay has passed by elapsed time, whatever the wall clock did meanwhile.
    fn note_timers(&mut self, record: &Record) {
        if let Some(settlement) = &record.header.settlement
            && let Some((set_at, delay)) = self.set.get(&settlement.key)
            && self.now.elapsed < set_at + delay
        {
            let early = set_at + delay - self.now.elapsed;
            self.broken
                .push(format!("{}: a timer fired {early} ms before its delay was over", settlement.key));
        }
        for (key, reaction) in record.keyed_reactions() {
            if let Reaction::WakeAt { due, .. } = reaction {
                self.set.insert(key, (self.now.elapsed, due.saturating_sub(self.now.time)));
            } else {
                // A record of this version that was never stored may have set a timer under this key.
                self.set.remove(&key);
            }
        }
    }

    fn batch_id(&mut self) -> [u8; 16] {
        self.batch = self.batch.wrapping_add(1);
        u128::from(self.batch).to_be_bytes()
    }

    fn drop_entity(&mut self, stream: &StreamId, problem: &Problem, now: Millis) {
        self.loads_late.remove(stream);
        if let Some((mut entity, ..)) = self.entities.remove(stream) {
            for action in entity.fail(problem) {
                if let EntityAction::Reply(ticket, result) = action {
                    self.reply(stream, ticket, result, now);
                }
            }
        }
    }

    fn reply(&mut self, stream: &StreamId, ticket: u64, result: Result<Receipt, Problem>, now: Millis) {
        match self.waiters.remove(&(stream.clone(), ticket)) {
            Some(Waiter::Client(stream, command_id)) => self.answer(stream, command_id, result),
            Some(Waiter::Relay {
                partition,
                key,
                purpose,
                envelope,
            }) => {
                let actions = self.relays[usize::from(partition)].submitted(&key, purpose, envelope, result, now);
                self.relay_actions(partition, actions);
            }
            Some(Waiter::Timer(key)) => {
                if let Some(poisoned) = self.timers.answered(&key, &result, self.now) {
                    self.broken.push(poisoned.detail);
                }
            }
            None => {}
        }
    }

    fn answer(&mut self, stream: StreamId, command_id: CommandId, mut result: Result<Receipt, Problem>) {
        match (&mut result, self.mutant) {
            (Err(problem), Some(Mutant::RefusesStale)) => problem.current_version = problem.current_version.map(|v| v.saturating_sub(1)),
            (Err(problem), Some(Mutant::RefusesSpeculatively)) => problem.current_version = problem.current_version.map(|v| v + 1),
            (Ok(receipt), Some(Mutant::SwapsPlaces)) if receipt.position.offset > 0 && receipt.position.offset % 5 == 0 => {
                receipt.position.offset -= 1
            }
            _ => {}
        }
        self.answers.push(Answer {
            stream,
            command_id,
            result,
        });
    }

    /// Writes some or all waiting frames in one group commit; their ends are heard later.
    pub(crate) fn flush(&mut self, rng: &mut Rng, _: Millis) {
        let some = rng.below(self.batches.len() as u64 + 1) as usize;
        let batches: Vec<Batch> = self.batches.drain(..some).collect();
        let partitions: Vec<u16> = batches.iter().map(|b| b.partition).collect();
        let results = self.log.engine().append_all(batches);
        self.completions.extend(partitions.into_iter().zip(results));
    }

    pub(crate) fn complete(&mut self, _: &mut Rng, now: Millis) {
        let Some((partition, result)) = self.completions.pop_front() else {
            return;
        };
        let id = self.batch_id();
        let flushed = self.writers[usize::from(partition)].appended(result, id);
        self.batches.extend(flushed.next);
        let entries: Vec<IndexEntry> = flushed
            .durable
            .iter()
            .map(|d| {
                IndexEntry::new(
                    d.position.offset,
                    d.place,
                    d.decided.record.hash,
                    &d.decided.record.header,
                    &d.decided.record.reactions,
                )
            })
            .collect();
        if let Err(error) = self.index.note_durable(partition, entries) {
            self.broken.push(format!("index: {error}"));
        }
        for Durable { decided, position, .. } in flushed.durable {
            self.ends[usize::from(partition)] = position.offset + 1;
            let stream = decided.record.header.stream.clone();
            if stream.kind == Kind::ORG {
                self.orgs.record(&decided.record);
            }
            let actions = self.relays[usize::from(partition)].record(position.offset, &decided.record);
            self.relay_actions(partition, actions);
            if let Some((entity, ..)) = self.entities.get_mut(&stream) {
                let actions = entity.durable(decided.encoded.hash, position, self.log.meta().durability);
                self.entity_actions(&stream, actions, now);
            }
        }
        let failed: BTreeMap<StreamId, Problem> = flushed
            .failed
            .into_iter()
            .map(|(d, p)| (d.record.header.stream.clone(), p))
            .collect();
        for (stream, problem) in failed {
            self.drop_entity(&stream, &problem, now);
        }
    }

    pub(crate) fn flush_all(&mut self, rng: &mut Rng, now: Millis) {
        while !self.batches.is_empty() || !self.completions.is_empty() {
            self.flush(rng, now);
            self.complete(rng, now);
        }
    }

    pub(crate) fn relay(&mut self, rng: &mut Rng, now: Millis) {
        if rng.chance(70)
            && let Some((partition, page)) = self.pages.pop_front()
        {
            let page = match rng.chance(10) {
                false => Some(page),
                true if self.mutant == Some(Mutant::ForgetsUnread) => Some(Page { rows: Vec::new(), ..page }),
                true => None,
            };
            self.relays[usize::from(partition)].page(page, now);
        }
        let partition = rng.below(self.relays.len() as u64) as u16;
        let suspended = self.is_suspended();
        let actions = self.relays[usize::from(partition)].step(now, &|_| suspended, &|_, _| None);
        self.relay_actions(partition, actions);
    }

    fn relay_actions(&mut self, partition: u16, actions: Vec<RelayAction>) {
        for action in actions {
            match action {
                RelayAction::Load { after, most, without } => match self.library().page(partition, after, most, &without) {
                    Ok(page) => self.pages.push_back((partition, page)),
                    Err(error) => self.fail("pending work", &error),
                },
                RelayAction::Submit { key, purpose, envelope } => {
                    let waiter = Waiter::Relay {
                        partition,
                        key,
                        purpose,
                        envelope: envelope.clone(),
                    };
                    self.kernel.push_back((*envelope, waiter));
                }
                RelayAction::Perform {
                    key,
                    attempt,
                    effect,
                    subject,
                    ..
                } => {
                    self.running.push(Running {
                        key,
                        attempt,
                        effect: *effect,
                        subject,
                        cancelled: false,
                    });
                }
                RelayAction::Cancel(key) => {
                    for running in self.running.iter_mut().filter(|r| r.key == key) {
                        running.cancelled = true;
                    }
                }
            }
        }
    }

    /// Ends one attempt under way: it may have arrived or not, succeed, or fail.
    pub(crate) fn perform(&mut self, rng: &mut Rng, now: Millis, sink: &mut Sink, keys: &Keyring) -> Option<String> {
        if self.running.is_empty() {
            return None;
        }
        let at = rng.below(self.running.len() as u64) as usize;
        let running = self.running.swap_remove(at);
        let dropped = self.mutant == Some(Mutant::DropsEffects) && rng.chance(34);
        let fails = rng.chance(25);
        let fresh = self.mutant == Some(Mutant::FreshEffectIds);
        let id = |running: &Running| {
            if fresh {
                format!("{}.{}", running.key.message_id(), running.attempt)
            } else {
                running.key.message_id()
            }
        };
        let end = if running.cancelled {
            AttemptEnd::Cancelled(Outcome::Cancelled { partial: None })
        } else if fails && rng.chance(20) {
            // The receiver takes it and says no.
            sink.arrive(&running.key, id(&running));
            AttemptEnd::Done(Outcome::Failed {
                code: "refused".into(),
                detail: "simulated".into(),
            })
        } else if fails {
            // It may have arrived all the same.
            if rng.chance(50) {
                sink.arrive(&running.key, id(&running));
            }
            AttemptEnd::Retryable {
                code: "timeout".into(),
                detail: "simulated".into(),
                retry_after_ms: None,
            }
        } else {
            if !dropped {
                sink.arrive(&running.key, id(&running));
            }
            match outcome(&running.effect, &running.subject, running.attempt, keys) {
                Ok(outcome) => AttemptEnd::Done(outcome),
                Err(error) => {
                    self.broken.push(error);
                    return None;
                }
            }
        };
        let line = format!("attempt {} of {} ends", running.attempt, running.key);
        let partition = self.partition(&running.key.stream);
        let actions = self.relays[usize::from(partition)].performed(&running.key, end, now);
        self.relay_actions(partition, actions);
        Some(line)
    }

    pub(crate) fn fire_timers(&mut self, rng: &mut Rng) -> u64 {
        let early = if self.mutant == Some(Mutant::FiresEarly) { 5_000 } else { 0 };
        let now = Now {
            time: self.now.time + early,
            ..self.now
        };
        let owned = (0..self.writers.len() as u16).collect();
        let mut fired = 0;
        for look in self.timers.looks(&owned, now) {
            let found = if rng.chance(READS_FAIL_PERCENT) { None } else { self.ask(&look) };
            for wake in self.timers.found(&look, found, now) {
                fired += u64::from(self.fire(rng, wake, now));
            }
        }
        fired
    }

    fn ask(&self, look: &Look) -> Option<Found> {
        let due = self
            .index
            .wakes_due_after(look.partition, look.before, look.after, look.limit)
            .ok()?;
        let next = self.index.next_wake_after(look.partition, look.before).ok()?;
        Some(Found { due, next })
    }

    fn fire(&mut self, rng: &mut Rng, wake: Wake, now: Now) -> bool {
        let sleeps = self.mutant == Some(Mutant::ForgetsSleepers) && !self.entities.contains_key(&wake.key.stream);
        let cause = if sleeps || rng.chance(READS_FAIL_PERCENT) {
            None
        } else {
            let records = self.records(&wake.key.stream, wake.key.version).unwrap_or_default();
            records.first().map(|record| Cause::from(&record.header))
        };
        let Some(cause) = cause else {
            if self.mutant != Some(Mutant::ForgetsUnreadTimers) {
                self.timers.unread(&wake.key, now);
            }
            return false;
        };
        let ripe_at = self.clock.ripe_at(cause.time, wake.due);
        let due = if self.mutant == Some(Mutant::FiresEarly) { 0 } else { wake.due };
        let wake = Wake { due, ..wake };
        let Some(command) = self.timers.fire(&wake, &cause, ripe_at, now) else {
            return false;
        };
        self.kernel.push_back((command, Waiter::Timer(wake.key)));
        true
    }

    pub(crate) fn project_or_index(&mut self, rng: &mut Rng, _: Millis) {
        let result = if rng.chance(50) {
            self.index.flush(64).map(|_| ()).map_err(|e| e.to_string())
        } else {
            let partitions: Vec<u16> = (0..self.writers.len() as u16).collect();
            self.views
                .round(&*self.log, &partitions, &self.progress)
                .map(|_| ())
                .map_err(|e| e.to_string())
        };
        if let Err(error) = result {
            self.fail("views or index", &error);
        }
    }

    /// Puts an entity that is at rest to sleep, with a snapshot half of the time.
    pub(crate) fn passivate(&mut self, rng: &mut Rng, _: Millis) -> bool {
        if self.entities.is_empty() {
            return false;
        }
        let at = rng.below(self.entities.len() as u64) as usize;
        let stream = self.entities.keys().nth(at).expect("within bounds").clone();
        let (entity, ..) = &self.entities[&stream];
        if !entity.is_settled() && self.mutant != Some(Mutant::PassivatesInFlight) {
            return false;
        }
        if rng.chance(50)
            && let Some(snapshot) = entity.snapshot()
            && let Some(handler) = self.kinds.get(&stream.kind)
            && let Ok(Some(head)) = self.index.stream_head(&stream)
        {
            let stored = quipu_events::snapshots::Snapshot {
                version: snapshot.version,
                offset: head.position.offset,
                record: snapshot.record_hash,
                schema: handler.shape(),
                rules: handler.rules_version(),
                bytes: snapshot.bytes,
            };
            if let Err(error) = self.index.put_snapshot(&stream, &stored) {
                self.broken.push(format!("snapshot: {error}"));
            }
        }
        self.entities.remove(&stream);
        self.loads_late.remove(&stream);
        self.asleep.insert(stream);
        true
    }
}

/// What a receiver answers to an attempt that it took.
pub(crate) fn outcome(effect: &Effect, subject: &str, attempt: u32, keys: &Keyring) -> Result<Outcome, String> {
    let failed = |e: quipu_schemas::personal::SealError| e.to_string();
    match effect {
        Effect::LlmInvoke(_) => {
            // The second attempt says more than a record should hold.
            let text = "a simulated answer".repeat(if attempt > 1 { 300 } else { 1 });
            let message = ChatMessage {
                role: ChatRole::Assistant,
                content: Some(text.clone()),
                tool_calls: None,
                tool_call_id: None,
                name: None,
            };
            Ok(Outcome::Answered(LlmAnswer {
                message: Personal::seal(&message, subject, keys).map_err(failed)?,
                text: Some(Personal::seal(&text, subject, keys).map_err(failed)?),
                tool_calls: Vec::new(),
                finish_reason: "stop".into(),
                model: "simulated".into(),
                prompt_tokens: 3,
                completion_tokens: 3,
                attempt,
            }))
        }
        Effect::Webhook(_) | Effect::Http(_) => Ok(Outcome::Responded {
            status: 200,
            body: Json(serde_json::json!({"ok": true})),
            full_bytes: None,
        }),
        Effect::Tool(_) => Err("the workload grants no tools".into()),
        Effect::Seal(seal) => Ok(Outcome::Sealed {
            text: Personal::seal(&seal.text, &seal.subject, keys).map_err(failed)?,
        }),
    }
}
