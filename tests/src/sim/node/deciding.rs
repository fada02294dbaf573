//! Commands on their way to a decision, and answers on their way back.

use super::{Answer, COMMANDS_BEFORE_MARKS, SimNode, Waiter, mutant::Mutant};
use crate::sim::reading::Library;
use quipu_events::{index::command_mark, port::Log};
use quipu_rules::application::ApplicationState;
use quipu_runtime::{
    kernel::{
        admission::{Admission, OrgPartition, Question, Step, Terms, actor, within_lease},
        authorities::Authorities,
        entity::{Admitted, EntityAction, settles},
        principals::{KnownPrincipal, Standing},
        refusals::outcome_unknown,
        rights::{ActorRights, KnownKey},
        seen_commands::SeenCommands,
        writer::Incarnation,
    },
    values,
};
use quipu_schemas::{
    client_secret::ClientId,
    context::Millis,
    envelope::{CommandEnvelope, Receipt},
    ids::{CommandId, EntityId, Home, OrgId, PrincipalId, StreamId},
    limits::SEEN_LOADED_MAX,
    personal::Brought,
    position::Position,
    problem::Problem,
    reaction::Reaction,
    record::Record,
};
use std::sync::Arc;

/// Whose rights are compared with what the log says.
const KNOWN: [&str; 6] = ["ada", "p0", "p1", "p2", "p3", "stranger"];

