use super::*;
use crate::scene::{As, Scene, as_role, platform, sent_by};
use quipu_kinds::agent::{ActivateDirective, AddDirective, ConfigureModel, GrantTool, ResumeAgent, RetireAgent, RevokeTool, SuspendAgent};
use quipu_schemas::{chat::ToolRun, limits::DIRECTIVE_MAX_BYTES};

fn admin() -> As {
    as_role("ada", Some(Role::Admin))
}
fn run() -> As {
    sent_by("ada", "acme/run/run_1")
}
fn run_id() -> EntityId {
    EntityId::from_static("run_1")
}
fn model() -> ModelConfig {
    ModelConfig {
        provider: "scripted".into(),
        model: "echo".into(),
        temperature: Some(0.5),
        max_tokens: None,
    }
}
fn tool(name: &str, url: &str) -> ToolSpec {
    ToolSpec {
        name: name.into(),
        description: "looks up".into(),
        parameters: Json(json!({"type": "object"})),
        run: ToolRun::Http {
            method: "POST".into(),
            url: url.into(),
            idempotent: true,
        },
    }
}
fn creation() -> CreateAgent {
    CreateAgent {
        name: "Helper".into(),
        model: model(),
        directive: Some("Be kind.".into()),
        tools: vec![tool("lookup", "https://a.test/x")],
        data_class: DataClass::Pii,
    }
}
fn add(text: &str, activate: bool) -> AgentCommand {
    AgentCommand::AddDirective(AddDirective {
        text: text.into(),
        activate,
    })
}
fn grant(tool: ToolSpec) -> AgentCommand {
    AgentCommand::GrantTool(GrantTool { tool })
}
fn suspend() -> AgentCommand {
    AgentCommand::Suspend(SuspendAgent { reason: "noisy".into() })
}
fn resume() -> AgentCommand {
    AgentCommand::Resume(ResumeAgent {})
}
fn retire() -> AgentCommand {
    AgentCommand::Retire(RetireAgent { reason: String::new() })
}
fn start() -> AgentWord {
    AgentWord::StartTurn(StartTurn { run: run_id() })
}
fn guard(max_iterations: u32, max_repeats: u32) -> AgentCommand {
    AgentCommand::ConfigureGuard(ConfigureGuard {
        max_iterations,
        max_repeats,
    })
}
fn calls(fingerprints: &[u8]) -> AgentWord {
    let calls = fingerprints
        .iter()
        .map(|n| ToolCallRef {
            id: format!("c{n}"),
            name: format!("tool{n}"),
            fingerprint: Digest([*n; 32]),
        })
        .collect();
    AgentWord::ReportCalls(ReportCalls { run: run_id(), calls })
}
fn activate(text: &str) -> AgentCommand {
    AgentCommand::ActivateDirective(ActivateDirective {
        digest: Digest::of(&[text.as_bytes()]),
    })
}
fn configure_model(model: ModelConfig) -> AgentCommand {
    AgentCommand::ConfigureModel(ConfigureModel { model })
}
fn revoke(name: &str) -> AgentCommand {
    AgentCommand::RevokeTool(RevokeTool { name: name.into() })
}
fn helper() -> Scene<Agent> {
    let mut agent = Scene::new("acme/agent/helper");
    agent.ok(&admin(), AgentCommand::Create(creation()));
    agent
}
fn configuration(agent: &Scene<Agent>) -> &Configuration {
    match &agent.state {
        AgentState::Active(agent) | AgentState::Suspended { agent, .. } => agent,
        AgentState::Missing | AgentState::Retired { .. } => panic!("no configuration"),
    }
}
fn configuring() -> Vec<AgentCommand> {
    vec![
        add("x", true),
        activate("x"),
        configure_model(model()),
        grant(tool("a", "http://a.test")),
        revoke("a"),
        guard(5, 5),
        suspend(),
        resume(),
        retire(),
    ]
}

#[test]
fn registering_stores_and_activates_everything_given() {
    let mut agent = helper();
    let it = configuration(&agent);
    assert_eq!((it.name.as_str(), it.data_class), ("Helper", DataClass::Pii));
    assert_eq!(it.directive, Some(Digest::of(&[b"Be kind."])));
    assert_eq!(it.tools.len(), 1);
    agent.refused(&admin(), AgentCommand::Create(creation()), 409, "agent_exists");
}

