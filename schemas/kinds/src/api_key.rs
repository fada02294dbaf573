//! Words of an API key: a credential of one principal in one org. Its secret stands in none of them.

use quipu_schemas::{context::Millis, digest::Digest, ids::PrincipalId, network::Network, rights::Pattern};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What clients may send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApiKeyCommand {
    /// Makes a key; the answer shows its text, once.
    Create(CreateApiKey),
    /// Gives the key another secret, and a whole lifetime; the answer shows its new text, once.
    Rotate(RotateApiKey),
    /// Ends the key for good.
    Revoke(RevokeApiKey),
}

/// What the kernel sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApiKeyWord {
    /// The key's time may be over.
    Expire(ExpireApiKey),
}

/// Makes a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApiKey {
    /// Display name, 1 to 200 characters. Stored unencrypted: no personal data.
    pub name: String,
    /// Who acts by it; the actor unless given. A key for somebody else takes an owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<PrincipalId>,
    /// What it may be used for at most, of what its principal may; everything where there are none. At most 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<Pattern>,
    /// The networks that it may come from; any where there are none. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
    /// How long it lives, 1 to 366 days; 90 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_days: Option<u32>,
    /// Keyed hash of its text. Made where the command enters, never by a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub hash: Option<Digest>,
    /// Whether that is Argon2id of the keyed hash. Said where the command enters, never by a client.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(skip)]
    pub argon2id: bool,
}

/// Gives a key another secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateApiKey {
    /// How long the old secret still opens, 0 to 24 hours; it ends at once unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_hours: Option<u32>,
    /// Keyed hash of its new text. Made where the command enters, never by a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub hash: Option<Digest>,
    /// Whether that is Argon2id of the keyed hash. Said where the command enters, never by a client.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(skip)]
    pub argon2id: bool,
}

/// Ends a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeApiKey {
    /// Why, for the audit. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
    /// Whether what it caused and is not done ends with it: effects that have not left, and runs at their next step. Also later than
    /// the key itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cascade: bool,
}

/// Notes that a key's time is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpireApiKey {}

/// What happened to a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum ApiKeyEvent {
    /// The key exists.
    #[serde(rename = "quipu.api-key.created.v1")]
    Created {
        /// The key's display name. Stored unencrypted: no personal data.
        name: String,
        /// Who acts by it.
        principal: PrincipalId,
        /// What it may be used for at most; everything where there are none.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        scopes: Vec<Pattern>,
        /// The networks that it may come from; any where there are none.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        networks: Vec<Network>,
        /// Its lifetime, which begins again when it is rotated.
        lifetime_days: u32,
        /// When it ends, by itself.
        expires_at: Millis,
        /// Keyed hash of its text.
        hash: Digest,
        /// Whether that is Argon2id of the keyed hash.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        argon2id: bool,
        /// Who made it, where others than its principal may have seen its text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        made_by: Option<PrincipalId>,
    },
    /// It has another secret.
    #[serde(rename = "quipu.api-key.rotated.v1")]
    Rotated {
        /// Keyed hash of its text from here on.
        hash: Digest,
        /// Whether that is Argon2id of the keyed hash.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        argon2id: bool,
        /// Until when the old one opens as well; not at all where it says nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old_until: Option<Millis>,
        /// When it ends, by itself, from here on.
        expires_at: Millis,
        /// Who gave it that secret, where others than its principal may have seen its text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        made_by: Option<PrincipalId>,
    },
    /// It opens nothing any more.
    #[serde(rename = "quipu.api-key.revoked.v1")]
    Revoked {
        /// Why, for people to read. Stored unencrypted: no personal data.
        reason: String,
        /// Whether what it caused and is not done ends with it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cascade: bool,
    },
    /// Its time is over.
    #[serde(rename = "quipu.api-key.expired.v1")]
    Expired {},
}