impl SimNode {
    /// Whether what it keeps of the one org is what the org's streams say.
    pub(crate) fn knows_its_org(&mut self) -> Result<bool, String> {
        let org = OrgId::from_static("acme");
        let mut fresh = Authorities::new(self.charter.clone(), 1, usize::MAX);
        for principal in KNOWN {
            let principal = PrincipalId::from_static(principal);
            let Ok(known) = self.known.actor(&org, &principal, 0) else {
                continue;
            };
            let stored = self.library().known(&mut fresh, &mut |known| known.actor(&org, &principal, 0))?;
            if stored != Some(known) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn rights(&mut self, org: &OrgId, principal: &PrincipalId) -> Result<Arc<ActorRights>, String> {
        let library = Library {
            log: &*self.log,
            index: &self.index,
            kinds: &self.kinds,
        };
        let known = library.known(&mut self.known, &mut |known| known.actor(org, principal, 0))?;
        Ok(known.unwrap_or_else(|| Arc::new(ActorRights::nobody())))
    }

    fn key(&mut self, org: &OrgId, id: &EntityId) -> Result<Option<Arc<KnownKey>>, String> {
        let library = Library {
            log: &*self.log,
            index: &self.index,
            kinds: &self.kinds,
        };
        library.known(&mut self.known, &mut |known| known.key(org, id, 0))
    }

    fn principal(&mut self, home: &Home, session: Option<&EntityId>) -> Result<Option<Arc<KnownPrincipal>>, String> {
        let library = Library {
            log: &*self.log,
            index: &self.index,
            kinds: &self.kinds,
        };
        let known = library.known(&mut self.known, &mut |known| known.principal(home, 0))?.flatten();
        Ok(match (self.mutant, known) {
            (Some(Mutant::RevivesSessions), Some(known)) => {
                let Some(id) = session else { return Ok(Some(known)) };
                if known.session(id, self.now.time).is_some() {
                    self.live_sessions.insert(id.clone(), known.clone());
                }
                // As it was when the session was live.
                Some(self.live_sessions.get(id).cloned().unwrap_or(known))
            }
            (Some(Mutant::ForgetsStopped), Some(known)) => {
                let mut known = (*known).clone();
                known.standing = Standing::Active;
                Some(Arc::new(known))
            }
            (_, known) => known,
        })
    }

    fn application(&mut self, client: &ClientId) -> Result<Option<ApplicationState>, String> {
        let library = Library {
            log: &*self.log,
            index: &self.index,
            kinds: &self.kinds,
        };
        library.known(&mut self.known, &mut |known| known.application(&client.org, &client.id, 0))
    }

    fn is_archived(&mut self, org: &OrgId, project: &EntityId) -> Result<bool, String> {
        let library = Library {
            log: &*self.log,
            index: &self.index,
            kinds: &self.kinds,
        };
        let known = library.known(&mut self.known, &mut |known| known.is_archived(org, project, 0))?;
        Ok(known.unwrap_or_default())
    }

    /// What is known of an org, but for a planted defect.
    fn as_planted(&self, mut rights: Arc<ActorRights>) -> Arc<ActorRights> {
        match self.mutant {
            Some(Mutant::TakesEveryOrgForReal) => {
                let org = &mut Arc::make_mut(&mut rights).org;
                org.version = org.version.max(1);
            }
            Some(Mutant::ForgetsSuspensions) => Arc::make_mut(&mut rights).org.suspended = false,
            _ => {}
        }
        rights
    }

    /// Looks up what admission asks for; what it decides is the machine's. Planted defects answer it wrongly.
    pub(super) fn admit(&mut self, envelope: &Arc<CommandEnvelope>, ticket: u64) -> Result<Result<Admitted, Problem>, String> {
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
        let entity = self.entities.get(stream);
        let belongs = entity.map(|(entity, ..)| entity.belongs(envelope)).unwrap_or_default();
        let terms = Terms {
            charter: &self.charter.clone(),
            durability: self.log.meta().durability,
            partition: org_partition,
            belongs: &belongs,
            recalls: entity.map(|(entity, ..)| entity.recalls(envelope)).unwrap_or_default(),
            now: self.now.time,
        };
        let mut admission = Admission::of(ticket, envelope.clone(), terms);
        loop {
            let (_, _, seen) = self.entities.get_mut(stream).ok_or("entity vanished")?;
            match admission.step(seen) {
                Step::Ask(Question::Org { is_read_first }) => {
                    let rights = self.rights(&stream.org, actor(envelope))?;
                    admission.org(self.as_planted(rights), is_read_first);
                }
                Step::Ask(Question::Sender(principal)) => {
                    let rights = self.rights(&stream.org, &principal)?;
                    admission.sender(principal, rights);
                }
                Step::Ask(Question::Principal(home)) => {
                    let known = self.principal(&home, Admission::session(envelope))?;
                    admission.principal(home, known);
                }
                Step::Ask(Question::Key(id)) => {
                    let key = self.key(&stream.org, &id)?;
                    // As it was when it was first asked for.
                    let first = self.first_keys.entry(id).or_insert_with(|| key.clone()).clone();
                    admission.key(if self.mutant == Some(Mutant::RevivesKeys) { first } else { key });
                }
                Step::Ask(Question::Application(of)) => admission.application(of.clone(), self.application(&of)?),
                Step::Ask(Question::Project(of)) => admission.project(self.is_archived(&stream.org, &of)?),
                Step::Ask(Question::Marks) => seen.load(self.index.command_marks(stream, SEEN_LOADED_MAX).map_err(|e| e.to_string())?),
                Step::Ask(Question::Receipt) => {
                    let receipt = self.index.command(stream, id).map_err(|e| e.to_string())?;
                    admission.receipt(receipt.filter(|_| !is_late && self.mutant != Some(Mutant::ForgetsReceipts)));
                }
                Step::Ask(Question::Settlement(key)) => {
                    let settled = self.index.settled(&key).map_err(|e| e.to_string())?;
                    admission.settlement(settled.map(|settled| settled.outcome));
                }
                Step::Ask(Question::Named(name)) => self.library().recall(stream, name, &mut admission)?,
                Step::Admit(admitted) => {
                    self.check_right(envelope, &admitted)?;
                    return Ok(Ok(admitted));
                }
                Step::Refuse(problem) => return Ok(Err(problem)),
            }
        }
    }

    pub(super) fn command(&mut self, mut envelope: CommandEnvelope, waiter: Waiter, now: Millis) -> Result<(), String> {
        if self.mutant == Some(Mutant::LosesScopes) && settles(&envelope.body).is_some() {
            envelope.credential = None;
        }
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

    pub(super) fn entity_actions(&mut self, stream: &StreamId, actions: Vec<EntityAction>, now: Millis) {
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
                            shown: None,
                            behind: None,
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
    pub(super) fn note_timers(&mut self, record: &Record) {
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

    pub(super) fn batch_id(&mut self) -> [u8; 16] {
        self.batch = self.batch.wrapping_add(1);
        u128::from(self.batch).to_be_bytes()
    }

    pub(super) fn drop_entity(&mut self, stream: &StreamId, problem: &Problem, now: Millis) {
        self.loads_late.remove(stream);
        if let Some((mut entity, ..)) = self.entities.remove(stream) {
            for action in entity.fail(problem) {
                if let EntityAction::Reply(ticket, result) = action {
                    self.reply(stream, ticket, result, now);
                }
            }
        }
    }

    pub(super) fn reply(&mut self, stream: &StreamId, ticket: u64, result: Result<Receipt, Problem>, now: Millis) {
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

    pub(super) fn answer(&mut self, stream: StreamId, command_id: CommandId, mut result: Result<Receipt, Problem>) {
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
}
