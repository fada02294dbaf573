//! The audit over HTTP: who did what by which key, and who was refused how often, kept where whoever was refused belongs to.

use super::{isolation::Tenants, *};
use std::time::{Duration, Instant};

const AUDIT: &str = "/v1/orgs/acme/audit";

fn rows(answer: &Answer) -> Vec<Value> {
    answer.json()["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_counted_and_outlive_a_restart() {
    let tenants = Tenants::start().await;
    let node = &tenants.node;
    for _ in 0..30 {
        node.by(Some(&tenants.vic), Method::POST, "/v1/orgs/acme/agents/x/retire")
            .await
            .problem(403, "missing_right");
    }
    let path = "/v1/orgs/other/agents/o-agent";
    node.by(Some(&tenants.vic), Method::GET, path).await.problem(403, "no_access");
    // A key that was revoked says whose it was; a text that never was a key says nothing.
    let ended = node.by(Some(&tenants.revoked), Method::GET, AUDIT).await;
    ended.problem(401, "unauthenticated");
    let (rest, last) = tenants.vic.split_at(tenants.vic.len() - 1);
    let forged = format!("{rest}{}", if last == "0" { "1" } else { "0" });
    node.by(Some(&forged), Method::GET, AUDIT).await.problem(401, "unauthenticated");
    // Nothing of it is in the log before its minute is over, or the node stops.
    let denied = format!("{AUDIT}?outcome=denied");
    assert_eq!(rows(&node.get(&denied).await.expect(200)).len(), 0);

    let Tenants { node, vic, ada, .. } = tenants;
    let TestNode { running, data, .. } = node;
    running.stop().await;
    let node = TestNode::over(data).await;
    let begun = Instant::now();
    let found = loop {
        let found = rows(&node.get(&denied).await.expect(200));
        if found.len() >= 3 {
            break found;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{found:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(found.len(), 3, "{found:?}");
    let of = |right: &str| {
        found
            .iter()
            .find(|row| row["denied_right"] == right)
            .unwrap_or_else(|| panic!("{right}: {found:?}"))
    };
    let retire = of("cap:agent.retire");
    assert_eq!(
        (&retire["refusals"], &retire["denied_kind"], &retire["principal"]),
        (&json!(30), &json!("agent"), &json!("vic"))
    );
    assert_eq!(retire["credential"], "api-key/key-vic");
    assert_eq!(
        (&of("no_access")["principal"], &of("no_access")["refusals"]),
        (&json!("vic"), &json!(1))
    );
    assert_eq!(of("unauthenticated")["credential"], "api-key/key-revoked");
    // Nobody in the other org hears of it.
    assert_eq!(rows(&node.get("/v1/orgs/other/audit?outcome=denied").await.expect(200)).len(), 0);
    // By principal and right; for admins alone.
    let by = format!("{AUDIT}?principal=vic&right=cap:agent.retire");
    assert_eq!(rows(&node.by(Some(&ada), Method::GET, &by).await.expect(200)).len(), 1);
    let activity = node
        .by(Some(&ada), Method::GET, "/v1/orgs/acme/activity?limit=1000")
        .await
        .expect(200);
    assert!(rows(&activity).iter().all(|row| row["outcome"] == "done"), "{}", activity.text);
    node.by(Some(&vic), Method::GET, AUDIT).await.problem(403, "missing_right");
    let day = of("cap:agent.retire")["id"].as_str().unwrap();
    node.by(Some(&vic), Method::GET, &format!("/v1/orgs/acme/denials/{day}/history"))
        .await
        .problem(403, "missing_right");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_names_the_key_that_it_was_done_by() {
    let tenants = Tenants::start().await;
    let node = &tenants.node;
    let create = node
        .client
        .post(format!("{}/v1/orgs/acme/conversations/k", node.running.url()))
        .bearer_auth(&tenants.ada)
        .json(&json!({ "type": "group", "title": "Talk" }));
    let at = TestNode::send(create).await.expect(201).header("quipu-position").to_owned();
    for view in ["audit", "activity"] {
        let path = format!("/v1/orgs/acme/{view}?kind=conversation&id=k&min_position={at}");
        let found = rows(&node.by(Some(&tenants.ada), Method::GET, &path).await.expect(200));
        assert_eq!(
            (&found[0]["credential"], &found[0]["principal"]),
            (&json!("api-key/key-ada"), &json!("ada")),
            "{found:?}"
        );
    }
    let path = format!("{AUDIT}?credential=api-key/key-ada&min_position={at}");
    assert_eq!(rows(&node.get(&path).await.expect(200)).len(), 1);
    let history = node.get("/v1/orgs/acme/conversations/k/history").await.expect(200).json();
    assert_eq!(history["items"][0]["credential"], "api-key/key-ada");
    // Nobody but the node notes what was refused, not even an owner.
    let forged = json!({ "denial": {
        "principal": "bob", "right": "cap:run.read", "kind": "run", "code": "missing_right", "count": 1, "first": 1, "last": 1
    } });
    let note = node
        .client
        .post(format!("{}/v1/orgs/acme/denials/d1/note", node.running.url()))
        .bearer_auth(&tenants.ada)
        .json(&forged);
    TestNode::send(note).await.problem(403, "not_the_node");
}
