//! Rules of an approval: a command that is sent in the name of whoever asked for it, once others have agreed.

mod rejection;

pub use rejection::ApprovalRejection;

use crate::{
    decider::{Asked, AskedOf, Corrupt, Decider, Decision, Right},
    rights::acts_alone,
    text,
};
use quipu_kinds::approval::{
    ApprovalCommand, ApprovalEvent, ApprovalWord, ApproveCommand, Carried, CommandAnswered, CreateApproval, ExpireApproval, RejectCommand,
    WithdrawApproval,
};
use quipu_schemas::{
    context::{Context, Millis},
    digest::Digest,
    envelope::KernelCommand,
    ids::{Kind, PrincipalId, StreamId},
    json::Json,
    limits::{APPROVAL_LIVES_MS, APPROVAL_NEEDS_MAX},
    reaction::{Dispatch, Reaction, Settled},
    record::Acting,
    role::Role,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The timer that notes the end of the time to agree. Whether somebody may still agree is decided by the clock.
const EXPIRY_TIMER: &str = "expiry";
/// By what the answer to the command is told.
const EXECUTION: &str = "execution";

/// The kind `approval`.
pub struct Approval;

/// State of an approval.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalState {
    /// Not asked for.
    #[default]
    Missing,
    /// Waits for people to agree.
    Pending(Request),
    /// Enough have agreed; the command is on its way.
    Approved(Request),
    /// The command was answered.
    Executed {
        /// What was asked for.
        request: Request,
        /// The code of the refusal; the entity took the command where there is none.
        refused: Option<String>,
    },
    /// Somebody refused.
    Rejected {
        /// What was asked for.
        request: Request,
        /// Who refused.
        by: PrincipalId,
        /// Why.
        reason: String,
    },
    /// Whoever asked for it took it back.
    Withdrawn(Request),
    /// Too few agreed in time.
    Expired(Request),
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    /// The entity that is to get the command.
    pub to: StreamId,
    /// The command.
    pub command: Carried,
    /// Keyed digest of the command as it was sent.
    pub digest: Digest,
    /// How many people have to agree.
    pub needs: u8,
    /// Why.
    pub reason: String,
    /// When the time to agree is over.
    pub expires_at: Millis,
    /// Who asked.
    pub by: PrincipalId,
    /// For whom they asked.
    pub on_behalf_of: Option<PrincipalId>,
    /// By which credential.
    pub credential: Option<String>,
    /// Who answers for whoever asked, where that is an agent or a service.
    pub owner: Option<PrincipalId>,
    /// Who has agreed.
    pub agreed: BTreeSet<PrincipalId>,
}

impl Request {
    /// Whether somebody is among those who asked.
    fn is_by(&self, who: &PrincipalId) -> bool {
        self.by == *who || self.on_behalf_of.as_ref() == Some(who)
    }

    /// Whether it is theirs: they asked, or answer for the agent that did.
    fn is_of(&self, who: &PrincipalId) -> bool {
        self.is_by(who) || self.owner.as_ref() == Some(who)
    }
}

impl ApprovalState {
    /// What was asked for.
    pub fn request(&self) -> Option<&Request> {
        match self {
            Self::Missing => None,
            Self::Pending(request) | Self::Approved(request) | Self::Withdrawn(request) | Self::Expired(request) => Some(request),
            Self::Executed { request, .. } | Self::Rejected { request, .. } => Some(request),
        }
    }
}

impl Decider for Approval {
    const KIND: &'static str = "approval";
    const RULES_VERSION: u32 = 2;
    type State = ApprovalState;
    type Command = ApprovalCommand;
    type Word = ApprovalWord;
    type Event = ApprovalEvent;
    type Rejection = ApprovalRejection;

    fn initial() -> ApprovalState {
        ApprovalState::Missing
    }

    fn decide(state: &ApprovalState, asked: &AskedOf<Self>, context: &Context<'_>) -> Result<Decision<ApprovalEvent>, ApprovalRejection> {
        match asked {
            Asked::Command(ApprovalCommand::Create(create)) => match state {
                ApprovalState::Missing => decide_create(create, context),
                _ => Err(ApprovalRejection::Exists(context.stream.id.clone())),
            },
            Asked::Command(command) => {
                let request = pending(state, context)?;
                decide_pending(request, command, context)
            }
            Asked::Word(ApprovalWord::Expire(ExpireApproval {})) => Ok(match state {
                ApprovalState::Pending(request) if context.now >= request.expires_at => Decision::one(ApprovalEvent::Expired {}),
                _ => Decision::Unchanged,
            }),
            Asked::Word(ApprovalWord::Answered(CommandAnswered { refused })) => Ok(match state {
                // From the kernel alone: no entity tells it.
                ApprovalState::Approved(_) if context.authority.dispatched_by.is_none() => {
                    Decision::one(ApprovalEvent::Executed { refused: refused.clone() })
                }
                _ => Decision::Unchanged,
            }),
        }
    }