#[test]
fn configuring_takes_an_admin_of_the_org() {
    for low in [Some(Role::Member), Some(Role::Viewer), None] {
        let who = as_role("cleo", low);
        Scene::<Agent>::new("acme/agent/a").refused(&who, AgentCommand::Create(creation()), 403, "role_needed");
        for command in configuring() {
            helper().refused(&who, command, 403, "role_needed");
        }
    }
    helper().ok(&platform(), suspend());
}

#[test]
fn an_unknown_agent_answers_the_run_and_may_still_be_created() {
    let mut agent = Scene::<Agent>::new("acme/agent/helper");
    for command in configuring() {
        agent.refused(&admin(), command, 404, "agent_not_found");
    }
    agent.refused(&run(), calls(&[1]), 404, "agent_not_found");
    agent.ok(&run(), start());
    let detail = json!({"agent_unavailable": {"code": "agent_not_found", "detail": "agent helper does not exist"}});
    assert_eq!(agent.dispatched(), [("acme/run/run_1".to_owned(), detail)]);
    assert_eq!(agent.state, AgentState::Missing);
    agent.ok(&admin(), AgentCommand::Create(creation()));
}

#[test]
fn directive_versions_are_immutable_and_one_is_in_force() {
    let mut agent = helper();
    agent.unchanged(&admin(), add("Be kind.", false));
    agent.unchanged(&admin(), add("Be kind.", true));
    assert_eq!(agent.ok(&admin(), add("Be brief.", false)).len(), 1);
    assert_eq!(configuration(&agent).directive, Some(Digest::of(&[b"Be kind."])));
    agent.ok(&admin(), activate("Be brief."));
    agent.unchanged(&admin(), activate("Be brief."));
    assert_eq!(agent.ok(&admin(), add("Be kind.", true)).len(), 1);
    assert_eq!(agent.ok(&admin(), add("Be bold.", true)).len(), 2);
    agent.refused(&admin(), activate("never added"), 404, "directive_not_found");
    agent.refused(&admin(), add("", true), 422, "bad_directive");
    agent.refused(&admin(), add(&"x".repeat(DIRECTIVE_MAX_BYTES + 1), true), 422, "bad_directive");
    agent.ok(&admin(), add(&"x".repeat(DIRECTIVE_MAX_BYTES), true));
    if let AgentState::Active(it) = &mut agent.state {
        it.directives.extend((0..DIRECTIVES_MAX).map(|n| Digest::of(&[&n.to_be_bytes()])));
    }
    agent.refused(&admin(), add("one more", false), 409, "too_many_directives");
}

#[test]
fn models_are_checked_field_by_field() {
    let mut agent = helper();
    let bad = |change: fn(&mut ModelConfig)| {
        let mut it = model();
        change(&mut it);
        it
    };
    for wrong in [
        bad(|m| m.provider = String::new()),
        bad(|m| m.provider = "a b".into()),
        bad(|m| m.model = String::new()),
        bad(|m| m.temperature = Some(2.1)),
        bad(|m| m.temperature = Some(-0.1)),
        bad(|m| m.temperature = Some(f64::NAN)),
        bad(|m| m.max_tokens = Some(0)),
    ] {
        agent.refused(&admin(), configure_model(wrong.clone()), 422, "bad_model");
        Scene::<Agent>::new("acme/agent/b").refused(
            &admin(),
            AgentCommand::Create(CreateAgent {
                model: wrong,
                ..creation()
            }),
            422,
            "bad_model",
        );
    }
    agent.unchanged(&admin(), configure_model(model()));
    agent.ok(&admin(), configure_model(bad(|m| m.model = "vendor/model-4.1:latest".into())));
}

