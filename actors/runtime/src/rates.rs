//! How many requests are let through: what orgs say of it, and what has come, counted by the node that owns the org.
//!
//! Counts are in memory. They begin anew with the owner: after a restart, or when the org's partition changes hands.

use crate::kernel::limiter::{Limiter, Refused, Standing};
use parking_lot::Mutex;
use quipu_schemas::{
    ids::{Kind, OrgId, StreamId},
    limits,
    problem::Problem,
    quota::{Rate, RateBy},
    record::{self, Record},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// Where a node takes what others ask of an org's rates, below its address.
pub const RATES_PATH: &str = "/internal/v1/rates";

/// By what one request is counted.
type Counted = (OrgId, RateBy, String);

/// Whoever sends a request to an org.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Asking {
    /// The org.
    pub org: OrgId,
    /// The credential that was shown.
    pub credential: String,
    /// As whom they act.
    pub principal: String,
}

/// What became of a request at an org's rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Whether it is let through.
    pub passes: bool,
    /// By what it was counted: of several rates the one that is used up, or nearest to it.
    pub by: RateBy,
    /// How many are let through.
    pub requests: u32,
    /// In how long.
    pub per_seconds: u32,
    /// How many more would be.
    pub remaining: u32,
    /// Milliseconds until one more is.
    pub reset_ms: u64,
}

impl Taken {
    fn new(passes: bool, by: RateBy, standing: Standing) -> Self {
        Self {
            passes,
            by,
            requests: standing.rate.requests,
            per_seconds: standing.rate.per_seconds,
            remaining: standing.remaining,
            reset_ms: standing.reset_ms,
        }
    }
}

/// The rates of one org.
pub(crate) type OrgRates = BTreeMap<RateBy, Rate>;

#[derive(Default)]
struct Book {
    /// Rises with each change that may concern what is read meanwhile.
    changes: u64,
    known: BTreeMap<OrgId, Arc<OrgRates>>,
}

/// What this node knows of rates, and what it counts.
pub(crate) struct Rates {
    book: Mutex<Book>,
    limiter: Mutex<Limiter<Counted>>,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            book: Mutex::default(),
            limiter: Mutex::new(Limiter::new(limits::RATE_KEYS_MAX, limits::RATE_ENTRIES_MAX)),
        }
    }
}

impl Rates {
    /// A record is durable, and in the index: what it changes is read again.
    pub(crate) fn heard(&self, record: &Record) {
        let is_about = |name: &str| name.starts_with("quipu.quota.rate_");
        if record.header.stream.kind == Kind::QUOTA && record.events.iter().any(|event| is_about(&event.name)) {
            self.forget(&record.header.stream.org);
        }
    }

    /// The same of a record that was followed.
    pub(crate) fn followed(&self, stream: &StreamId, bytes: &[u8]) {
        if stream.kind != Kind::QUOTA {
            return;
        }
        match record::decode(bytes) {
            Ok(record) => self.heard(&record),
            Err(_) => self.forget(&stream.org),
        }
    }

    /// Something was read that did not all come here.
    pub(crate) fn read_further(&self) {
        let mut book = self.book.lock();
        book.changes += 1;
        book.known.clear();
    }

    /// An org's rates, as far as they are known; otherwise what [`Rates::keep`] must be told.
    pub(crate) fn known(&self, org: &OrgId) -> Result<Arc<OrgRates>, u64> {
        let book = self.book.lock();
        book.known.get(org).cloned().ok_or(book.changes)
    }

    /// Keeps what was read. What changed meanwhile is read again by whoever comes next.
    pub(crate) fn keep(&self, org: &OrgId, rates: Arc<OrgRates>, changes: u64) {
        let mut book = self.book.lock();
        if book.changes != changes {
            return;
        }
        if book.known.len() >= limits::RATE_ORGS_MAX {
            book.known.clear();
        }
        book.known.insert(org.clone(), rates);
    }

