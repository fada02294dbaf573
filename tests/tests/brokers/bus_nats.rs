//! The bus on a real nats-server, by clients that know nothing of Quipu, and what befalls both: nodes and servers killed.

use crate::bus;
use quipu_tests::{
    bus::{BusClient, by_ada, headers},
    caller::wait,
    process::{Launch, Process},
    servers::nats::{self, Nats, SYSTEM, Shape},
    venv::{self, run, skipped},
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const PYTHON: &[&str] = &["nats-py==2.16.0", "cloudevents==2.2.0", "jsonschema==4.26.0"];

fn start(what: &str) -> Option<Nats> {
    let shape = Shape {
        servers: 1,
        sync_always: true,
    };
    nats::start_or_skip(shape, what)
}

/// The Python of the clients, or nothing and a line that says what is not checked.
fn python_or_skip(what: &str) -> Option<PathBuf> {
    venv::python_or_skip("bus", PYTHON, what)
}

/// Runs a client to its end; what it said.
async fn client(python: &Path, name: &str, env: &[(&str, &str)], node: &Process) -> Value {
    let said = venv::client(python, name, env).await;
    said.unwrap_or_else(|words| panic!("{words}\n{}", node.log_tail()))
}

#[tokio::test]
async fn plain_client_calls_queues_commands_and_reads_receipts() {
    let what = "the bus by nats-py and the CloudEvents SDK";
    let (Some(nats), Some(python)) = (start(what), python_or_skip(what)) else {
        return;
    };
    let node = Launch::new().set("bus.url", nats.url()).start().await;
    let said = client(&python, "client.py", &[("NATS_URL", &nats.url()), ("ORG", "acme")], &node).await;
    for (name, status, code) in [
        ("org", 200, Value::Null),
        ("room", 200, Value::Null),
        ("post", 200, Value::Null),
        ("again", 200, Value::Null),
        ("other_body", 409, "command_id_reused".into()),
        ("stale", 412, "wrong_version".into()),
        ("unknown", 404, "unknown_command".into()),
    ] {
        assert_eq!(
            (&said[name]["status"], &said[name]["code"]),
            (&status.into(), &code),
            "{name}: {}",
            said[name]
        );
    }
    assert_eq!(
        (&said["again"]["body"]["version"], &said["again"]["body"]["duplicate"]),
        (&said["post"]["body"]["version"], &Value::Bool(true))
    );
    assert_eq!(said["other_body"]["body"]["command_id"], "py-post");
    assert_eq!(said["receipts_agree"], true);
    let versions: Vec<u64> = said["queued_versions"]
        .as_array()
        .expect("versions")
        .iter()
        .filter_map(Value::as_u64)
        .collect();
    assert!(versions.len() == 20 && versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    let events = said["events"].as_array().expect("events");
    let gapless = events.iter().zip(1u64..).all(|(event, version)| event["version"] == version);
    assert!(gapless, "{events:?}");
    let last = &events[events.len() - 1];
    assert_eq!(
        (&last["source"], &last["subject"], &last["type"]),
        (
            &"/orgs/acme/conversations/room".into(),
            &"quipu.v1.feed.acme.conversation.message_posted".into(),
            &"quipu.conversation.message_posted.v1".into()
        )
    );
    // What people wrote is sealed on the bus.
    let text = said["events"].to_string();
    assert!(!text.contains("queued 3") && !text.contains("by call"), "{text}");
    let page = node.caller.get("/metrics").await.text;
    assert!(
        page.contains("quipu_bus_calls_total") && page.contains("quipu_bus_feed_lag_records"),
        "{page}"
    );
    node.stop().await;
}

#[tokio::test]
async fn documented_permissions_keep_users_within_their_org() {
    let what = "NATS permissions per org";
    let Some(python) = python_or_skip(what) else { return };
    let manual = include_str!("../../../ops/docs/bus.md");
    let config = manual
        .split("```conf\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("the example");
    let passwords = ["quipu", "acme", "beta", "operator"].map(|user| (format!("${}_PASSWORD", user.to_uppercase()), user));
    let config = passwords
        .iter()
        .fold(config.to_owned(), |config, (variable, user)| config.replace(variable, user));
    let nats = match Nats::start_with(&config) {
        Ok(nats) => nats,
        Err(why) => return skipped(what, &why),
    };
    // The node makes its streams with the least that it needs.
    let node = Launch::new().set("bus.url", nats.url()).start().await;
    let address = format!("127.0.0.1:{}", nats.port(0));
    let options = async_nats::ConnectOptions::new().user_and_password("operator".into(), "operator".into());
    let js = async_nats::jetstream::new(options.connect(&address).await.expect("the operator"));
    let stream = js.get_stream("QUIPU_V1_FEED").await.expect("the feed");
    for org in ["acme", "beta"] {
        let consumer = async_nats::jetstream::consumer::pull::Config {
            durable_name: Some(org.into()),
            filter_subject: format!("quipu.v1.feed.{org}.>"),
            ..Default::default()
        };
        stream.create_consumer(consumer).await.expect("a consumer");
    }
    let said = client(&python, "permissions.py", &[("NATS_URL", &format!("nats://{address}"))], &node).await;
    for (what, denied) in said["denied"].as_object().expect("attempts") {
        assert_eq!(denied, true, "{what} was allowed");
    }
    assert_eq!(
        (&said["called"]["stream"], &said["queued"]),
        (&"acme/org/acme".into(), &"QUIPU_V1_CMD".into())
    );
    assert_eq!(
        (&said["receipt"]["command_id"], &said["receipt"]["stream"]),
        (&"p-2".into(), &"acme/conversation/c".into())
    );
    assert_eq!(said["events"], said["stored"]);
    let health = node.caller.get("/health").await.taken().body;
    assert_eq!(health["status"], "ok", "{health}");
    node.stop().await;
}

#[tokio::test]
async fn queued_commands_survive_a_killed_node_without_feed_gaps() {
    let Some(nats) = start("the durable queue across kill -9") else {
        return;
    };
    let launch = Launch::new().set("bus.url", nats.url());
    bus::node_is_killed(launch, &BusClient::connect(&nats).await).await;
}

#[tokio::test]
async fn another_node_takes_the_queue_and_the_feed_over() {
    let Some(nats) = start("takeover of the bus by another node") else {
        return;
    };
    let log = format!("{}/pair?partitions=4&system={SYSTEM}", nats.url());
    let launch = || {
        Launch::new()
            .log(&log)
            .set("bus.url", nats.url())
            .secret("cluster", "only nodes know this")
            .set("cluster.secret", "cluster")
            .set("cluster.lease_ms", "1500")
    };
    bus::node_is_replaced(launch, &BusClient::connect(&nats).await).await;
}

/// Target, headers and body of a message; status and code of its answer.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);

#[tokio::test]
async fn what_is_no_command_is_refused_and_leaves_the_queue() {
    let Some(nats) = start("malformed messages on the bus") else {
        return;
    };
    let node = Launch::new().set("bus.url", nats.url()).start().await;
    let bus = BusClient::connect(&nats).await;
    bus::rooms(&bus, 1).await;
    let (key, ada) = (("Idempotency-Key", "k"), ("Quipu-On-Behalf-Of", "ada"));
    let cases: &[Case<'_>] = &[
        ("acme.conversation.c0", &[("Idempotency-Key", "m1"), ada], "{}", 400, "bad_subject"),
        (
            "acme.conversation.c0.post.now",
            &[("Idempotency-Key", "m2"), ada],
            "{}",
            400,
            "bad_subject",
        ),
        ("acme.conversation.c0.post", &[("Idempotency-Key", "m3")], "{}", 400, "bad_header"),
        (
            "acme.conversation.c0.post",
            &[("Idempotency-Key", "m4"), ("Quipu-On-Behalf-Of", "bootstrap")],
            "{}",
            403,
            "reserved_principal",
        ),
        (
            "_platform.org._platform.create",
            &[("Idempotency-Key", "m5"), ada],
            "{}",
            403,
            "reserved_org",
        ),
        (
            "acme.conversation.c0.dance",
            &[("Idempotency-Key", "m6"), ada],
            "{}",
            404,
            "unknown_command",
        ),
        ("acme.tape.c0.post", &[("Idempotency-Key", "m7"), ada], "{}", 404, "unknown_kind"),
        (
            "acme.conversation.c0.post",
            &[("Idempotency-Key", "m8"), ada],
            "[1]",
            400,
            "body_not_object",
        ),
        (
            "acme.conversation.c0.post",
            &[("Idempotency-Key", "m9"), ada],
            "{\"body\":",
            400,
            "malformed_json",
        ),
        (
            "acme.conversation.c0.post",
            &[("Idempotency-Key", "m10"), ada, ("If-Match", "7")],
            "{}",
            400,
            "bad_header",
        ),
        ("acme.api-key.k.create", &[key, ada], "{}", 403, "secret_unseen"),
        (
            "acme.conversation.c0.post",
            &[("Idempotency-Key", "m11"), ada, ("If-Match", "\"9\"")],
            "{\"body\":\"x\"}",
            412,
            "wrong_version",
        ),
        (
            "acme.conversation.c0.post",
            &[("Nats-Msg-Id", "m12"), ada],
            "{\"body\":3}",
            422,
            "invalid_command",
        ),
    ];
    for (target, given, body, status, code) in cases {
        let (found, said, problem) = bus.call(target, headers(given), body).await;
        assert_eq!((found, said.as_str()), (*status, *code), "{target}: {problem}");
        bus.queue(target, headers(given), body).await;
    }
    for (target, given, _, status, code) in cases {
        let (found, said, problem) = bus.await_receipt(target.split('.').next().expect("an org"), given[0].1).await;
        assert_eq!((found, said.as_str()), (*status, *code), "{target}: {problem}");
        assert_eq!(problem["command_id"], given[0].1);
    }
    // Of whom nobody knows where to answer.
    bus.queue("acme.conversation.c0.post", headers(&[ada]), "{}").await;
    bus.queue("acme", headers(&[ada]), "{}").await;
    bus.queue("no/org.conversation.c0.post", by_ada("nowhere"), "{}").await;
    let (status, code, _) = bus.call("acme.conversation.c0.post", headers(&[ada]), "{}").await;
    assert_eq!((status, code.as_str()), (400, "bad_header"));
    // The same id with another body, one after the other.
    let post = "acme.conversation.c0.post";
    bus.queue(post, by_ada("same"), r#"{"body":"one"}"#).await;
    bus.await_receipt("acme", "same").await;
    bus.queue(post, by_ada("same"), r#"{"body":"two"}"#).await;
    wait("the conflict to be told", || async {
        let (status, code, _) = bus.receipt("acme", "same").await?;
        ((status, code.as_str()) == (409, "command_id_reused")).then_some(())
    })
    .await;
    // The node finds a create's id, as over HTTP.
    let (status, _, made) = bus
        .call("acme.conversation._.create", by_ada("nameless"), r#"{"type":"group"}"#)
        .await;
    assert!(
        status == 200 && made["stream"].as_str().is_some_and(|s| s.starts_with("acme/conversation/cnv_")),
        "{made}"
    );
    // An org that is suspended refuses over the bus, too.
    let (status, _, problem) = bus.call("acme.org.acme.suspend", by_ada("suspend"), r#"{"reason":"unpaid"}"#).await;
    assert_eq!(status, 200, "{problem}");
    bus.queue(post, by_ada("late"), r#"{"body":"x"}"#).await;
    let (status, code, _) = bus.await_receipt("acme", "late").await;
    assert_eq!((status, code.as_str()), (403, "org_suspended"));
    wait("the queue to be empty", || async { (bus.waiting().await == 0).then_some(()) }).await;
    assert!(!node.log_text().contains("panicked"), "{}", node.log_tail());
    node.stop().await;
}

#[tokio::test]
async fn commands_go_on_without_the_broker_and_the_feed_catches_up() {
    let Some(mut nats) = start("the broker away and back") else {
        return;
    };
    let node = Launch::new().set("bus.url", nats.url()).start().await;
    let bus = BusClient::connect(&nats).await;
    bus::rooms(&bus, 3).await;
    bus::feed_is_whole(&bus, &node, 3).await;
    nats.kill(0);
    bus::broker_is_away(&node, 3).await;
    nats.restart(0);
    let bus = BusClient::connect(&nats).await;
    bus::broker_is_back(&bus, &node, 3).await;
    let (status, _, answer) = bus.call("acme.conversation.c0.post", by_ada("back"), r#"{"body":"back"}"#).await;
    assert_eq!(status, 200, "{answer}");
    node.stop().await;
}

#[tokio::test]
async fn a_full_feed_holds_back_the_relay_and_nothing_else() {
    let Some(nats) = start("a full feed") else { return };
    let node = Launch::new().set("bus.url", nats.url()).start().await;
    let bus = BusClient::connect(&nats).await;
    bus::rooms(&bus, 2).await;
    bus::feed_is_whole(&bus, &node, 2).await;
    let stream = bus.js.get_stream("QUIPU_V1_FEED").await.expect("the feed");
    let wide = stream.cached_info().config.clone();
    let mut narrow = wide.clone();
    narrow.max_bytes = stream.cached_info().state.bytes as i64 + 2_000;
    bus.js.update_stream(narrow).await.expect("a bound of an operator's");
    let ada = node.caller.acting_for("ada");
    for n in 0..20 {
        let path = format!("/v1/orgs/acme/conversations/c{}/post", n % 2);
        ada.post(&path, json!({ "body": format!("{n}") })).await.taken();
    }
    let health = wait("health to tell that the feed is held up", || async {
        let health = node.caller.get("/health").await.body;
        (health["status"] == "degraded").then_some(health)
    })
    .await;
    assert!(health.to_string().contains("maximum bytes"), "{health}");
    let (status, _, answer) = bus.call("acme.conversation.c0.post", by_ada("full"), r#"{"body":"full"}"#).await;
    assert_eq!(status, 200, "{answer}");
    bus.js.update_stream(wide).await.expect("more room");
    bus::feed_is_whole(&bus, &node, 2).await;
    node.stop().await;
}

#[tokio::test]
async fn a_bus_that_cannot_be_used_ends_the_start_and_says_why() {
    let launch = Launch::new();
    let checked = launch
        .run(&["serve", "--check", "--json", "--bus", "nats://me:hunter2@127.0.0.1:1"])
        .await;
    let shown = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        checked.status.success() && shown.contains("nats://127.0.0.1:1") && !shown.contains("hunter2"),
        "{shown}"
    );
    let plain = match Nats::start_with("accounts { PLAIN { users: [{ user: quipu, password: quipu }] } }\n") {
        Ok(nats) => nats,
        Err(why) => return skipped("a bus without JetStream", &why),
    };
    let refused = launch
        .run(&["serve", "--memory", "--listen", "127.0.0.1:0", "--bus", &plain.url()])
        .await;
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && words.contains("no JetStream") && !words.contains("quipu:quipu"),
        "{words}"
    );
}

#[test]
fn asyncapi_is_valid_by_the_official_schema() {
    let what = "schemas/asyncapi.json against the schema of AsyncAPI 3.0";
    let Some(python) = python_or_skip(what) else { return };
    let tools = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the root")
        .join(".tools/asyncapi");
    let schema = tools.join("node_modules/@asyncapi/specs/schemas/3.0.0-without-$id.json");
    if !schema.is_file() {
        let mut npm = std::process::Command::new("npm");
        npm.args(["install", "--silent", "--no-save", "--ignore-scripts", "--prefix"])
            .arg(&tools)
            .arg("@asyncapi/specs@6.11.1");
        if let Err(why) = std::fs::create_dir_all(&tools)
            .map_err(|e| e.to_string())
            .and_then(|()| run(&mut npm))
        {
            return skipped(what, &why);
        }
    }
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/asyncapi.json");
    let program = "import json, sys, jsonschema\n\
                   schema, document = (json.load(open(path)) for path in sys.argv[1:])\n\
                   for error in jsonschema.Draft7Validator(schema).iter_errors(document):\n    \
                       sys.exit(f'{list(error.absolute_path)}: {error.message[:400]}')\n";
    let valid = run(std::process::Command::new(python).args(["-c", program]).arg(schema).arg(document));
    assert!(valid.is_ok(), "{valid:?}");
}
