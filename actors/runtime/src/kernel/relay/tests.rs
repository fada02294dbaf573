//! A relay over an index of a few rows, with room for fewer.

mod answers;
mod holding;
mod paging;
mod unsent;

use super::*;
use crate::kernel::attempt::AttemptEnd;
use quipu_events::index::{Attempts, FailedAttempt, PendingCursor};
use quipu_schemas::{
    digest::Digest,
    envelope::{CommandBody, CommandEnvelope, DataClass, Durability, KernelCommand, Receipt},
    ids::{CommandId, PrincipalId},
    json::Json,
    position::Position,
    problem::Problem,
    reaction::{Dispatch, Effect, HttpRequest, Perform, Retry},
    record::{Header, StoredReaction},
};
use serde_json::json;

const NOW: Millis = 1_000_000;

/// What a partition's index and its receivers know.
struct Stage {
    relay: Relay,
    now: Millis,
    log: Vec<Record>,
    versions: BTreeMap<StreamId, u64>,
    done: BTreeSet<ReactionKey>,
    suspended: BTreeSet<OrgId>,
    /// Whoever is stopped.
    stops: BTreeMap<PrincipalId, Stop>,
    sent: Vec<ReactionKey>,
    performing: Vec<ReactionKey>,
    told: Vec<(ReactionKey, Settled)>,
    settled: BTreeMap<ReactionKey, Settled>,
    /// What receivers answer.
    answer: Result<Settled, &'static str>,
    deepest: usize,
    /// For how long every destination is left alone.
    closed_ms: Option<u64>,
    /// What the log says of starts and failed attempts.
    attempts: Attempts,
    /// How effects ended.
    outcomes: Vec<Outcome>,
}

fn dispatch(to: &str) -> Reaction {
    Reaction::Dispatch(Dispatch::new(to.parse().unwrap(), Json(json!({ "poke": {} }))))
}

fn effect(method: &str, url: &str) -> Reaction {
    Reaction::Perform(Perform {
        name: "call".into(),
        effect: Effect::Http(HttpRequest {
            method: method.into(),
            url: url.into(),
            sealed_url: None,
            headers: BTreeMap::new(),
            composed_headers: BTreeMap::new(),
            body: None,
            idempotency_header: None,
            timeout_ms: None,
        }),
        retry: Retry::default(),
    })
}

fn key(stream: &str, version: u64) -> ReactionKey {
    ReactionKey {
        stream: stream.parse().unwrap(),
        version,
        ordinal: 0,
    }
}

fn receipt(key: &ReactionKey, settled: Option<Settled>) -> Receipt {
    Receipt {
        command_id: CommandId::from_static("c"),
        stream: key.stream.clone(),
        version: 1,
        position: Position {
            partition: 0,
            offset: 0,
            index: 0,
        },
        durability: Durability::Memory,
        unchanged: false,
        duplicate: false,
        settled,
        shown: None,
        behind: None,
    }
}

impl Stage {
    fn new(bound: usize) -> Self {
        Self {
            relay: Relay::new(1, bound),
            now: NOW,
            log: Vec::new(),
            versions: BTreeMap::new(),
            done: BTreeSet::new(),
            suspended: BTreeSet::new(),
            stops: BTreeMap::new(),
            sent: Vec::new(),
            performing: Vec::new(),
            told: Vec::new(),
            settled: BTreeMap::new(),
            answer: Ok(Settled::Accepted),
            deepest: 0,
            closed_ms: None,
            attempts: Attempts::default(),
            outcomes: Vec::new(),
        }
    }

    /// A record in the log, which the relay may or may not hear of.
    fn append(&mut self, stream: &str, reaction: Reaction) -> ReactionKey {
        let stream: StreamId = stream.parse().unwrap();
        let last = self.versions.entry(stream.clone()).or_default();
        *last += 1;
        let version = *last;
        let header = Header {
            stream: stream.clone(),
            first_version: version,
            events: 1,
            reactions: 1,
            command_id: CommandId::from_static("c"),
            digest: Digest::ZERO,
            time: NOW,
            principal: PrincipalId::BOOTSTRAP,
            on_behalf_of: None,
            home: None,
            credential: None,
            environment: None,
            data_class: DataClass::None,
            authority: 1,
            correlation: None,
            causation: None,
            traceparent: None,
            schema: 1,
            settlement: None,
            acts_as: None,
            names: Vec::new(),
        };
        self.log.push(Record {
            header,
            events: Vec::new(),
            reactions: vec![StoredReaction {
                version,
                ordinal: 0,
                reaction,
            }],
            previous: Digest::ZERO,
            hash: Digest::ZERO,
        });
        ReactionKey {
            stream,
            version,
            ordinal: 0,
        }
    }

    /// A record that the relay hears of at once.
    fn hear(&mut self, stream: &str, reaction: Reaction) -> ReactionKey {
        let key = self.append(stream, reaction);
        let actions = self.relay.record(self.log.len() as u64 - 1, &self.log[self.log.len() - 1]);
        assert!(actions.is_empty(), "{actions:?}");
        key
    }

