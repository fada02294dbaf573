//! Turn-taking: claims, deferrals, one decision, one end.

use super::{
    draft::{Decided, Draft},
    rejection::ConversationRejection as Rejection,
    state::{Claim, Ending, OpenTurn, Room, RunningTurn, Stage, Turn, eligible},
};
use crate::{decider::Decision, text};
use quipu_kinds::conversation::{
    Bid, BidClaim, ClaimTurn, CloseTurn, ConversationEvent as Event, DeferTurn, FinishTurn, Interruption, TurnMethod, TurnOutcome,
};
use quipu_schemas::{
    context::Context,
    ids::{EntityId, Kind, MessageId, PrincipalId},
    limits::{CLAIM_CONDITIONS_MAX, CLAIM_WINDOW_MAX_MS, NAME_MAX_CHARS},
};

/// Whether the turn's own run sent this (or the platform itself, outside of any dispatch).
pub(super) fn is_sent_by_run(run: &EntityId, context: &Context<'_>) -> bool {
    match &context.authority.dispatched_by {
        Some(sender) => sender.kind == Kind::RUN && sender.id == *run && sender.org == context.stream.org,
        None => context.authority.platform,
    }
}

pub(super) fn claim(room: &Room, claim: &ClaimTurn, context: &Context<'_>) -> Decided {
    let agent = context.actor();
    let open = asked(room, &claim.turn, context)?;
    if claim.reason.trim().is_empty() || !text::is_reason(&claim.reason) {
        return Err(Rejection::BadReason);
    }
    // Also refuses NaN.
    if !(0.0..=1.0).contains(&claim.confidence) {
        return Err(Rejection::BadConfidence);
    }
    let is_label = |text: &String| (1..=NAME_MAX_CHARS).contains(&text.chars().count());
    if !claim.rule.iter().all(is_label) {
        return Err(Rejection::BadGrounds { field: "rule" });
    }
    if claim.conditions.len() > CLAIM_CONDITIONS_MAX || !claim.conditions.iter().all(is_label) {
        return Err(Rejection::BadGrounds { field: "conditions" });
    }
    if claim.expires_ms.is_some_and(|ms| !(1..=CLAIM_WINDOW_MAX_MS).contains(&ms)) {
        return Err(Rejection::BadExpiry);
    }
    let said = Claim {
        agent: agent.clone(),
        reason: claim.reason.clone(),
        confidence: claim.confidence,
        priority: claim.priority,
        expires_at: claim.expires_ms.map(|ms| context.now.saturating_add(ms)),
    };
    if open.claims.iter().any(|earlier| earlier.is_repeated_by(&said)) {
        return Ok(Decision::Unchanged);
    }
    if open.has_spoken(agent) {
        return Err(Rejection::AlreadySpoke(agent.clone()));
    }
    let mut draft = Draft::new(room, context);
    draft.push(Event::TurnClaimed {
        turn: claim.turn.clone(),
        agent: agent.clone(),
        reason: said.reason,
        confidence: said.confidence,
        priority: said.priority,
        rule: claim.rule.clone(),
        conditions: claim.conditions.clone(),
        expires_at: said.expires_at,
    })?;
    settle_if_all_have_spoken(&mut draft)?;
    draft.finish()
}

pub(super) fn defer(room: &Room, defer: &DeferTurn, context: &Context<'_>) -> Decided {
    let agent = context.actor();
    let open = asked(room, &defer.turn, context)?;
    if !text::is_reason(&defer.reason) {
        return Err(Rejection::BadReason);
    }
    if open.has_deferred(agent) {
        return Ok(Decision::Unchanged);
    }
    if open.has_spoken(agent) {
        return Err(Rejection::AlreadySpoke(agent.clone()));
    }
    let mut draft = Draft::new(room, context);
    draft.push(Event::TurnDeferred {
        turn: defer.turn.clone(),
        agent: agent.clone(),
        reason: defer.reason.clone(),
    })?;
    settle_if_all_have_spoken(&mut draft)?;
    draft.finish()
}

/// The open turn of that id, if the actor is asked in it.
fn asked<'a>(room: &'a Room, turn: &str, context: &Context<'_>) -> Result<&'a OpenTurn, Rejection> {
    if !room.participants.contains_key(context.actor()) {
        return Err(Rejection::NotAParticipant(context.actor().clone()));
    }
    room.standing(context)?;
    let closed = |winner: Option<&PrincipalId>| Rejection::TurnClosed {
        turn: turn.to_owned(),
        winner: winner.cloned(),
    };
    match room.floor.turn() {
        Some(Turn::Open(open)) if open.turn == turn => {
            if open.eligible.contains(context.actor()) {
                Ok(open)
            } else {
                Err(Rejection::NotEligible(context.actor().clone()))
            }
        }
        Some(Turn::Running(running)) if running.turn == turn => Err(closed(Some(&running.winner))),
        Some(Turn::Open(_) | Turn::Running(_)) | None => match room.floor.ended(turn) {
            Some(ending) => Err(closed(ending.winner())),
            None => Err(Rejection::UnknownTurn(turn.to_owned())),
        },
    }
}

