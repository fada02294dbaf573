//! What only a node itself tells a principal, or the entity of an agent.

use super::code::{AskCode, UseCode};
use super::device::{AnswerDevice, AskDevice, TakeDevice};
use super::session::{RedeemSession, RefreshSession, StartSession};
use quipu_schemas::{
    digest::Digest,
    ids::{EntityId, PrincipalId},
    personal::Personal,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What no client sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalWord {
    /// Makes the principal of an agent.
    CreateAgent(CreateAgentPrincipal),
    /// Makes the account of a person.
    Register(Register),
    /// Gives a person another name.
    SetName(SetName),
    /// Sets a person's password.
    SetPassword(SetPassword),
    /// Adds an address of a person.
    AddAddress(AddAddress),
    /// Notes that an address is the person's.
    VerifyAddress(AddressNamed),
    /// Takes an address away.
    RemoveAddress(AddressNamed),
    /// Begins a session.
    StartSession(StartSession),
    /// Opens a session that waits for its code.
    RedeemSession(RedeemSession),
    /// Continues a session.
    RefreshSession(RefreshSession),
    /// Ends a session.
    EndSession(EndSession),
    /// Gives a person a secret for codes that follow from the time.
    EnrolTotp(EnrolTotp),
    /// A code of that secret was shown: it is asked for from here on.
    ConfirmTotp(ConfirmTotp),
    /// A code was used: it is worth nothing any more.
    UseTotp(UseTotp),
    /// A recovery code was used: it is worth nothing any more.
    UseRecoveryCode(UseRecoveryCode),
    /// Makes a code good that is sent to an address.
    AskCode(AskCode),
    /// A code was shown: what it is for is done, once.
    UseCode(UseCode),
    /// Says whether a person may operate the platform.
    MakeOperator(MakeOperator),
    /// The time of sessions may be over.
    ExpireSessions(ExpireSessions),
    /// A device waits for a person under this name.
    AskDevice(AskDevice),
    /// A person let the device in, or did not.
    AnswerDevice(AnswerDevice),
    /// The device gets its session: its code is worth nothing any more.
    TakeDevice(TakeDevice),
}

/// Makes the principal of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateAgentPrincipal {
    /// The agent's display name.
    pub name: String,
    /// Who made it, and answers for it.
    pub owner: PrincipalId,
}

/// Makes an account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// The person's name.
    #[serde(default)]
    pub name: Option<Personal<String>>,
    /// Their first address.
    #[serde(default)]
    pub address: Option<AddAddress>,
    /// Their password, hashed.
    #[serde(default)]
    pub password: Option<SetPassword>,
}

/// Names a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetName {
    /// The name.
    pub name: Personal<String>,
}

/// Sets a password.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPassword {
    /// Its Argon2id hash, in the form of PHC strings.
    pub phc: String,
    /// Whether every session ends with the old one.
    #[serde(default)]
    pub ends_sessions: bool,
}

/// An address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// Its id.
    pub id: EntityId,
    /// The address.
    pub address: Personal<String>,
    /// Whether the person was seen to have it.
    pub verified: bool,
}

/// Adds an address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddAddress {
    /// Its id.
    pub id: EntityId,
    /// The address.
    pub address: Personal<String>,
}

/// Names an address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddressNamed {
    /// Its id.
    pub id: EntityId,
}

/// Ends a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndSession {
    /// Which.
    pub id: EntityId,
}

/// Gives a person a secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolTotp {
    /// The secret, in base 32.
    pub secret: Personal<String>,
}

/// A code was shown for the first time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmTotp {
    /// The interval of time that the code is of.
    pub step: u64,
    /// Keyed hashes of the recovery codes that come with it.
    pub recovery: Vec<Digest>,
}

/// A code was used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UseTotp {
    /// The interval of time that the code is of.
    pub step: u64,
}

/// A recovery code was used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UseRecoveryCode {
    /// Its keyed hash.
    pub hash: Digest,
}

/// Says whether a person may operate the platform.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MakeOperator {
    /// Whether they may.
    pub operator: bool,
}

/// Notes that the time of sessions is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpireSessions {}
