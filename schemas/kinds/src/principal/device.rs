//! What a device asks for that waits for a person, who answers elsewhere (RFC 8628).

use quipu_schemas::{
    context::Millis,
    digest::Digest,
    ids::{EntityId, Home},
    rights::Pattern,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a device asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceRequest {
    /// The client that runs on it.
    pub client: String,
    /// What its session shall be cut to; everything where there is nothing.
    #[serde(default)]
    pub scope: Vec<Pattern>,
    /// Whom its tokens are for, where that is not this node's own API.
    #[serde(default)]
    pub audience: Option<String>,
    /// Keyed hash of the code that the device keeps.
    pub hash: Digest,
    /// The network that it asked from: wider than one person's address.
    #[serde(default)]
    pub network: Option<String>,
}

/// A person let a device in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceLogin {
    /// Who.
    pub home: Home,
    /// How they had proved who they are, in the words of RFC 8176.
    #[serde(default)]
    pub amr: Vec<String>,
    /// When they had.
    pub auth_time: Millis,
}

/// A device asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AskDevice {
    /// For what.
    pub request: DeviceRequest,
    /// How long it waits, milliseconds.
    pub lifetime_ms: u64,
}

/// A person has answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerDevice {
    /// Who lets it in; nobody does where there is nothing.
    #[serde(default)]
    pub login: Option<DeviceLogin>,
    /// Their session that waits for the device; what ends their sessions ends it.
    #[serde(default)]
    pub session: Option<EntityId>,
}

/// The device gets its session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TakeDevice {
    /// Keyed hash of the code that was shown.
    pub hash: Digest,
}
