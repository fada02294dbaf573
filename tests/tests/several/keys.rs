//! Nodes speak to each other by keys of their own: the cluster's secret alone, or a stranger's key with it, forwards nothing.

use super::cluster::{owners, spread};
use quipu_runtime::cluster::{FORWARD_PATH, KEY_FILE, NodeKey};
use quipu_tests::{
    caller::{Caller, http, wait},
    process::{Launch, Process},
    servers::nats::{self, SYSTEM, Shape},
};
use serde_json::{Value, json};
use std::fs;

const SECRET: &str = "only nodes know this";

/// Makes rooms at one node until each of the two owns some: what it does not own is forwarded.
async fn rooms(node: &Process) {
    let ada = node.caller.acting_for("ada");
    ada.post("/v1/orgs/acme/orgs/acme", json!({ "name": "Acme" })).await.taken();
    for n in 0..16 {
        let path = format!("/v1/orgs/acme/conversations/c{n}");
        ada.post(&path, json!({ "type": "group", "auto_turns": false })).await.taken();
    }
}

/// What a node is told by whoever has this client and the secret.
async fn forwarded(client: &reqwest::Client, scheme: &str, to: &Process) -> Result<(u16, Value), reqwest::Error> {
    let url = format!("{scheme}://{}{FORWARD_PATH}", to.address);
    let answer = client.post(url).bearer_auth(SECRET).json(&json!({})).send().await?;
    let status = answer.status().as_u16();
    Ok((status, answer.json().await?))
}

/// A client as the node with this key, which expects the key of `to`.
fn as_node(own: &NodeKey, expected: &str) -> reqwest::Client {
    reqwest::Client::builder()
        .tls_backend_preconfigured(own.client_config(expected).expect("a key"))
        .no_proxy()
        .build()
        .expect("a client")
}

async fn told_key(caller: &Caller) -> String {
    let answer = caller.get("/v1/ops/cluster").await.taken();
    assert!(!answer.text.contains("proof"), "{}", answer.text);
    answer.body["node"]["key"].as_str().expect("a key").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forwarding_takes_the_secret_and_the_key_of_a_node() {
    let shape = Shape {
        servers: 1,
        sync_always: true,
    };
    let Some(nats) = nats::start_or_skip(shape, "keys between nodes") else {
        return;
    };
    let log = format!("{}/keyed?partitions=4&system={SYSTEM}", nats.url());
    let launch = || {
        Launch::new()
            .log(&log)
            .secret("cluster", SECRET)
            .set("cluster.secret", "cluster")
            .set("cluster.lease_ms", "1500")
    };
    let mut launches = vec![launch()];
    let first = launches[0].start().await;
    let mut next = launch().beside(&launches[0]);
    let second = next.start().await;
    launches.push(next);
    spread(&first.caller, 2).await;
    rooms(&first).await;
    let counted = owners(&first.caller).await.expect("owners");
    assert!(counted.iter().any(|owner| *owner != counted[0]), "{counted:?}");

    // By the secret alone, as whoever stole it comes.
    let (status, problem) = forwarded(&http(), "http", &second).await.expect("an answer");
    assert_eq!((status, &problem["code"]), (401, &json!("node_key_required")), "{problem}");
    // With a key that no node has told.
    let key = told_key(&second.caller).await;
    let stranger = NodeKey::load_or_make(None).expect("a key");
    let (status, problem) = forwarded(&as_node(&stranger, &key), "https", &second).await.expect("an answer");
    assert_eq!((status, &problem["code"]), (401, &json!("unknown_node_key")), "{problem}");
    // Whoever sits in between and answers with another key is told nothing.
    let of_first = NodeKey::load_or_make(Some(&launches[0].data())).expect("the first node's key");
    let refused = forwarded(&as_node(&of_first, of_first.public()), "https", &second).await;
    assert!(refused.is_err_and(|error| error.is_connect()));
    // A node's own key passes, and what is then refused is the command.
    let (status, problem) = forwarded(&as_node(&of_first, &key), "https", &second).await.expect("an answer");
    assert_eq!((status, &problem["code"]), (400, &json!("bad_envelope")), "{problem}");
    for path in launches.iter().map(|launch| launch.data().join(KEY_FILE)) {
        let pem = fs::read_to_string(path).expect("the key");
        let secret = pem.lines().nth(1).expect("its text");
        assert!(!first.log_text().contains(secret) && !second.log_text().contains(secret));
    }

    // A node that restarts with another key is known by that one.
    second.stop().await;
    fs::remove_file(launches[1].data().join(KEY_FILE)).expect("the key");
    let second = launches[1].start().await;
    assert_ne!(told_key(&second.caller).await, key);
    spread(&first.caller, 2).await;
    let ada = second.caller.acting_for("ada");
    for n in 0..8 {
        let path = format!("/v1/orgs/acme/conversations/c{n}/post");
        wait("commands to be forwarded again", || async {
            let body = json!({ "body": "hello", "message_id": format!("m{n}") });
            (ada.post(&path, body).await.status < 300).then_some(())
        })
        .await;
    }
    first.stop().await;
    second.stop().await;
}
