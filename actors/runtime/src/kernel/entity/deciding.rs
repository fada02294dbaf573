//! One decision: the kind's rules on the state as it is, and the record that follows.

use super::{Active, Admitted, DecidedRecord, Pending};
use crate::kernel::refusals::{not_the_kernel, too_large};
use quipu_rules::decider::{Asked, AskedOf, Belongs, Decider, Decision, Refusal};
use quipu_schemas::{
    codec,
    context::{Authority, Context, Millis},
    digest::Digest,
    envelope::{CommandBody, CommandEnvelope, KernelCommand},
    ids::PrincipalId,
    limits::RECORD_MAX_BYTES,
    personal::{self, Made, NewValue, Opener},
    problem::Problem,
    reaction::{Outcome, ReactionKey, Settled, Settlement},
    record::{self, Acting, Header, Record, RecordError, StoredEvent, StoredReaction},
};
use serde::Deserialize;
use serde_json::Value;
use std::{cell::Cell, collections::BTreeMap, sync::Arc};

/// Events by the names that were looked up.
pub type Recalled = BTreeMap<String, Vec<StoredEvent>>;

/// Events to store, what the record says about a reaction, and the values that the events name.
type Verdict<E> = (Vec<E>, Option<Settlement>, Vec<NewValue>);

impl<D: Decider> Active<D> {
    pub(super) fn decide(&mut self, now: Millis, admitted: &Admitted, opener: &dyn Opener) -> Result<Verdict<D::Event>, Problem> {
        let command = &*admitted.command;
        let typed =
            asked_in::<D>(&command.body).map_err(|e| Problem::new(422, "invalid_command", format!("command does not parse: {e}")))?;
        let key = settles(&command.body).cloned();
        let settled = |outcome| key.clone().map(|key| Settlement { key, outcome });
        if let CommandBody::Kernel(KernelCommand::EffectNote { note, .. }) = &command.body {
            return Ok((Vec::new(), settled(note.clone()), Vec::new()));
        }
        // What is told the sender of a dispatch is settled already, by its receiver.
        let is_told = matches!(command.body, CommandBody::Kernel(KernelCommand::DispatchSettled { .. }));
        if admitted.settled.is_some() && !is_told {
            return Ok((Vec::new(), settled(Settled::Late), Vec::new()));
        }
        if let Some(problem) = &admitted.refused {
            return match settled(Settled::Refused {
                code: problem.code.clone(),
            }) {
                Some(settlement) => Ok((Vec::new(), Some(settlement), Vec::new())),
                None => Err(problem.clone()),
            };
        }
        // Outcomes and timers settle in a suspended org too, and sessions begin and end there; whatever they cause parks in the relay.
        let kernel = matches!(command.body, CommandBody::Kernel(_) | CommandBody::Told { .. });
        if admitted.authority.org_suspended && !kernel && !matches!(&typed, Some(Asked::Command(command)) if D::ignores_suspension(command))
        {
            return Err(Problem::new(403, "org_suspended", format!("org {} is suspended", self.stream.org)).fix("resume the org first"));
        }
        let recalled = self.recalled(&admitted.recalled)?;
        let context = Context {
            now,
            stream: &self.stream,
            command_id: &command.command_id,
            command_digest: command.digest,
            principal: &command.principal,
            on_behalf_of: command.on_behalf_of.as_ref(),
            credential: command.credential.as_ref(),
            authority: &admitted.authority,
            version: self.version,
            seed: command.seed,
            opener,
            minted: Cell::new(0),
            made: Made::default(),
            recalled: &recalled,
        };
        let is_dispatched = matches!(command.body, CommandBody::Given { settles: Some(_), .. });
        let decision = match &typed {
            None => Ok(Decision::Unchanged),
            Some(Asked::Word(_)) if is_dispatched && !D::HEARS_ENTITIES => {
                let code = not_the_kernel(&self.stream).code;
                return Ok((Vec::new(), settled(Settled::Refused { code }), Vec::new()));
            }
            Some(typed) => D::decide(self.typed_state(), typed, &context),
        };
        let final_outcome = |plain: Settled| final_outcome(&command.body, plain);
        match decision {
            Ok(Decision::Accept(events)) => Ok((events, settled(final_outcome(Settled::Accepted)), context.made.take())),
            Ok(Decision::Unchanged) => Ok((Vec::new(), settled(final_outcome(Settled::Unchanged)), Vec::new())),
            Err(rejection) => {
                let problem = rejection.problem();
                match settled(final_outcome(Settled::Refused {
                    code: problem.code.clone(),
                })) {
                    Some(settlement) => Ok((Vec::new(), Some(settlement), Vec::new())),
                    None => Err(problem),
                }
            }
        }
    }

