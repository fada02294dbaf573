//! Words of an invite: somebody who has an address is asked into an org, once.

use quipu_schemas::{
    context::Millis,
    ids::{OrgId, PrincipalId},
    personal::Personal,
    role::Role,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What clients may send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InviteCommand {
    /// Asks whoever has an address into the org. A letter with a link is sent there.
    Create(CreateInvite),
    /// Joins. The node sends it, for whoever has shown the code of the letter.
    Accept(AcceptInvite),
    /// Takes the invite back.
    Revoke(RevokeInvite),
}

/// Asks somebody into the org.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateInvite {
    /// Their address.
    pub address: Personal<String>,
    /// The role that they get: at most that of whoever asks.
    pub role: Role,
    /// How many days they have, 1 to 14; 7 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
}

/// Joins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptInvite {
    /// Who joins, usr_….
    pub member: PrincipalId,
}

/// Takes an invite back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeInvite {
    /// Why, for the audit. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
}

/// What the kernel sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InviteWord {
    /// The time to accept may be over.
    Expire(ExpireInvite),
    /// The org has answered.
    Answered(OrgAnswered),
}

/// The time to accept may be over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpireInvite {}

/// What the org made of the new member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrgAnswered {
    /// The code of the refusal, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What happened to an invite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum InviteEvent {
    /// Somebody is asked into the org.
    #[serde(rename = "quipu.invite.created.v1")]
    Created {
        /// The org.
        org: OrgId,
        /// Their address.
        address: Personal<String>,
        /// The role that they get.
        role: Role,
        /// Until when they may accept; the moment itself is outside.
        expires_at: Millis,
        /// Who asks: what they may when it is accepted decides.
        by: PrincipalId,
    },
    /// They join.
    #[serde(rename = "quipu.invite.accepted.v1")]
    Accepted {
        /// Who.
        member: PrincipalId,
    },
    /// The org has answered.
    #[serde(rename = "quipu.invite.answered.v1")]
    Answered {
        /// The code of the refusal; they are a member where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
    },
    /// It was taken back.
    #[serde(rename = "quipu.invite.revoked.v1")]
    Revoked {
        /// Why, for people to read. Stored unencrypted: no personal data.
        reason: String,
    },
    /// Nobody accepted in time.
    #[serde(rename = "quipu.invite.expired.v1")]
    Expired {},
}
