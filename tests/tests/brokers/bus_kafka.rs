//! The bus on a real Apache Kafka, by clients that know nothing of Quipu, and what befalls both: nodes and brokers killed.

use crate::bus;
use parking_lot::Mutex;
use quipu_tests::{
    broker::{self, Broker},
    caller::wait,
    kafka_bus::KafkaBus,
    process::Launch,
    servers::kafka,
    venv,
};
use serde_json::Value;
use std::sync::{Arc, Weak};

const PYTHON: &[&str] = &["confluent-kafka==2.16.1", "cloudevents==2.2.0"];

/// The broker that the cases share, each with topics of its own; it ends with the last case that has it.
fn shared(what: &str) -> Option<Arc<Broker>> {
    static BROKER: Mutex<Weak<Broker>> = Mutex::new(Weak::new());
    let mut broker = BROKER.lock();
    if let Some(running) = broker.upgrade() {
        return Some(running);
    }
    let started = Arc::new(broker::or_tansu(kafka::start_or_skip(true, what), what)?);
    *broker = Arc::downgrade(&started);
    Some(started)
}

/// The same, for what can be checked on Tansu too.
fn any(what: &str) -> Option<Arc<Broker>> {
    let broker = shared(what)?;
    broker.say(what);
    Some(broker)
}

fn url(address: &str, prefix: &str) -> String {
    format!("kafka://{address}/{prefix}?partitions=4")
}

