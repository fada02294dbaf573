//! In whose name a run acts: a principal that its creator names and may use.

use super::{isolation::Tenants, *};

/// A run that says something once somebody approves.
fn saying(act_as: &str) -> Value {
    json!({
        "definition": {
            "name": "saying",
            "inputs": { "order": {} },
            "nodes": [
                { "id": "ask", "component": "wait_approval", "config": { "role": "owner" } },
                { "id": "say", "component": "message.send", "config": { "conversation": "desk", "body": "hello" } }
            ],
            "edges": [{ "from": "input.order", "to": "ask.in" }, { "from": "ask.approved", "to": "say.in" }]
        },
        "input": { "order": 1 },
        "act_as": act_as
    })
}

impl Tenants {
    async fn by_ada(&self, path: &str, body: &Value) -> Answer {
        let request = self.node.client.post(format!("{}{path}", self.node.running.url()));
        TestNode::send(request.bearer_auth(&self.ada).json(body)).await
    }

    /// What became of a run, once it is over.
    async fn end_of(&self, run: &str) -> Value {
        let mut history = Value::Null;
        for _ in 0..500 {
            history = self.node.get(&format!("/v1/orgs/acme/runs/{run}/history")).await.expect(200).json();
            let mut events = history["items"]
                .as_array()
                .unwrap()
                .iter()
                .flat_map(|record| record["events"].as_array().unwrap());
            let over = |event: &&Value| {
                let name = event["type"].as_str().unwrap_or_default();
                name == "quipu.run.completed.v1" || name == "quipu.run.failed.v1"
            };
            if let Some(event) = events.find(over) {
                return event.clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await; // poll
        }
        panic!("{run} does not end: {history}")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_acts_as_whom_its_creator_may_name() {
    let tenants = Tenants::start().await;
    let node = &tenants.node;
    let bob = json!({ "principal": "bob", "role": "member" });
    node.post("/v1/orgs/acme/orgs/acme/add_member", bob).await.expect(202);
    let people = ["ada", "bob", "vic"].map(|name| json!({ "principal": name, "kind": "person" }));
    let desk = json!({ "type": "group", "participants": people });
    node.post("/v1/orgs/acme/conversations/desk", desk).await.expect(201);
    let refused = tenants
        .by_ada("/v1/orgs/acme/runs/first", &saying("bob"))
        .await
        .problem(403, "missing_right");
    assert!(refused["detail"].as_str().unwrap().contains("cap:principal.act_as"), "{refused}");
    node.post("/v1/orgs/acme/grants/ada/give", json!({ "right": "cap:principal.act_as" }))
        .await
        .expect(202);
    for (run, named) in [("first", "bob"), ("second", "bob"), ("viewers", "vic")] {
        let path = format!("/v1/orgs/acme/runs/{run}");
        tenants.by_ada(&path, &saying(named)).await.expect(201);
    }
    let approve = async |run: &str| {
        let path = format!("/v1/orgs/acme/runs/{run}/approve");
        tenants.by_ada(&path, &json!({ "node": "ask" })).await.expect(202);
        tenants.end_of(run).await
    };
    let end = approve("first").await;
    assert_eq!(end["type"], "quipu.run.completed.v1", "{end}");
    let history = node.get("/v1/orgs/acme/conversations/desk/history").await.expect(200).json();
    let said = history["items"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&said["principal"], &said["on_behalf_of"]),
        (&json!("ada"), &json!("bob")),
        "ada speaks for bob: {said}"
    );
    let end = approve("viewers").await;
    assert_eq!(end["data"]["code"], "viewer_cannot_write", "its own rights cut what it does: {end}");
    // What a run may is asked each time: the right that was taken ends what the other one had still to do.
    node.post("/v1/orgs/acme/grants/ada/take", json!({ "right": "cap:principal.act_as" }))
        .await
        .expect(202);
    let end = approve("second").await;
    assert_eq!(
        (&end["type"], &end["data"]["code"]),
        (&json!("quipu.run.failed.v1"), &json!("missing_right")),
        "{end}"
    );
    // Nobody acts as somebody of the platform.
    let platform = saying("_node");
    let bad = node.post("/v1/orgs/acme/runs/third", platform).await.problem(422, "bad_name");
    assert_eq!(bad["field"], "act_as");
}
