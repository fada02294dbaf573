//! Words of an application: a client of OAuth that belongs to an org. Its secret stands in none of them.

use quipu_schemas::{context::Millis, digest::Digest, ids::PrincipalId, jwk::PublicJwk, redirect::RedirectUri, rights::Pattern};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What clients may send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApplicationCommand {
    /// Makes an application. One that shows a secret gets its first by `rotate_secret`.
    Create(DescribeApplication),
    /// Says anew what the application is and may do, whole: what is left out is taken away.
    Update(DescribeApplication),
    /// Lets it act as a service of the org by itself (client credentials). Takes an owner.
    LinkService(LinkService),
    /// Takes that away.
    UnlinkService(UnlinkService),
    /// Gives it a secret; the answer shows its text, once.
    RotateSecret(RotateClientSecret),
    /// Stops it, and what was issued to it, until it is resumed.
    Suspend(StopApplication),
    /// Lets it go on.
    Resume(ResumeApplication),
    /// Ends it for good.
    Retire(StopApplication),
}

/// How a client gets its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    /// By a code that a person lets it have, with PKCE.
    AuthorizationCode,
    /// By the refresh token that came with the last one.
    RefreshToken,
    /// By itself, as the service that is linked to it.
    ClientCredentials,
    /// By a person's token, to act for them.
    TokenExchange,
    /// By a code that a person enters elsewhere.
    DeviceCode,
}

/// How a client shows who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthentication {
    /// Not at all: a program on people's machines, which can keep no secret.
    None,
    /// By its secret, as user and password.
    ClientSecretBasic,
    /// By its secret, in the form.
    ClientSecretPost,
    /// By a signature (RFC 7523).
    PrivateKeyJwt,
}

impl ClientAuthentication {
    /// Its name, as it is written.
    pub fn named(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
        }
    }
}

/// What an application is and may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DescribeApplication {
    /// Display name, which people see when they are asked, 1 to 200 characters. Stored unencrypted: no personal data.
    pub name: String,
    /// How it gets its tokens.
    pub grants: BTreeSet<GrantType>,
    /// How it shows who it is.
    pub authentication: ClientAuthentication,
    /// Where people are sent back to, each letter by letter. At most 16.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub redirect_uris: BTreeSet<RedirectUri>,
    /// What it may ask for at most. 1 to 64 rights; `cap:openid.sign_in` alone for one that only logs people in.
    pub scopes: BTreeSet<Pattern>,
    /// Its public keys, where it signs. At most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<PublicJwk>,
}

/// Links a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkService {
    /// The service, a principal of the org.
    pub service: PrincipalId,
}

/// Unlinks the service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnlinkService {}

/// Gives an application another secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateClientSecret {
    /// How long the old secret still opens, 0 to 24 hours; it ends at once unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_hours: Option<u32>,
    /// Keyed hash of its new text. Made where the command enters, never by a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub hash: Option<Digest>,
}

/// Stops an application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StopApplication {
    /// Why, for the audit. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
}

/// Lets an application go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeApplication {}

/// What happened to an application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum ApplicationEvent {
    /// The application exists.
    #[serde(rename = "quipu.application.created.v1")]
    Created(DescribeApplication),
    /// It is something else from here on.
    #[serde(rename = "quipu.application.updated.v1")]
    Updated(DescribeApplication),
    /// It acts as this service.
    #[serde(rename = "quipu.application.service_linked.v1")]
    ServiceLinked {
        /// The service.
        service: PrincipalId,
    },
    /// It acts as no service any more.
    #[serde(rename = "quipu.application.service_unlinked.v1")]
    ServiceUnlinked {},
    /// It has another secret.
    #[serde(rename = "quipu.application.secret_rotated.v1")]
    SecretRotated {
        /// Keyed hash of its text from here on.
        hash: Digest,
        /// Until when the old one opens as well; not at all where it says nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old_until: Option<Millis>,
    },
    /// It is stopped.
    #[serde(rename = "quipu.application.suspended.v1")]
    Suspended {
        /// Why, for people to read. Stored unencrypted: no personal data.
        reason: String,
    },
    /// It goes on.
    #[serde(rename = "quipu.application.resumed.v1")]
    Resumed {},
    /// It is over.
    #[serde(rename = "quipu.application.retired.v1")]
    Retired {
        /// Why, for people to read. Stored unencrypted: no personal data.
        reason: String,
    },
}
