//! Rules of an invite: whoever has shown the code of its letter joins the org, once, in the name of whoever asked them.

mod rejection;

pub use rejection::InviteRejection;

use crate::{
    decider::{Asked, AskedOf, Corrupt, Decider, Decision, Right},
    rights::may_hand_on,
    text,
};
use quipu_kinds::invite::{AcceptInvite, CreateInvite, ExpireInvite, InviteCommand, InviteEvent, InviteWord, OrgAnswered, RevokeInvite};
use quipu_schemas::{
    address::Normal,
    context::{Context, Millis},
    envelope::KernelCommand,
    ids::{EntityId, Kind, OrgId, PrincipalId, StreamId},
    json::Json,
    limits::{INVITE_DAYS, INVITE_DAYS_MAX},
    mail::{MailCall, MailPurpose},
    personal::{Opened, Personal},
    reaction::{Dispatch, Effect, Perform, Reaction, Retry, Settled},
    record::Acting,
    role::Role,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The timer that notes the end of the time to accept. Whether somebody may still accept is decided by the clock.
const EXPIRY_TIMER: &str = "expiry";
/// By what the answer of the org is told.
const JOINING: &str = "joining";
/// The letter.
const LETTER: &str = "letter";
const DAY_MS: Millis = 24 * 3_600_000;

/// The kind `invite`.
pub struct Invite;

/// State of an invite.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InviteState {
    /// Nobody is asked.
    #[default]
    Missing,
    /// Waits for whoever is asked.
    Pending(Invitation),
    /// Somebody has accepted; the org is told.
    Accepted {
        /// To what they were asked.
        invitation: Invitation,
        /// Who.
        member: PrincipalId,
    },
    /// The org has answered.
    Answered {
        /// To what they were asked.
        invitation: Invitation,
        /// Who.
        member: PrincipalId,
        /// The code of the refusal; they are a member where there is none.
        refused: Option<String>,
    },
    /// It was taken back.
    Revoked {
        /// To what they were asked.
        invitation: Invitation,
        /// Why.
        reason: String,
    },
    /// Nobody accepted in time.
    Expired(Invitation),
}

/// To what somebody is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Invitation {
    /// The org.
    pub org: OrgId,
    /// Their address.
    pub address: Personal<String>,
    /// The role that they get.
    pub role: Role,
    /// Until when they may accept.
    pub expires_at: Millis,
    /// Who asks.
    pub by: PrincipalId,
}

impl InviteState {
    /// To what somebody is asked; `None` where nobody is.
    pub fn invitation(&self) -> Option<&Invitation> {
        match self {
            Self::Missing => None,
            Self::Pending(invitation) | Self::Expired(invitation) => Some(invitation),
            Self::Accepted { invitation, .. } | Self::Answered { invitation, .. } | Self::Revoked { invitation, .. } => Some(invitation),
        }
    }

    /// The invitation, while somebody may accept it.
    pub fn open_at(&self, now: Millis) -> Option<&Invitation> {
        match self {
            Self::Pending(invitation) => Some(invitation).filter(|invitation| now < invitation.expires_at),
            _ => None,
        }
    }
}

impl InviteState {
    /// Who accepted it, unless the org refused them.
    pub fn member(&self) -> Option<&PrincipalId> {
        match self {
            Self::Accepted { member, .. } | Self::Answered { member, refused: None, .. } => Some(member),
            Self::Missing | Self::Pending(_) | Self::Answered { .. } | Self::Revoked { .. } | Self::Expired(_) => None,
        }
    }
}

type Decided = Result<Decision<InviteEvent>, InviteRejection>;

impl Decider for Invite {
    const KIND: &'static str = "invite";
    const RULES_VERSION: u32 = 1;
    type State = InviteState;
    type Command = InviteCommand;
    type Word = InviteWord;
    type Event = InviteEvent;
    type Rejection = InviteRejection;

    fn initial() -> InviteState {
        InviteState::Missing
    }