#[test]
fn tools_are_checked_granted_replaced_and_revoked() {
    let mut agent = helper();
    agent.unchanged(&admin(), grant(tool("lookup", "https://a.test/x")));
    agent.ok(&admin(), grant(tool("lookup", "https://b.test/x")));
    for name in ["", "a b", "a.b", &"x".repeat(65)] {
        agent.refused(&admin(), grant(tool(name, "https://a.test")), 422, "bad_tool_name");
    }
    for url in [
        "",
        "a.test/x",
        "ftp://a.test",
        "https://",
        "http:///x",
        "https://a b",
        "http://:80/",
    ] {
        agent.refused(&admin(), grant(tool("t", url)), 422, "bad_tool_url");
    }
    let mut odd = tool("t", "https://a.test");
    odd.run = ToolRun::Http {
        method: "post".into(),
        url: "https://a.test".into(),
        idempotent: false,
    };
    agent.refused(&admin(), grant(odd), 422, "bad_tool_method");
    let odd = ToolSpec {
        parameters: Json(json!([1])),
        ..tool("t", "https://a.test")
    };
    agent.refused(&admin(), grant(odd), 422, "bad_tool_parameters");
    agent.ok(&admin(), revoke("lookup"));
    agent.refused(&admin(), revoke("lookup"), 404, "tool_not_found");
    for n in 0..TOOLS_MAX {
        agent.ok(&admin(), grant(tool(&format!("t{n}"), "https://a.test")));
    }
    agent.refused(&admin(), grant(tool("more", "https://a.test")), 409, "too_many_tools");
    agent.ok(&admin(), grant(tool("t0", "https://b.test")));

    let twice = CreateAgent {
        tools: vec![tool("a", "https://a.test"), tool("a", "https://a.test")],
        ..creation()
    };
    Scene::<Agent>::new("acme/agent/b").refused(&admin(), AgentCommand::Create(twice), 422, "duplicate_tool");
    let most = CreateAgent {
        tools: (0..TOOLS_MAX).map(|n| tool(&format!("t{n}"), "https://a.test")).collect(),
        ..creation()
    };
    Scene::<Agent>::new("acme/agent/b").ok(&admin(), AgentCommand::Create(most));
    let many = CreateAgent {
        tools: (0..=TOOLS_MAX).map(|n| tool(&format!("t{n}"), "https://a.test")).collect(),
        ..creation()
    };
    Scene::<Agent>::new("acme/agent/b").refused(&admin(), AgentCommand::Create(many), 409, "too_many_tools");
    let nameless = CreateAgent {
        name: String::new(),
        ..creation()
    };
    Scene::<Agent>::new("acme/agent/b").refused(&admin(), AgentCommand::Create(nameless), 422, "bad_name");
    let mute = CreateAgent {
        directive: Some(String::new()),
        ..creation()
    };
    Scene::<Agent>::new("acme/agent/b").refused(&admin(), AgentCommand::Create(mute), 422, "bad_directive");
}

#[test]
fn a_run_gets_the_configuration_pinned_at_a_version() {
    let mut agent = helper();
    agent.ok(&admin(), guard(7, 3));
    agent.unchanged(&admin(), guard(7, 3));
    let version = agent.version;
    agent.ok(&run(), start());
    let (to, command) = agent.dispatched().remove(0);
    assert_eq!(to, "acme/run/run_1");
    let pin: AgentPin = serde_json::from_value(command["agent_ready"]["pin"].clone()).unwrap();
    assert_eq!((pin.version, pin.max_iterations, pin.tools.len()), (version, 7, 1));
    assert_eq!(pin.directive, Some(Digest::of(&[b"Be kind."])));
}

#[test]
fn only_the_run_itself_starts_turns_and_reports() {
    let mut agent = helper();
    for who in [
        admin(),
        sent_by("ada", "acme/run/other"),
        sent_by("ada", "acme/conversation/run_1"),
        sent_by("ada", "evil/run/run_1"),
    ] {
        agent.refused(&who, start(), 403, "not_the_run");
        agent.refused(&who, calls(&[1]), 403, "not_the_run");
    }
    agent.ok(&platform(), start());
}

#[test]
fn suspended_and_retired_agents_tell_the_run_why() {
    let mut agent = helper();
    agent.unchanged(&admin(), resume());
    agent.ok(&admin(), suspend());
    agent.unchanged(&admin(), suspend());
    agent.ok(&run(), start());
    assert_eq!(agent.dispatched()[0].1["agent_unavailable"]["code"], "agent_suspended");
    agent.ok(&admin(), add("New while suspended.", true));
    agent.ok(&admin(), resume());
    agent.ok(&run(), start());
    assert!(agent.dispatched()[0].1.get("agent_ready").is_some());
    agent.refused(
        &admin(),
        AgentCommand::Suspend(SuspendAgent { reason: "x".repeat(501) }),
        422,
        "bad_reason",
    );
    agent.refused(
        &admin(),
        AgentCommand::Retire(RetireAgent { reason: "x".repeat(501) }),
        422,
        "bad_reason",
    );

    agent.ok(&admin(), retire());
    agent.unchanged(&admin(), retire());
    agent.unchanged(&run(), calls(&[1]));
    agent.ok(&run(), start());
    assert_eq!(agent.dispatched()[0].1["agent_unavailable"]["code"], "agent_retired");
    agent.refused(&admin(), AgentCommand::Create(creation()), 409, "agent_exists");
    for command in [
        add("x", true),
        activate("x"),
        configure_model(model()),
        grant(tool("a", "http://a.test")),
        revoke("a"),
        guard(5, 5),
        suspend(),
        resume(),
    ] {
        agent.refused(&admin(), command, 409, "agent_retired");
    }
    let mut suspended = helper();
    suspended.ok(&admin(), suspend());
    suspended.ok(&admin(), retire());
}