    fn evolve(state: ApprovalState, event: &ApprovalEvent) -> Result<ApprovalState, Corrupt> {
        match (state, event) {
            (ApprovalState::Missing, event) => created(event).map(ApprovalState::Pending),
            (ApprovalState::Pending(mut request), ApprovalEvent::Agreed { by }) => {
                request.agreed.insert(by.clone());
                Ok(ApprovalState::Pending(request))
            }
            (ApprovalState::Pending(request), ApprovalEvent::Approved {}) => Ok(ApprovalState::Approved(request)),
            (ApprovalState::Pending(request), ApprovalEvent::Rejected { by, reason }) => Ok(ApprovalState::Rejected {
                request,
                by: by.clone(),
                reason: reason.clone(),
            }),
            (ApprovalState::Pending(request), ApprovalEvent::Withdrawn {}) => Ok(ApprovalState::Withdrawn(request)),
            (ApprovalState::Pending(request), ApprovalEvent::Expired {}) => Ok(ApprovalState::Expired(request)),
            (ApprovalState::Approved(request), ApprovalEvent::Executed { refused }) => Ok(ApprovalState::Executed {
                request,
                refused: refused.clone(),
            }),
            (_, event) => Err(Corrupt(format!("{event:?} does not fit the approval"))),
        }
    }

    fn react(state: &ApprovalState, event: &ApprovalEvent) -> Vec<Reaction> {
        let name = || EXPIRY_TIMER.to_owned();
        let cancelled = || vec![Reaction::CancelWake { name: name() }];
        match event {
            ApprovalEvent::Created { expires_at, .. } => vec![Reaction::WakeAt {
                name: name(),
                due: *expires_at,
            }],
            ApprovalEvent::Approved {} => {
                let mut all = cancelled();
                all.extend(state.request().map(|request| {
                    let dispatch = Dispatch::new(request.to.clone(), Json(request.command.0.clone()));
                    Reaction::Dispatch(dispatch.awaiting(EXECUTION))
                }));
                all
            }
            ApprovalEvent::Rejected { .. } | ApprovalEvent::Withdrawn {} => cancelled(),
            ApprovalEvent::Agreed { .. } | ApprovalEvent::Executed { .. } | ApprovalEvent::Expired {} => Vec::new(),
        }
    }

    /// Whoever asked: what they may then decides, and not what those who agreed may.
    fn acts_as(state: &ApprovalState) -> Option<Acting> {
        let request = state.request()?;
        Some(Acting {
            principal: request.by.clone(),
            on_behalf_of: request.on_behalf_of.clone(),
            credential: request.credential.as_ref().and_then(|text| text.parse().ok()),
        })
    }

    fn from_kernel(told: KernelCommand) -> Option<ApprovalWord> {
        match told {
            KernelCommand::TimerFired { name, .. } if name == EXPIRY_TIMER => Some(ApprovalWord::Expire(ExpireApproval {})),
            KernelCommand::DispatchSettled { name, outcome, .. } if name == EXECUTION => {
                let refused = match outcome {
                    Settled::Accepted | Settled::Unchanged => None,
                    Settled::Refused { code } => Some(code),
                    _ => Some("dropped".to_owned()),
                };
                Some(ApprovalWord::Answered(CommandAnswered { refused }))
            }
            _ => None,
        }
    }

    fn right(command: &str) -> Right {
        match command {
            "approve" | "reject" => Right::Role(Role::Admin),
            // Whoever may ask for nothing else may ask for an approval: what is sent is asked for again, in their name.
            _ => Right::Role(Role::Member),
        }
    }

    fn carries(command: &str) -> bool {
        command == "create"
    }
}

