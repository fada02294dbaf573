//! Accounts and sessions as faces speak of them: what is asked of [`crate::node::Node`], and what it answers.

pub mod addresses;
mod book;
mod codes;
pub mod guessing;
pub mod passwords;
mod polls;
mod slow_keys;

use book::AddressBook;
#[cfg(test)]
pub(crate) use codes::code_of as code_at;
pub(crate) use codes::{Codes, RECOVERY_CODES, fresh_secret, is_from_time, step_of};
use guessing::Guessing;
use parking_lot::Mutex;
use passwords::Passwords;
pub(crate) use polls::Polls;
use quipu_kinds::principal::SessionParent;
pub use quipu_rules::principal::{Device, method_of_key};
use quipu_schemas::{
    context::Millis,
    envelope::Shown,
    ids::{EntityId, Home},
    limits::RESETS_WAITING_MAX,
    problem::Problem,
    rights::Pattern,
};
use slow_keys::SlowKeys;
use std::{net::IpAddr, sync::Arc};
use tokio::sync::Semaphore;

/// What is kept of API keys that are made from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyHash {
    /// Their keyed hash.
    #[default]
    Hmac,
    /// Argon2id of that.
    Argon2id,
}

/// What somebody typed to prove who they are. It stands in no log and in no error.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// As it was typed.
    pub fn new(typed: impl Into<String>) -> Self {
        Self(typed.into())
    }

    /// As it was typed.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Who logs in, as they say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhoLogsIn {
    /// Whoever has this address.
    Address(String),
    /// The person with this id.
    Person(Home),
}

/// A person logs in.
#[derive(Debug, Clone)]
pub struct LogIn {
    /// Who.
    pub who: WhoLogsIn,
    /// Their password.
    pub password: Password,
    /// The code that follows from the time, or a recovery code.
    pub code: Option<Password>,
    /// From where, as far as it is known.
    pub from: Option<IpAddr>,
}

/// Somebody who has proved who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// Who.
    pub home: Home,
    /// How, in the words of RFC 8176.
    pub amr: Vec<String>,
    /// When.
    pub auth_time: Millis,
}

/// A person gets an account.
#[derive(Debug, Clone, Default)]
pub struct Register {
    /// Their name.
    pub name: Option<String>,
    /// Their address.
    pub address: Option<String>,
    /// Their password.
    pub password: Option<Password>,
}

/// What is known of a person, opened for them.
#[derive(Debug, Clone)]
pub struct AboutPerson {
    /// Their name.
    pub name: Option<String>,
    /// Their addresses, the oldest first.
    pub addresses: Vec<OwnAddress>,
    /// Whether there is a password.
    pub has_password: bool,
    /// Whether a code is asked for at login.
    pub has_totp: bool,
    /// How many recovery codes were not used.
    pub recovery_codes: usize,
}

/// An address of a person.
#[derive(Debug, Clone)]
pub struct OwnAddress {
    /// Its id.
    pub id: EntityId,
    /// The address.
    pub address: String,
    /// Whether they were seen to have it.
    pub verified: bool,
}

/// A session that is to begin.
#[derive(Debug, Clone, Default)]
pub struct NewSession {
    /// The client that it is begun by.
    pub client: Option<String>,
    /// What it may be used for at most, of what its principal may; everything where there is nothing.
    pub scope: Vec<Pattern>,
    /// Whom its tokens are for, where that is not this node's own API.
    pub audience: Option<String>,
    /// How its principal has proved who they are, in the words of RFC 8176.
    pub amr: Vec<String>,
    /// When they had.
    pub auth_time: Millis,
    /// Who acts by it for the principal, the nearest first.
    pub act: Vec<Home>,
    /// The session that it is made from: it ends with that, and opens no more.
    pub parent: Option<SessionParent>,
    /// How long it lives, milliseconds.
    pub lifetime_ms: u64,
    /// Whether it gets a refresh token.
    pub refresh: bool,
    /// What it waits for; it is open at once where there is nothing.
    pub code: Option<CodeOf>,
}

/// For whom the code of a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeOf {
    /// The S256 challenge of RFC 7636.
    pub challenge: String,
    /// Where the client is sent with the code.
    pub redirect_uri: String,
}

/// A device that asks for a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDevice {
    /// The client that runs on it.
    pub client: String,
    /// What its session shall be cut to; everything where there is nothing.
    pub scope: Vec<Pattern>,
    /// Whom its tokens are for, where that is not this node's own API.
    pub audience: Option<String>,
    /// The network that it asks from, as people read it.
    pub network: Option<String>,
}

/// A device that has asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedDevice {
    /// What a person types elsewhere.
    pub user_code: String,
    /// What the device shows to get its session.
    pub device_code: Shown,
    /// Until when it waits.
    pub expires_at: Millis,
}

/// How a device stands that shows its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceStands {
    /// Nobody has answered yet.
    Waiting,
    /// It asks too often.
    TooSoon,
    /// Somebody refused it.
    Refused,
    /// Its time is over, or it has its session.
    Over,
    /// Somebody let it in: it gets this session.
    Allowed(Box<(Home, StartedSession)>),
}

/// A session that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartedSession {
    /// Its id.
    pub id: EntityId,
    /// When it ends, by itself.
    pub expires_at: Millis,
    /// Its refresh token, shown this once.
    pub refresh: Option<Shown>,
    /// The code that opens it, shown this once.
    pub code: Option<Shown>,
}

/// What a node has for accounts besides what it knows of principals.
pub(crate) struct Accounts {
    pub(crate) passwords: Arc<Passwords>,
    pub(crate) guessing: Mutex<Guessing>,
    pub(crate) book: AddressBook,
    pub(crate) codes: Codes,
    pub(crate) polls: Mutex<Polls>,
    /// People who have lost their password are looked for behind the answer, so many at a time.
    pub(crate) resets: Arc<Semaphore>,
    pub(crate) slow_keys: SlowKeys,
}

impl Accounts {
    /// One core is left to everything else.
    pub(crate) fn new(digest_key: &[u8; 32]) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            passwords: Arc::new(Passwords::new(digest_key, cores.saturating_sub(1))),
            guessing: Mutex::default(),
            book: AddressBook::default(),
            codes: Codes::new(digest_key),
            polls: Mutex::default(),
            resets: Arc::new(Semaphore::new(RESETS_WAITING_MAX)),
            slow_keys: SlowKeys::default(),
        }
    }
}

pub(crate) fn refused_grant() -> Problem {
    Problem::new(403, "grant_refused", "what was shown opens no session").fix("log in again")
}
