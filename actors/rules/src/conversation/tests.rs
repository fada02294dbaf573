//! Every transition and every refusal; one file an aspect.

mod control;
mod handoff;
mod kept;
mod messages;
mod participants;
mod phases;
mod remembered;
mod turns;
mod walk;

use super::*;
use crate::scene::{As, OneKey, Scene, as_role, id, platform, sealed, sent_by};
use quipu_kinds::conversation::{
    AcceptHandoff, AddParticipant, ArchiveConversation, AssignHandoff, ClaimTurn, ContentType, Control, ConversationType,
    CreateConversation, DeferTurn, DeleteMessage, EditMessage, FinishTurn, ImportMessage, ImportedContent, Interruption, JoinConversation,
    LeaveConversation, ParticipantKind, ParticipantRole, PostMessage, Priority, RemoveParticipant, RenameConversation, RequestHandoff,
    ResolveConversation, ReturnHandoff, RouteTurn, SetParticipantRole, TurnMethod, TurnOutcome, TurnTask,
};
use quipu_schemas::{
    ids::{MessageId, PrincipalId},
    role::Role,
};
use serde_json::json;

type Cast = Scene<Conversation>;

fn ada() -> As {
    as_role("ada", Some(Role::Member))
}
fn bob() -> As {
    as_role("bob", Some(Role::Member))
}
fn boss() -> As {
    as_role("boss", Some(Role::Admin))
}
fn agent(name: &str) -> As {
    as_role(name, None)
}
fn run_of(scene: &Cast) -> As {
    sent_by("ada", &format!("acme/run/{}", running(scene).run))
}

fn participant(principal: &str, kind: ParticipantKind) -> AddParticipant {
    AddParticipant {
        principal: id(principal),
        kind,
        role: ParticipantRole::Member,
    }
}
fn creation(kind: ConversationType, participants: Vec<AddParticipant>) -> CreateConversation {
    CreateConversation {
        conversation_type: kind,
        title: None,
        kind: None,
        participants,
        claim_window_ms: None,
        auto_turns: None,
    }
}

/// A group of ada (owner), bob and as many agents `a1`, `a2`, … as asked.
fn group(agents: usize) -> Cast {
    let mut people = vec![participant("bob", ParticipantKind::Person)];
    people.extend((1..=agents).map(|n| participant(&format!("a{n}"), ParticipantKind::Agent)));
    let mut scene = Scene::new("acme/conversation/cnv_1");
    scene.opener = Box::new(OneKey);
    scene.ok(&ada(), ConversationCommand::Create(creation(ConversationType::Group, people)));
    scene
}

fn text(body: &str) -> PostMessage {
    PostMessage {
        message_id: None,
        body: sealed(&body.to_owned()),
        content_type: ContentType::Text,
        reply_to: None,
        priority: Priority::Normal,
        mentions: Vec::new(),
        turn: None,
    }
}
fn post(body: &str) -> ConversationCommand {
    ConversationCommand::Post(text(body))
}
fn post_as(message_id: &str, body: &str) -> PostMessage {
    PostMessage {
        message_id: Some(message(message_id)),
        ..text(body)
    }
}
fn answer(turn: &str) -> ConversationCommand {
    ConversationCommand::Post(PostMessage {
        turn: Some(turn.into()),
        ..text("forty-two")
    })
}
fn message(id: &str) -> MessageId {
    MessageId::parse(id).unwrap()
}
fn claim(turn: &str, confidence: f64, priority: Priority) -> ConversationCommand {
    ConversationCommand::Claim(ClaimTurn {
        turn: turn.into(),
        reason: "I know this".into(),
        confidence,
        priority,
        rule: None,
        conditions: Vec::new(),
        expires_ms: None,
    })
}
fn defer(turn: &str) -> ConversationCommand {
    ConversationCommand::Defer(DeferTurn {
        turn: turn.into(),
        reason: "not mine".into(),
    })
}
fn close(turn: &str) -> ConversationWord {
    Conversation::from_kernel(timer(&format!("turn:{turn}"))).unwrap()
}
fn timer(name: &str) -> KernelCommand {
    let key = quipu_schemas::reaction::ReactionKey {
        stream: "acme/conversation/cnv_1".parse().unwrap(),
        version: 1,
        ordinal: 0,
    };
    KernelCommand::TimerFired {
        key,
        name: name.into(),
        due: 0,
    }
}
fn control() -> Control {
    Control { reason: "because".into() }
}
fn route(to: &str) -> ConversationCommand {
    ConversationCommand::Route(RouteTurn {
        agent: id(to),
        reason: "knows more".into(),
    })
}
fn resolve() -> ConversationCommand {
    ConversationCommand::Resolve(ResolveConversation { reason: "solved".into() })
}
fn archive() -> ConversationCommand {
    ConversationCommand::Archive(ArchiveConversation {})
}
fn ask(to: Option<&str>) -> ConversationCommand {
    ConversationCommand::Handoff(RequestHandoff {
        reason: "angry".into(),
        to: to.map(id),
    })
}
fn accept() -> ConversationCommand {
    ConversationCommand::AcceptHandoff(AcceptHandoff {})
}
fn give_back() -> ConversationCommand {
    ConversationCommand::ReturnHandoff(ReturnHandoff { reason: "done".into() })
}
fn finish(turn: &str, outcome: TurnOutcome) -> ConversationWord {
    ConversationWord::FinishTurn(FinishTurn {
        turn: turn.into(),
        outcome,
    })
}
fn failed() -> TurnOutcome {
    TurnOutcome::Failed {
        code: "timeout".into(),
        detail: "slow".into(),
    }
}
fn interrupted() -> TurnOutcome {
    TurnOutcome::Interrupted {
        partial: Some(sealed(&"forty".to_owned())),
    }
}