    /// What was said of the names that were looked up: durable, or on its way to the log. What is both says the same twice.
    fn recalled(&self, durable: &Recalled) -> Result<BTreeMap<String, Vec<Value>>, Problem> {
        let unreadable = |e: String| Problem::new(500, "event_unreadable", format!("{}: {e}", self.stream));
        let mut recalled = BTreeMap::new();
        for (name, events) in durable {
            let in_flight = self.in_flight.iter().filter_map(|pending| match pending {
                Pending::Record { record, .. } if record.header.names.contains(name) => Some(&record.events),
                Pending::Record { .. } | Pending::Answer { .. } => None,
            });
            let mut said = Vec::new();
            for event in events.iter().chain(in_flight.flatten()) {
                let event: D::Event = codec::decode_event(event).map_err(|e| unreadable(e.to_string()))?;
                if D::names(&event) == Some(name) {
                    said.push(serde_json::to_value(&event).map_err(|e| unreadable(e.to_string()))?);
                }
            }
            recalled.insert(name.clone(), said);
        }
        Ok(recalled)
    }

    /// Folds new events onto the speculative state, collecting reactions, and encodes the record.
    pub(super) fn record(
        &mut self,
        time: Millis,
        command: &CommandEnvelope,
        events: Vec<D::Event>,
        settlement: Option<Settlement>,
        authority: &Authority,
    ) -> Result<DecidedRecord, Problem> {
        let broken = |detail: String| Problem::new(500, "rules_broken", detail);
        let stored: Result<Vec<_>, _> = events.iter().map(codec::encode_event).collect();
        let stored = stored.map_err(|e| broken(e.to_string()))?;
        // Events that are too large by themselves are refused before the state is touched. A copy of the state would cost as
        // much as the entity is large: if the fold fails, or reactions make the record too large, the state is lost, and
        // recovered from the log.
        let bytes: usize = stored.iter().map(|event| event.data.get().len()).sum();
        if bytes > RECORD_MAX_BYTES {
            return Err(too_large(bytes));
        }
        let mut state = self.state.take().expect("a lost entity takes no commands");
        let mut reactions = Vec::new();
        for (version, event) in (self.version + 1..).zip(&events) {
            state = D::evolve(state, event).map_err(|e| broken(format!("{}: {e}", self.stream)))?;
            reactions.extend((0..).zip(D::react(&state, event)).map(|(ordinal, reaction)| StoredReaction {
                version,
                ordinal,
                reaction,
            }));
        }
        let sender = sender_of(command);
        let acts_as = D::acts_as(&state).filter(|acting| !reactions.is_empty() && *acting != sender);
        let header = Header {
            stream: self.stream.clone(),
            first_version: self.version + 1,
            events: stored.len() as u32,
            reactions: reactions.len() as u32,
            time,
            acts_as,
            authority: authority.org_version,
            settlement,
            names: named_by::<D>(&events),
            ..header_of(command, sender)
        };
        let encoded = match record::encode(&header, &stored, &reactions, self.hash) {
            Ok(encoded) => encoded,
            Err(error) => {
                // Without events the state was not touched.
                self.state = events.is_empty().then_some(state);
                return Err(match error {
                    RecordError::TooLarge(bytes) => too_large(bytes),
                    other => broken(other.to_string()),
                });
            }
        };
        self.state = Some(state);
        (self.version, self.time) = (header.last_version(), time);
        let previous = std::mem::replace(&mut self.hash, encoded.hash);
        let record = Record {
            header,
            events: stored,
            reactions,
            previous,
            hash: encoded.hash,
        };
        Ok(DecidedRecord {
            encoded: Arc::new(encoded),
            record: Arc::new(record),
        })
    }
}

/// The reaction that a command settles, if it does.
pub fn settles(body: &CommandBody) -> Option<&ReactionKey> {
    body.settles()
}

/// Whether a command follows from a record: it must be decided in the end, and repeats under the id of its reaction.
pub fn is_owed(body: &CommandBody) -> bool {
    settles(body).is_some()
}

/// The names that a decision asks for and that the state has forgotten.
pub(super) fn recalls<D: Decider>(state: Option<&D::State>, body: &CommandBody) -> Vec<String> {
    match (state, body) {
        (Some(state), CommandBody::Given { command, .. }) => D::recalls(state, &command.0),
        (None, _) | (_, CommandBody::Kernel(_) | CommandBody::Told { .. }) => Vec::new(),
    }
}

