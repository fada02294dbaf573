//! Why a callback is not opened or changed.

use crate::{decider::Refusal, rights::NotHandedOn};
use quipu_schemas::{
    ids::{EntityId, PrincipalId},
    limits::{CALLBACK_MAPPING_MAX_BYTES, NAME_MAX_CHARS, REASON_MAX_CHARS, SECRET_GRACE_MAX_HOURS},
    personal::SealError,
    problem::Problem,
};

/// Why a callback is not opened or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallbackRejection {
    /// The actor may not let others act as this principal.
    NotHandedOn(NotHandedOn),
    /// It did not come in where secrets are sealed.
    Dispatched,
    /// Opened already.
    Exists(EntityId),
    /// Never opened.
    NotFound(EntityId),
    /// Closed for good.
    Retired(EntityId),
    /// Nobody of the platform is acted as.
    ReservedPrincipal(PrincipalId),
    /// The name is out of bounds.
    BadName,
    /// The reason is too long.
    BadReason,
    /// The secret before would be taken for too long.
    BadGrace,
    /// A header, prefix or id of deliveries does not do.
    BadScheme {
        /// The field.
        field: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// The target does not do.
    BadTarget {
        /// The field.
        field: &'static str,
        /// Why not.
        why: String,
    },
    /// The mapping does not do.
    BadMapping {
        /// Where in it.
        field: String,
        /// Why not.
        why: String,
    },
    /// The secret cannot be sealed now.
    Seal(SealError),
}

impl From<NotHandedOn> for CallbackRejection {
    fn from(why: NotHandedOn) -> Self {
        Self::NotHandedOn(why)
    }
}

impl From<SealError> for CallbackRejection {
    fn from(error: SealError) -> Self {
        Self::Seal(error)
    }
}

impl Refusal for CallbackRejection {
    fn problem(&self) -> Problem {
        match self {
            Self::NotHandedOn(why) => why.problem(),
            Self::Dispatched => Problem::new(403, "secret_dispatched", "a secret comes from whoever knows it: no entity sends one")
                .fix("send the command yourself, over HTTP or from the terminal"),
            Self::Exists(id) => Problem::new(409, "callback_exists", format!("callback {id} exists")).fix("use another id"),
            Self::NotFound(id) => {
                Problem::new(404, "callback_not_found", format!("callback {id} does not exist")).fix("see the view `callbacks`")
            }
            Self::Retired(id) => Problem::new(409, "callback_retired", format!("callback {id} was retired")).fix("make another one"),
            Self::ReservedPrincipal(who) => Problem::new(422, "reserved_id", format!("{who} belongs to the platform, and sends no commands for others"))
                .field("principal")
                .fix("name a principal of the org"),
            Self::BadName => Problem::new(422, "bad_name", format!("a name has 1 to {NAME_MAX_CHARS} printable characters"))
                .field("name")
                .fix("use at most so many characters, some of them visible, and no line breaks or direction overrides"),
            Self::BadReason => Problem::new(422, "bad_reason", format!("a reason has at most {REASON_MAX_CHARS} characters"))
                .field("reason")
                .fix("shorten it"),
            Self::BadGrace => Problem::new(
                422,
                "bad_grace",
                format!("the secret before a rotation is taken for at most {SECRET_GRACE_MAX_HOURS} hours more"),
            )
            .field("grace_hours")
            .fix("give fewer, or leave it out"),
            Self::BadScheme { field, why } => Problem::new(422, "bad_scheme", *why).field(*field).fix("see ops/docs/callbacks.md"),
            Self::BadTarget { field, why } => Problem::new(422, "bad_target", why.clone())
                .field(*field)
                .fix("see ops/docs/callbacks.md"),
            Self::BadMapping { field, why } => Problem::new(422, "bad_mapping", why.clone())
                .field(field.clone())
                .fix(format!("an object of at most {CALLBACK_MAPPING_MAX_BYTES} bytes; texts that begin with = are expressions over body, headers and delivery")),
            Self::Seal(error) => error.problem(),
        }
    }
}
