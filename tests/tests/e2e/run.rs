//! A workflow run through HTTP: branches, durable timers, webhooks, approvals, pauses, dead letters.

mod manual;

use quipu_tests::{
    caller::{is, wait},
    office::{Office, path},
};
use serde_json::{Value, json};

fn order() -> Value {
    json!({
        "name": "order", "inputs": { "order": { "type": "object" } }, "outputs": { "booked": {} },
        "nodes": [
            { "id": "size", "component": "switch", "config": { "cases": [{ "when": "input.total > 100", "port": "large" }], "default": "small" } },
            { "id": "cool_down", "component": "delay", "config": { "ms": "=input.cool_down_ms" } },
            { "id": "tell", "component": "webhook.call", "retry": { "attempts": 5, "backoff": "exponential", "initial_ms": 20, "max_ms": 100 },
              "config": { "url": "=input.hook", "type": "order.cooled_down", "data": { "number": "=input.number" }, "secret": "hook" } },
            { "id": "approval", "component": "wait_approval", "config": { "approvers": ["bob"], "prompt": "='Book ' + run.input.order.number + '?'" } },
            { "id": "report", "component": "message.send", "config": { "conversation": "orders", "body": "='Order ' + run.input.order.number + ' is booked.'" } },
            { "id": "booked", "component": "passthrough" },
        ],
        "edges": [
            { "from": "input.order", "to": "size.in" }, { "from": "size.large", "to": "cool_down.in" }, { "from": "size.small", "to": "booked.in" },
            { "from": "cool_down.out", "to": "tell.in" }, { "from": "tell.out", "to": "approval.in" }, { "from": "approval.approved", "to": "report.in" },
            { "from": "report.out", "to": "booked.in" }, { "from": "booked.out", "to": "output.booked" },
        ],
    })
}

