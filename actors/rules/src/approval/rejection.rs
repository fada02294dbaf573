//! Why an approval stays as it is, as people and programs meet it.

use crate::{decider::Refusal, rights::NotHandedOn};
use quipu_schemas::{ids::EntityId, limits::REASON_MAX_CHARS, problem::Problem};

/// Why an approval stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApprovalRejection {
    /// It was asked for already.
    Exists(EntityId),
    /// Nobody asked for it.
    NotFound(EntityId),
    /// Its time is over.
    Expired(EntityId),
    /// It is decided.
    Over(EntityId),
    /// Who asked does not agree.
    OwnRequest,
    /// An entity agrees to nothing.
    NotAPerson,
    /// Somebody who acts for another agrees to nothing for them.
    NotAlone(NotHandedOn),
    /// Only who asked takes it back.
    NotYours,
    /// It takes one or two people.
    BadNeeds,
    /// The reason is too long.
    BadReason,
    /// Approvals are not approved.
    OfApproval,
    /// The command did not come in where it is sealed.
    NotCarried,
}

impl From<NotHandedOn> for ApprovalRejection {
    fn from(why: NotHandedOn) -> Self {
        Self::NotAlone(why)
    }
}

impl Refusal for ApprovalRejection {
    fn problem(&self) -> Problem {
        match self {
            Self::Exists(id) => Problem::new(409, "approval_exists", format!("approval {id} was asked for")).fix("choose another id"),
            Self::NotFound(id) => {
                Problem::new(404, "approval_not_found", format!("nobody asked for approval {id}")).fix("see the view `approvals`")
            }
            Self::Expired(id) => Problem::new(409, "approval_expired", format!("the time to agree to {id} is over"))
                .fix("let whoever asked for it ask again"),
            Self::Over(id) => Problem::new(409, "approval_over", format!("approval {id} is decided")).fix("see the view `approvals`"),
            Self::OwnRequest => Problem::new(403, "own_request", "whoever asks for an approval does not give it")
                .fix("let another admin of the org send it"),
            Self::NotAPerson => Problem::new(
                403,
                "not_a_person",
                "approvals are asked for and given by oneself, not by what somebody set in motion or lets act for them",
            )
            .fix("send it yourself"),
            Self::NotAlone(why) => why.problem(),
            Self::NotYours => Problem::new(403, "not_yours", "only whoever asked for an approval takes it back").fix("reject it instead"),
            Self::BadNeeds => Problem::new(422, "bad_needs", "an approval takes one or two people")
                .field("needs")
                .fix("use 1 or 2"),
            Self::BadReason => Problem::new(422, "bad_reason", format!("a reason has at most {REASON_MAX_CHARS} characters"))
                .field("reason")
                .fix("shorten it"),
            Self::OfApproval => Problem::new(422, "approval_of_approval", "an approval is not approved itself")
                .field("kind")
                .fix("ask for the command itself"),
            Self::NotCarried => {
                Problem::new(403, "not_carried", "an approval is asked for by a client, and not by an entity").fix("send it yourself")
            }
        }
    }
}