/// The claim window is over. While paused the decision waits for `resume`.
pub(super) fn close(room: &Room, close: &CloseTurn, context: &Context<'_>) -> Decided {
    match room.floor.turn() {
        Some(Turn::Open(open)) if open.turn == close.turn && !room.floor.paused => {
            let mut draft = Draft::new(room, context);
            settle(&mut draft)?;
            draft.finish()
        }
        Some(Turn::Open(_) | Turn::Running(_)) | None => Ok(Decision::Unchanged),
    }
}

pub(super) fn finish(room: &Room, finish: &FinishTurn, context: &Context<'_>) -> Decided {
    let turn = &finish.turn;
    match room.floor.turn() {
        Some(Turn::Running(running)) if running.turn == *turn => {
            require_run(running, context)?;
            if let TurnOutcome::Answered { message_id } = &finish.outcome
                && !room.knows(message_id, context)?
            {
                return Err(Rejection::UnknownMessage {
                    field: "outcome.message_id",
                    message_id: message_id.clone(),
                });
            }
            let mut draft = Draft::new(room, context);
            draft.push(Event::TurnFinished {
                turn: turn.clone(),
                outcome: finish.outcome.clone(),
            })?;
            start_next(&mut draft)?;
            draft.finish()
        }
        Some(Turn::Open(open)) if open.turn == *turn => Err(Rejection::TurnOpen(turn.clone())),
        Some(Turn::Open(_) | Turn::Running(_)) | None => match room.floor.ended(turn) {
            Some(Ending::Interrupted {
                winner,
                run,
                reported: false,
            }) => {
                if !is_sent_by_run(run, context) {
                    return Err(Rejection::NotTheWinner {
                        turn: turn.clone(),
                        winner: winner.clone(),
                    });
                }
                match &finish.outcome {
                    // What was already sent is on record from here.
                    TurnOutcome::Interrupted { .. } | TurnOutcome::Failed { .. } => Ok(Decision::one(Event::TurnFinished {
                        turn: turn.clone(),
                        outcome: finish.outcome.clone(),
                    })),
                    TurnOutcome::Answered { .. } => Err(Rejection::TurnInterrupted(turn.clone())),
                }
            }
            Some(Ending::Interrupted { .. } | Ending::Answered { .. } | Ending::Failed { .. } | Ending::Closed) => Ok(Decision::Unchanged),
            None => Err(Rejection::UnknownTurn(turn.clone())),
        },
    }
}

fn require_run(running: &RunningTurn, context: &Context<'_>) -> Result<(), Rejection> {
    if is_sent_by_run(&running.run, context) {
        Ok(())
    } else {
        Err(Rejection::NotTheWinner {
            turn: running.turn.clone(),
            winner: running.winner.clone(),
        })
    }
}

/// Gives the floor to the message that waits, unless somebody has it or the conversation is paused.
pub(super) fn start_next(draft: &mut Draft<'_>) -> Result<(), Rejection> {
    if draft.floor.paused || !matches!(draft.floor.stage, Stage::Idle | Stage::WaitingForUser) {
        return Ok(());
    }
    let Some(question) = draft.floor.pending.clone() else {
        return Ok(());
    };
    let mut agents = eligible(&draft.participants, &question.mentions);
    let turn = draft.context.mint("trn");
    let at_version = draft.version();
    if agents.len() > 1 {
        let closes_at = draft.context.now.saturating_add(draft.room.claim_window_ms);
        return draft.push(Event::TurnOpened {
            turn,
            message_id: question.message_id,
            at_version,
            eligible: agents,
            closes_at,
        });
    }
    match agents.pop() {
        // Nobody to wait for.
        Some(only) => {
            let why = format!("{only} is the only eligible agent");
            decide(
                draft,
                turn,
                question.message_id,
                at_version,
                only,
                TurnMethod::OnlyEligible,
                why,
                Vec::new(),
            )
        }
        None => Ok(()),
    }
}