#[tokio::test]
async fn order_run_branches_waits_survives_a_crash_and_is_approved() {
    let mut office = Office::open().await;
    office.member("bob", "member").await;
    office.room("orders", &[], 0).await;
    office.receiver.refuse("/orders", &[503, 503]);
    let input = |total: u64| json!({ "order": { "number": "4711", "total": total, "cool_down_ms": 1_200, "hook": office.receiver.url("/orders") } });
    office.run("small", order(), input(5)).await;
    office.ada.await_event(&path("run", "small"), "run.completed", |_| true).await;
    assert_eq!(
        office
            .ada
            .count(&path("run", "small"), "run.node_completed", |data| data["node"] == "cool_down")
            .await,
        0
    );

    office.run("large", order(), input(500)).await;
    let run = path("run", "large");
    let waits = office
        .ada
        .await_event(&run, "run.node_started", |data| data["node"] == "cool_down")
        .await;
    let due = waits["work"]["due"].as_u64().expect("a due time");
    let before = office.ada.digest(&run).await;
    office.kill().await;
    office.start().await;
    let at = office.ada.get(&format!("{run}/state?version={}", before.0)).await.taken().body;
    assert_eq!(at["digest"], before.1, "the run is where it was");
    // The timer fires once, late rather than never, and never early.
    office
        .ada
        .await_event(&run, "run.node_completed", |data| data["node"] == "cool_down")
        .await;
    assert_eq!(
        office
            .ada
            .count(&run, "run.node_completed", |data| data["node"] == "cool_down")
            .await,
        1
    );
    let records = office.ada.records(&run).await;
    let fired = records.iter().find(|r| {
        r["events"].as_array().is_some_and(|e| {
            e.iter()
                .any(|e| e["data"]["node"] == "cool_down" && e["type"] == "quipu.run.node_completed.v1")
        })
    });
    let state = office
        .ada
        .get(&format!("{run}/state?version={}", fired.expect("the fire")["version"]))
        .await
        .taken()
        .body;
    assert!(state["time"].as_u64().expect("a time") >= due, "fired early: {state}");

    // Refused twice, then taken: the same id and body each time.
    office
        .ada
        .await_event(&run, "run.node_completed", |data| data["node"] == "tell")
        .await;
    let hooks = office.receiver.at("/orders");
    assert_eq!(hooks.iter().map(|a| a.status).collect::<Vec<_>>(), [503, 503, 200]);
    assert!(
        hooks.iter().all(|a| a.signed && a.id == hooks[0].id && a.body == hooks[0].body),
        "{hooks:?}"
    );

    let asks = office
        .ada
        .await_event(&run, "run.node_started", |data| data["node"] == "approval")
        .await;
    assert_eq!(asks["work"]["prompt"], "Book 4711?");
    office
        .by("eve")
        .post(&format!("{run}/approve"), json!({ "node": "approval" }))
        .await
        .refused(403, "not_an_approver");
    office
        .by("bob")
        .post(&format!("{run}/approve"), json!({ "node": "approval", "comment": "go" }))
        .await
        .taken();
    office.ada.await_event(&run, "run.completed", |_| true).await;
    let posted = office
        .ada
        .await_event(&path("conversation", "orders"), "conversation.message_posted", |_| true)
        .await;
    assert_eq!(posted["body"], "Order 4711 is booked.");
    // Bob approved and takes no part in the conversation: what follows is ada's doing, whose run it is.
    assert_eq!(posted["sender"], "ada");
    let actor_of = |records: Vec<Value>, event: &str| {
        let named = |record: &&Value| {
            record["events"]
                .as_array()
                .is_some_and(|all| all.iter().any(|e| e["type"].as_str().is_some_and(|t| t.contains(event))))
        };
        records.iter().find(named).map(|record| record["on_behalf_of"].clone())
    };
    let approval = actor_of(office.ada.records(&run).await, "run.approval_given");
    let message = actor_of(
        office.ada.records(&path("conversation", "orders")).await,
        "conversation.message_posted",
    );
    assert_eq!((approval, message), (Some(json!("bob")), Some(json!("ada"))));
    office
        .by("bob")
        .post(&format!("{run}/approve"), json!({ "node": "approval" }))
        .await
        .refused(409, "not_waiting");
    let steps = office.ada.fresh(&format!("{run}/steps")).await.taken().body;
    let named = |steps: &Value| -> Vec<String> {
        let items = steps["items"].as_array().into_iter().flatten();
        items.filter_map(|step| step["step"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(
        named(&steps),
        ["size", "cool_down", "tell", "approval", "report", "booked"],
        "in the definition's order"
    );
}

#[tokio::test]
async fn a_definition_that_cannot_work_is_refused_with_the_node_named() {
    let office = Office::open().await;
    let node = |id: &str, component: &str| json!({ "id": id, "component": component });
    for (nodes, edges, named) in [
        (
            json!([node("a", "passthrough"), node("b", "passthrough")]),
            json!([{ "from": "a.out", "to": "b.in" }, { "from": "b.out", "to": "a.in" }]),
            "a",
        ),
        (json!([node("a", "teleport")]), json!([]), "teleport"),
        (json!([node("a", "passthrough"), node("a", "passthrough")]), json!([]), "a"),
        (
            json!([node("a", "passthrough")]),
            json!([{ "from": "a.nowhere", "to": "a.in" }]),
            "nowhere",
        ),
        (
            json!([{ "id": "a", "component": "map", "config": { "expression": "1 +" } }]),
            json!([]),
            "a",
        ),
    ] {
        let definition = json!({ "name": "bad", "nodes": nodes, "edges": edges });
        let refused = office.ada.post(&path("run", "bad"), json!({ "definition": definition })).await;
        assert!(
            refused.status == 422 && refused.text.contains(named),
            "{named}: {} {}",
            refused.status,
            refused.text
        );
    }
    let refused = office.ada.post(&path("run", "bad"), json!({ "definition_text": "name: [" })).await;
    assert_eq!(refused.status, 422, "{}", refused.text);
    assert_eq!(office.ada.records(&path("run", "bad")).await.len(), 0);
}

#[tokio::test]
async fn a_signal_in_a_pause_is_in_time() {
    let office = Office::open().await;
    let definition = json!({
        "name": "n", "outputs": { "y": {} },
        "nodes": [{ "id": "w", "component": "wait_signal", "config": { "signal": "paid", "timeout_ms": 700 } }, { "id": "d", "component": "delay", "config": { "ms": 1_500.0 } }],
        "edges": [{ "from": "w.out", "to": "output.y" }],
    });
    office.run("paid", definition, json!({})).await;
    let run = path("run", "paid");
    office.send("run", "paid", "pause", json!({})).await.taken();
    office
        .send("run", "paid", "signal", json!({ "name": "paid", "payload": 1 }))
        .await
        .taken();
    // The delay ends after the signal's timeout would have, in the same pause.
    office.ada.await_event(&run, "run.node_completed", |data| data["node"] == "d").await;
    assert_eq!(office.ada.fresh(&run).await.taken().body["state"], "paused");
    office.send("run", "paid", "resume", json!({})).await.taken();
    let completed = office.ada.await_event(&run, "run.completed", |_| true).await;
    assert_eq!(completed["output"]["y"], 1);
}

#[tokio::test]
async fn a_paused_run_queues_inputs_durably_up_to_its_bound() {
    let mut office = Office::open().await;
    let definition = json!({
        "name": "gather", "inputs": { "item": { "many": true, "required": false } }, "outputs": { "all": {} },
        "nodes": [{ "id": "gather", "component": "collect", "config": { "count": 1_000 } }],
        "edges": [{ "from": "input.item", "to": "gather.items" }, { "from": "gather.out", "to": "output.all" }],
    });
    office.run("r", definition, json!({})).await;
    let run = path("run", "r");
    office.send("run", "r", "pause", json!({ "reason": "lunch" })).await.taken();
    office.send("run", "r", "pause", json!({})).await;
    let mut depth = 0;
    let full = loop {
        let given = office
            .send(
                "run",
                "r",
                "input",
                json!({ "port": "item", "payload": { "n": depth, "text": "x".repeat(1_950) } }),
            )
            .await;
        if given.status == 429 {
            break given;
        }
        given.taken();
        depth += 1;
        assert!(depth < 1_000, "the queue has a bound");
    };
    assert_eq!(
        (full.code(), full.body["queue_depth"].as_u64()),
        ("queue_full", Some(depth)),
        "{}",
        full.text
    );
    assert!(!full.header("retry-after").is_empty());
    office.kill().await;
    office.start().await;
    let full = office
        .send("run", "r", "input", json!({ "port": "item", "payload": "x".repeat(2_040) }))
        .await;
    assert_eq!(
        full.body["queue_depth"].as_u64(),
        Some(depth),
        "the queue is durable: {}",
        full.text
    );
    office.send("run", "r", "resume", json!({})).await.taken();
    office.ada.await_event(&run, "run.input_drained", |_| true).await;
    let drained: u64 = office
        .ada
        .events(&run)
        .await
        .iter()
        .filter(|(n, _)| is(n, "run.input_drained"))
        .filter_map(|(_, d)| d["count"].as_u64())
        .sum();
    assert_eq!(drained, depth);
    let given: Vec<u64> = office
        .ada
        .events(&run)
        .await
        .iter()
        .filter(|(n, _)| is(n, "run.input_queued"))
        .filter_map(|(_, d)| d["payload"]["n"].as_u64())
        .collect();
    assert_eq!(given, (0..depth).collect::<Vec<_>>(), "in the order in which they came");
    office.send("run", "r", "cancel", json!({ "reason": "enough" })).await.taken();
    office
        .send("run", "r", "resume", json!({}))
        .await
        .refused(409, "illegal_transition");
}

fn hook(url: String) -> Value {
    json!({
        "name": "hook", "inputs": { "go": {} }, "outputs": { "done": {} },
        "nodes": [{ "id": "tell", "component": "webhook.call", "retry": { "attempts": 2, "backoff": "none", "initial_ms": 0, "max_ms": 0 },
                    "config": { "url": url, "type": "t", "data": {}, "secret": "hook" } }],
        "edges": [{ "from": "input.go", "to": "tell.in" }, { "from": "tell.out", "to": "output.done" }],
    })
}

#[tokio::test]
async fn dead_letters_are_listed_tried_again_and_dropped() {
    let mut office = Office::open().await;
    let paths = ["/once", "/never"];
    for at in paths {
        office.receiver.refuse(at, &[500; 2]);
        office.run(&at[1..], hook(office.receiver.url(at)), json!({ "go": 1 })).await;
    }
    let dead = |office: &Office| {
        let ada = office.ada.clone();
        async move {
            ada.get("/v1/ops/outbox?org=acme&status=dead").await.taken().body["items"]
                .as_array()
                .cloned()
                .unwrap_or_default()
        }
    };
    wait("two dead letters", || async { (dead(&office).await.len() == 2).then_some(()) }).await;
    office.kill().await;
    office.start().await;
    let rows = dead(&office).await;
    assert_eq!(rows.len(), 2, "dead letters survive: {rows:?}");
    let key = |id: &str| {
        rows.iter()
            .filter_map(|row| row["key"].as_str())
            .find(|key| key.contains(&format!("/{id}@")))
            .expect("its key")
            .replace('/', "%2F")
            .replace('@', "%40")
    };
    let view = office
        .ada
        .fresh(&format!("{}/dead-letters", path("run", "once")))
        .await
        .taken()
        .body;
    assert_eq!(view["items"].as_array().map(Vec::len), Some(1), "{view}");
    office
        .ada
        .post(&format!("/v1/ops/outbox/{}/retry", key("once")), json!({}))
        .await
        .taken();
    // The receiver has it before the log has its answer: what ends now may be sent once more after a start.
    office.ada.await_event(&path("run", "once"), "run.completed", |_| true).await;
    let hooks = office.receiver.at("/once");
    assert_eq!(hooks.len(), 3, "two attempts that failed and a person's: {hooks:?}");
    assert!(
        hooks.iter().all(|a| a.id == hooks[0].id && a.body == hooks[0].body),
        "a person's retry is the same message: {hooks:?}"
    );
    office
        .ada
        .post(&format!("/v1/ops/outbox/{}/drop", key("never")), json!({}))
        .await
        .taken();
    wait("no dead letters", || async { dead(&office).await.is_empty().then_some(()) }).await;
    let again = office.ada.post(&format!("/v1/ops/outbox/{}/retry", key("never")), json!({})).await;
    assert!((400..500).contains(&again.status), "{} {}", again.status, again.text);
    office.kill().await;
    office.start().await;
    assert_eq!(dead(&office).await, Vec::<Value>::new());
    assert_eq!((office.receiver.at("/once").len(), office.receiver.at("/never").len()), (3, 2));
}

#[tokio::test]
async fn a_message_that_nobody_takes_fails_its_node() {
    let office = Office::open().await;
    let definition = |on_failure: &str| {
        json!({
            "name": "say", "outputs": { "y": {} },
            "nodes": [{
                "id": "m", "component": "message.send", "on_failure": on_failure,
                "config": { "conversation": "no-such-one", "body": "hi" },
            }],
            "edges": [{ "from": "m.out", "to": "output.y" }],
        })
    };
    office.run("aborts", definition("abort"), json!({})).await;
    let failed = office.ada.await_event(&path("run", "aborts"), "run.failed", |_| true).await;
    assert_eq!((&failed["code"], &failed["node"]), (&json!("conversation_not_found"), &json!("m")));
    office.run("goes_on", definition("continue"), json!({})).await;
    let run = path("run", "goes_on");
    let failed = office.ada.await_event(&run, "run.node_failed", |_| true).await;
    assert_eq!(failed["code"], "conversation_not_found");
    let completed = office.ada.await_event(&run, "run.completed", |_| true).await;
    assert_eq!(completed["output"], json!({}));

    // Where somebody takes it, the node is done with that.
    office.room("no-such-one", &[], 0).await;
    office.send("run", "aborts", "retry_node", json!({ "node": "m" })).await.taken();
    let completed = office.ada.await_event(&path("run", "aborts"), "run.completed", |_| true).await;
    assert_eq!(completed["output"]["y"]["conversation"], "no-such-one");
}