#[test]
fn equal_calls_in_the_window_suspend_and_cancel() {
    let mut agent = helper();
    agent.unchanged(&run(), calls(&[]));
    agent.ok(&run(), calls(&[1, 2, 1, 3, 1]));
    agent.ok(&run(), calls(&[1]));
    let events = agent.ok(&run(), calls(&[1]));
    assert!(
        matches!(&events[1], AgentEvent::LoopDetected { repeats: 5, tool, .. } if tool == "tool1"),
        "{events:?}"
    );
    assert!(matches!(agent.state, AgentState::Suspended { .. }));
    let (to, command) = agent.dispatched().remove(0);
    assert_eq!(to, "acme/run/run_1");
    assert!(command["cancel"]["reason"].as_str().unwrap().contains("tool1"));
    // A second turn of the suspended agent is cancelled too.
    assert_eq!(agent.ok(&run(), calls(&[1])).len(), 2);
    agent.ok(&admin(), resume());
    assert!(configuration(&agent).guard.recent.is_empty());
    assert_eq!(agent.ok(&run(), calls(&[1])).len(), 1);
}

#[test]
fn the_window_forgets_and_its_limits_are_bounded() {
    let mut agent = helper();
    agent.ok(&run(), calls(&[9, 9, 9, 9]));
    let others: Vec<u8> = (10..10 + RUNAWAY_WINDOW_CALLS as u8).collect();
    agent.ok(&run(), calls(&others));
    assert_eq!(agent.ok(&run(), calls(&[9])).len(), 1);
    assert_eq!(configuration(&agent).guard.recent.len(), RUNAWAY_WINDOW_CALLS);
    // The oldest of a full window still counts, until one more call comes.
    let mut agent = helper();
    agent.ok(&admin(), guard(5, 2));
    agent.ok(&run(), calls(&[9]));
    let others: Vec<u8> = (10..9 + RUNAWAY_WINDOW_CALLS as u8 - 1).collect();
    agent.ok(&run(), calls(&others));
    assert_eq!(agent.ok(&run(), calls(&[9])).len(), 3, "the window holds both");
    agent.ok(&admin(), resume());
    agent.ok(&admin(), guard(1, 2));
    agent.ok(&run(), calls(&[9]));
    assert_eq!(agent.ok(&run(), calls(&[9])).len(), 3);
    for (iterations, repeats) in [(0, 5), (1_001, 5), (5, 1), (5, 21)] {
        agent.refused(&admin(), guard(iterations, repeats), 422, "bad_guard");
    }
}

#[test]
fn events_that_contradict_the_state_are_corrupt() {
    let active = helper().state;
    let suspended = Agent::evolve(active.clone(), &AgentEvent::Suspended { reason: String::new() }).unwrap();
    let retired = Agent::evolve(active.clone(), &AgentEvent::Retired { reason: String::new() }).unwrap();
    let unknown = AgentEvent::DirectiveActivated { digest: Digest([1; 32]) };
    let again = AgentEvent::DirectiveAdded {
        digest: Digest::of(&[b"Be kind."]),
        text: "Be kind.".into(),
    };
    for (state, event) in [
        (AgentState::Missing, AgentEvent::Resumed {}),
        (active.clone(), AgentEvent::Resumed {}),
        (active.clone(), unknown),
        (active.clone(), again),
        (active.clone(), AgentEvent::ToolRevoked { name: "none".into() }),
        (
            active,
            AgentEvent::TurnRefused {
                org: OrgId::PLATFORM,
                run: run_id(),
                code: String::new(),
                detail: String::new(),
            },
        ),
        (suspended, AgentEvent::Suspended { reason: String::new() }),
        (retired, AgentEvent::Resumed {}),
    ] {
        assert!(Agent::evolve(state, &event).is_err(), "{event:?}");
    }
}

#[test]
fn an_agent_makes_its_principal() {
    let mut agent = Scene::<Agent>::new("acme/agent/helper");
    agent.ok(&admin(), AgentCommand::Create(creation()));
    let made = agent.dispatched();
    let word = json!({ "create_agent": { "name": "Helper", "owner": "ada" } });
    assert_eq!(made.first(), Some(&("acme/principal/helper".to_owned(), word)));
    Scene::<Agent>::new("acme/agent/usr_1").refused(&admin(), AgentCommand::Create(creation()), 422, "reserved_id");
}
