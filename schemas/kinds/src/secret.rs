//! Words of a secret: a value of an org that performers use and nothing shows. The entity's id is the secret's name.

use quipu_schemas::{context::Millis, host::HostPattern, personal::SecretValue, reaction::ClientAuth};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What clients may send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretCommand {
    /// Gives the secret a value; the one before is used no longer.
    Set(SetSecret),
    /// Gives the secret a new value, and uses the one before beside it for a while.
    Rotate(RotateSecret),
    /// Makes the secret a connection: an access token that is renewed before it expires.
    Connect(ConnectSecret),
    /// Ends the secret, and destroys its values.
    Retire(RetireSecret),
}

/// What the kernel sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretWord {
    /// The time of the value before the last rotation may be over.
    EndOld(EndOldSecret),
    /// The key of values that are used no longer was destroyed.
    Shredded(SecretShredded),
    /// It is time for another access token.
    RefreshDue(RefreshDue),
    /// The provider gave another access token.
    Refreshed(TokenRefreshed),
    /// The provider gave none.
    RefreshFailed(RefreshFailed),
}

/// Gives the secret a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetSecret {
    /// The value, which nothing shows.
    pub value: SecretValue,
    /// The only hosts that it may be sent to; any where the list is empty. As before unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<HostPattern>>,
}

/// Gives the secret a new value, and uses the one before beside it for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateSecret {
    /// The new value, which nothing shows.
    pub value: SecretValue,
    /// How long the value before is used as well: webhooks are signed with both, callbacks taken by either. 24 hours unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_hours: Option<u32>,
}

/// Makes the secret a connection: an access token that is renewed before it expires (OAuth 2.0, RFC 6749, section 6).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectSecret {
    /// Where the provider gives tokens, an `https` or `http` address.
    pub token_url: String,
    /// Where a person gave their consent, for people who have to give it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorize_url: Option<String>,
    /// As which client.
    pub client_id: String,
    /// The client's secret; none of a public client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretValue>,
    /// How the client says who it is.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// What the consent gave.
    pub refresh_token: SecretValue,
    /// What is asked for; as the consent has it where there are none.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The only hosts that access tokens may be sent to; any where the list is empty. As before unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<HostPattern>>,
}

/// Ends the secret, and destroys its values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetireSecret {
    /// Why, at most 500 characters. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
}

/// The time of the value before the last rotation may be over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndOldSecret {}

/// The key of values that are used no longer was destroyed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretShredded {
    /// Whose key it was.
    pub subject: String,
}

/// It is time for another access token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshDue {}

/// The provider gave another access token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRefreshed {
    /// Of which connection of the secret.
    pub generation: u64,
    /// The access token.
    pub access_token: SecretValue,
    /// Another refresh token, where the provider gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<SecretValue>,
    /// How long the access token counts.
    pub expires_in_seconds: u64,
}

/// The provider gave none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshFailed {
    /// Of which connection of the secret.
    pub generation: u64,
    /// Stable code.
    pub code: String,
    /// What happened.
    pub detail: String,
}

/// A connection to a provider of tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Connected {
    /// Where the provider gives tokens.
    pub token_url: String,
    /// Where a person gave their consent.
    pub authorize_url: Option<String>,
    /// As which client.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: Option<SecretValue>,
    /// How the client says who it is.
    pub client_auth: ClientAuth,
    /// What is asked for.
    pub scopes: Vec<String>,
}

/// What happened to a secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum SecretEvent {
    /// It has this value now.
    #[serde(rename = "quipu.secret.set.v1")]
    Set {
        /// Counts the values that the secret has had.
        generation: u64,
        /// The value, sealed under a key of its own.
        value: SecretValue,
        /// The only hosts that it may be sent to; any where there are none.
        hosts: Vec<HostPattern>,
        /// Whose keys are destroyed: those of the values that are used no longer.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        shreds: Vec<String>,
    },
    /// It has a new value, and the one before is used beside it for a while.
    #[serde(rename = "quipu.secret.rotated.v1")]
    Rotated {
        /// Counts the values that the secret has had.
        generation: u64,
        /// The new value, sealed under a key of its own.
        value: SecretValue,
        /// Until when the value before is used as well; not at all where it says nothing. The moment itself is outside.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old_until: Option<Millis>,
        /// Whose keys are destroyed: those of the values that are used no longer.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        shreds: Vec<String>,
    },
    /// The value before the last rotation is used no longer.
    #[serde(rename = "quipu.secret.old_ended.v1")]
    OldEnded {
        /// Whose keys are destroyed.
        shreds: Vec<String>,
    },
    /// It was ended, and its values are destroyed.
    #[serde(rename = "quipu.secret.retired.v1")]
    Retired {
        /// Why.
        reason: String,
        /// Whose keys are destroyed.
        shreds: Vec<String>,
    },
    /// It is a connection now.
    #[serde(rename = "quipu.secret.connected.v1")]
    Connected {
        /// Counts the values and connections that the secret has had.
        generation: u64,
        /// To whom.
        connection: Connected,
        /// What the consent gave.
        refresh_token: SecretValue,
        /// The only hosts that access tokens may be sent to; any where there are none.
        hosts: Vec<HostPattern>,
        /// Whose keys are destroyed: those of the values that are used no longer.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        shreds: Vec<String>,
    },
    /// The provider is asked for another access token.
    #[serde(rename = "quipu.secret.refresh_begun.v1")]
    RefreshBegun {},
    /// The provider gave another access token.
    #[serde(rename = "quipu.secret.refreshed.v1")]
    Refreshed {
        /// The access token.
        access_token: SecretValue,
        /// Another refresh token, where the provider gave one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refresh_token: Option<SecretValue>,
        /// Until when the access token counts; the moment itself is outside.
        expires_at: Millis,
        /// When the next one is asked for.
        refresh_at: Millis,
    },
    /// The provider gave none, and is asked again.
    #[serde(rename = "quipu.secret.refresh_failed.v1")]
    RefreshFailed {
        /// Stable code.
        code: String,
        /// What happened.
        detail: String,
        /// When it is asked again.
        retry_at: Millis,
    },
    /// The provider gives none any more: somebody has to connect it again.
    #[serde(rename = "quipu.secret.broken.v1")]
    Broken {
        /// Stable code.
        code: String,
        /// What happened.
        detail: String,
    },
    /// The key of values that are used no longer was destroyed: nobody opens them any more.
    #[serde(rename = "quipu.secret.shredded.v1")]
    Shredded {
        /// Whose key it was.
        subject: String,
    },
}
