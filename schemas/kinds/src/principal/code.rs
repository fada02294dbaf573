//! Codes that are sent to an address, and taken once.

use super::SetPassword;
use quipu_schemas::{context::Millis, digest::Digest, ids::EntityId, mail::MailPurpose};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Makes a code good, and sends it where that is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AskCode {
    /// Its id.
    pub id: EntityId,
    /// What it is for.
    pub purpose: MailPurpose,
    /// The address.
    pub address: EntityId,
    /// Keyed hash of the code.
    pub hash: Digest,
    /// Whether it is sent to the address; whoever asked is shown it otherwise.
    pub mail: bool,
}

/// A code was shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UseCode {
    /// Its id.
    pub id: EntityId,
    /// What it was shown for.
    pub purpose: MailPurpose,
    /// Keyed hash of the code.
    pub hash: Digest,
    /// The password that it sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SetPassword>,
}

/// A code that is taken once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CodeAsked {
    /// Its id.
    pub id: EntityId,
    /// What it is for.
    pub purpose: MailPurpose,
    /// The address.
    pub address: EntityId,
    /// Keyed hash of the code.
    pub hash: Digest,
    /// Until when it is taken; the moment itself is outside.
    pub until: Millis,
    /// Whether it was sent to the address.
    pub mail: bool,
}