/// What the kind is asked; `None` where it does not care. What no entity dispatched came from a client, and is never read as a
/// word.
pub(super) fn asked_in<D: Decider>(body: &CommandBody) -> Result<Option<AskedOf<D>>, serde_json::Error> {
    Ok(match body {
        CommandBody::Given { command, settles: None } => Some(Asked::Command(D::Command::deserialize(&command.0)?)),
        CommandBody::Given { command, settles: Some(_) } | CommandBody::Told { word: command } => {
            Some(match D::Word::deserialize(&command.0) {
                Ok(word) => Asked::Word(word),
                Err(_) => Asked::Command(D::Command::deserialize(&command.0)?),
            })
        }
        CommandBody::Kernel(KernelCommand::EffectNote { .. }) => None,
        CommandBody::Kernel(told) => D::from_kernel(told.clone()).map(Asked::Word),
    })
}

/// What the kind is asked, where that brings a secret. Nearly no command does: it is then not decoded a second time.
pub(super) fn brings_secret<D: Decider>(body: &CommandBody) -> Option<AskedOf<D>> {
    match body {
        CommandBody::Given { command, .. } if personal::holds_secret(&command.0) => asked_in::<D>(body).ok().flatten(),
        CommandBody::Given { .. } | CommandBody::Kernel(_) | CommandBody::Told { .. } => None,
    }
}

/// What became of a dispatch, as the relay that sent it has to know: the first settlement, where this one came late.
pub(super) fn dispatch_settled(command: &CommandEnvelope, outcome: Option<&Settled>, first: Option<&Settled>) -> Option<Settled> {
    if !matches!(&command.body, CommandBody::Given { settles: Some(_), .. }) {
        return None;
    }
    outcome.filter(|outcome| outcome.is_final()).or(first).cloned()
}

pub(super) fn same_command(
    command: &CommandEnvelope,
    digest: &Digest,
    principal: &PrincipalId,
    on_behalf_of: Option<&PrincipalId>,
) -> bool {
    // What the kernel sends carries fresh sealed values; its id names one reaction and step.
    is_owed(&command.body)
        || (command.digest == *digest && command.principal == *principal && command.on_behalf_of.as_ref() == on_behalf_of)
}

/// What the entity belongs to, as far as the command asks for rights.
pub(super) fn belongs<D: Decider>(state: Option<&D::State>, body: &CommandBody) -> Belongs {
    match (state, body) {
        (Some(state), CommandBody::Given { command, .. }) => D::belongs_to(state, &command.0),
        (None, _) | (_, CommandBody::Kernel(_) | CommandBody::Told { .. }) => Belongs::default(),
    }
}

pub(super) fn sender_of(command: &CommandEnvelope) -> Acting {
    Acting {
        principal: command.principal.clone(),
        on_behalf_of: command.on_behalf_of.clone(),
        credential: command.credential.clone(),
    }
}

/// What events name, each name once.
fn named_by<D: Decider>(events: &[D::Event]) -> Vec<String> {
    let mut names: Vec<String> = events.iter().filter_map(D::names).map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What a record says of its command; the rest is the decision's.
fn header_of(command: &CommandEnvelope, sender: Acting) -> Header {
    Header {
        stream: command.stream.clone(),
        first_version: 0,
        events: 0,
        reactions: 0,
        command_id: command.command_id.clone(),
        digest: command.digest,
        time: 0,
        principal: sender.principal,
        on_behalf_of: sender.on_behalf_of,
        home: command.foreign_home().cloned(),
        credential: sender.credential,
        acts_as: None,
        environment: command.environment.clone(),
        data_class: command.data_class,
        authority: 0,
        correlation: command.correlation.clone(),
        causation: command.causation.clone(),
        traceparent: command.traceparent.clone(),
        schema: 1,
        settlement: None,
        names: Vec::new(),
    }
}

/// What a command that settles a reaction settles it as: where nothing else is known, by what was decided.
fn final_outcome(body: &CommandBody, decided: Settled) -> Settled {
    match body {
        CommandBody::Kernel(KernelCommand::EffectSettled {
            dead: true,
            outcome,
            attempts,
            ..
        }) => {
            let (code, detail) = failure_of(outcome);
            Settled::Dead {
                attempts: *attempts,
                code,
                detail,
            }
        }
        CommandBody::Kernel(KernelCommand::EffectSettled {
            outcome: Outcome::Cancelled { .. },
            ..
        }) => Settled::Cancelled,
        CommandBody::Kernel(KernelCommand::DispatchSettled { .. }) => Settled::Told,
        _ => decided,
    }
}

fn failure_of(outcome: &Outcome) -> (String, String) {
    match outcome {
        Outcome::Failed { code, detail } => (code.clone(), detail.clone()),
        Outcome::Lost { detail } => ("lost".into(), Outcome::lost_detail(detail.as_deref())),
        other => ("failed".into(), format!("{other:?}").chars().take(200).collect()),
    }
}
