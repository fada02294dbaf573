//! What happened to a principal.

use super::{
    PrincipalType,
    code::CodeAsked,
    device::{DeviceLogin, DeviceRequest},
    session::{Code, SessionEnd, SessionStart},
};
use quipu_schemas::{
    context::Millis,
    digest::Digest,
    ids::{EntityId, PrincipalId},
    jwk::PublicJwk,
    personal::Personal,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happened to a principal.
#[expect(clippy::large_enum_variant, reason = "few are alive at a time")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum PrincipalEvent {
    /// An agent or a service exists.
    #[serde(rename = "quipu.principal.created.v1")]
    Created {
        /// Which of both it is.
        #[serde(rename = "type")]
        kind: PrincipalType,
        /// Its display name. Stored unencrypted: no personal data.
        name: String,
        /// Who answers for it.
        owner: PrincipalId,
    },
    /// A person has an account.
    #[serde(rename = "quipu.principal.registered.v1")]
    Registered {
        /// Their name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Personal<String>>,
    },
    /// An agent or a service has another name.
    #[serde(rename = "quipu.principal.renamed.v1")]
    Renamed {
        /// The new one. Stored unencrypted: no personal data.
        name: String,
    },
    /// A person has another name.
    #[serde(rename = "quipu.principal.named.v1")]
    Named {
        /// The new one.
        name: Personal<String>,
    },
    /// Somebody else answers for it.
    #[serde(rename = "quipu.principal.owner_set.v1")]
    OwnerSet {
        /// Who does.
        owner: PrincipalId,
    },
    /// A person has another password.
    #[serde(rename = "quipu.principal.password_set.v1")]
    PasswordSet {
        /// Its Argon2id hash, in the form of PHC strings.
        phc: String,
    },
    /// A person has one more address.
    #[serde(rename = "quipu.principal.address_added.v1")]
    AddressAdded {
        /// Its id.
        id: EntityId,
        /// The address.
        address: Personal<String>,
    },
    /// The person was seen to have an address.
    #[serde(rename = "quipu.principal.address_verified.v1")]
    AddressVerified {
        /// Its id.
        id: EntityId,
    },
    /// An address is the person's no longer.
    #[serde(rename = "quipu.principal.address_removed.v1")]
    AddressRemoved {
        /// Its id.
        id: EntityId,
    },
    /// The principal has one more public key.
    #[serde(rename = "quipu.principal.public_key_added.v1")]
    PublicKeyAdded {
        /// Its RFC 7638 thumbprint.
        id: String,
        /// The key.
        key: PublicJwk,
    },
    /// A public key proves nothing any more.
    #[serde(rename = "quipu.principal.public_key_removed.v1")]
    PublicKeyRemoved {
        /// Its RFC 7638 thumbprint.
        id: String,
    },
    /// A session began, or waits for its code.
    #[serde(rename = "quipu.principal.session_started.v1")]
    SessionStarted {
        /// What it is.
        session: SessionStart,
        /// When it ends, by itself.
        expires_at: Millis,
        /// Keyed hash of its refresh token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refresh: Option<Digest>,
        /// The code that it waits for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<Code>,
        /// Until when it waits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code_until: Option<Millis>,
    },
    /// A session was opened by its code.
    #[serde(rename = "quipu.principal.session_redeemed.v1")]
    SessionRedeemed {
        /// Which.
        id: EntityId,
        /// Keyed hash of its refresh token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refresh: Option<Digest>,
    },
    /// A session goes on with another refresh token.
    #[serde(rename = "quipu.principal.session_refreshed.v1")]
    SessionRefreshed {
        /// Which.
        id: EntityId,
        /// Keyed hash of the token from here on.
        refresh: Digest,
    },
    /// Sessions open nothing any more.
    #[serde(rename = "quipu.principal.sessions_ended.v1")]
    SessionsEnded {
        /// Which.
        ids: Vec<EntityId>,
        /// Why.
        why: SessionEnd,
    },
    /// A person has a secret for codes that follow from the time, and has not shown one yet.
    #[serde(rename = "quipu.principal.totp_enrolled.v1")]
    TotpEnrolled {
        /// The secret.
        secret: Personal<String>,
    },
    /// Such a code is asked for from here on.
    #[serde(rename = "quipu.principal.totp_confirmed.v1")]
    TotpConfirmed {
        /// The interval of time of the code that was shown.
        step: u64,
        /// Keyed hashes of the recovery codes.
        recovery: Vec<Digest>,
    },
    /// No code is asked for any more, nor is a recovery code taken.
    #[serde(rename = "quipu.principal.totp_removed.v1")]
    TotpRemoved {},
    /// A code was used.
    #[serde(rename = "quipu.principal.totp_used.v1")]
    TotpUsed {
        /// The interval of time that it is of.
        step: u64,
    },
    /// A recovery code was used.
    #[serde(rename = "quipu.principal.recovery_code_used.v1")]
    RecoveryCodeUsed {
        /// Its keyed hash.
        hash: Digest,
    },
    /// A code of a letter is taken from here on, in the place of an earlier one for the same.
    #[serde(rename = "quipu.principal.code_asked.v1")]
    CodeAsked {
        /// The code, as far as it is stored.
        code: CodeAsked,
    },
    /// A code of a letter was shown: it is worth nothing any more.
    #[serde(rename = "quipu.principal.code_used.v1")]
    CodeUsed {
        /// Its id.
        id: EntityId,
    },
    /// Whether the person operates the platform has changed.
    #[serde(rename = "quipu.principal.operator_set.v1")]
    OperatorSet {
        /// Whether they do.
        operator: bool,
    },
    /// Nothing is taken from the principal.
    #[serde(rename = "quipu.principal.suspended.v1")]
    Suspended {
        /// Why, for people to read. Stored unencrypted: no personal data.
        reason: String,
    },
    /// Its commands are taken again.
    #[serde(rename = "quipu.principal.resumed.v1")]
    Resumed {},
    /// The principal is gone for good.
    #[serde(rename = "quipu.principal.retired.v1")]
    Retired {
        /// Why, for people to read. Stored unencrypted: no personal data.
        reason: String,
    },
    /// A device waits for a person.
    #[serde(rename = "quipu.principal.device_asked.v1")]
    DeviceAsked {
        /// For what.
        request: DeviceRequest,
        /// Until when.
        expires_at: Millis,
    },
    /// A person has answered.
    #[serde(rename = "quipu.principal.device_answered.v1")]
    DeviceAnswered {
        /// Who let it in; nobody did where there is nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        login: Option<DeviceLogin>,
        /// Their session that waits for the device; what ends their sessions ends it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<EntityId>,
    },
    /// The device got its session.
    #[serde(rename = "quipu.principal.device_taken.v1")]
    DeviceTaken {},
}
