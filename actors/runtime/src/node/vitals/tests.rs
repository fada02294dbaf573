//! What fails is told in health with a count, and model calls outlast an orderly stop or end with a record of it.

use super::*;
use crate::{node::scene::Scene, performers::NODE_STOPPED};
use serde_json::json;
use std::time::Instant;

async fn asked(directive: &str) -> Scene {
    let scene = Scene::new().await;
    let agent = json!({ "name": "Scout", "model": { "provider": "scripted", "model": "test" }, "directive": directive });
    scene.send("acme", "agent", "scout", "create", agent).await;
    let room = json!({ "type": "group", "participants": [{ "principal": "scout", "kind": "agent" }], "claim_window_ms": 0 });
    scene.send("acme", "conversation", "desk", "create", room).await;
    scene.say_in("acme", "desk", "hello?").await;
    scene
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await; // poll
    }
}

fn told(node: &Node, name: &str) -> Option<HealthPart> {
    let part = node.health().into_iter().find(|part| part.name == name)?;
    assert!(!part.ok && !part.critical, "{part:?}");
    Some(part)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_model_call_degrades_health_until_it_is_dropped() {
    let scene = asked("scripted: fail out_of_words").await;
    let node = &scene.node;
    until("the dead effect", || told(node, "effects").is_some()).await;
    until("the failed turn", || told(node, "turns").is_some()).await;
    let counts = ["effects", "models", "turns"].map(|name| told(node, name).and_then(|part| part.count));
    assert_eq!(counts, [Some(1); 3]);
    let models = told(node, "models").expect("a part").detail;
    assert!(models.contains("1 of `scripted`, the last with out_of_words"), "{models}");
    let vitals = node.vitals();
    assert_eq!((vitals.dead(), vitals.turns()["failed"], vitals.open_calls()), (1, 1, 0));
    let row = node
        .outbox(None)
        .await
        .into_iter()
        .find(|row| row.status == "dead")
        .expect("a dead effect");
    let key = row.key.parse().expect("a key");
    node.outbox_drop(&key, &quipu_schemas::ids::PrincipalId::BOOTSTRAP)
        .await
        .expect("dropped");
    until("no dead effect", || told(node, "effects").is_none()).await;
    node.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_waits_for_a_model_call_and_its_record() {
    let scene = asked("scripted: delay_ms 60 per token\nscripted: reply one two three four five").await;
    let node = &scene.node;
    until("a call under way", || node.open_model_calls() == 1).await;
    node.finish_model_calls(Duration::from_secs(15)).await;
    let vitals = node.vitals();
    assert_eq!((vitals.open_calls(), vitals.dead()), (0, 0));
    let done = vitals.attempts().get(&("llm.invoke", crate::kernel::vitals::Ended::Done));
    assert_eq!(done, Some(&1), "{vitals:?}");
    node.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn model_call_that_outlasts_the_stop_ends_with_a_record() {
    let scene = asked("scripted: delay_ms 60000 per token\nscripted: reply one two").await;
    let node = &scene.node;
    until("a call under way", || node.open_model_calls() == 1).await;
    node.finish_model_calls(Duration::from_millis(100)).await;
    let vitals = node.vitals();
    assert_eq!((vitals.open_calls(), vitals.dead()), (0, 1), "its end is recorded");
    assert_eq!(vitals.errors()["scripted"].last, NODE_STOPPED);
    // Nothing is begun any more, also not by what this end leads to.
    assert_eq!(node.vitals().attempts().values().sum::<u64>(), 1);
    node.shutdown(Duration::from_secs(5)).await;
}

#[test]
fn timers_are_late_after_a_while_beyond_what_the_clock_explains() {
    let late = limits::TIMER_LATE_MS;
    let now = 1_000_000;
    assert_eq!(lateness([now, now - late].into_iter(), now, 0), (0, 0));
    assert_eq!(lateness([now - late - 1, now].into_iter(), now, 0), (1, late + 1));
    assert_eq!(lateness([now - late - 1, now].into_iter(), now, 1), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_of_a_parked_stream_are_counted_as_due() {
    let scene = Scene::new().await;
    let core = scene.core();
    let room = json!({ "type": "group", "participants": [{ "principal": "scout", "kind": "agent" }, { "principal": "clerk", "kind": "agent" }], "claim_window_ms": 300 });
    scene.send("acme", "conversation", "desk", "create", room).await;
    scene.say_in("acme", "desk", "hello?").await;
    core.park(&"acme/conversation/desk".parse().expect("a stream"), "for the test");
    core.drop_entity(&"acme/conversation/desk".parse().expect("a stream"));
    until("a due timer", || scene.node.backlog().expect("counts").due == 1).await;
    assert_eq!(told(&scene.node, "streams").and_then(|part| part.count), Some(1));
    scene.node.shutdown(Duration::from_secs(5)).await;
}
