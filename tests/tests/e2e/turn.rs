//! An agent's turn from end to end, with a tool of another system, and killed at every point of it.

use quipu_tests::{
    caller::wait,
    office::{Office, path},
};
use serde_json::{Value, json};

fn tool(office: &Office, at: &str, idempotent: bool) -> Value {
    let parameters = json!({ "type": "object", "properties": { "id": { "type": "integer" } } });
    json!([{ "name": "lookup", "description": "Looks an order up.", "parameters": parameters,
             "run": { "by": "http", "url": office.receiver.url(at), "idempotent": idempotent } }])
}

const DIRECTIVE: &str =
    "scripted: delay_ms 15 per token\nscripted: tool lookup {\"id\": 7}\nscripted: reply I have looked it up, and found this: {tool}";

#[tokio::test]
async fn a_tool_call_runs_as_an_effect_and_returns_to_the_model() {
    let office = Office::open().await;
    office.receiver.answer("/lookup", r#"{"status":"shipped"}"#);
    office.agent("scout", DIRECTIVE, tool(&office, "/lookup", true)).await;
    office.room("desk", &["scout"], 0).await;
    office.say("desk", "q", "where is order 7?").await;
    let desk = path("conversation", "desk");
    let answer = office
        .ada
        .await_event(&desk, "conversation.message_posted", |data| data["sender"] == "scout")
        .await;
    assert_eq!(answer["body"], r#"I have looked it up, and found this: {"status":"shipped"}"#);
    let calls = office.receiver.at("/lookup");
    assert_eq!(calls.len(), 1);
    assert_eq!(serde_json::from_str::<Value>(&calls[0].body).expect("JSON"), json!({ "id": 7 }));
    assert!(!calls[0].id.is_empty(), "a call carries its key");
    let decided = office.ada.await_event(&desk, "conversation.turn_decided", |_| true).await;
    let run = path("run", decided["run"].as_str().expect("a run"));
    office.ada.await_event(&run, "run.completed", |_| true).await;
    for (name, times) in [
        ("run.model_asked", 2),
        ("run.tool_called", 1),
        ("run.tool_returned", 1),
        ("run.model_answered", 2),
        ("run.reply_sent", 1),
    ] {
        assert_eq!(office.ada.count(&run, name, |_| true).await, times, "{name}");
    }
}

/// Kills the node once `event` of the turn's run is there, and lets the turn go on.
async fn killed_after(office: &mut Office, n: usize, event: Option<&str>) {
    let (desk, question) = (path("conversation", "desk"), format!("q{n}"));
    office.say("desk", &question, "where is order 7?").await;
    if let Some(event) = event {
        let decided = office
            .ada
            .await_event(&desk, "conversation.turn_decided", |data| data["message_id"] == *question)
            .await;
        office
            .ada
            .await_event(&path("run", decided["run"].as_str().expect("a run")), event, |_| true)
            .await;
    }
    office.kill().await;
    office.start().await;
    let decided = office
        .ada
        .await_event(&desk, "conversation.turn_decided", |data| data["message_id"] == *question)
        .await;
    let finished = office
        .ada
        .await_event(&desk, "conversation.turn_finished", |data| data["turn"] == decided["turn"])
        .await;
    assert_eq!(finished["outcome"]["is"], "answered", "killed after {event:?}: {finished}");
    let answers = office
        .ada
        .count(&desk, "conversation.message_posted", |data| data["turn"] == decided["turn"])
        .await;
    assert_eq!(answers, 1, "killed after {event:?}");
    let run = path("run", decided["run"].as_str().expect("a run"));
    // The run ends when it hears that its reply was taken, after the conversation's own record of that.
    office.ada.await_event(&run, "run.completed", |_| true).await;
    for name in ["run.reply_sent", "run.tool_returned", "run.completed"] {
        assert_eq!(office.ada.count(&run, name, |_| true).await, 1, "{name}, killed after {event:?}");
    }
}

#[tokio::test]
async fn a_turn_killed_at_any_point_goes_on_without_a_second_reply() {
    let mut office = Office::open().await;
    office.receiver.answer("/lookup", r#"{"status":"shipped"}"#);
    office.agent("scout", DIRECTIVE, tool(&office, "/lookup", true)).await;
    // The same question many times is no runaway here.
    office
        .send(
            "agent",
            "scout",
            "configure_guard",
            json!({ "max_iterations": 10, "max_repeats": 20 }),
        )
        .await
        .taken();
    office.room("desk", &["scout"], 0).await;
    let points = [
        None,
        Some("run.created"),
        Some("run.model_asked"),
        Some("run.model_answered"),
        Some("run.tool_called"),
        Some("run.tool_returned"),
        Some("run.reply_sent"),
    ];
    for (n, event) in points.into_iter().enumerate() {
        killed_after(&mut office, n, event).await;
    }
    // Tool calls may come twice across a crash, under one key each time.
    let calls = office.receiver.at("/lookup");
    let mut keys: Vec<&str> = calls.iter().map(|call| call.id.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), points.len(), "{calls:?}");
    let desk = path("conversation", "desk");
    let asked = office
        .ada
        .count(&desk, "conversation.message_posted", |data| data["sender"] == "ada")
        .await;
    assert_eq!(
        (asked, office.ada.count(&desk, "conversation.message_posted", |_| true).await),
        (points.len(), 2 * points.len())
    );
}

#[tokio::test]
async fn unrepeatable_tool_call_is_lost_rather_than_sent_twice() {
    let mut office = Office::open().await;
    for (n, idempotent) in [false, true].into_iter().enumerate() {
        let (agent, room, at) = (format!("scout{n}"), format!("desk{n}"), format!("/held/{n}"));
        office.agent(&agent, DIRECTIVE, tool(&office, &at, idempotent)).await;
        office.room(&room, &[&agent], 0).await;
        office.receiver.open(false);
        office.say(&room, "q", "where is order 7?").await;
        wait("the call in the middle", || async {
            (!office.receiver.at(&at).is_empty()).then_some(())
        })
        .await;
        office.kill().await;
        office.receiver.open(true);
        office.start().await;
        let finished = office
            .ada
            .await_event(&path("conversation", &room), "conversation.turn_finished", |_| true)
            .await;
        let calls = office.receiver.at(&at);
        if idempotent {
            assert_eq!(finished["outcome"]["is"], "answered", "{finished}");
            assert!(
                calls.len() == 2 && calls[0].id == calls[1].id && calls[0].body == calls[1].body,
                "{calls:?}"
            );
        } else {
            assert_eq!(
                (finished["outcome"]["is"].as_str(), finished["outcome"]["code"].as_str()),
                (Some("failed"), Some("lost")),
                "{finished}"
            );
            assert_eq!(calls.len(), 1, "{calls:?}");
        }
    }
}

#[tokio::test]
async fn failing_model_is_retried_and_a_final_failure_ends_the_turn() {
    let office = Office::open().await;
    office
        .agent("patient", "scripted: fail status_503 times 1\nscripted: reply At last.", json!([]))
        .await;
    office.agent("broken", "scripted: fail boom", json!([])).await;
    office.room("a", &["patient"], 0).await;
    office.room("b", &["broken"], 0).await;
    office.say("a", "q", "hello").await;
    office.say("b", "q", "hello").await;
    let answer = office
        .ada
        .await_event(&path("conversation", "a"), "conversation.message_posted", |data| {
            data["sender"] == "patient"
        })
        .await;
    assert_eq!(answer["body"], "At last.");
    let finished = office
        .ada
        .await_event(&path("conversation", "b"), "conversation.turn_finished", |_| true)
        .await;
    assert_eq!(
        (finished["outcome"]["is"].as_str(), finished["outcome"]["code"].as_str()),
        (Some("failed"), Some("boom")),
        "{finished}"
    );
}

#[tokio::test]
async fn model_call_under_way_is_waited_for_at_a_stop() {
    let mut office = Office::open().await;
    let directive = "scripted: delay_ms 400 per token\nscripted: reply one two three four five";
    office.agent("scout", directive, json!([])).await;
    office.room("desk", &["scout"], 0).await;
    office.say("desk", "q", "count").await;
    let desk = path("conversation", "desk");
    let decided = office.ada.await_event(&desk, "conversation.turn_decided", |_| true).await;
    let run = path("run", decided["run"].as_str().expect("a run"));
    wait("the call to be under way", || async {
        let page = office.node().caller.get("/metrics").await.text;
        page.contains("quipu_model_calls_open 1").then_some(())
    })
    .await;
    office.stop().await;
    office.start().await;
    // Were it asked again, the answer would take another two seconds.
    let answered = office.ada.count(&run, "run.model_answered", |_| true).await;
    assert_eq!(answered, 1, "recorded before the stop");
    office
        .ada
        .await_event(&desk, "conversation.message_posted", |data| data["sender"] == "scout")
        .await;
    assert_eq!(office.ada.count(&run, "run.model_asked", |_| true).await, 1);
}

#[tokio::test]
async fn turn_without_an_answer_is_shown_and_counted() {
    let office = Office::open().await;
    office.agent("scout", "scripted: fail out_of_words", json!([])).await;
    office.room("desk", &["scout"], 0).await;
    office.say("desk", "q", "hello?").await;
    let desk = path("conversation", "desk");
    let finished = office.ada.await_event(&desk, "conversation.turn_finished", |_| true).await;
    assert_eq!(finished["outcome"]["is"], "failed", "{finished}");
    // What a person sees of it.
    let turn = wait("the turn to be shown", || async {
        let page = office.ada.get("/v1/orgs/acme/turns").await.taken().body;
        let turn = page["items"].as_array()?.first()?.clone();
        (turn["state"] == "finished").then_some(turn)
    })
    .await;
    let outcome = turn["outcome"].to_string();
    assert!(outcome.contains("failed") && outcome.contains("out_of_words"), "{turn}");
    let messages = office.ada.fresh(&format!("{desk}/messages")).await.taken().body;
    let notice = &messages["items"][1];
    assert_eq!((&notice["sender"], &notice["body"]), (&json!("scout"), &json!(null)), "{messages}");
    assert_eq!(notice["notice"], finished["outcome"], "{messages}");
    assert_eq!(messages["items"].as_array().map(Vec::len), Some(2), "{messages}");
    let health = wait("health to tell of it", || async {
        let health = office.node().caller.get("/health").await.body;
        let parts = health["parts"].as_array()?.clone();
        let has = |name: &str| {
            parts
                .iter()
                .any(|part| part["name"] == name && part["ok"] == false && part["count"] == 1)
        };
        (has("turns") && has("models") && has("effects")).then_some(health)
    })
    .await;
    assert_eq!(health["status"], "degraded", "{health}");
    let page = office.node().caller.get("/metrics").await.text;
    for line in [
        "quipu_turns_finished_total{outcome=\"failed\"} 1",
        "quipu_effects_dead_total 1",
        "quipu_outbox_dead 1",
        "quipu_model_call_errors_total{provider=\"scripted\"} 1",
        "quipu_model_call_seconds_count{provider=\"scripted\"} 1",
        "quipu_effect_attempts_total{effect=\"llm.invoke\",outcome=\"failed\"} 1",
    ] {
        assert!(page.lines().any(|told| told == line), "{line}\n{page}");
    }
    assert!(!page.contains("acme"), "no tenant is named");
}

#[tokio::test]
async fn large_results_of_many_calls_leave_a_small_log() {
    let office = Office::open().await;
    let large = "result ".repeat(150_000);
    office.receiver.answer("/lookup", &large);
    let calls: String = (0..12).map(|id| format!("scripted: tool lookup {{\"id\": {id}}}\n")).collect();
    office
        .agent("scout", &format!("{calls}scripted: reply done"), tool(&office, "/lookup", true))
        .await;
    office.room("desk", &["scout"], 0).await;
    office.say("desk", "q", "look everything up").await;
    let desk = path("conversation", "desk");
    let answer = office
        .ada
        .await_event(&desk, "conversation.message_posted", |data| data["sender"] == "scout")
        .await;
    assert_eq!(answer["body"], "done");
    let decided = office.ada.await_event(&desk, "conversation.turn_decided", |_| true).await;
    let run = path("run", decided["run"].as_str().expect("a run"));
    let returned = office.ada.await_event(&run, "run.tool_returned", |_| true).await;
    let named = &returned["result"];
    assert!(named["$size"].as_u64().is_some_and(|size| size > 1_000_000), "{named}");
    let history = office.ada.get(&format!("{run}/history?limit=1000")).await;
    assert!(history.text.len() < 400_000, "{} bytes of history", history.text.len());
}
