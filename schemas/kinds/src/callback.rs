//! Words of a callback: an address at which another system delivers signed messages, each of which becomes a command.

use quipu_schemas::{
    context::Millis,
    ids::{EntityId, Kind, PrincipalId},
    json::Json,
    personal::SecretValue,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What clients may send.
#[expect(clippy::large_enum_variant, reason = "one is alive at a time")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallbackCommand {
    /// Opens an address for another system.
    Create(CreateCallback),
    /// Takes deliveries by a new secret, and by the one before for a while.
    RotateSecret(RotateCallbackSecret),
    /// Takes no deliveries for now; senders are told to try again.
    Pause(PauseCallback),
    /// Takes deliveries again.
    Resume(ResumeCallback),
    /// Closes the address for good.
    Retire(RetireCallback),
}

/// What the kernel sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallbackWord {
    /// The time of the secret before the last rotation may be over.
    EndOld(EndOldCallbackSecret),
    /// The key of a secret that is used no longer was destroyed.
    Shredded(CallbackShredded),
}

/// Opens an address for another system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateCallback {
    /// Display name, 1 to 200 characters. Stored unencrypted: no personal data.
    pub name: String,
    /// How deliveries are signed.
    pub scheme: CallbackScheme,
    /// By what.
    pub secret: CallbackSecret,
    /// As whom the commands are sent; the actor unless given. Somebody else takes an owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<PrincipalId>,
    /// Where the commands go.
    pub target: CallbackTarget,
    /// The command's fields. A text that begins with `=` is an expression over `body`, `headers` and `delivery`.
    pub mapping: Json,
    /// What tells one delivery from another: a header that names it, or the signed bytes themselves. As the scheme has it unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_id: Option<DeliveryId>,
}

/// How deliveries are signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallbackScheme {
    /// Standard Webhooks: id, time and body are signed.
    StandardWebhooks,
    /// GitHub: the body is signed (`X-Hub-Signature-256`).
    Github,
    /// An HMAC of the body in a header.
    Hmac(HmacScheme),
}

/// An HMAC of the body in a header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HmacScheme {
    /// The header's name.
    pub header: String,
    /// The hash.
    #[serde(default)]
    pub algorithm: HmacAlgorithm,
    /// How the signature is written.
    pub encoding: SignatureEncoding,
    /// What stands before it.
    #[serde(default)]
    pub prefix: String,
}

/// The hash of an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HmacAlgorithm {
    /// SHA-256.
    #[default]
    Sha256,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignatureEncoding {
    /// Two hex digits a byte, of either case.
    Hex,
    /// Base64 with padding.
    Base64,
}

/// By what deliveries are signed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallbackSecret {
    /// A secret of the callback's own, which nothing shows.
    Value(SecretValue),
    /// The org's secret of this name; while it is rotated, either value.
    Name(EntityId),
}

/// Where the commands go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallbackTarget {
    /// The kind.
    pub kind: Kind,
    /// The entity: its id, or `=` and an expression. Left out, each delivery makes a new one.
    // Written where it is left out, too: states hold it, and their binary form leaves nothing out.
    #[serde(default)]
    pub id: Option<String>,
    /// The command.
    pub command: String,
}

/// What tells one delivery from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryId {
    /// A header of this name.
    Header(String),
    /// The bytes that are signed: whatever else a sender changes, they are one delivery.
    Signed,
}

/// Takes deliveries by a new secret, and by the one before for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateCallbackSecret {
    /// The new one.
    pub secret: CallbackSecret,
    /// How long the one before is taken as well. 24 hours unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_hours: Option<u32>,
}

/// Takes no deliveries for now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseCallback {
    /// Why, at most 500 characters. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
}

/// Takes deliveries again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeCallback {}

/// Closes the address for good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetireCallback {
    /// Why, at most 500 characters. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
}

/// The time of the secret before the last rotation may be over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndOldCallbackSecret {}

/// The key of a secret that is used no longer was destroyed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallbackShredded {
    /// Whose key it was.
    pub subject: String,
}

/// What happened to a callback.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum CallbackEvent {
    /// An address was opened.
    #[serde(rename = "quipu.callback.created.v1")]
    Created {
        /// Display name.
        name: String,
        /// How deliveries are signed.
        scheme: CallbackScheme,
        /// By what.
        secret: CallbackSecret,
        /// As whom the commands are sent.
        principal: PrincipalId,
        /// Where the commands go.
        target: CallbackTarget,
        /// The command's fields.
        mapping: Json,
        /// What tells one delivery from another.
        delivery_id: DeliveryId,
    },
    /// Deliveries are signed by another secret.
    #[serde(rename = "quipu.callback.secret_rotated.v1")]
    SecretRotated {
        /// Counts the secrets that the callback has had.
        generation: u64,
        /// The new one.
        secret: CallbackSecret,
        /// Until when the one before is taken as well; not at all where it says nothing. The moment itself is outside.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old_until: Option<Millis>,
        /// Whose keys are destroyed: those of the secrets that are taken no longer.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        shreds: Vec<String>,
    },
    /// The secret before the last rotation is taken no longer.
    #[serde(rename = "quipu.callback.old_ended.v1")]
    OldEnded {
        /// Whose keys are destroyed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        shreds: Vec<String>,
    },
    /// No deliveries are taken for now.
    #[serde(rename = "quipu.callback.paused.v1")]
    Paused {
        /// Why.
        reason: String,
    },
    /// Deliveries are taken again.
    #[serde(rename = "quipu.callback.resumed.v1")]
    Resumed {},
    /// The address was closed for good.
    #[serde(rename = "quipu.callback.retired.v1")]
    Retired {
        /// Why.
        reason: String,
        /// Whose keys are destroyed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        shreds: Vec<String>,
    },
    /// The key of a secret that is used no longer was destroyed.
    #[serde(rename = "quipu.callback.shredded.v1")]
    Shredded {
        /// Whose key it was.
        subject: String,
    },
}