fn created(event: &ApprovalEvent) -> Result<Request, Corrupt> {
    match event {
        ApprovalEvent::Created {
            to,
            command,
            digest,
            needs,
            reason,
            expires_at,
            by,
            on_behalf_of,
            credential,
            owner,
        } => Ok(Request {
            to: to.clone(),
            command: command.clone(),
            digest: *digest,
            needs: *needs,
            reason: reason.clone(),
            expires_at: *expires_at,
            by: by.clone(),
            on_behalf_of: on_behalf_of.clone(),
            credential: credential.clone(),
            owner: owner.clone(),
            agreed: BTreeSet::new(),
        }),
        event => Err(Corrupt(format!("{event:?} of an approval that nobody asked for"))),
    }
}

fn decide_create(create: &CreateApproval, context: &Context<'_>) -> Result<Decision<ApprovalEvent>, ApprovalRejection> {
    // Whoever acts for somebody could agree as themselves to what they asked for in the other's name.
    if context.authority.through {
        return Err(ApprovalRejection::NotAPerson);
    }
    let needs = create.needs.unwrap_or(1);
    if !(1..=APPROVAL_NEEDS_MAX).contains(&needs) {
        return Err(ApprovalRejection::BadNeeds);
    }
    if !text::is_reason(&create.reason) {
        return Err(ApprovalRejection::BadReason);
    }
    if create.kind == Kind::APPROVAL {
        return Err(ApprovalRejection::OfApproval);
    }
    // What did not come in where commands are sealed and known carries nothing that could be sent.
    let digest = create.digest.ok_or(ApprovalRejection::NotCarried)?;
    Ok(Decision::one(ApprovalEvent::Created {
        to: StreamId::new(context.stream.org.clone(), create.kind.clone(), create.id.clone()),
        command: create.body.clone(),
        digest,
        needs,
        reason: create.reason.clone(),
        expires_at: context.now.saturating_add(APPROVAL_LIVES_MS),
        by: context.principal.clone(),
        on_behalf_of: context.on_behalf_of.cloned(),
        credential: context.credential.map(ToString::to_string),
        owner: context.authority.owner.clone(),
    }))
}

fn pending<'a>(state: &'a ApprovalState, context: &Context<'_>) -> Result<&'a Request, ApprovalRejection> {
    let id = || context.stream.id.clone();
    match state {
        ApprovalState::Missing => Err(ApprovalRejection::NotFound(id())),
        ApprovalState::Pending(request) if context.now < request.expires_at => Ok(request),
        ApprovalState::Pending(_) | ApprovalState::Expired(_) => Err(ApprovalRejection::Expired(id())),
        _ => Err(ApprovalRejection::Over(id())),
    }
}

fn decide_pending(
    request: &Request,
    command: &ApprovalCommand,
    context: &Context<'_>,
) -> Result<Decision<ApprovalEvent>, ApprovalRejection> {
    let actor = context.actor();
    match command {
        ApprovalCommand::Create(_) => Err(ApprovalRejection::Exists(context.stream.id.clone())),
        ApprovalCommand::Approve(ApproveCommand {}) => {
            is_another(request, context)?;
            if request.agreed.contains(actor) {
                return Ok(Decision::Unchanged);
            }
            let mut events = vec![ApprovalEvent::Agreed { by: actor.clone() }];
            if request.agreed.len() + 1 >= usize::from(request.needs) {
                events.push(ApprovalEvent::Approved {});
            }
            Ok(Decision::Accept(events))
        }
        ApprovalCommand::Reject(RejectCommand { reason }) => {
            is_another(request, context)?;
            if !text::is_reason(reason) {
                return Err(ApprovalRejection::BadReason);
            }
            Ok(Decision::one(ApprovalEvent::Rejected {
                by: actor.clone(),
                reason: reason.clone(),
            }))
        }
        ApprovalCommand::Withdraw(WithdrawApproval {}) if request.is_by(actor) => Ok(Decision::one(ApprovalEvent::Withdrawn {})),
        ApprovalCommand::Withdraw(_) => Err(ApprovalRejection::NotYours),
    }
}

/// Whether it is somebody else than who asked, who speaks for themselves: nothing that somebody set in motion agrees for them.
fn is_another(request: &Request, context: &Context<'_>) -> Result<(), ApprovalRejection> {
    // An agent or a service is somebody's, who could agree with themselves by it.
    if context.authority.dispatched_by.is_some() || context.authority.through || context.authority.automaton {
        return Err(ApprovalRejection::NotAPerson);
    }
    // Whoever holds the node's token may name whom they speak for, and is asked for that name; others speak for themselves.
    acts_alone(context)?;
    if request.is_of(context.actor()) {
        return Err(ApprovalRejection::OwnRequest);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
