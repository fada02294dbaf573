//! Rules of a conversation: who takes part, what is said, who answers, and when a person takes over.
//!
//! **One arbiter.** A person's message opens at most one turn, and a turn has at most one winner and one
//! answer. Agents claim or defer; the first close decides, by a total order that a person can read in the
//! decision event. A message that comes while the agents have the floor waits, and the latest one waiting is
//! answered by the turn that follows. **One table.** Each decision changes the phase at most once, along
//! [`allowed`](state::allowed), and says so in a `phase_changed` event.

mod control;
mod draft;
mod evolve;
mod handoff;
mod kept;
mod messages;
mod participants;
mod react;
mod recall;
mod rejection;
mod remembered;
mod state;
mod turns;

pub use kept::{Kept, Message};
pub use rejection::ConversationRejection;
pub use remembered::Messages;
pub use state::{
    Claim, ConversationState, Deferral, EndedTurn, Ending, Floor, Handoff, OpenTurn, Participant, Question, Room, RunningTurn, Stage, Turn,
    allowed,
};

use crate::decider::{Asked, AskedOf, Corrupt, Decider, Decision, Right};
use quipu_kinds::conversation::{
    CloseTurn, ConversationCommand, ConversationEvent, ConversationWord, ExpireHandoff, FinishTurn, Phase, TurnOutcome,
};
use quipu_schemas::{
    context::Context,
    envelope::KernelCommand,
    personal::BlobRef,
    reaction::{Reaction, Settled},
    role::Role,
};

/// The kind `conversation`.
pub struct Conversation;

/// Name of the timer that lets a handoff lapse.
pub const HANDOFF_TIMER: &str = "handoff";
/// A turn's claim window is the timer of this prefix and the turn's id.
pub const TURN_TIMER_PREFIX: &str = "turn:";

impl Decider for Conversation {
    const KIND: &'static str = "conversation";
    const RULES_VERSION: u32 = 2;
    const HEARS_ENTITIES: bool = true;
    type State = ConversationState;
    type Command = ConversationCommand;
    type Word = ConversationWord;
    type Event = ConversationEvent;
    type Rejection = ConversationRejection;

    fn initial() -> ConversationState {
        ConversationState::Missing
    }

    fn decide(
        state: &ConversationState,
        asked: &AskedOf<Self>,
        context: &Context<'_>,
    ) -> Result<Decision<ConversationEvent>, ConversationRejection> {
        match state {
            ConversationState::Missing => match asked {
                Asked::Command(ConversationCommand::Create(create)) => participants::create(create, context),
                Asked::Command(_) | Asked::Word(_) => Err(ConversationRejection::NotFound(context.stream.id.clone())),
            },
            ConversationState::Existing(room) => match asked {
                Asked::Command(command) => decide_existing(room, command, context),
                Asked::Word(word) => heed(room, word, context),
            },
        }
    }

    fn right(command: &str) -> Right {
        match command {
            "create" | "join" | "accept_handoff" => Right::Role(Role::Member),
            // Agents and services take part without being members of the org, and whoever takes part may leave.
            _ => Right::Rules,
        }
    }

    fn needs(state: &ConversationState, asked: &AskedOf<Self>) -> Vec<BlobRef> {
        match (state, asked) {
            (ConversationState::Existing(room), Asked::Command(command)) => messages::needs(room, command),
            (ConversationState::Missing, _) | (ConversationState::Existing(_), Asked::Word(_)) => Vec::new(),
        }
    }

    fn names(event: &ConversationEvent) -> Option<&str> {
        messages::named_by(event)
    }

    fn recalls(state: &ConversationState, command: &serde_json::Value) -> Vec<String> {
        match state {
            ConversationState::Existing(room) => recall::recalls(room, command),
            ConversationState::Missing => Vec::new(),
        }
    }

    fn evolve(state: ConversationState, event: &ConversationEvent) -> Result<ConversationState, Corrupt> {
        evolve::evolve(state, event)
    }

    fn react(state: &ConversationState, event: &ConversationEvent) -> Vec<Reaction> {
        react::react(state, event)
    }