    /// Counts a request at these rates; `now` is elapsed time in milliseconds.
    pub(crate) fn take(&self, rates: &OrgRates, asking: &Asking, now: u64) -> Result<Option<Taken>, Problem> {
        let name = |by: &RateBy| match by {
            RateBy::Credential => asking.credential.clone(),
            RateBy::Principal => asking.principal.clone(),
            RateBy::Org => String::new(),
        };
        let asked: Vec<_> = rates
            .iter()
            .map(|(by, rate)| ((asking.org.clone(), *by, name(by)), *rate))
            .collect();
        let by = |at: usize| asked[at].0.1;
        match self.limiter.lock().take(&asked, now) {
            Ok(standings) => {
                let nearest = standings.into_iter().enumerate().min_by_key(|(_, standing)| standing.remaining);
                Ok(nearest.map(|(at, standing)| Taken::new(true, by(at), standing)))
            }
            Err(Refused::Rate(at, standing)) => Ok(Some(Taken::new(false, by(at), standing))),
            Err(Refused::NoRoom) => Err(unknown("this node counts for as many as it can")),
        }
    }

    fn forget(&self, org: &OrgId) {
        let mut book = self.book.lock();
        book.changes += 1;
        book.known.remove(org);
    }
}

/// What the decision needs cannot be known now.
pub(crate) fn unknown(why: impl std::fmt::Display) -> Problem {
    Problem::new(
        503,
        "rate_unknown",
        format!("whether the org's rates let this through is not known: {why}"),
    )
    .fix("try again")
    .retry_after(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quipu_schemas::{
        digest::Digest,
        envelope::DataClass,
        ids::{CommandId, PrincipalId},
        record::{Header, StoredEvent},
    };

    fn record(stream: &str, name: &str) -> Record {
        Record {
            header: Header {
                stream: stream.parse().unwrap(),
                first_version: 1,
                events: 1,
                reactions: 0,
                command_id: CommandId::from_static("c"),
                digest: Digest::ZERO,
                time: 1,
                principal: PrincipalId::BOOTSTRAP,
                on_behalf_of: None,
                home: None,
                credential: None,
                acts_as: None,
                environment: None,
                data_class: DataClass::None,
                authority: 0,
                correlation: None,
                causation: None,
                traceparent: None,
                schema: 1,
                settlement: None,
                names: Vec::new(),
            },
            events: vec![StoredEvent {
                name: name.to_owned(),
                data: serde_json::value::RawValue::from_string("{}".into()).unwrap(),
            }],
            reactions: vec![],
            previous: Digest::ZERO,
            hash: Digest::ZERO,
        }
    }

    #[test]
    fn a_node_without_room_to_count_lets_nothing_through() {
        let rates = Rates {
            limiter: Mutex::new(Limiter::new(1, 1)),
            ..Rates::default()
        };
        let one = OrgRates::from([(
            RateBy::Principal,
            Rate {
                requests: 9,
                per_seconds: 1,
            },
        )]);
        let asking = |principal: &str| Asking {
            org: OrgId::from_static("acme"),
            credential: "k".into(),
            principal: principal.into(),
        };
        let taken = rates.take(&one, &asking("ada"), 1).unwrap().unwrap();
        assert!(taken.passes && taken.remaining == 8, "{taken:?}");
        let problem = rates.take(&one, &asking("bob"), 2).unwrap_err();
        assert_eq!((problem.status, problem.code.as_str()), (503, "rate_unknown"));
        assert_eq!(
            rates.take(&OrgRates::new(), &asking("bob"), 3).unwrap(),
            None,
            "without rates nothing is counted"
        );
    }

    #[test]
    fn only_changed_rates_are_read_again() {
        let rates = Rates::default();
        let acme = OrgId::from_static("acme");
        let keep = || rates.book.lock().known.insert(acme.clone(), Arc::default());
        let is_known = || rates.book.lock().known.contains_key(&acme);
        keep();
        for (stream, name) in [
            ("acme/quota/all", "quipu.quota.reserved.v1"),
            ("beta/quota/all", "quipu.quota.rate_set.v1"),
            ("acme/run/r", "quipu.quota.rate_set.v1"),
        ] {
            rates.heard(&record(stream, name));
            assert!(is_known(), "{stream} {name}");
        }
        for name in ["quipu.quota.rate_set.v1", "quipu.quota.rate_removed.v1"] {
            rates.heard(&record("acme/quota/all", name));
            assert!(!is_known(), "{name}");
            keep();
        }
        rates.followed(&"acme/quota/all".parse().unwrap(), b"nothing that can be read");
        assert!(!is_known());
        keep();
        rates.read_further();
        assert!(!is_known());
    }
}