/// Gives the floor to a named agent.
pub(super) fn route(draft: &mut Draft<'_>, agent: &PrincipalId, message_id: MessageId, reason: &str) -> Result<(), Rejection> {
    let turn = draft.context.mint("trn");
    let by = draft.context.actor();
    let why = if reason.is_empty() {
        format!("{by} routed it to {agent}")
    } else {
        format!("{by} routed it to {agent}: {reason}")
    };
    let at_version = draft.version();
    decide(
        draft,
        turn,
        message_id,
        at_version,
        agent.clone(),
        TurnMethod::Routed,
        why,
        Vec::new(),
    )
}

pub(super) fn settle_if_all_have_spoken(draft: &mut Draft<'_>) -> Result<(), Rejection> {
    match draft.floor.turn() {
        Some(Turn::Open(open)) if open.all_have_spoken() => settle(draft),
        Some(Turn::Open(_) | Turn::Running(_)) | None => Ok(()),
    }
}

/// Decides the open turn with what was said so far: the best claim, else the first who kept silent, else nobody.
/// While paused nothing is decided.
pub(super) fn settle(draft: &mut Draft<'_>) -> Result<(), Rejection> {
    let mut open = match draft.floor.turn() {
        Some(Turn::Open(open)) if !draft.floor.paused => open.clone(),
        Some(Turn::Open(_) | Turn::Running(_)) | None => return Ok(()),
    };
    // Whose claim has run out is silent.
    let now = draft.context.now;
    open.claims.retain(|claim| claim.expires_at.is_none_or(|at| now < at));
    let bids = bids(&open);
    if let Some(best) = open.best() {
        let why = format!(
            "{} has the best of {} claims (priority {}, confidence {:.2}): {}",
            best.agent,
            open.claims.len(),
            format!("{:?}", best.priority).to_lowercase(),
            best.confidence,
            best.reason
        );
        let winner = best.agent.clone();
        return decide(
            draft,
            open.turn,
            open.message_id,
            open.at_version,
            winner,
            TurnMethod::BestClaim,
            why,
            bids,
        );
    }
    if let Some(silent) = open.eligible.iter().find(|agent| !open.has_spoken(agent)).cloned() {
        let why = format!("nobody claimed in time; {silent} is the first by id who did not defer");
        return decide(
            draft,
            open.turn,
            open.message_id,
            open.at_version,
            silent,
            TurnMethod::Fallback,
            why,
            bids,
        );
    }
    let why = if open.eligible.is_empty() {
        "no eligible agent is left"
    } else {
        "every eligible agent deferred"
    };
    draft.push(Event::TurnClosed {
        turn: open.turn,
        why: why.into(),
    })?;
    start_next(draft)
}

fn bids(open: &OpenTurn) -> Vec<Bid> {
    let word = |agent: &PrincipalId| {
        let claim = open.claims.iter().find(|claim| claim.agent == *agent);
        let deferral = open.deferrals.iter().find(|deferral| deferral.agent == *agent);
        let reason = claim
            .map(|it| &it.reason)
            .or(deferral.map(|it| &it.reason))
            .cloned()
            .unwrap_or_else(|| "silent".into());
        Bid {
            agent: agent.clone(),
            claim: claim.map(|it| BidClaim {
                confidence: it.confidence,
                priority: it.priority,
            }),
            reason,
        }
    };
    open.eligible.iter().map(word).collect()
}

#[expect(clippy::too_many_arguments, reason = "one event, field by field")]
fn decide(
    draft: &mut Draft<'_>,
    turn: String,
    message_id: MessageId,
    at_version: u64,
    winner: PrincipalId,
    method: TurnMethod,
    why: String,
    bids: Vec<Bid>,
) -> Result<(), Rejection> {
    let run = EntityId::parse(draft.context.mint("run")).map_err(|e| Rejection::Contradiction(e.to_string()))?;
    draft.push(Event::TurnDecided {
        turn,
        message_id,
        at_version,
        winner,
        method,
        why,
        bids,
        run,
    })
}

/// Takes the floor from the agents; `false` if they do not have it.
pub(super) fn stop(draft: &mut Draft<'_>, how: Interruption, reason: &str) -> Result<bool, Rejection> {
    let by = draft.context.actor().clone();
    let event = match draft.floor.turn() {
        Some(Turn::Running(RunningTurn { turn, run, .. })) => Event::TurnInterrupted {
            turn: turn.clone(),
            run: run.clone(),
            how,
            by,
            reason: reason.to_owned(),
        },
        Some(Turn::Open(open)) => {
            let how = format!("{how:?}").to_lowercase();
            Event::TurnClosed {
                turn: open.turn.clone(),
                why: if reason.is_empty() {
                    format!("{how} by {by}")
                } else {
                    format!("{how} by {by}: {reason}")
                },
            }
        }
        None => return Ok(false),
    };
    draft.push(event)?;
    Ok(true)
}