    fn from_kernel(told: KernelCommand) -> Option<ConversationWord> {
        match told {
            KernelCommand::TimerFired { name, .. } => match name.strip_prefix(TURN_TIMER_PREFIX) {
                Some(turn) => Some(ConversationWord::CloseTurn(CloseTurn { turn: turn.to_owned() })),
                None => (name == HANDOFF_TIMER).then_some(ConversationWord::ExpireHandoff(ExpireHandoff {})),
            },
            KernelCommand::DispatchSettled { name, outcome, .. } => run_refused(&name, &outcome),
            KernelCommand::EffectSettled { .. } | KernelCommand::EffectNote { .. } => None,
        }
    }
}

/// The run of a turn was refused, so the turn comes to its end.
fn run_refused(name: &str, outcome: &Settled) -> Option<ConversationWord> {
    let code = match outcome {
        Settled::Refused { code } => code.clone(),
        Settled::Dropped => "dropped".to_owned(),
        _ => return None,
    };
    let detail = format!("the run of the turn was refused: {code}");
    Some(ConversationWord::FinishTurn(FinishTurn {
        turn: name.strip_prefix(TURN_TIMER_PREFIX)?.to_owned(),
        outcome: TurnOutcome::Failed { code, detail },
    }))
}

fn decide_existing(
    room: &Room,
    command: &ConversationCommand,
    context: &Context<'_>,
) -> Result<Decision<ConversationEvent>, ConversationRejection> {
    use ConversationCommand as Command;
    if room.floor.stage.phase() == Phase::Archived && !matches!(command, Command::Create(_) | Command::Archive(_)) {
        return Err(ConversationRejection::Archived(context.stream.id.clone()));
    }
    match command {
        Command::Create(_) => Err(ConversationRejection::Exists(context.stream.id.clone())),
        Command::Rename(rename) => participants::rename(room, rename, context),
        Command::AddParticipant(add) => participants::add(room, add, context),
        Command::RemoveParticipant(remove) => participants::remove(room, remove, context),
        Command::SetParticipantRole(set) => participants::set_role(room, set, context),
        Command::Join(join) => participants::join(room, join, context),
        Command::Leave(_) => participants::leave(room, context),
        Command::Post(post) => messages::post(room, post, context),
        Command::ImportMessage(import) => messages::import(room, import, context),
        Command::EditMessage(edit) => messages::edit(room, edit, context),
        Command::DeleteMessage(delete) => messages::delete(room, delete, context),
        Command::Claim(claim) => turns::claim(room, claim, context),
        Command::Defer(defer) => turns::defer(room, defer, context),
        Command::Pause(word) => control::pause(room, word, context),
        Command::Resume(word) => control::resume(room, word, context),
        Command::Preempt(word) => control::stop(room, word, quipu_kinds::conversation::Interruption::Preempted, context),
        Command::Cancel(word) => control::stop(room, word, quipu_kinds::conversation::Interruption::Cancelled, context),
        Command::Route(route) => control::route(room, route, context),
        Command::Resolve(resolve) => control::resolve(room, resolve, context),
        Command::Archive(_) => control::archive(room, context),
        Command::Handoff(request) => handoff::request(room, request, context),
        Command::AssignHandoff(assign) => handoff::assign(room, assign, context),
        Command::AcceptHandoff(_) => handoff::accept(room, context),
        Command::ReturnHandoff(back) => handoff::give_back(room, back, context),
    }
}

/// Decides what the kernel or the run of a turn sends; an archived conversation hears it too.
fn heed(room: &Room, word: &ConversationWord, context: &Context<'_>) -> Result<Decision<ConversationEvent>, ConversationRejection> {
    let is_of_an_entity = context.authority.dispatched_by.is_some();
    match word {
        ConversationWord::CloseTurn(_) | ConversationWord::ExpireHandoff(_) if is_of_an_entity => Err(ConversationRejection::NotTheKernel),
        ConversationWord::CloseTurn(close) => turns::close(room, close, context),
        ConversationWord::FinishTurn(finish) => turns::finish(room, finish, context),
        ConversationWord::ExpireHandoff(_) => handoff::expire(room, context),
    }
}

#[cfg(test)]
mod tests;