    fn decide(state: &InviteState, asked: &AskedOf<Self>, context: &Context<'_>) -> Decided {
        match asked {
            Asked::Command(InviteCommand::Create(create)) => decide_create(state, create, context),
            Asked::Command(InviteCommand::Accept(accept)) => decide_accept(state, accept, context),
            Asked::Command(InviteCommand::Revoke(revoke)) => decide_revoke(state, revoke, context),
            Asked::Word(InviteWord::Expire(ExpireInvite {})) => Ok(match state {
                InviteState::Pending(invitation) if context.now >= invitation.expires_at => Decision::one(InviteEvent::Expired {}),
                _ => Decision::Unchanged,
            }),
            Asked::Word(InviteWord::Answered(OrgAnswered { refused })) => Ok(match state {
                // From the kernel alone: no entity tells it.
                InviteState::Accepted { .. } if context.authority.dispatched_by.is_none() => {
                    Decision::one(InviteEvent::Answered { refused: refused.clone() })
                }
                _ => Decision::Unchanged,
            }),
        }
    }

    fn evolve(state: InviteState, event: &InviteEvent) -> Result<InviteState, Corrupt> {
        match (state, event) {
            (
                InviteState::Missing,
                InviteEvent::Created {
                    org,
                    address,
                    role,
                    expires_at,
                    by,
                },
            ) => Ok(InviteState::Pending(Invitation {
                org: org.clone(),
                address: address.clone(),
                role: *role,
                expires_at: *expires_at,
                by: by.clone(),
            })),
            (InviteState::Pending(invitation), InviteEvent::Accepted { member }) => Ok(InviteState::Accepted {
                invitation,
                member: member.clone(),
            }),
            (InviteState::Accepted { invitation, member }, InviteEvent::Answered { refused }) => Ok(InviteState::Answered {
                invitation,
                member,
                refused: refused.clone(),
            }),
            (InviteState::Pending(invitation), InviteEvent::Revoked { reason }) => Ok(InviteState::Revoked {
                invitation,
                reason: reason.clone(),
            }),
            (InviteState::Pending(invitation), InviteEvent::Expired {}) => Ok(InviteState::Expired(invitation)),
            (state, event) => Err(Corrupt(format!("{event:?} of an invite that is {state:?}"))),
        }
    }

    fn react(state: &InviteState, event: &InviteEvent) -> Vec<Reaction> {
        let name = || EXPIRY_TIMER.to_owned();
        let Some(invitation) = state.invitation() else { return Vec::new() };
        match event {
            InviteEvent::Created { expires_at, .. } => vec![
                Reaction::WakeAt {
                    name: name(),
                    due: *expires_at,
                },
                Reaction::Perform(Perform {
                    name: LETTER.to_owned(),
                    effect: Effect::Mail(MailCall {
                        purpose: MailPurpose::Invite,
                        ask: EntityId::from_static(LETTER),
                        to: invitation.address.clone(),
                        until: *expires_at,
                    }),
                    retry: Retry::default(),
                }),
            ],
            InviteEvent::Accepted { member } => {
                let command = Json(json!({ "add_member": { "principal": member, "role": invitation.role } }));
                let dispatch = Dispatch::new(StreamId::of_org(&invitation.org), command);
                vec![
                    Reaction::CancelWake { name: name() },
                    Reaction::Dispatch(dispatch.awaiting(JOINING)),
                ]
            }
            InviteEvent::Revoked { .. } => vec![
                Reaction::CancelWake { name: name() },
                Reaction::CancelEffect { name: LETTER.to_owned() },
            ],
            InviteEvent::Answered { .. } | InviteEvent::Expired {} => Vec::new(),
        }
    }

    /// Whoever asked: what they may when somebody joins decides, and not what whoever joins may.
    fn acts_as(state: &InviteState) -> Option<Acting> {
        // The credential that they asked by was not cut, and may have ended since.
        state.invitation().map(|invitation| Acting {
            principal: invitation.by.clone(),
            on_behalf_of: None,
            credential: None,
        })
    }

