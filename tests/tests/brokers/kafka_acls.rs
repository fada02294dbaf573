//! What an org's users may do at a real Apache Kafka with its authorizer and the permissions of `ops/docs/bus.md`, typed as they
//! stand there, and that the nodes need no more than what is given to them there.

use quipu_tests::{
    process::Launch,
    servers::kafka::{self, Kafka},
    venv,
};
use serde_json::{Value, json};
use std::path::Path;

const PYTHON: &[&str] = &["confluent-kafka==2.16.1", "cloudevents==2.2.0"];

/// Nodes come without a name, by the listener that every broker has; orgs by their names, as does the operator. Neither nodes
/// nor orgs are super users.
const LINES: &str = "\
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:SASL_PLAINTEXT,ORGS:SASL_PLAINTEXT
inter.broker.listener.name=ORGS
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
sasl.mechanism.controller.protocol=PLAIN
listener.name.orgs.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
username=\"broker\" password=\"broker\" user_broker=\"broker\" user_operator=\"operator\" user_acme=\"acme\" user_beta=\"beta\";
listener.name.controller.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
username=\"broker\" password=\"broker\" user_broker=\"broker\";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:broker;User:operator
";

#[tokio::test]
async fn documented_permissions_keep_users_within_their_org() {
    let what = "Kafka's permissions per org";
    let Some(python) = venv::python_or_skip("bus_kafka", PYTHON, what) else {
        return;
    };
    let mut orgs = String::new();
    let started = Kafka::start_with(false, &[("ORGS", "SASL_PLAINTEXT")], LINES, |port| {
        orgs = format!("127.0.0.1:{port}");
        port
    });
    let Some(kafka) = kafka::or_skip(started, what) else { return };
    let bus = format!("kafka://{}", kafka.address());
    // Without a right nobody does anything.
    let refused = Launch::new()
        .run(&["serve", "--memory", "--listen", "127.0.0.1:0", "--bus", &bus])
        .await;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("authorization failed"), "{told}");

    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops/docs/bus.md");
    let env = [
        ("KAFKA", orgs.as_str()),
        ("MANUAL", manual.to_str().expect("a path")),
        ("ORGS", "acme,beta"),
    ];
    let ran = venv::client(&python, "kafka_operator.py", &env)
        .await
        .unwrap_or_else(|words| panic!("{words}"));
    assert!(
        ran.as_u64().is_some_and(|ran| ran >= 16),
        "the manual has fewer commands than it should: {ran}"
    );
    let node = Launch::new().set("bus.url", bus).start().await;
    let said = venv::client(&python, "kafka_permissions.py", &[("KAFKA", &orgs)]).await;
    let said = said.unwrap_or_else(|words| panic!("{words}\n{}", node.log_tail()));
    for (what, denied) in said["denied"].as_object().expect("attempts") {
        assert_eq!(denied, true, "{what} was allowed");
    }
    let answers = said["answers"].as_array().expect("answers");
    let answers: Vec<[&Value; 3]> = answers.iter().map(|a| [&a["status"], &a["command_id"], &a["stream"]]).collect();
    assert_eq!(
        json!(answers),
        json!([["200", "p-1", "acme/org/acme"], ["200", "p-2", "acme/conversation/c"]])
    );
    assert_eq!(
        (&said["forged"]["command_id"], &said["forged"]["code"]),
        (&"p-3".into(), &"wrong_org".into())
    );
    assert_eq!(said["events"], json!(["quipu.conversation.created.v1", "quipu.org.created.v1"]));
    let health = node.caller.get("/health").await.taken().body;
    assert_eq!(health["status"], "ok", "{health}");
    node.stop().await;
}
