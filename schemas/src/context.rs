//! What `decide` may look at besides the state and the command. Everything here came in with the command.

use crate::{
    ids::{CommandId, CredentialId, PrincipalId, StreamId, type_id},
    personal::{Made, Opened, Opener, SealError, SecretValue, WithMade, value},
    role::Role,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
};

pub use crate::personal::Keys;

/// Milliseconds since the Unix epoch.
pub type Millis = u64;

/// What the actor is allowed, resolved by the partition's owner just before `decide`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Authority {
    /// Whether the actor holds the platform's own right (bootstrap without `on_behalf_of`, or the kernel).
    pub platform: bool,
    /// The actor's role in the org, if a member.
    pub role: Option<Role>,
    /// Whether the actor's own rights in the org, by role or grant, hold the capability of this command.
    pub permitted: bool,
    /// Version of the org's stream that this was read at (0: the org does not exist).
    pub org_version: u64,
    /// Whether the org is suspended.
    pub org_suspended: bool,
    /// The entity whose stored reaction sent this command, where one did. Its cause's principal is the actor;
    /// rules that trust the sending entity itself (a turn's own run) compare this.
    pub dispatched_by: Option<StreamId>,
    /// Whether it came by a credential that opens less than its principal may: such a one hands no rights on.
    #[serde(default)]
    pub narrowed: bool,
    /// Whether somebody else acts by the actor's session: it was made for them.
    #[serde(default)]
    pub through: bool,
    /// Whether the actor is known to be an agent or a service.
    #[serde(default)]
    pub automaton: bool,
    /// Who answers for the actor, where it is one.
    #[serde(default)]
    pub owner: Option<PrincipalId>,
    /// Whether everybody of the chain, and the credential, hold `cap:{kind}.manage`, where the entity's kind has such a capability.
    #[serde(default)]
    pub manages: bool,
    /// Who acts by the actor's session for them, the nearest first.
    #[serde(default)]
    pub acting: Vec<PrincipalId>,
}

/// The context of one decision.
pub struct Context<'a> {
    /// The owner's clock: due times count from here. For a timer that fired, never before it was due. The record's own time
    /// may be later: it is never before the stream's last record, which may have been written while a clock was ahead.
    pub now: Millis,
    /// The entity.
    pub stream: &'a StreamId,
    /// The command's identity.
    pub command_id: &'a CommandId,
    /// Keyed digest of the command as sent; equal bodies have equal digests.
    pub command_digest: crate::digest::Digest,
    /// Who sent it.
    pub principal: &'a PrincipalId,
    /// For whom.
    pub on_behalf_of: Option<&'a PrincipalId>,
    /// The credential that the sender showed.
    pub credential: Option<&'a CredentialId>,
    /// What they may.
    pub authority: &'a Authority,
    /// Stream version that the decision is taken at.
    pub version: u64,
    /// Entropy that came in with the command; ids are minted from it.
    pub seed: u128,
    /// Opens personal data (never available to `evolve` or `react`).
    pub opener: &'a dyn Opener,
    /// Ids minted so far.
    pub minted: Cell<u32>,
    /// Values made so far that are too large for the record.
    pub made: Made,
    /// What was looked up for the decision because the state has forgotten it: for each name the events that gave it, oldest first,
    /// as `{"type": …, "data": …}`. A name without events was never given; one that is missing was not looked up.
    pub recalled: &'a BTreeMap<String, Vec<Value>>,
}

impl Context<'_> {
    /// The acting principal: `on_behalf_of`, else the sender.
    pub fn actor(&self) -> &PrincipalId {
        self.on_behalf_of.unwrap_or(self.principal)
    }

    /// Who sent the command, where that was somebody on behalf of the actor.
    pub fn sender(&self) -> Option<PrincipalId> {
        self.on_behalf_of.map(|_| self.principal.clone())
    }

    /// Whether the actor holds at least `role`.
    pub fn at_least(&self, role: Role) -> bool {
        self.authority.platform || self.authority.role.is_some_and(|held| held >= role)
    }

    /// Whether the actor holds the right to this command, by role or by a grant; its kind says which roles hold it.
    pub fn may(&self) -> bool {
        self.authority.platform || self.authority.permitted
    }

    /// Whether entities of this kind are managed by whoever acts.
    pub fn manages(&self) -> bool {
        self.authority.platform || self.authority.manages
    }

    /// The next id of this decision: a TypeID whose UUIDv7 carries the clock's time and the command's seed.
    pub fn mint(&self, prefix: &str) -> String {
        let n = self.minted.get();
        self.minted.set(n + 1);
        type_id(prefix, uuid_v7(self.now, self.seed, n))
    }

    /// Seals a value that the decision made, in its stored form; a large one leaves beside the events ([`Context::made`]).
    pub fn seal(&self, value: &Value, subject: &str) -> Result<Value, SealError> {
        self.of_this_decision(|origin| self.made.seal(value, subject, self.opener, origin))
    }

    /// Seals a secret that came with the command under a key of its entity's own, which there must be.
    pub fn seal_secret(&self, secret: &SecretValue, subject: &str) -> Result<SecretValue, SealError> {
        self.of_this_decision(|origin| self.made.seal_secret(secret, subject, self.opener, origin))
    }

    /// What tells this decision from every other one.
    fn of_this_decision<T>(&self, seal: impl FnOnce(&[&[u8]]) -> T) -> T {
        let stream = self.stream.to_string();
        seal(&[
            stream.as_bytes(),
            self.command_id.as_str().as_bytes(),
            &self.version.to_le_bytes(),
            &self.now.to_le_bytes(),
            &self.seed.to_le_bytes(),
        ])
    }

    /// A sealed value moved out of the record, by its name; any other as it is.
    pub fn move_out(&self, value: &Value) -> Value {
        self.made.move_out(value, self.opener)
    }

    /// Opens a value with all its parts, in place; says whose they were. An erased part is an error.
    pub fn open(&self, value: &mut Value, whose: &mut BTreeSet<String>) -> Result<(), SealError> {
        value::open_whole(value, &self.looking(), whose)
    }

    /// Opens one sealed value.
    pub fn open_one(&self, sealed: &value::Sealed<'_>) -> Result<Opened<Value>, SealError> {
        sealed.open(&self.looking())
    }

    fn looking(&self) -> WithMade<'_> {
        WithMade {
            opener: self.opener,
            made: &self.made,
        }
    }
}

/// A UUIDv7 (RFC 9562 §5.7) from a time and derived randomness.
pub fn uuid_v7(now: Millis, seed: u128, n: u32) -> u128 {
    let mut hasher = Sha256::new();
    hasher.update(seed.to_be_bytes());
    hasher.update(n.to_be_bytes());
    let hash: [u8; 32] = hasher.finalize().into();
    let random = u128::from_be_bytes(hash[..16].try_into().expect("16 bytes"));
    let time = u128::from(now & 0xffff_ffff_ffff) << 80;
    let rand_a = ((random >> 64) & 0xfff) << 64;
    let rand_b = random & 0x3fff_ffff_ffff_ffff;
    time | (0x7 << 76) | rand_a | (0b10 << 62) | rand_b
}

/// An opener that has no keys: everything reads as erased. For tests of rules that never open.
pub struct NoKeys;
impl Opener for NoKeys {
    fn opening_key(&self, _: &str) -> Result<Option<crate::personal::DataKey>, SealError> {
        Ok(None)
    }
}
