//! An agent through HTTP: directives, tools, suspension, and its end.

use quipu_tests::{
    caller::wait,
    office::{Office, path},
};
use serde_json::json;

#[tokio::test]
async fn directives_are_versions_with_a_pointer_to_the_one_in_force() {
    let office = Office::open().await;
    office.agent("scout", "first", json!([])).await;
    let add = |text: &str, activate: bool| json!({ "text": text, "activate": activate });
    office.send("agent", "scout", "add_directive", add("second", false)).await.taken();
    let again = office.send("agent", "scout", "add_directive", add("second", false)).await.taken();
    assert_eq!(again.body["unchanged"], true, "the same text is the same version");
    let versions = office
        .ada
        .fresh(&format!("{}/directives", path("agent", "scout")))
        .await
        .taken()
        .body;
    let rows = versions["items"].as_array().expect("rows").clone();
    assert_eq!(rows.len(), 2, "{versions}");
    let second = office
        .ada
        .await_event(&path("agent", "scout"), "agent.directive_added", |data| data["text"] == "second")
        .await;
    office
        .send("agent", "scout", "activate_directive", json!({ "digest": second["digest"] }))
        .await
        .taken();
    let unknown = "0".repeat(64);
    office
        .send("agent", "scout", "activate_directive", json!({ "digest": unknown }))
        .await
        .refused(404, "directive_not_found");
    let long = office
        .send("agent", "scout", "add_directive", add(&"x".repeat(32 * 1024 + 1), true))
        .await;
    assert_eq!((long.status, long.body["field"].as_str()), (422, Some("text")), "{}", long.text);
}

#[tokio::test]
async fn only_admins_configure_and_a_retired_agent_stays_so() {
    let office = Office::open().await;
    office.agent("scout", "hello", json!([])).await;
    office.member("bob", "member").await;
    let model = json!({ "model": { "provider": "scripted", "model": "other" } });
    office
        .by("bob")
        .post(&format!("{}/configure_model", path("agent", "scout")), model.clone())
        .await
        .refused(403, "missing_right");
    office.send("agent", "scout", "configure_model", model.clone()).await.taken();
    office
        .send("agent", "nobody", "configure_model", model.clone())
        .await
        .refused(404, "agent_not_found");
    office.send("agent", "scout", "retire", json!({ "reason": "done" })).await.taken();
    office
        .send("agent", "scout", "configure_model", model)
        .await
        .refused(409, "agent_retired");
    let body = json!({ "name": "x", "model": { "provider": "scripted", "model": "m" } });
    let again = office.ada.post(&path("agent", "scout"), body).await;
    assert_eq!(again.status, 409, "{}", again.text);
}

#[tokio::test]
async fn a_suspended_agent_takes_no_turn_until_it_resumes() {
    let office = Office::open().await;
    office.agent("scout", "scripted: reply Here.", json!([])).await;
    office.room("desk", &["scout"], 0).await;
    office.send("agent", "scout", "suspend", json!({ "reason": "rest" })).await.taken();
    office.say("desk", "q1", "hello?").await;
    let desk = path("conversation", "desk");
    let finished = office.ada.await_event(&desk, "conversation.turn_finished", |_| true).await;
    assert_eq!(finished["outcome"]["is"], "failed", "{finished}");
    assert_eq!(office.ada.count(&desk, "conversation.message_posted", |_| true).await, 1);
    office.send("agent", "scout", "resume", json!({})).await.taken();
    office.say("desk", "q2", "and now?").await;
    let answer = office
        .ada
        .await_event(&desk, "conversation.message_posted", |data| data["sender"] == "scout")
        .await;
    assert_eq!(answer["body"], "Here.");
}

#[tokio::test]
async fn an_agent_that_repeats_itself_is_stopped_by_its_guard() {
    let office = Office::open().await;
    let tool = json!([{ "name": "look", "run": { "by": "http", "url": office.receiver.url("/look"), "idempotent": true } }]);
    let same: String = (0..8).map(|_| "scripted: tool look {\"id\": 1}\n").collect();
    office.agent("loopy", &same, tool).await;
    office
        .send(
            "agent",
            "loopy",
            "configure_guard",
            json!({ "max_iterations": 20, "max_repeats": 3 }),
        )
        .await
        .taken();
    office.room("desk", &["loopy"], 0).await;
    office.say("desk", "q1", "go").await;
    let agent = path("agent", "loopy");
    let tripped = office.ada.await_event(&agent, "agent.loop_detected", |_| true).await;
    assert_eq!(
        (tripped["tool"].as_str(), tripped["repeats"].as_u64()),
        (Some("look"), Some(3)),
        "{tripped}"
    );
    assert_eq!(office.ada.count(&agent, "agent.suspended", |_| true).await, 1);
    let desk = path("conversation", "desk");
    let finished = office.ada.await_event(&desk, "conversation.turn_finished", |_| true).await;
    assert_ne!(finished["outcome"]["is"], "answered", "{finished}");
    wait("the outbox to be empty", || async {
        let rows = office.ada.get("/v1/ops/outbox?org=acme").await.taken().body;
        rows["items"]
            .as_array()?
            .iter()
            .all(|row| row["status"] == "delivered")
            .then_some(())
    })
    .await;
    assert!(office.receiver.at("/look").len() <= 4, "{:?}", office.receiver.at("/look"));
}
