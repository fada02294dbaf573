//! A small load that is the same each time: an org, a conversation, settings, a run wide enough for a snapshot, and one
//! that waits and then tells another system. Can be cut off anywhere and said again.

use crate::{
    caller::{Caller, is, wait},
    receiver::Receiver,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// How long the run waits before it tells, milliseconds.
const DELAY_MS: u64 = 700;
/// Nodes of the wide run: each leaves more than two events, and 200 make a snapshot.
const WIDTH: usize = 99;

/// A command of the load.
#[derive(Debug, Clone)]
pub struct ScriptedCommand {
    path: String,
    body: Value,
    /// The first receipt, where one came.
    pub receipt: Option<Value>,
}

/// The load, as far as it was answered.
#[derive(Debug, Clone)]
pub struct Script {
    /// Its commands, in order.
    pub said: Vec<ScriptedCommand>,
    /// Whether several nodes go on from copies of its data.
    pub is_copied: bool,
    hook: String,
}

fn waiting(hook: &str) -> Value {
    json!({
        "definition": {
            "name": "notify", "inputs": { "number": { "type": "string" } }, "outputs": { "done": {} },
            "nodes": [
                { "id": "rest", "component": "delay", "config": { "ms": DELAY_MS } },
                { "id": "tell", "component": "webhook.call", "retry": { "attempts": 100, "backoff": "linear", "initial_ms": 50, "max_ms": 200 },
                  "config": { "url": hook, "type": "notify.told", "data": { "number": "=run.input.number" }, "secret": "hook" } },
            ],
            "edges": [{ "from": "input.number", "to": "rest.in" }, { "from": "rest.out", "to": "tell.in" }, { "from": "tell.out", "to": "output.done" }],
        },
        "input": { "number": "1" },
    })
}

fn wide() -> Value {
    let nodes: Vec<Value> = (0..WIDTH)
        .map(|n| json!({ "id": format!("n{n}"), "component": "passthrough" }))
        .collect();
    let mut edges = vec![json!({ "from": "input.number", "to": "n0.in" })];
    edges.extend((1..WIDTH).map(|n| json!({ "from": format!("n{}.out", n - 1), "to": format!("n{n}.in") })));
    edges.push(json!({ "from": format!("n{}.out", WIDTH - 1), "to": "output.done" }));
    json!({
        "definition": { "name": "wide", "inputs": { "number": { "type": "string" } }, "outputs": { "done": {} }, "nodes": nodes, "edges": edges },
        "input": { "number": "2" },
    })
}

impl Script {
    /// The load; the webhook goes to `hook`.
    pub fn new(hook: &str) -> Self {
        let org = "/v1/orgs/acme";
        let mut all = vec![
            (format!("{org}/orgs/acme"), json!({ "name": "Acme" })),
            (format!("{org}/runs/notify"), waiting(hook)),
            (format!("{org}/conversations/talk"), json!({ "type": "group", "auto_turns": false })),
            (format!("{org}/runs/wide"), wide()),
        ];
        let post = |n: usize| {
            let body = json!({ "body": format!("message {n}"), "message_id": format!("m{n}") });
            (format!("{org}/conversations/talk/post"), body)
        };
        all.extend((0..4).map(post));
        all.push((
            format!("{org}/orgs/acme/change_settings"),
            json!({ "settings": { "colour": "blue" } }),
        ));
        all.extend((4..6).map(post));
        let said = all.into_iter().map(|(path, body)| ScriptedCommand { path, body, receipt: None });
        Self {
            said: said.collect(),
            is_copied: false,
            hook: hook.to_owned(),
        }
    }

    /// Says everything, what was answered before included; false where the node went away. The receipt of what was
    /// answered before must be the first one.
    ///
    /// # Panics
    /// If a command is refused or decided again.
    pub async fn say(&mut self, node: &Caller) -> bool {
        let ada = node.acting_for("ada");
        for (n, said) in self.said.iter_mut().enumerate() {
            let Ok(answer) = ada.try_command(&said.path, &format!("k{n}"), &said.body).await else {
                return false;
            };
            // A node that is being ended may still answer, but never with another outcome.
            if answer.status == 503 && answer.code() != "stream_parked" {
                return false;
            }
            let receipt = answer.taken().body;
            match &said.receipt {
                None => said.receipt = Some(receipt),
                Some(first) => is_first(first, &receipt),
            }
        }
        true
    }

    /// Waits until the run that waits has come to its end; false where the node went away.
    pub async fn rest(&self, node: &Caller) -> bool {
        let ada = node.acting_for("ada");
        wait("the run's end", || async {
            let request = ada.request(reqwest::Method::GET, "/v1/orgs/acme/runs/notify/history?limit=1000");
            match ada.exchange(request).await {
                Err(_) => Some(false),
                Ok(history) => history.text.contains("quipu.run.completed.v1").then_some(true),
            }
        })
        .await
    }

    /// Everything that was promised, of a node on which all of it was said and has come to its end: the timer fired once
    /// and not early, the webhook came under one id, the views are the log's.
    ///
    /// # Panics
    /// If a promise is broken.
    pub async fn check(&self, node: &Caller, receiver: &Receiver) {
        let ada = node.acting_for("ada");
        let records = ada.records("/v1/orgs/acme/runs/notify").await;
        let events = |wanted: &str, at: &str| -> Vec<(u64, Value)> {
            let mut out = Vec::new();
            for record in &records {
                for event in record["events"].as_array().into_iter().flatten() {
                    if is(event["type"].as_str().unwrap_or_default(), wanted) && (at.is_empty() || event["data"]["node"] == at) {
                        let version = record["version"].as_u64().expect("a version");
                        out.push((version, event["data"].clone()));
                    }
                }
            }
            out
        };
        for (name, at) in [
            ("run.node_completed", "rest"),
            ("run.node_completed", "tell"),
            ("run.completed", ""),
        ] {
            assert_eq!(events(name, at).len(), 1, "{name} of {at}: {records:?}");
        }
        let due = events("run.node_started", "rest")[0].1["work"]["due"].as_u64().expect("a due time");
        let fired = events("run.node_completed", "rest")[0].0;
        let state = ada
            .get(&format!("/v1/orgs/acme/runs/notify/state?version={fired}"))
            .await
            .taken()
            .body;
        assert!(state["time"].as_u64().expect("a time") >= due, "fired early: {state}");
        let path = self
            .hook
            .split_once("://")
            .and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
        let arrived = receiver.at(path.expect("a path"));
        let ids: BTreeSet<&str> = arrived.iter().map(|a| a.id.as_str()).collect();
        let bodies: BTreeSet<&str> = arrived.iter().map(|a| a.body.as_str()).collect();
        assert_eq!(ids.len(), 1, "{arrived:?}");
        // Copies of one data directory go on apart, each with a body of its own time under the same id.
        assert!(bodies.len() == 1 || self.is_copied, "{arrived:?}");
        assert!(arrived.iter().all(|a| a.signed), "{arrived:?}");
        let posted = ada
            .count("/v1/orgs/acme/conversations/talk", "conversation.message_posted", |_| true)
            .await;
        assert_eq!(posted, 6);
        // Also waits until the views have seen all of it.
        let seen = ada.fresh("/v1/orgs/acme/conversations/talk/messages").await.taken().body;
        assert_eq!(seen["items"].as_array().map(Vec::len), Some(6), "{seen}");
        let job = node.views_job("verify").await;
        assert_eq!(job["equal"], Value::Bool(true), "views against a rebuild: {job}");
    }
}

/// A repeated receipt is the first one, and says that it is a repetition.
fn is_first(first: &Value, again: &Value) {
    let plain = |receipt: &Value| {
        let mut plain = receipt.clone();
        let duplicate = plain.as_object_mut().and_then(|o| o.remove("duplicate"));
        (plain, duplicate)
    };
    let (again, duplicate) = plain(again);
    assert_eq!((plain(first).0, Some(Value::Bool(true))), (again, duplicate), "decided again");
}