#[tokio::test]
async fn plain_client_publishes_commands_and_reads_receipts() {
    let what = "the bus by confluent-kafka and the CloudEvents SDK";
    let (Some(kafka), Some(python)) = (any(what), venv::python_or_skip("bus_kafka", PYTHON, what)) else {
        return;
    };
    let node = Launch::new().set("bus.url", url(&kafka.address(), "python")).start().await;
    let env = [("KAFKA", kafka.address()), ("PREFIX", "python".into()), ("ORG", "acme".into())];
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let said = venv::client(&python, "kafka_client.py", &env).await;
    let said = said.unwrap_or_else(|words| panic!("{words}\n{}", node.log_tail()));
    for (name, status, code) in [
        ("org", 200, ""),
        ("room", 200, ""),
        ("post", 200, ""),
        ("again", 200, ""),
        ("other_body", 409, "command_id_reused"),
        ("stale", 412, "wrong_version"),
        ("unknown", 404, "unknown_command"),
    ] {
        let told = &said[name];
        assert_eq!((&told["status"], &told["code"]), (&status.into(), &code.into()), "{name}: {told}");
        let media = if code.is_empty() {
            "application/json"
        } else {
            "application/problem+json"
        };
        assert_eq!(told["type"], media, "{name}");
    }
    assert_eq!(
        (&said["room"]["correlation"], &said["room"]["key"]),
        (&"py".into(), &"acme/py-room".into())
    );
    assert_eq!(
        (&said["again"]["body"]["version"], &said["again"]["body"]["duplicate"]),
        (&said["post"]["body"]["version"], &Value::Bool(true))
    );
    assert_eq!(said["other_body"]["body"]["command_id"], "py-post");
    let versions = said["queued_versions"].as_array().expect("versions");
    let versions: Vec<u64> = versions.iter().filter_map(Value::as_u64).collect();
    assert!(versions.len() == 20 && versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    let events = said["events"].as_array().expect("events");
    let gapless = events.iter().zip(1u64..).all(|(event, version)| event["version"] == version);
    assert!(gapless, "{events:?}");
    let last = &events[events.len() - 1];
    assert_eq!(
        (&last["source"], &last["type"]),
        (
            &"/orgs/acme/conversations/room".into(),
            &"quipu.conversation.message_posted.v1".into()
        )
    );
    // What people wrote is sealed on the bus.
    assert!(!said["events"].to_string().contains("queued 3"), "{events:?}");
    node.stop().await;
}

#[tokio::test]
async fn commands_outlive_a_killed_node_and_the_feed_has_no_gap() {
    let Some(kafka) = any("commands on Kafka across kill -9") else {
        return;
    };
    let launch = Launch::new().set("bus.url", url(&kafka.address(), "killed"));
    bus::node_is_killed(launch, &KafkaBus::new(&kafka.address(), "killed")).await;
}

#[tokio::test]
async fn another_node_takes_commands_and_feed_over() {
    let Some(kafka) = any("takeover of the bus on Kafka by another node") else {
        return;
    };
    let log = kafka.log("pairlog", 4);
    let launch = || {
        Launch::new()
            .log(&log)
            .set("bus.url", url(&kafka.address(), "pair"))
            .secret("cluster", "only nodes know this")
            .set("cluster.secret", "cluster")
            .set("cluster.lease_ms", "1500")
    };
    bus::node_is_replaced(launch, &KafkaBus::new(&kafka.address(), "pair")).await;
}

/// Headers of a create by ada.
fn with(id: &str) -> [(&str, &str); 3] {
    [("Quipu-Command", "create"), ("Quipu-On-Behalf-Of", "ada"), ("Idempotency-Key", id)]
}

#[tokio::test]
async fn non_commands_are_refused_and_org_topics_are_apart() {
    let Some(kafka) = any("malformed messages and topics of orgs on Kafka") else {
        return;
    };
    let node = Launch::new().set("bus.url", url(&kafka.address(), "odd")).start().await;
    let bus = KafkaBus::new(&kafka.address(), "odd");
    bus::rooms(&bus, 1).await;
    let (room, named) = (Some(&b"acme/conversation/c0"[..]), ("Quipu-Command", "post"));
    let ada = ("Quipu-On-Behalf-Of", "ada");
    // Where nobody knows whom to answer, or what: no key, no org in it, no id.
    bus.publish("commands", None, &[named, ada, ("Idempotency-Key", "nowhere")], "{}");
    bus.publish("commands", Some(b"\xff/x"), &[named, ada, ("Idempotency-Key", "nowhere")], "{}");
    bus.publish("commands", room, &[named, ada], "{}");
    // Key, headers and body; status and code of the answer to `m0`, `m1`….
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);
    let cases: &[Case<'_>] = &[
        ("acme/conversation", &[named, ada], "{}", 400, "bad_key"),
        ("acme/conversation/c0/x", &[named, ada], "{}", 400, "bad_key"),
        ("acme/Conversation/c0", &[named, ada], "{}", 400, "bad_id"),
        ("acme/conversation/c0", &[ada], "{}", 400, "bad_header"),
        ("acme/conversation/c0", &[named], "{}", 400, "bad_header"),
        (
            "acme/conversation/c0",
            &[named, ("Quipu-On-Behalf-Of", "bootstrap")],
            "{}",
            403,
            "reserved_principal",
        ),
        (
            "_platform/org/_platform",
            &[("Quipu-Command", "create"), ada],
            "{}",
            403,
            "reserved_org",
        ),
        (
            "acme/conversation/c0",
            &[("Quipu-Command", "dance"), ada],
            "{}",
            404,
            "unknown_command",
        ),
        ("acme/tape/c0", &[named, ada], "{}", 404, "unknown_kind"),
        ("acme/conversation/c0", &[named, ada], "[1]", 400, "body_not_object"),
        ("acme/conversation/c0", &[named, ada], "{\"body\":", 400, "malformed_json"),
        (
            "acme/conversation/c0",
            &[named, ada, ("If-Match", "\"9\"")],
            "{\"body\":\"x\"}",
            412,
            "wrong_version",
        ),
        ("acme/conversation/c0", &[named, ada], "{\"body\":3}", 422, "invalid_command"),
        // Its answer would be kept.
        (
            "acme/api-key/k1",
            &[("Quipu-Command", "create"), ada],
            "{\"name\":\"CI\"}",
            403,
            "secret_unseen",
        ),
    ];
    for (n, (key, headers, body, ..)) in cases.iter().enumerate() {
        let id = format!("m{n}");
        let mut headers = headers.to_vec();
        headers.push(("Idempotency-Key", &id));
        bus.publish("commands", Some(key.as_bytes()), &headers, body);
    }
    for (n, (key, _, _, status, code)) in cases.iter().enumerate() {
        let id = format!("m{n}");
        let (found, problem) = bus.receipt(key.split('/').next().expect("an org"), &id).await;
        assert_eq!(
            (found, problem["code"].as_str(), problem["command_id"].as_str()),
            (*status, Some(*code), Some(id.as_str())),
            "{key}: {problem}"
        );
    }
    // The node finds a create's id, as over HTTP.
    bus.command("acme/conversation/_", "create", "nameless", r#"{"type":"group"}"#);
    let (status, made) = bus.receipt("acme", "nameless").await;
    let is_derived = made["stream"].as_str().is_some_and(|s| s.starts_with("acme/conversation/cnv_"));
    assert!(status == 200 && is_derived, "{made}");

    // Topics that an operator makes for an org while the node runs.
    for family in ["receipts", "feed", "commands"] {
        bus.make(&format!("{family}.beta")).await;
    }
    bus.publish("commands.beta", Some(b"beta/org/beta"), &with("own"), r#"{"name":"Beta"}"#);
    bus.publish(
        "commands.beta",
        Some(b"acme/conversation/forged"),
        &with("forged"),
        r#"{"type":"group"}"#,
    );
    bus.flush();
    // The node may have read the first of them before it knew of the others.
    let both = wait("answers to the org's own topic", || async {
        let found = [bus.read("receipts")?, bus.read("receipts.beta")?].concat();
        let of = |id: &str| found.iter().find(|f| f.key == format!("beta/{id}")).cloned();
        Some([of("own")?, of("forged")?])
    })
    .await;
    assert_eq!(both[0].headers["quipu-status"], "200", "{both:?}");
    assert_eq!(both[1].value["code"], "wrong_org", "{both:?}");
    let receipts = bus.read("receipts").expect("receipts");
    assert!(!receipts.iter().any(|found| found.key == "acme/forged"), "{receipts:?}");
    let mut turn = 0;
    let receipt = loop {
        // Until the node has looked for topics again, the common one still takes it.
        turn += 1;
        let id = format!("common{turn}");
        bus.publish("commands", Some(b"beta/conversation/room"), &with(&id), r#"{"type":"group"}"#);
        bus.flush();
        let receipt = wait("an answer about the common topic", || async {
            let found = [bus.read("receipts")?, bus.read("receipts.beta")?].concat();
            found.into_iter().find(|f| f.key == format!("beta/{id}"))
        })
        .await;
        if receipt.headers["quipu-status"] == "403" || turn > 200 {
            break receipt;
        }
    };
    assert_eq!(receipt.value["code"], "own_topic", "{receipt:?}");
    bus.publish(
        "commands.beta",
        Some(b"beta/conversation/apart"),
        &with("apart"),
        r#"{"type":"group"}"#,
    );
    bus.flush();
    let told = bus.receipts("receipts.beta", "beta", &["apart".to_owned()]).await;
    assert_eq!(told["apart"].0, 200, "{told:?}");
    wait("the event in the org's own feed", || async {
        let (streams, _) = bus.versions("feed.beta")?;
        streams.contains_key("beta/conversation/apart").then_some(())
    })
    .await;
    let (common, _) = bus.versions("feed").expect("the feed");
    assert!(!common.contains_key("beta/conversation/apart"), "{common:?}");
    assert!(!node.log_text().contains("panicked"), "{}", node.log_tail());
    node.stop().await;
}

#[tokio::test]
async fn commands_go_on_without_the_broker_and_the_feed_catches_up() {
    let Some(mut kafka) = kafka::start_or_skip(true, "the Kafka broker away and back") else {
        return;
    };
    let node = Launch::new().set("bus.url", url(&kafka.address(), "away")).start().await;
    let bus = KafkaBus::new(&kafka.address(), "away");
    bus::rooms(&bus, 3).await;
    bus::feed_is_whole(&bus, &node, 3).await;
    kafka.kill();
    bus::broker_is_away(&node, 3).await;
    // Aside: connections to the node are looked after meanwhile.
    let kafka = tokio::task::spawn_blocking(move || {
        kafka.restart();
        kafka
    });
    let kafka = kafka.await.expect("the broker is back");
    bus::broker_is_back(&KafkaBus::new(&kafka.address(), "away"), &node, 3).await;
    node.stop().await;
}

#[tokio::test]
async fn a_bus_that_cannot_be_used_ends_the_start_and_says_why() {
    let launch = Launch::new();
    for (bus, words) in [
        ("kafka://me:hunter2@127.0.0.1:1", "no user and no password"),
        ("kafka://127.0.0.1:1?colour=red", "colour"),
    ] {
        let refused = launch.run(&["serve", "--check", "--bus", bus]).await;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            !refused.status.success() && said.contains(words) && !said.contains("hunter2"),
            "{said}"
        );
    }
    let what = "a bus whose topic is another's";
    let Some(kafka) = shared(what) else { return };
    if matches!(*kafka, Broker::Tansu(_)) {
        return venv::skipped(what, "Tansu tells no settings");
    }
    let bus = KafkaBus::new(&kafka.address(), "taken");
    // With the broker's default policy, which deletes.
    bus.make("marks").await;
    let refused = launch
        .run(&[
            "serve",
            "--memory",
            "--listen",
            "127.0.0.1:0",
            "--bus",
            &url(&kafka.address(), "taken"),
        ])
        .await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("taken.marks") && said.contains("cleanup.policy=compact"),
        "{said}"
    );
}