    fn page(&self, after: Option<PendingCursor>, most: usize, without: &BTreeSet<OrgId>) -> Page {
        let mut rows = Vec::new();
        for (offset, record) in (0u64..).zip(&self.log) {
            for (key, reaction) in record.keyed_reactions() {
                let at = words::cursor(&key, offset);
                let Some(work) = Work::of(reaction).filter(|_| after.is_none_or(|after| at > after)) else {
                    continue;
                };
                if self.done.contains(&key) || without.contains(&key.stream.org) || rows.len() == most {
                    continue;
                }
                let found = Found {
                    work,
                    cause: Cause::from(&record.header),
                    cancelled: false,
                };
                let loaded = Loaded::new(found, &self.attempts, self.settled.get(&key).cloned());
                rows.push(PageRow {
                    key,
                    offset,
                    loaded: Some(loaded),
                });
            }
        }
        Page {
            rows,
            end: self.log.len() as u64,
        }
    }

    fn step(&mut self) -> Vec<RelayAction> {
        let suspended = self.suspended.clone();
        let stops = self.stops.clone();
        let mut stop_of = |cause: &Cause, _: &OrgId| stops.get(&cause.principal).cloned().unwrap_or(Stop::Goes);
        let actions = self
            .relay
            .step(self.now, &|org| suspended.contains(org), &mut stop_of, &|_, _| self.closed_ms);
        self.deepest = self.deepest.max(self.relay.depth());
        actions
    }

    /// Answers everything but attempts until nothing more happens.
    fn settle(&mut self) {
        loop {
            let actions = self.step();
            if actions.is_empty() {
                return;
            }
            actions.into_iter().for_each(|action| self.act(action));
        }
    }

    fn act(&mut self, action: RelayAction) {
        match action {
            RelayAction::Load { after, most, without } => {
                let page = self.page(after, most, &without);
                self.relay.page(Some(page), self.now);
            }
            RelayAction::Submit { key, purpose, envelope } => self.submitted(&key, purpose, envelope),
            RelayAction::Perform { key, .. } => self.performing.push(key),
            RelayAction::Cancel(key) => panic!("{key} is cancelled"),
        }
    }

    fn submitted(&mut self, key: &ReactionKey, purpose: Purpose, envelope: Box<CommandEnvelope>) {
        let answer = match (purpose, &self.answer) {
            (Purpose::Dispatch, Err(code)) => Err(Problem::new(503, code, "not now")),
            (Purpose::Dispatch, Ok(settled)) => {
                self.sent.push(key.clone());
                self.settled.insert(key.clone(), settled.clone());
                Ok(receipt(key, Some(settled.clone())))
            }
            (Purpose::Tell, _) => {
                let CommandBody::Kernel(KernelCommand::DispatchSettled { outcome, .. }) = &envelope.body else {
                    panic!("{envelope:?}")
                };
                self.told.push((key.clone(), outcome.clone()));
                Ok(receipt(key, None))
            }
            _ => Ok(receipt(key, None)),
        };
        if let CommandBody::Kernel(KernelCommand::EffectNote { note, .. }) = &envelope.body {
            self.note(note);
        }
        if let CommandBody::Kernel(KernelCommand::EffectSettled { outcome, .. }) = &envelope.body {
            self.outcomes.push(outcome.clone());
        }
        if answer.is_ok() && !matches!(purpose, Purpose::Start | Purpose::AttemptFailed) {
            self.done.insert(key.clone());
        }
        let actions = self.relay.submitted(key, purpose, envelope, answer, self.now);
        actions.into_iter().for_each(|action| self.act(action));
    }

    /// Notes of one effect, as the index keeps them.
    fn note(&mut self, note: &Settled) {
        match note {
            Settled::Started { attempt } => self.attempts.started = *attempt,
            Settled::AttemptFailed {
                attempt,
                code,
                detail,
                retry_at,
            } => {
                self.attempts.failed = Some(FailedAttempt {
                    attempt: *attempt,
                    code: code.clone(),
                    detail: detail.clone(),
                    retry_at: *retry_at,
                    time: self.now,
                });
            }
            _ => {}
        }
    }

    /// The node stops and starts: the log is all that is left.
    fn restart(&mut self) {
        self.relay = Relay::new(1, 8);
        self.performing.clear();
    }

    /// Ends an attempt in a way that another may mend.
    fn fail(&mut self, key: &ReactionKey, code: &str, retry_after_ms: Option<u64>) {
        self.performing.retain(|other| other != key);
        let end = AttemptEnd::Retryable {
            code: code.into(),
            detail: String::new(),
            retry_after_ms,
        };
        let actions = self.relay.performed(key, end, self.now);
        actions.into_iter().for_each(|action| self.act(action));
    }

    /// Ends an attempt.
    fn end(&mut self, key: &ReactionKey, outcome: Outcome) {
        self.performing.retain(|other| other != key);
        let actions = self.relay.performed(key, AttemptEnd::Done(outcome), self.now);
        actions.into_iter().for_each(|action| self.act(action));
    }
}

fn failed() -> Outcome {
    Outcome::Failed {
        code: "no".into(),
        detail: String::new(),
    }
}