    fn from_kernel(told: KernelCommand) -> Option<InviteWord> {
        match told {
            KernelCommand::TimerFired { name, .. } if name == EXPIRY_TIMER => Some(InviteWord::Expire(ExpireInvite {})),
            KernelCommand::DispatchSettled { name, outcome, .. } if name == JOINING => {
                let refused = match outcome {
                    Settled::Accepted | Settled::Unchanged => None,
                    Settled::Refused { code } => Some(code),
                    _ => Some("dropped".to_owned()),
                };
                Some(InviteWord::Answered(OrgAnswered { refused }))
            }
            _ => None,
        }
    }

    fn right(command: &str) -> Right {
        match command {
            // Whoever joins is nobody in the org yet: the node sends it for them.
            "accept" => Right::Rules,
            _ => Right::Role(Role::Admin),
        }
    }

    fn ignores_suspension(command: &InviteCommand) -> bool {
        // A letter that went to the wrong address is stopped whatever became of its org.
        matches!(command, InviteCommand::Revoke(_))
    }
}

fn decide_create(state: &InviteState, create: &CreateInvite, context: &Context<'_>) -> Decided {
    let id = &context.stream.id;
    if !matches!(state, InviteState::Missing) {
        return Err(InviteRejection::Exists(id.clone()));
    }
    // What people agreed to is sent by their approval, in the name of whoever asked.
    if context.authority.dispatched_by.as_ref().is_some_and(|by| by.kind != Kind::APPROVAL) {
        return Err(InviteRejection::Dispatched);
    }
    may_hand_on(create.role.max(Role::Admin), context)?;
    let days = create.days.unwrap_or(INVITE_DAYS);
    if !(1..=INVITE_DAYS_MAX).contains(&days) {
        return Err(InviteRejection::BadDays);
    }
    // What cannot be opened right now is not known to be wrong.
    if let Ok(Opened::Value(address)) = create.address.open(context.opener) {
        Normal::of(&address).ok_or(InviteRejection::BadAddress)?;
    }
    Ok(Decision::one(InviteEvent::Created {
        org: context.stream.org.clone(),
        address: create.address.clone(),
        role: create.role,
        expires_at: context.now.saturating_add(u64::from(days) * DAY_MS),
        by: context.actor().clone(),
    }))
}

/// Only the node says this: it has seen the code, and who shows it.
fn decide_accept(state: &InviteState, accept: &AcceptInvite, context: &Context<'_>) -> Decided {
    let id = &context.stream.id;
    if !context.authority.platform || context.authority.dispatched_by.is_some() {
        return Err(InviteRejection::NotTheNode);
    }
    match state {
        InviteState::Missing => Err(InviteRejection::NotFound(id.clone())),
        InviteState::Pending(invitation) if context.now < invitation.expires_at => {
            if !accept.member.is_person() {
                return Err(InviteRejection::NotAPerson);
            }
            Ok(Decision::one(InviteEvent::Accepted {
                member: accept.member.clone(),
            }))
        }
        InviteState::Accepted { member, .. } | InviteState::Answered { member, .. } if *member == accept.member => Ok(Decision::Unchanged),
        _ => Err(InviteRejection::Over(id.clone())),
    }
}

fn decide_revoke(state: &InviteState, revoke: &RevokeInvite, context: &Context<'_>) -> Decided {
    let id = &context.stream.id;
    if !text::is_reason(&revoke.reason) {
        return Err(InviteRejection::BadReason);
    }
    match state {
        InviteState::Missing => Err(InviteRejection::NotFound(id.clone())),
        InviteState::Revoked { .. } => Ok(Decision::Unchanged),
        InviteState::Pending(_) => Ok(Decision::one(InviteEvent::Revoked {
            reason: revoke.reason.clone(),
        })),
        InviteState::Accepted { .. } | InviteState::Answered { .. } | InviteState::Expired(_) => Err(InviteRejection::Over(id.clone())),
    }
}

#[cfg(test)]
mod tests;
