//! Words of a principal: a person, an agent or a service, with what they show to prove who they are and the sessions that follow.

mod code;
mod device;
mod event;
mod session;
mod word;

pub use code::{AskCode, CodeAsked, UseCode};
pub use device::{AnswerDevice, AskDevice, DeviceLogin, DeviceRequest, TakeDevice};
pub use event::PrincipalEvent;
pub use session::{Code, RedeemSession, RefreshSession, SessionEnd, SessionParent, SessionStart, StartSession};
pub use word::{
    AddAddress, Address, AddressNamed, ConfirmTotp, CreateAgentPrincipal, EndSession, EnrolTotp, ExpireSessions, MakeOperator,
    PrincipalWord, Register, SetName, SetPassword, UseRecoveryCode, UseTotp,
};

use quipu_schemas::{ids::PrincipalId, jwk::PublicJwk};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who a principal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalType {
    /// A human being, with an account of the platform.
    Person,
    /// An agent of an org.
    Agent,
    /// A program of an org.
    Service,
}

/// What clients may send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalCommand {
    /// Makes a service. Agents have their principal from the start, and people register.
    Create(CreateService),
    /// Gives the principal another display name.
    Rename(RenamePrincipal),
    /// Names who answers for it.
    SetOwner(SetOwner),
    /// Adds a public key by whose signatures the principal proves who it is.
    AddPublicKey(AddPublicKey),
    /// Takes a public key away.
    RemovePublicKey(RemovePublicKey),
    /// Ends every session of the principal.
    EndSessions(EndSessions),
    /// Stops the principal: nothing is taken from it until it is resumed.
    Suspend(SuspendPrincipal),
    /// Ends a suspension.
    Resume(ResumePrincipal),
    /// Ends the principal for good.
    Retire(RetirePrincipal),
}

/// Makes a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateService {
    /// Display name, 1 to 200 characters. Stored unencrypted: no personal data.
    pub name: String,
    /// Who answers for it; the actor unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<PrincipalId>,
}

/// Renames a principal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenamePrincipal {
    /// Display name, 1 to 200 characters. Stored unencrypted: no personal data.
    pub name: String,
}

/// Names who answers for an agent or a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetOwner {
    /// Who answers for it from here on.
    pub owner: PrincipalId,
}

/// Adds a public key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddPublicKey {
    /// The key, as a JWK: P-256 (ES256) or Ed25519 (EdDSA). Its RFC 7638 thumbprint names it.
    pub key: PublicJwk,
}

/// Takes a public key away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemovePublicKey {
    /// Its RFC 7638 thumbprint.
    pub id: String,
}

/// Ends every session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndSessions {}

/// Suspends a principal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuspendPrincipal {
    /// Why, for the audit. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
}

/// Ends a suspension.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumePrincipal {}

/// Retires a principal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetirePrincipal {
    /// Why, for the audit. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
}
