//! The walk over the bus: each channel that takes commands is told one, for whoever may not send it.
//!
//! A message has no credential: the broker says for which org somebody publishes, the message says as whom, and what that one may is
//! asked in the org. Channels come from AsyncAPI, so that a new one is walked without a word here.

use super::{isolation::Tenants, *};
use quipu::{
    asyncapi,
    bus::{subject, topic},
};
use quipu_runtime::{api::CommandRequest, kinds::Kinds};
use quipu_schemas::{
    envelope::DataClass,
    ids::{CommandId, PrincipalId},
    problem::Problem,
};

/// What the channels of the document take, read as the bus reads it, for an org and an id.
fn targets(org: &str, id: &str) -> Vec<(String, subject::Target)> {
    let document = asyncapi::document(&Kinds::builtin().info());
    let mut found = Vec::new();
    for (name, operation) in document["operations"].as_object().unwrap() {
        if operation["action"] != "receive" {
            continue;
        }
        assert!(
            operation["x-quipu-right"].as_str().unwrap().starts_with("cap:"),
            "{name} takes no right"
        );
        let pointer = operation["channel"]["$ref"].as_str().unwrap();
        let channel = document.pointer(&pointer[1..]).unwrap_or_else(|| panic!("{name}: {pointer}"));
        let address = channel["address"].as_str().unwrap();
        let filled = address.replace("{org}", org).replace("{id}", id);
        let family = [subject::CALL, subject::CMD].into_iter().find(|family| address.starts_with(family));
        if let Some(family) = family {
            found.push((filled.clone(), subject::parse(family, &filled).unwrap()));
            continue;
        }
        // On Kafka one topic takes all of them, by key and header.
        for message in channel["messages"].as_object().unwrap().keys() {
            let mut parts = message.rsplit('.');
            let (command, kind) = (parts.next().unwrap(), parts.next().unwrap());
            let kind = kind.trim_start_matches("kafka").trim_start_matches(['-', '_', '/']).to_lowercase();
            let key = format!("{org}/{kind}/{id}");
            found.extend(
                topic::parse(key.as_bytes(), command)
                    .ok()
                    .map(|target| (format!("{filled} {key}"), target)),
            );
        }
    }
    assert!(found.len() > 100, "{}", found.len());
    found
}

/// What the bus asks the node for.
async fn say(node: &TestNode, target: subject::Target, who: &str, n: usize) -> Result<(), Problem> {
    let request = CommandRequest {
        org: target.org,
        kind: target.kind,
        id: target.id,
        command: target.command,
        body: json!({}),
        command_id: Some(CommandId::parse(format!("walk-{who}-{n}")).unwrap()),
        principal: PrincipalId::BOOTSTRAP,
        on_behalf_of: Some(PrincipalId::parse(who).unwrap()),
        credential: None,
        expected_version: None,
        environment: None,
        data_class: DataClass::None,
        correlation: None,
        traceparent: None,
    };
    node.running.node.command(request).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_channel_takes_a_command_of_whoever_may_not() {
    let tenants = Tenants::start().await;
    let node = &tenants.node;
    let stopped = node.service("acme", "svc_stopped", "owner").await;
    let reason = json!({ "reason": "lost" });
    node.post("/v1/orgs/acme/principals/svc_stopped/suspend", reason).await.expect(202);
    let agent = json!({ "name": "Scout", "model": { "provider": "mock", "model": "echo" } });
    node.post("/v1/orgs/acme/agents/scout", agent).await.expect(201);
    node.conversation("k").await;
    let before = node.running.node.cursor();
    let (mut n, mut by_right) = (0, 0);
    // A viewer, an agent of the org, an owner who was stopped, an owner of another org, nobody.
    for who in ["vic", "scout", stopped.id.as_str(), "eve", "nobody"] {
        for (channel, target) in targets("acme", "k") {
            n += 1;
            let refused = say(node, target, who, n).await.err();
            let problem = refused.unwrap_or_else(|| panic!("{channel} took a command of {who}"));
            assert!((400..500).contains(&problem.status), "{channel} for {who}: {problem}");
            by_right += usize::from(problem.status == 403);
        }
    }
    assert!(by_right > 100, "{by_right} of {n} were asked for their right");
    assert_eq!(node.running.node.cursor(), before, "a record was written");
}
