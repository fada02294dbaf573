//! Words of denials: what was refused in an org on one day, for the audit. Only the node notes one.

use quipu_schemas::{context::Millis, ids::PrincipalId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was refused to somebody within about a minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Denial {
    /// To whom: who showed the credential, or for whom the node's token spoke.
    pub principal: PrincipalId,
    /// On whose behalf they asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<PrincipalId>,
    /// By which credential, `KIND/ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// The right that was lacking; the code of the refusal where it was about no single right.
    pub right: String,
    /// The kind or view that was asked for.
    pub kind: String,
    /// The code of the refusal.
    pub code: String,
    /// How often.
    pub count: u64,
    /// When first, in milliseconds since the Unix epoch.
    pub first: Millis,
    /// When last.
    pub last: Millis,
}

/// What the node sends by its own token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DenialCommand {
    /// Notes what was refused. The node sends it; nobody else may.
    Note(NoteDenial),
}

/// Notes what was refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoteDenial {
    /// What was refused.
    pub denial: Denial,
}

/// What was noted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum DenialEvent {
    /// Somebody was refused something.
    #[serde(rename = "quipu.denial.noted.v1")]
    Noted {
        /// What was refused.
        denial: Denial,
    },
}
