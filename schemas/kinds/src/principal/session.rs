//! What a session is begun, opened and continued with.

use quipu_schemas::{
    context::Millis,
    digest::Digest,
    ids::{EntityId, Home},
    rights::Pattern,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The session by which another one was made; it ends with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionParent {
    /// Whose session.
    pub home: Home,
    /// Which.
    pub session: EntityId,
}

/// What a session is from its beginning to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionStart {
    /// Its id.
    pub id: EntityId,
    /// The client that it was begun by.
    #[serde(default)]
    pub client: Option<String>,
    /// How whoever began it had proved who they are, in the words of RFC 8176.
    #[serde(default)]
    pub amr: Vec<String>,
    /// When they had.
    pub auth_time: Millis,
    /// What it may be used for at most, of what its principal may; everything where there is nothing.
    #[serde(default)]
    pub scope: Vec<Pattern>,
    /// Whom its tokens are for, where that is not this node's own API.
    #[serde(default)]
    pub audience: Option<String>,
    /// Who acts by it for the principal, the nearest first.
    #[serde(default)]
    pub act: Vec<Home>,
    /// The session that it was made from.
    #[serde(default)]
    pub parent: Option<SessionParent>,
}

/// The code that opens a session that waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// Keyed hash of its text.
    pub hash: Digest,
    /// The S256 challenge of RFC 7636: SHA-256 of what the client keeps until it shows the code.
    pub challenge: String,
    /// Where the client was sent with it.
    pub redirect_uri: String,
}

/// Begins a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartSession {
    /// What it is.
    pub session: SessionStart,
    /// How long it lives, milliseconds.
    pub lifetime_ms: u64,
    /// Keyed hash of its first refresh token, where it has one.
    #[serde(default)]
    pub refresh: Option<Digest>,
    /// The code that it waits for; it is open at once where there is none.
    #[serde(default)]
    pub code: Option<Code>,
    /// How long it waits for its code, milliseconds, where that is longer than a client that was sent somewhere needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_ms: Option<u64>,
    /// Whether a session of the same client that is like it is used instead, as long as that lives long enough still.
    #[serde(default)]
    pub reuse: bool,
}

/// Opens a session that waits for its code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedeemSession {
    /// Which.
    pub id: EntityId,
    /// Keyed hash of the code that was shown.
    pub code: Digest,
    /// The client that shows it.
    pub client: Option<String>,
    /// What the client says it was sent to.
    pub redirect_uri: String,
    /// The challenge that follows from the verifier that was shown.
    pub challenge: String,
    /// Keyed hash of its first refresh token, where it gets one.
    #[serde(default)]
    pub refresh: Option<Digest>,
}

/// Continues a session. The node that sends it has seen that the token was handed out for this session, now or earlier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshSession {
    /// Which.
    pub id: EntityId,
    /// Keyed hash of the refresh token that was shown.
    pub hash: Digest,
    /// Keyed hash of the one that follows.
    pub new_hash: Digest,
    /// The client that shows it.
    pub client: Option<String>,
}

/// Why sessions ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionEnd {
    /// Somebody asked for it.
    Asked,
    /// Their time was over.
    Expired,
    /// One more was begun than there may be.
    Crowded,
    /// A code was shown twice.
    CodeReused,
    /// A refresh token was shown that another had followed.
    RefreshReused,
    /// A new password was set.
    PasswordSet,
}
