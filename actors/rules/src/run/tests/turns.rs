//! An agent's turn.

use super::*;
use quipu_kinds::conversation::{AgentPin, TurnTask};
use quipu_schemas::{
    chat::{ChatMessage, ChatRole, ToolRun, ToolSpec},
    digest::Digest,
    personal::{BlobRef, Personal},
    reaction::{LlmInvoke, ModelConfig, Prompt, ToolInvoke},
};

const CONVERSATION: &str = "acme/conversation/cnv_1";
const AGENT: &str = "acme/agent/bot";

fn task() -> TurnTask {
    TurnTask {
        conversation: "cnv_1".parse().unwrap(),
        at_version: 7,
        turn: "turn_1".into(),
        message_id: "m1".parse().unwrap(),
        agent: "bot".parse().unwrap(),
    }
}

fn pin() -> AgentPin {
    let run = ToolRun::Http {
        method: "POST".into(),
        url: "https://tools.example/weather".into(),
        idempotent: true,
    };
    AgentPin {
        version: 3,
        model: ModelConfig {
            provider: "scripted".into(),
            model: "s".into(),
            temperature: None,
            max_tokens: None,
        },
        directive: None,
        tools: vec![ToolSpec {
            name: "weather".into(),
            description: String::new(),
            parameters: Json(json!({})),
            run,
        }],
        max_iterations: 3,
    }
}

fn ready() -> RunWord {
    RunWord::AgentReady(AgentReady { pin: pin() })
}

fn tool_message(text: &str) -> Personal<ChatMessage> {
    sealed(&ChatMessage {
        role: ChatRole::Tool,
        content: Some(text.into()),
        tool_calls: None,
        tool_call_id: Some("c".into()),
        name: None,
    })
}

fn returned(name: &str, text: &str) -> RunWord {
    settled(
        name,
        Outcome::ToolResult {
            result: tool_message(text),
            ok: true,
        },
    )
}

fn answered(name: &str, text: Option<&str>, calls: &[&str]) -> RunWord {
    settled(name, Outcome::Answered(answer(text, calls)))
}

/// A turn whose model has been asked once.
fn asked() -> Stage1 {
    let mut scene = scene();
    let events = scene.ok(&sent_by("ada", CONVERSATION), RunWord::CreateTurn(task()));
    assert_eq!(said(&events), ["created", "initialized", "started"]);
    assert_eq!(scene.dispatched(), [(AGENT.to_owned(), json!({"start_turn": {"run": "run_1"}}))]);
    scene.unchanged(&sent_by("ada", CONVERSATION), RunWord::CreateTurn(task()));
    assert_eq!(said(&scene.ok(&sent_by("ada", AGENT), ready())), ["agent_pinned", "model_asked"]);
    scene
}

fn invoke(scene: &Stage1) -> LlmInvoke {
    match &performed(scene)[..] {
        [(_, Effect::LlmInvoke(call), _)] => call.clone(),
        other => panic!("{other:?}"),
    }
}