fn room(scene: &Cast) -> &Room {
    match &scene.state {
        ConversationState::Existing(room) => room,
        ConversationState::Missing => panic!("no conversation"),
    }
}
fn phase(scene: &Cast) -> Phase {
    room(scene).floor.stage.phase()
}
fn running(scene: &Cast) -> &RunningTurn {
    match room(scene).floor.turn() {
        Some(Turn::Running(running)) => running,
        other => panic!("no turn runs: {other:?}"),
    }
}
fn open(scene: &Cast) -> &OpenTurn {
    match room(scene).floor.turn() {
        Some(Turn::Open(open)) => open,
        other => panic!("no turn is open: {other:?}"),
    }
}
fn turn(scene: &Cast) -> String {
    room(scene).floor.turn().expect("a turn").id().to_owned()
}
fn phases(events: &[ConversationEvent]) -> Vec<(Phase, Phase)> {
    events
        .iter()
        .filter_map(|event| match event {
            ConversationEvent::PhaseChanged { from, to, .. } => Some((*from, *to)),
            _other => None,
        })
        .collect()
}
/// The turn task that the last decision sent to a run.
fn task(scene: &Cast) -> Option<TurnTask> {
    scene.dispatched().into_iter().find_map(|(to, command)| {
        let task: TurnTask = serde_json::from_value(command.get("create_turn")?.clone()).unwrap();
        assert_eq!(to, format!("acme/run/{}", running(scene).run));
        Some(task)
    })
}
/// A group in each phase.
fn in_phase(phase: Phase) -> Cast {
    let mut scene = group(1);
    match phase {
        Phase::Idle => {}
        Phase::AiActive => drop(scene.ok(&ada(), post("hi"))),
        Phase::WaitingForUser => {
            scene.ok(&ada(), post("hi"));
            let (who, turn) = (run_of(&scene), turn(&scene));
            scene.ok(&who, answer(&turn));
        }
        Phase::HandoffPending => drop(scene.ok(&ada(), ask(None))),
        Phase::AgentActive => {
            scene.ok(&ada(), ask(None));
            scene.ok(&bob(), accept());
        }
        Phase::Resolved => drop(scene.ok(&ada(), resolve())),
        Phase::Archived => drop(scene.ok(&ada(), archive())),
    }
    assert_eq!(self::phase(&scene), phase);
    scene
}
const PHASES: [Phase; 7] = [
    Phase::Idle,
    Phase::AiActive,
    Phase::WaitingForUser,
    Phase::HandoffPending,
    Phase::AgentActive,
    Phase::Resolved,
    Phase::Archived,
];
/// One of each word.
fn every_word() -> Vec<ConversationWord> {
    vec![
        finish("trn_x", failed()),
        close("trn_x"),
        ConversationWord::ExpireHandoff(quipu_kinds::conversation::ExpireHandoff {}),
    ]
}
/// One of each word, and of each command that needs an existing conversation.
fn everything_asked() -> Vec<AskedOf<Conversation>> {
    let commands = every_command().into_iter().map(Asked::Command);
    commands.chain(every_word().into_iter().map(Asked::Word)).collect()
}
/// One of each command that needs an existing conversation.
fn every_command() -> Vec<ConversationCommand> {
    use ConversationCommand as C;
    vec![
        C::Rename(RenameConversation {
            title: sealed(&"T".to_owned()),
        }),
        C::AddParticipant(participant("eve", ParticipantKind::Person)),
        C::RemoveParticipant(RemoveParticipant { principal: id("bob") }),
        C::SetParticipantRole(SetParticipantRole {
            principal: id("bob"),
            role: ParticipantRole::Admin,
        }),
        C::Join(JoinConversation {
            kind: ParticipantKind::Person,
        }),
        C::Leave(LeaveConversation {}),
        post("hi"),
        import("i1", Some("hello")),
        C::EditMessage(EditMessage {
            message_id: message("m1"),
            body: sealed(&"new".to_owned()),
        }),
        C::DeleteMessage(DeleteMessage { message_id: message("m1") }),
        claim("trn_x", 0.5, Priority::Normal),
        defer("trn_x"),
        C::Pause(control()),
        C::Resume(control()),
        C::Preempt(control()),
        route("a1"),
        C::Cancel(control()),
        ask(None),
        C::AssignHandoff(AssignHandoff { to: id("bob") }),
        accept(),
        give_back(),
        resolve(),
        archive(),
    ]
}
fn import(message_id: &str, content: Option<&str>) -> ConversationCommand {
    let content = ImportedContent {
        content: content.map(str::to_owned),
        tool_calls: None,
        tool_call_id: None,
        name: None,
    };
    ConversationCommand::ImportMessage(ImportMessage {
        message_id: message(message_id),
        role: quipu_schemas::chat::ChatRole::Assistant,
        content: sealed(&content),
    })
}
