//! Why an invite stays as it is, as people and programs meet it.

use crate::{decider::Refusal, rights::NotHandedOn};
use quipu_schemas::{
    address::Normal,
    ids::EntityId,
    limits::{INVITE_DAYS_MAX, REASON_MAX_CHARS},
    problem::Problem,
};

/// Why an invite stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InviteRejection {
    /// Somebody is asked under this id already.
    Exists(EntityId),
    /// Nobody is asked.
    NotFound(EntityId),
    /// It was accepted, taken back, or its time is over.
    Over(EntityId),
    /// An entity asks nobody.
    Dispatched,
    /// Whoever asks may not hand the role on.
    NotHandedOn(NotHandedOn),
    /// Only a node says this.
    NotTheNode,
    /// Only people join by an invite.
    NotAPerson,
    /// What is given as an address is none.
    BadAddress,
    /// The time to accept is out of bounds.
    BadDays,
    /// The reason is too long.
    BadReason,
}

impl From<NotHandedOn> for InviteRejection {
    fn from(why: NotHandedOn) -> Self {
        Self::NotHandedOn(why)
    }
}

impl Refusal for InviteRejection {
    fn problem(&self) -> Problem {
        match self {
            Self::Exists(id) => Problem::new(409, "invite_exists", format!("invite {id} exists")).fix("choose another id"),
            Self::NotFound(id) => {
                Problem::new(404, "invite_not_found", format!("invite {id} does not exist")).fix("see the view `invites`")
            }
            Self::Over(id) => Problem::new(
                409,
                "invite_over",
                format!("invite {id} was accepted or taken back, or its time is over"),
            )
            .fix("ask an admin of the org for another one"),
            Self::Dispatched => {
                Problem::new(403, "not_a_person", "an entity asks nobody into an org").fix("let an admin of the org send it")
            }
            Self::NotHandedOn(why) => why.problem(),
            Self::NotTheNode => Problem::new(403, "not_the_node", "an invite is accepted by whoever shows the code of its letter")
                .fix("use /v1/auth/invite/accept"),
            Self::NotAPerson => Problem::new(422, "reserved_id", "people join by an invite")
                .field("member")
                .fix("name a person: their ids begin with `usr_`"),
            Self::BadAddress => Normal::refused(),
            Self::BadDays => Problem::new(422, "bad_days", format!("an invite lives 1 to {INVITE_DAYS_MAX} days"))
                .field("days")
                .fix("use so many days"),
            Self::BadReason => Problem::new(422, "bad_reason", format!("a reason has at most {REASON_MAX_CHARS} characters"))
                .field("reason")
                .fix("shorten it"),
        }
    }
}
