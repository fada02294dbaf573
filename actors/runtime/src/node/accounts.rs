//! Accounts of people: who registers, who logs in, and what they change of their own.

use super::{Admission, Node};
use crate::{
    accounts::{LogIn, LoggedIn, Password, Register},
    ingress,
    off_worker::off_worker,
    refusals::stopping,
};
use quipu_schemas::{
    envelope::{Receipt, Shown},
    ids::{CredentialId, EntityId, Home},
    problem::Problem,
};
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::atomic::Ordering;

/// `{"<word>": {…}}`.
pub(super) fn word(name: &str, fields: &impl Serialize) -> Result<Value, Problem> {
    let fields = serde_json::to_value(fields).map_err(|e| Problem::new(500, "command_unstorable", format!("{name}: {e}")))?;
    Ok(Value::Object(Map::from_iter([(name.to_owned(), fields)])))
}

fn not_ready() -> Problem {
    Problem::new(501, "not_ready", "this node does not do this yet")
}

impl Node {
    /// Tells a principal something in the node's own name: a word, or a command for it. Nothing that a client sends comes here
    /// unseen, and so nobody is asked for a right.
    pub(super) async fn tell(&self, home: &Home, said: Value, credential: Option<CredentialId>) -> Result<Receipt, Problem> {
        let core = &self.0.core;
        if core.stopping.load(Ordering::Acquire) {
            return Err(stopping());
        }
        let admission = Admission { core, bytes: 0 };
        let depth = core.waiting.fetch_add(1, Ordering::AcqRel);
        if depth >= self.0.config.queue_max {
            core.counters.overloaded.fetch_add(1, Ordering::Relaxed);
            return Err(Problem::new(429, "node_busy", format!("{depth} commands wait in this node")).retry_after(1));
        }
        // A person's first value makes their key, which is kept durably.
        let drawn = ingress::Drawn::fresh()?;
        let envelope = off_worker(|| ingress::told(home, said, &core.keys, &drawn, core.now(), credential))?;
        let answer = core.submit(envelope).await;
        drop(admission);
        answer
    }

    /// Whether somebody is who they say. `401 wrong_login` whatever was wrong, `401 totp_required` where a code is asked for,
    /// `429 login_slowed`, `503 login_busy`.
    pub async fn log_in(&self, _log_in: LogIn) -> Result<LoggedIn, Problem> {
        Err(not_ready())
    }

    /// Makes an account. `409 address_taken` where somebody has the address: a face that anybody may ask answers alike.
    pub async fn register(&self, _register: Register) -> Result<Home, Problem> {
        Err(not_ready())
    }

    /// Sets a password, whoever asks for it; every session ends where that is asked for.
    pub async fn set_password(&self, _home: &Home, _password: &Password, _ends_sessions: bool) -> Result<(), Problem> {
        Err(not_ready())
    }

    /// Sets another password for whoever knows the old one.
    pub async fn change_password(&self, _home: &Home, _old: &Password, _new: &Password) -> Result<(), Problem> {
        Err(not_ready())
    }

    /// Adds an address. `409 address_taken` where somebody has it.
    pub async fn add_address(&self, _home: &Home, _address: &str) -> Result<EntityId, Problem> {
        Err(not_ready())
    }

    /// Notes that an address is the person's.
    pub async fn verify_address(&self, _home: &Home, _address: &EntityId) -> Result<(), Problem> {
        Err(not_ready())
    }

    /// Takes an address away.
    pub async fn remove_address(&self, _home: &Home, _address: &EntityId) -> Result<(), Problem> {
        Err(not_ready())
    }

    /// Says whether a person operates the platform.
    pub async fn make_operator(&self, _home: &Home, _operator: bool) -> Result<(), Problem> {
        Err(not_ready())
    }

    /// Makes a secret for codes that follow from the time; it is shown this once, in base 32.
    pub async fn enrol_totp(&self, _home: &Home) -> Result<Shown, Problem> {
        Err(not_ready())
    }

    /// Takes the first code of it, and answers with recovery codes, which are shown this once.
    pub async fn confirm_totp(&self, _home: &Home, _code: &Password) -> Result<Vec<Shown>, Problem> {
        Err(not_ready())
    }
}
