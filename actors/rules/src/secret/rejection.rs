//! Why a secret is not set or changed.

use crate::decider::Refusal;
use quipu_schemas::{
    ids::EntityId,
    limits::{REASON_MAX_CHARS, SECRET_GRACE_MAX_HOURS, SECRET_HOSTS_MAX},
    personal::SealError,
    problem::Problem,
};

/// Why a secret is not set or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRejection {
    /// It was never set.
    NotFound(EntityId),
    /// It was ended.
    Retired(EntityId),
    /// It is a connection, which renews itself.
    Connected(EntityId),
    /// A field of a connection is out of bounds.
    BadConnection(&'static str),
    /// It did not come in where secrets are sealed.
    Dispatched,
    /// The reason is too long.
    BadReason,
    /// The value before would be used for too long.
    BadGrace,
    /// Too many hosts.
    TooManyHosts(usize),
    /// The value cannot be sealed now.
    Seal(SealError),
}

impl From<SealError> for SecretRejection {
    fn from(error: SealError) -> Self {
        Self::Seal(error)
    }
}

impl Refusal for SecretRejection {
    fn problem(&self) -> Problem {
        match self {
            Self::NotFound(id) => Problem::new(404, "secret_not_found", format!("secret {id} was never set")).fix("send `set`"),
            Self::Retired(id) => {
                Problem::new(409, "secret_retired", format!("secret {id} was retired, and its values are gone")).fix("send `set`")
            }
            Self::Connected(id) => Problem::new(409, "secret_connected", format!("secret {id} is a connection, which renews itself"))
                .fix("send `connect` with another consent, or `set`"),
            Self::BadConnection(field) => Problem::new(422, "bad_connection", format!("`{field}` is not of its form, or too long"))
                .field(*field)
                .fix("addresses begin with https:// or http://; ids and scopes are visible characters of ASCII"),
            Self::Dispatched => Problem::new(
                403,
                "secret_dispatched",
                "a secret comes from whoever knows it: no entity sends one",
            )
            .fix("send the command yourself, over HTTP or from the terminal"),
            Self::BadReason => Problem::new(422, "bad_reason", format!("a reason has at most {REASON_MAX_CHARS} characters"))
                .field("reason")
                .fix("shorten it"),
            Self::BadGrace => Problem::new(
                422,
                "bad_grace",
                format!("the value before a rotation is used for at most {SECRET_GRACE_MAX_HOURS} hours more"),
            )
            .field("grace_hours")
            .fix("give fewer, or leave it out"),
            Self::TooManyHosts(count) => Problem::new(
                422,
                "too_many_hosts",
                format!("{count} hosts; a secret has at most {SECRET_HOSTS_MAX}"),
            )
            .field("hosts")
            .fix("name a domain with `*.`, or another secret for the others"),
            Self::Seal(error) => error.problem(),
        }
    }
}
