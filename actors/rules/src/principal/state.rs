//! State of a principal.

use super::sessions::keys_of;
use quipu_kinds::principal::{Address, Code, CodeAsked, DeviceLogin, DeviceRequest, PrincipalType, SessionStart};
use quipu_schemas::{
    context::Millis,
    digest::Digest,
    ids::{EntityId, PrincipalId},
    jwk::PublicJwk,
    personal::Personal,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// State of a principal.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalState {
    /// Nobody.
    #[default]
    Missing,
    /// Acts.
    Active(Account),
    /// Does nothing until resumed; its sessions open nothing meanwhile.
    Suspended {
        /// The principal as it was.
        account: Account,
        /// Why.
        reason: String,
    },
    /// Gone for good, with all that it could show.
    Retired {
        /// What it was.
        kind: PrincipalType,
        /// Why.
        reason: String,
    },
    /// Nobody yet: a device that waits for a person to let it in as themselves.
    Device(Box<Device>),
}

/// A device that waits, or has waited, for a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Device {
    /// What it asks for.
    pub request: DeviceRequest,
    /// Until when; the moment itself is outside.
    pub expires_at: Millis,
    /// How it stands.
    pub phase: DevicePhase,
}

/// How a device stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DevicePhase {
    /// Nobody has answered.
    Waiting,
    /// Somebody let it in.
    Allowed {
        /// Who.
        login: DeviceLogin,
        /// Their session that waits for it; of an answer to an earlier release there is none.
        session: Option<EntityId>,
    },
    /// Somebody did not.
    Refused,
    /// It has its session.
    Taken,
}

/// A principal with what it can show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// Who it is.
    pub who: Who,
    /// Public keys by whose signatures it proves who it is, by their thumbprints.
    pub public_keys: BTreeMap<String, PublicJwk>,
    /// Sessions that have not ended, the oldest first. The clock may have passed some.
    pub sessions: Vec<Session>,
}

/// Who a principal is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// A human being.
    Person(Box<Person>),
    /// An agent of an org.
    Agent(Owned),
    /// A program of an org.
    Service(Owned),
}

/// What is known of a person.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Person {
    /// Their name.
    pub name: Option<Personal<String>>,
    /// The Argon2id hash of their password, a PHC string.
    pub password: Option<String>,
    /// Their addresses, the oldest first.
    pub addresses: Vec<Address>,
    /// Codes that follow from the time.
    pub totp: Totp,
    /// Keyed hashes of the recovery codes that were not used.
    pub recovery: Vec<Digest>,
    /// Whether they operate the platform.
    pub operator: bool,
    /// Codes of letters that were not used: one for each purpose and address. The clock may have passed some.
    pub codes: Vec<CodeAsked>,
}

/// Codes that follow from the time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Totp {
    /// Not asked for.
    #[default]
    Off,
    /// A secret was made, and no code was shown yet.
    Enrolled(Personal<String>),
    /// Asked for at each login.
    On {
        /// The secret.
        secret: Personal<String>,
        /// The interval of the last code that was used.
        last_step: u64,
        /// The secret that replaces it, once a code of that was shown.
        next: Option<Personal<String>>,
    },
}

/// What is known of an agent or a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Owned {
    /// Display name.
    pub name: String,
    /// Who answers for it.
    pub owner: PrincipalId,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// What it is from its beginning.
    pub start: SessionStart,
    /// When it ends, by itself; the moment itself is outside.
    pub expires_at: Millis,
    /// How it stands.
    pub phase: Phase,
}

/// How a session stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It opens nothing before its code was shown.
    Pending {
        /// The code.
        code: Code,
        /// Until when; the moment itself is outside.
        until: Millis,
    },
    /// It opens what it is for.
    Live {
        /// Its refresh token, where it has one.
        refresh: Option<Refresh>,
        /// The code by which it was opened: whoever shows it again ends the session.
        spent: Option<Digest>,
    },
}

/// The refresh token of a session. All that it had form one family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Refresh {
    /// Keyed hash of the one that counts. Whoever shows an earlier one ends the session.
    pub hash: Digest,
    /// How many came before.
    pub generation: u32,
}

impl Totp {
    /// The secret of which no code was shown yet.
    pub fn waiting(&self) -> Option<&Personal<String>> {
        match self {
            Self::Off => None,
            Self::Enrolled(secret) => Some(secret),
            Self::On { next, .. } => next.as_ref(),
        }
    }
}

impl PrincipalState {
    /// What it is; `None` where nobody is there.
    pub fn kind(&self) -> Option<PrincipalType> {
        match self {
            Self::Missing | Self::Device(_) => None,
            Self::Active(account) | Self::Suspended { account, .. } => Some(account.who.kind()),
            Self::Retired { kind, .. } => Some(*kind),
        }
    }

    /// The principal, unless it is gone or nobody is there.
    pub fn account(&self) -> Option<&Account> {
        match self {
            Self::Active(account) | Self::Suspended { account, .. } => Some(account),
            Self::Missing | Self::Retired { .. } | Self::Device(_) => None,
        }
    }

    pub(super) fn account_mut(&mut self) -> Option<&mut Account> {
        match self {
            Self::Active(account) | Self::Suspended { account, .. } => Some(account),
            Self::Missing | Self::Retired { .. } | Self::Device(_) => None,
        }
    }

    /// The device, where it is one.
    pub fn device(&self) -> Option<&Device> {
        match self {
            Self::Device(device) => Some(device),
            Self::Missing | Self::Active(_) | Self::Suspended { .. } | Self::Retired { .. } => None,
        }
    }

    /// What is known of a person.
    pub fn person(&self) -> Option<&Person> {
        match &self.account()?.who {
            Who::Person(person) => Some(person),
            Who::Agent(_) | Who::Service(_) => None,
        }
    }
}

impl Account {
    pub(super) fn new(who: Who) -> Self {
        Self {
            who,
            public_keys: BTreeMap::new(),
            sessions: Vec::new(),
        }
    }

    /// A session that has not ended by its event; the clock is to be asked.
    pub fn session(&self, id: &EntityId) -> Option<&Session> {
        self.sessions.iter().find(|session| session.start.id == *id)
    }

    /// When the next session ends by itself.
    pub fn next_end(&self) -> Option<Millis> {
        self.sessions.iter().map(Session::ends_at).min()
    }
}

impl Who {
    /// What it is.
    pub fn kind(&self) -> PrincipalType {
        match self {
            Self::Person(_) => PrincipalType::Person,
            Self::Agent(_) => PrincipalType::Agent,
            Self::Service(_) => PrincipalType::Service,
        }
    }
}

impl Session {
    /// When it ends by itself, as it stands now.
    pub fn ends_at(&self) -> Millis {
        match &self.phase {
            Phase::Pending { until, .. } => self.expires_at.min(*until),
            Phase::Live { .. } => self.expires_at,
        }
    }

    /// Whether its code was not shown yet.
    pub fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Pending { .. })
    }

    /// Whether it opens anything now.
    pub fn is_live(&self, now: Millis) -> bool {
        matches!(self.phase, Phase::Live { .. }) && now < self.expires_at
    }

    /// Whether one that was begun like this is the same for whoever uses it.
    pub fn is_like(&self, start: &SessionStart) -> bool {
        let own = &self.start;
        own.client.is_some()
            && own.client == start.client
            && own.scope == start.scope
            && own.audience == start.audience
            && own.act == start.act
            && keys_of(&own.amr).eq(keys_of(&start.amr))
            && own.parent == start.parent
            && matches!(self.phase, Phase::Live { refresh: None, .. })
    }
}
