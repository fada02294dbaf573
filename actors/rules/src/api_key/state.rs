//! State of an API key, and whether what somebody shows opens it.

use quipu_schemas::{constant_time::is_equal, context::Millis, digest::Digest, ids::PrincipalId, network::Network, rights::Pattern};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// State of a key.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApiKeyState {
    /// Not made.
    #[default]
    Missing,
    /// Opens what it is for, until its time is over.
    Active(Key),
    /// Opens nothing any more.
    Revoked {
        /// The key as it was.
        key: Key,
        /// Why.
        reason: String,
        /// Whether what it caused and is not done ends with it.
        cascade: bool,
    },
    /// Its time is over.
    Expired(Key),
}

/// A key that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Key {
    /// Display name.
    pub name: String,
    /// Who acts by it.
    pub principal: PrincipalId,
    /// What it may be used for at most; everything that its principal may where there are none.
    pub scopes: Vec<Pattern>,
    /// The networks that it may come from; any where there are none.
    pub networks: Vec<Network>,
    /// Its lifetime, which begins again when it is rotated.
    pub lifetime_days: u32,
    /// When it ends, by itself; the moment itself is outside.
    pub expires_at: Millis,
    /// Keyed hash of its text, or Argon2id of that.
    pub hash: Digest,
    /// Whether it is Argon2id of that.
    pub argon2id: bool,
    /// The secret before the last rotation.
    pub old: Option<OldSecret>,
    /// Who else than its principal has seen a text that opens it.
    pub made_by: Option<PrincipalId>,
}

/// What somebody shows: the keyed hash of the text, and Argon2id of that where it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    /// The keyed hash.
    pub hash: [u8; 32],
    /// Argon2id of it.
    pub argon2id: Option<[u8; 32]>,
}

impl From<&[u8; 32]> for Tried {
    fn from(hash: &[u8; 32]) -> Self {
        Self {
            hash: *hash,
            argon2id: None,
        }
    }
}

impl Tried {
    /// Whether this is kept of what was shown.
    fn is(&self, hash: &Digest, argon2id: bool) -> bool {
        let shown = if argon2id { self.argon2id } else { Some(self.hash) };
        shown.is_some_and(|shown| is_equal(&hash.0, &shown))
    }
}

/// A secret that still opens for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OldSecret {
    /// Keyed hash of the text with it, or Argon2id of that.
    pub hash: Digest,
    /// Whether it is Argon2id of that.
    pub argon2id: bool,
    /// Until when; the moment itself is outside.
    pub until: Millis,
}

/// Why a key opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// There is none.
    #[error("no such key exists")]
    Missing,
    /// It was revoked.
    #[error("the key was revoked")]
    Revoked,
    /// Its time is over.
    #[error("the key has expired")]
    Expired,
    /// The secret is another one, or the time of the old one is over.
    #[error("the secret is not the key's")]
    WrongSecret,
}

impl ApiKeyState {
    /// The key, whether or not it opens anything.
    pub fn key(&self) -> Option<&Key> {
        match self {
            Self::Missing => None,
            Self::Active(key) | Self::Expired(key) | Self::Revoked { key, .. } => Some(key),
        }
    }

    /// Who else than its principal has seen a text that opens it.
    pub fn made_by(&self) -> Option<&PrincipalId> {
        self.key().and_then(|key| key.made_by.as_ref())
    }

    /// Who acts by it.
    pub fn principal(&self) -> Option<&PrincipalId> {
        self.key().map(|key| &key.principal)
    }

    /// What it may be used for at most; everything that its principal may where there are none.
    pub fn scopes(&self) -> &[Pattern] {
        self.key().map_or(&[], |key| &key.scopes)
    }

    /// The networks that it may come from; any where there are none.
    pub fn networks(&self) -> &[Network] {
        self.key().map_or(&[], |key| &key.networks)
    }

    /// Whether it opens anything now, whoever shows it.
    pub fn check(&self, now: Millis) -> Result<(), Ended> {
        match self {
            Self::Missing => Err(Ended::Missing),
            Self::Revoked { .. } => Err(Ended::Revoked),
            Self::Expired(_) => Err(Ended::Expired),
            // The clock decides: the event that notes the end may come later.
            Self::Active(key) if now >= key.expires_at => Err(Ended::Expired),
            Self::Active(_) => Ok(()),
        }
    }

    /// Whether what is shown has to be hashed by Argon2id before it can be compared.
    pub fn takes_argon2id(&self) -> bool {
        self.key()
            .is_some_and(|key| key.argon2id || key.old.as_ref().is_some_and(|old| old.argon2id))
    }

    /// Whether what is shown is its newest text, whatever became of it.
    pub fn is_text(&self, tried: &Tried) -> bool {
        self.key().is_some_and(|key| tried.is(&key.hash, key.argon2id))
    }

    /// Whether what is shown opens it now. How long the comparison takes says nothing about the hash.
    pub fn verify(&self, tried: impl Into<Tried>, now: Millis) -> Result<(), Ended> {
        self.check(now)?;
        let (key, tried) = (self.key().ok_or(Ended::Missing)?, tried.into());
        let is_current = tried.is(&key.hash, key.argon2id);
        let is_old = key
            .old
            .as_ref()
            .is_some_and(|old| tried.is(&old.hash, old.argon2id) && now < old.until);
        if is_current || is_old { Ok(()) } else { Err(Ended::WrongSecret) }
    }
}