/// The turn's history as the prompt names it: by the version of its stream.
fn named(call: &LlmInvoke) -> u64 {
    match &call.prompt {
        Prompt::Conversation {
            transcript,
            turn: Some(turn),
            ..
        } => {
            assert_eq!((transcript.len(), turn.stream.to_string().as_str()), (0, "acme/run/run_1"));
            turn.version
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_turn_asks_the_model_and_posts_its_answer_once() {
    let mut scene = asked();
    let call = invoke(&scene);
    assert_eq!((named(&call), call.tools.len()), (scene.version, 1));
    let prompt = serde_json::to_value(&call.prompt).unwrap();
    assert_eq!(
        (&prompt["at_version"], &prompt["conversation"], &prompt["agent"]),
        (&json!(7), &json!(CONVERSATION), &json!(AGENT))
    );
    assert_eq!(call.stream_to.unwrap().turn, "turn_1");
    let reply = answer(Some("Sunny."), &[]);
    let events = scene.ok(&platform(), settled("model#1", Outcome::Answered(reply.clone())));
    assert_eq!(said(&events), ["model_answered", "reply_sent"]);
    let [(to, command)] = &scene.dispatched()[..] else {
        panic!("{:?}", scene.reactions)
    };
    assert_eq!(to, CONVERSATION);
    let post = &command["post"];
    assert_eq!(
        (&post["message_id"], &post["turn"], &post["reply_to"]),
        (&json!("msg_run_1"), &json!("turn_1"), &json!("m1"))
    );
    assert_eq!(post["body"], serde_json::to_value(&reply.text).unwrap());
    scene.unchanged(&platform(), settled("model#1", Outcome::Answered(reply)));
    assert_eq!(said(&scene.ok(&platform(), told("reply", Settled::Accepted))), ["completed"]);
    scene.unchanged(&platform(), told("reply", Settled::Accepted));
    scene.refused(&ada(), cancel(), 409, "illegal_transition");
}

#[test]
fn tool_results_return_to_the_model_in_call_order() {
    let mut scene = asked();
    let events = scene.ok(&platform(), answered("model#1", None, &["weather", "ghost"]));
    assert_eq!(said(&events), ["model_answered", "tool_called", "tool_called"]);
    let (to, report) = &scene.dispatched()[0];
    assert_eq!(
        (
            to.as_str(),
            &report["report_calls"]["run"],
            &report["report_calls"]["calls"][1]["name"]
        ),
        (AGENT, &json!("run_1"), &json!("ghost"))
    );
    let tools: Vec<(String, ToolInvoke)> = performed(&scene)
        .into_iter()
        .map(|(name, effect, _)| match effect {
            Effect::Tool(tool) => (name, tool),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        (tools[0].0.as_str(), tools[0].1.spec.is_some(), tools[0].1.call_id.as_str()),
        ("tool#1.0", true, "call_0")
    );
    assert_eq!(
        (tools[1].0.as_str(), tools[1].1.spec.is_some()),
        ("tool#1.1", false),
        "an unknown tool is the performer's to answer"
    );
    assert_eq!(
        said(&scene.ok(&platform(), returned("tool#1.1", "no such tool"))),
        ["tool_returned"]
    );
    scene.unchanged(&platform(), returned("tool#1.1", "no such tool"));
    let events = scene.ok(&platform(), returned("tool#1.0", "sun"));
    assert_eq!(said(&events), ["tool_returned", "model_asked"]);
    assert_eq!(performed(&scene)[0].0, "model#2");
    let call = invoke(&scene);
    assert_eq!(named(&call), scene.version, "what was said stands in the stream up to here");
    assert_eq!(
        said(&scene.ok(&platform(), answered("model#2", Some("Sunny."), &[]))),
        ["model_answered", "reply_sent"]
    );
}

fn finished(scene: &Stage1) -> Value {
    let (to, command) = scene.dispatched().pop().expect("a dispatch");
    assert_eq!((to.as_str(), &command["finish_turn"]["turn"]), (CONVERSATION, &json!("turn_1")));
    command["finish_turn"]["outcome"].clone()
}

#[test]
fn a_turn_that_never_answers_fails_at_the_iteration_limit() {
    let mut scene = asked();
    for i in 1..=3 {
        scene.ok(&platform(), answered(&format!("model#{i}"), None, &["weather"]));
        scene.ok(&platform(), returned(&format!("tool#{i}.0"), "again"));
    }
    assert_eq!(scene.state.status(), Some(RunStatus::Failed));
    assert_eq!(
        (finished(&scene)["is"].clone(), finished(&scene)["code"].clone()),
        (json!("failed"), json!("iteration_limit"))
    );
}

/// A change here means that old turns' pinned digests no longer name the rules that they ran by.
#[test]
fn the_built_in_definition_is_pinned() {
    let mut scene = scene();
    let events = scene.ok(&sent_by("ada", CONVERSATION), RunWord::CreateTurn(task()));
    let RunEvent::Created {
        name, definition, digest, ..
    } = &events[0]
    else {
        panic!("{events:?}")
    };
    assert_eq!((name.as_str(), &definition.0["builtin"]), ("agent-turn", &json!(true)));
    assert_eq!(
        digest.to_string(),
        "c6440cc1868041ec47d2b77a2a9a91864a164dbd391bc29a624efa323d0ad02e"
    );
}

#[test]
fn models_answer_and_tools_return_and_never_the_other_way_round() {
    let mut model = asked();
    let said_by_model = settled(
        "model#1",
        Outcome::ToolResult {
            result: tool_message("22"),
            ok: true,
        },
    );
    assert_eq!(said(&model.ok(&platform(), said_by_model)).last().unwrap(), "failed");
    assert_eq!(finished(&model)["code"], "unexpected_outcome");
    let mut tool = asked();
    tool.ok(&platform(), answered("model#1", None, &["weather"]));
    let events = tool.ok(&platform(), answered("tool#1.0", Some("I am a model"), &[]));
    assert_eq!(said(&events).last().unwrap(), "failed");
    assert_eq!(finished(&tool)["code"], "unexpected_outcome");
}

#[test]
fn a_tool_is_called_once_for_each_call_of_the_model() {
    let mut scene = asked();
    scene.ok(&platform(), answered("model#1", None, &["weather"]));
    let call = answer(None, &["weather"]).tool_calls.remove(0);
    let again = RunEvent::ToolCalled {
        name: "tool#1.1".into(),
        call,
    };
    assert!(Run::evolve(scene.state.clone(), &again).is_err());
}

#[test]
fn a_turn_that_says_too_much_fails() {
    // A result that is kept beside the log counts by its size, and its record stays small.
    let large = |size: u64| {
        let blob = BlobRef {
            digest: Digest([7; 32]),
            size,
            subject: "acme/ada".into(),
        };
        settled(
            "tool#1.0",
            Outcome::ToolResult {
                result: Personal::kept(blob),
                ok: true,
            },
        )
    };
    let most = limits::ENTITY_VALUES_MAX_BYTES as u64 - answer(None, &["weather"]).message.plain_len() as u64;
    for (size, then) in [(most, "model_asked"), (most + 1, "failed")] {
        let mut scene = asked();
        scene.ok(&platform(), answered("model#1", None, &["weather"]));
        let events = scene.ok(&platform(), large(size));
        assert_eq!(said(&events).last().unwrap(), then);
        let stored = serde_json::to_vec(&(&events, &scene.reactions)).unwrap();
        assert!(stored.len() < 4_000, "{}", stored.len());
        if then == "failed" {
            assert_eq!(finished(&scene)["code"], json!("transcript_too_large"));
        }
    }
}

#[test]
fn each_failure_of_a_turn_is_told_to_the_conversation() {
    let failures: Vec<(RunWord, &str)> = vec![
        (settled("model#1", broke()), "connect"),
        (settled("model#1", Outcome::Lost { detail: None }), "lost"),
        (settled("model#1", Outcome::Cancelled { partial: None }), "cancelled"),
        (settled("model#1", responded(json!(1))), "unexpected_outcome"),
        (answered("model#1", None, &[]), "empty_answer"),
        (
            RunWord::AgentUnavailable(AgentUnavailable {
                code: "agent_suspended".into(),
                detail: "loop".into(),
            }),
            "agent_suspended",
        ),
    ];
    for (command, code) in failures {
        let mut scene = asked();
        scene.ok(&platform(), command);
        assert_eq!(finished(&scene)["code"], json!(code));
        let aborts = scene
            .reactions
            .iter()
            .any(|r| matches!(r, Reaction::CancelEffect { name } if name == "model#1"));
        assert_eq!(aborts, code == "agent_suspended" || scene.reactions.len() > 1, "{code}");
    }
    let mut tool = asked();
    tool.ok(&platform(), answered("model#1", None, &["weather"]));
    tool.ok(&platform(), settled("tool#1.0", broke()));
    assert_eq!(finished(&tool)["code"], json!("tool_failed"));
    tool.unchanged(
        &platform(),
        RunWord::AgentUnavailable(AgentUnavailable {
            code: "x".into(),
            detail: String::new(),
        }),
    );

    let mut early = scene();
    early.ok(&platform(), RunWord::CreateTurn(task()));
    early.ok(
        &platform(),
        RunWord::AgentUnavailable(AgentUnavailable {
            code: "agent_retired".into(),
            detail: "gone".into(),
        }),
    );
    assert_eq!(finished(&early)["code"], json!("agent_retired"));
    early.unchanged(&platform(), ready());
}

#[test]
fn cancelling_aborts_the_model_call_and_tells_what_was_sent() {
    let mut scene = asked();
    assert_eq!(said(&scene.ok(&sent_by("zoe", CONVERSATION), cancel())), ["cancelled"]);
    assert_eq!(scene.reactions, [Reaction::CancelEffect { name: "model#1".into() }]);
    let partial = sealed(&"Sun".to_owned());
    let events = scene.ok(
        &platform(),
        settled(
            "model#1",
            Outcome::Cancelled {
                partial: Some(partial.clone()),
            },
        ),
    );
    assert_eq!(said(&events), ["effect_stopped"]);
    let outcome = finished(&scene);
    assert_eq!(
        (&outcome["is"], &outcome["partial"]),
        (&json!("interrupted"), &serde_json::to_value(partial).unwrap())
    );
    scene.unchanged(&platform(), settled("model#1", Outcome::Cancelled { partial: None }));
}

#[test]
fn answer_racing_a_cancel_is_partial_and_not_posted() {
    let mut scene = asked();
    scene.ok(&ada(), cancel());
    scene.ok(&platform(), answered("model#1", Some("Sunny."), &[]));
    assert_eq!(scene.dispatched().len(), 1);
    assert!(finished(&scene)["partial"]["$sealed"].is_string());
}

#[test]
fn cancelling_with_nothing_under_way_finishes_the_turn_at_once() {
    let mut scene = scene();
    scene.ok(&platform(), RunWord::CreateTurn(task()));
    scene.ok(&ada(), cancel());
    assert_eq!(finished(&scene), json!({"is": "interrupted"}));
}

#[test]
fn cancelling_aborts_all_tools_and_finishes_after_the_last() {
    let mut scene = asked();
    scene.ok(&platform(), answered("model#1", None, &["weather", "weather"]));
    scene.ok(&ada(), cancel());
    assert_eq!(scene.reactions.len(), 2);
    scene.ok(&platform(), settled("tool#1.0", Outcome::Cancelled { partial: None }));
    assert!(scene.reactions.is_empty());
    scene.ok(&platform(), returned("tool#1.1", "sun"));
    assert_eq!(finished(&scene), json!({"is": "interrupted"}));
}

#[test]
fn an_answer_during_a_pause_is_recorded_and_sent_after_it() {
    let mut scene = asked();
    scene.ok(&ada(), pause());
    assert_eq!(
        said(&scene.ok(&platform(), answered("model#1", Some("Sunny."), &[]))),
        ["model_answered"]
    );
    assert!(scene.dispatched().is_empty());
    let mut cancelled = asked();
    cancelled.ok(&ada(), pause());
    cancelled.ok(&platform(), answered("model#1", Some("Sunny."), &[]));
    cancelled.ok(&ada(), cancel());
    assert!(
        finished(&cancelled)["partial"]["$sealed"].is_string(),
        "the whole answer had been streamed"
    );
    assert_eq!(said(&scene.ok(&ada(), resume())), ["resumed", "reply_sent"]);
    assert_eq!(scene.dispatched()[0].1["post"]["message_id"], json!("msg_run_1"));
}

#[test]
fn tools_and_the_agent_wait_for_the_end_of_a_pause_too() {
    let mut scene = scene();
    scene.ok(&platform(), RunWord::CreateTurn(task()));
    scene.ok(&ada(), pause());
    assert_eq!(said(&scene.ok(&sent_by("ada", AGENT), ready())), ["agent_pinned"]);
    assert_eq!(said(&scene.ok(&ada(), resume())), ["resumed", "model_asked"]);
    scene.ok(&ada(), pause());
    assert_eq!(
        said(&scene.ok(&platform(), answered("model#1", None, &["weather"]))),
        ["model_answered"]
    );
    assert_eq!(said(&scene.ok(&ada(), resume())), ["resumed", "tool_called"]);
}

#[test]
fn many_large_tool_calls_are_sent_in_several_decisions() {
    let mut scene = asked();
    let mut reply = answer(None, &["weather"; 64]);
    let message = ChatMessage {
        role: ChatRole::Assistant,
        content: Some("y".repeat(20_000)),
        tool_calls: None,
        tool_call_id: None,
        name: None,
    };
    reply.message = sealed(&message);
    let mut called = 0;
    let mut events = scene.ok(&platform(), settled("model#1", Outcome::Answered(reply)));
    loop {
        let bytes: usize = scene
            .reactions
            .iter()
            .map(|r| serde_json::to_string(r).unwrap().len())
            .sum::<usize>()
            + events.iter().map(|e| serde_json::to_string(e).unwrap().len()).sum::<usize>();
        assert!(bytes < limits::RECORD_MAX_BYTES, "{bytes}");
        called += said(&events).iter().filter(|e| *e == "tool_called").count();
        if called == 64 {
            break;
        }
        events = scene.ok(&platform(), fired(ADVANCE));
    }
}

#[test]
fn only_the_turns_own_conversation_and_agent_speak_for_it() {
    let mut scene = scene();
    scene.refused(&ada(), RunWord::CreateTurn(task()), 403, "not_allowed");
    scene.refused(
        &sent_by("ada", "acme/conversation/cnv_2"),
        RunWord::CreateTurn(task()),
        403,
        "not_allowed",
    );
    scene.refused(
        &sent_by("ada", "other/conversation/cnv_1"),
        RunWord::CreateTurn(task()),
        403,
        "not_allowed",
    );
    let mut scene = asked();
    scene.refused(&sent_by("ada", "acme/agent/other"), ready(), 403, "not_allowed");
    scene.refused(&sent_by("ada", AGENT), pause(), 403, "not_allowed");
    scene.refused(&sent_by("ada", "acme/agent/other"), cancel(), 403, "not_allowed");
    assert_eq!(
        said(&asked().ok(&sent_by("ada", AGENT), cancel())),
        ["cancelled"],
        "the runaway guard"
    );
    scene.refused(&sent_by("ada", "acme/conversation/cnv_2"), pause(), 403, "not_allowed");
    scene.unchanged(&sent_by("ada", AGENT), ready());
    let mut other = task();
    other.turn = "turn_2".into();
    scene.refused(&platform(), RunWord::CreateTurn(other), 409, "already_exists");
    let workflow_only: Vec<RunCommand> = vec![
        RunCommand::RetryNode(RetryNode { node: "n".into() }),
        giving("x", json!(1)),
        RunCommand::Approve(approving("n")),
    ];
    for command in workflow_only {
        scene.refused(&ada(), command, 409, "not_a_workflow");
    }
    scene.refused(&ada(), RunCommand::Start(StartRun {}), 409, "illegal_transition");
    let mut workflow = in_status(RunStatus::Running);
    workflow.refused(&platform(), ready(), 409, "not_a_turn");
}

#[test]
fn a_long_run_id_still_gives_a_message_id() {
    let long = "r".repeat(64);
    let run = TurnRun::new(
        &format!("acme/run/{long}").parse().unwrap(),
        Acting {
            principal: crate::scene::id("ada"),
            on_behalf_of: None,
            credential: None,
        },
        &task(),
    );
    assert_eq!(run.message_id(), run.message_id());
    assert!(run.message_id().as_str().starts_with("msg_") && run.message_id().as_str().len() <= 64);
}

#[test]
fn a_refused_reply_fails_its_turn_and_says_so() {
    let replied = || {
        let mut scene = asked();
        scene.ok(&platform(), answered("model#1", Some("Sunny."), &[]));
        scene
    };
    let mut scene = replied();
    assert_eq!(
        said(&scene.ok(&platform(), told("reply", refused("conversation_full")))),
        ["failed"]
    );
    assert_eq!(finished(&scene)["code"], json!("conversation_full"));
    // Its conversation was paused after it had taken the reply: nothing is left to hold.
    let mut scene = replied();
    scene.ok(&ada(), pause());
    assert_eq!(
        said(&scene.ok(&platform(), told("reply", Settled::Accepted))),
        ["resumed", "completed"]
    );
    // It was interrupted while the reply was on its way.
    let mut scene = replied();
    scene.ok(&ada(), cancel());
    assert!(finished(&scene)["partial"]["$sealed"].is_string());
    scene.unchanged(&platform(), told("reply", refused("turn_interrupted")));
}

#[test]
fn a_turn_whose_agent_refuses_to_be_asked_fails() {
    let mut scene = scene();
    scene.ok(&platform(), RunWord::CreateTurn(task()));
    let [Reaction::Dispatch(dispatch)] = &scene.reactions[..] else {
        panic!("{:?}", scene.reactions)
    };
    assert!(dispatch.awaited.as_ref().is_some_and(|awaited| awaited.refusals_only));
    scene.unchanged(&platform(), told("agent", Settled::Accepted));
    assert_eq!(said(&scene.ok(&platform(), told("agent", refused("not_the_run")))), ["failed"]);
    assert_eq!(finished(&scene)["code"], json!("not_the_run"));
}
