//! Why a key is not made or changed.

use super::Ended;
use crate::{decider::Refusal, rights::NotHandedOn};
use quipu_schemas::{
    ids::{EntityId, PrincipalId},
    limits::{KEY_GRACE_MAX_HOURS, KEY_LIFETIME_MAX_DAYS, KEY_NETWORKS_MAX, KEY_SCOPES_MAX, NAME_MAX_CHARS, REASON_MAX_CHARS},
    problem::Problem,
};

/// Why a key is not made or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiKeyRejection {
    /// The actor does not hand this on.
    NotHandedOn(NotHandedOn),
    /// Nobody would see the secret.
    Unseen,
    /// Made already.
    Exists(EntityId),
    /// Not made.
    NotFound(EntityId),
    /// It opens nothing any more.
    Ended(EntityId, Ended),
    /// Nobody of the platform has keys.
    ReservedPrincipal(PrincipalId),
    /// The name is out of bounds.
    BadName,
    /// The reason is too long.
    BadReason,
    /// It would live too long, or not at all.
    BadLifetime,
    /// The old secret would open for too long.
    BadGrace,
    /// The scope names too much.
    TooManyScopes(usize),
    /// Too many networks.
    TooManyNetworks(usize),
}

impl From<NotHandedOn> for ApiKeyRejection {
    fn from(why: NotHandedOn) -> Self {
        Self::NotHandedOn(why)
    }
}

impl Refusal for ApiKeyRejection {
    fn problem(&self) -> Problem {
        match self {
            Self::NotHandedOn(why) => why.problem(),
            Self::Unseen => Problem::new(
                403,
                "secret_unseen",
                "a key's text is shown once, to whoever asks for the key: nothing else makes one",
            )
            .fix("send the command yourself, over HTTP or from the terminal"),
            Self::Exists(id) => Problem::new(409, "key_exists", format!("key {id} exists"))
                .fix("rotate it where its text was lost; make another one under another id"),
            Self::NotFound(id) => Problem::new(404, "key_not_found", format!("key {id} does not exist")).fix("see the view `api-keys`"),
            Self::Ended(id, why) => Problem::new(409, "key_ended", format!("key {id}: {why}")).fix("make another one"),
            Self::ReservedPrincipal(who) => Problem::new(422, "reserved_id", format!("{who} belongs to the platform, and has no keys"))
                .field("principal")
                .fix("name a principal of the org: not `bootstrap`, and without a leading _"),
            Self::BadName => Problem::new(422, "bad_name", format!("a name has 1 to {NAME_MAX_CHARS} printable characters"))
                .field("name")
                .fix("use at most so many characters, some of them visible, and no line breaks or direction overrides"),
            Self::BadReason => Problem::new(422, "bad_reason", format!("a reason has at most {REASON_MAX_CHARS} characters"))
                .field("reason")
                .fix("shorten it"),
            Self::BadLifetime => Problem::new(422, "bad_lifetime", format!("a key lives 1 to {KEY_LIFETIME_MAX_DAYS} days"))
                .field("expires_in_days")
                .fix("give so many, or leave it out"),
            Self::BadGrace => Problem::new(
                422,
                "bad_grace",
                format!("an old secret opens for at most {KEY_GRACE_MAX_HOURS} hours more"),
            )
            .field("grace_hours")
            .fix("give fewer, or leave it out"),
            Self::TooManyScopes(count) => Problem::new(
                422,
                "too_many_scopes",
                format!("{count} scopes; a key has at most {KEY_SCOPES_MAX}"),
            )
            .field("scopes")
            .fix("name whole families, or a role"),
            Self::TooManyNetworks(count) => Problem::new(
                422,
                "too_many_networks",
                format!("{count} networks; a key has at most {KEY_NETWORKS_MAX}"),
            )
            .field("networks")
            .fix("name larger ones"),
        }
    }
}
