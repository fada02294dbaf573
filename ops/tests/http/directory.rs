//! The directory over HTTP: who is called what, who won a name, which instances there are, and what of it a restart keeps.

use super::{isolation::Tenants, *};
use std::time::{Duration, Instant};

const ENTITIES: &str = "/v1/orgs/acme/entities";

fn slug(text: &str) -> Value {
    json!({ "form": "slug", "text": text })
}

impl TestNode {
    async fn entity(&self, id: &str, body: Value) {
        self.post(&format!("{ENTITIES}/{id}"), body).await.expect(201);
    }

    async fn tell_entity(&self, id: &str, command: &str, body: Value) -> Answer {
        self.post(&format!("{ENTITIES}/{id}/{command}"), body).await.expect(202)
    }

    /// What an address resolves to, once that is this.
    async fn resolves(&self, address: &str, id: Option<&str>) -> Value {
        let path = format!("/v1/orgs/acme/resolve?address={address}");
        let begun = Instant::now();
        loop {
            let answer = self.get(&path).await;
            let found = if answer.status == 200 { Some(answer.json()) } else { None };
            let is = found.as_ref().and_then(|found| found["id"].as_str());
            if is == id {
                return found.unwrap_or_default();
            }
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{address} is not {id:?}: {}",
                answer.text
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The handles of an entity, once none of them waits for an answer.
    async fn handles(&self, id: &str) -> Vec<(String, Option<String>)> {
        let begun = Instant::now();
        loop {
            let page = self.get(&format!("{ENTITIES}/{id}/handles")).await.expect(200).json();
            let text = |row: &Value, name: &str| row[name].as_str().map(str::to_owned);
            let rows = page["items"].as_array().unwrap();
            let all: Vec<_> = rows.iter().map(|row| (text(row, "status").unwrap(), text(row, "why"))).collect();
            if !all.is_empty() && all.iter().all(|(status, _)| status != "asked") {
                return all;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{page}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_claims_at_once_one_is_held() {
    let node = TestNode::with_org().await;
    for n in 0..4 {
        let names = [format!("a{n}"), format!("b{n}")];
        for id in &names {
            node.entity(id, json!({ "type": "assistant", "name": "Desk" })).await;
        }
        let claim = || json!({ "alias": slug(&format!("desk{n}")) });
        tokio::join!(
            node.tell_entity(&names[0], "add_alias", claim()),
            node.tell_entity(&names[1], "add_alias", claim())
        );
        let both = [node.handles(&names[0]).await, node.handles(&names[1]).await];
        let won = both.iter().position(|handles| handles[0].0 == "held").expect("nobody has it");
        assert_eq!(both[1 - won], [("refused".to_owned(), Some("alias_taken".to_owned()))]);
        node.resolves(&format!("%40desk{n}"), Some(&names[won])).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_is_released_reclaimed_and_outlives_a_restart() {
    let node = TestNode::with_org().await;
    let bindings = json!([{ "to": "participant", "id": "c1/bot" }, { "to": "node", "id": "n1" }]);
    let one = json!({ "type": "assistant", "name": "Desk", "aliases": [slug("desk")], "bindings": bindings });
    node.entity("ent_1", one).await;
    node.entity("ent_2", json!({ "type": "service", "name": "Other" })).await;
    let found = node.resolves("%40desk", Some("ent_1")).await;
    assert_eq!(found["bindings"], bindings, "{found}");
    // Another name: the old one is free for the other entity.
    node.tell_entity("ent_1", "add_alias", json!({ "alias": slug("help") })).await;
    node.resolves("%40help", Some("ent_1")).await;
    node.tell_entity("ent_1", "remove_alias", json!({ "alias": slug("desk") })).await;
    node.resolves("%40desk", None).await;
    node.tell_entity("ent_2", "add_alias", json!({ "alias": slug("desk") })).await;
    node.resolves("%40desk", Some("ent_2")).await;
    // An admin takes it, and the first one has it again.
    node.post("/v1/orgs/acme/aliases/slug_desk/release", json!({ "reason": "moved" }))
        .await
        .expect(202);
    node.resolves("%40desk", None).await;
    node.tell_entity("ent_1", "add_alias", json!({ "alias": slug("desk") })).await;
    node.resolves("%40desk", Some("ent_1")).await;
    node.post(
        &format!("{ENTITIES}/ent_1/live"),
        json!({ "instance": { "id": "i1", "status": "available" } }),
    )
    .await
    .expect(202);
    assert_eq!(node.resolves("%40desk", Some("ent_1")).await["instance"]["id"], "i1");

    let TestNode { running, data, .. } = node;
    running.stop().await;
    let node = TestNode::over(data).await;
    let found = node.resolves("%40desk", Some("ent_1")).await;
    let texts = found["aliases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|alias| alias["text"].as_str().unwrap());
    let texts: Vec<_> = texts.collect();
    assert_eq!((texts, &found["status"]), (vec!["help", "desk"], &json!("active")));
    assert_eq!(
        (&found["instance"], &found["instances"]),
        (&Value::Null, &json!([])),
        "instances are in no log"
    );
    let moved = node
        .tell_entity("ent_1", "unbind", json!({ "binding": { "to": "node", "id": "n1" } }))
        .await;
    let at = moved.header("quipu-position").to_owned();
    let by_node = async |at: &str, node_id: &str| {
        let page = node
            .get(&format!("{ENTITIES}?node={node_id}&min_position={at}"))
            .await
            .expect(200)
            .json();
        page["items"].as_array().unwrap().len()
    };
    assert_eq!(by_node(&at, "n1").await, 0);
    let moved = node
        .tell_entity("ent_1", "bind", json!({ "binding": { "to": "node", "id": "n2" } }))
        .await;
    assert_eq!(by_node(moved.header("quipu-position"), "n2").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_are_told_by_whom_the_entity_is_bound_to() {
    let tenants = Tenants::start().await;
    let node = &tenants.node;
    let bound = json!([{ "to": "principal", "id": "vic" }]);
    node.entity(
        "mine",
        json!({ "type": "user", "name": "Mine", "aliases": [slug("desk")], "bindings": bound }),
    )
    .await;
    node.entity("others", json!({ "type": "user", "name": "Others" })).await;
    node.resolves("%40desk", Some("mine")).await;
    let tell = async |key: &str, id: &str, instance: Value| {
        let request = node
            .client
            .post(format!("{}{ENTITIES}/{id}/live", node.running.url()))
            .bearer_auth(key)
            .json(&json!({ "instance": instance }));
        TestNode::send(request).await
    };
    let said = |id: &str, status: &str, load: u8| json!({ "id": id, "status": status, "load": load });
    tell(&tenants.vic, "mine", said("i1", "available", 60)).await.expect(202);
    tell(&tenants.vic, "mine", said("i2", "available", 10)).await.expect(202);
    tell(&tenants.vic, "mine", said("i3", "busy", 0)).await.expect(202);
    tell(&tenants.vic, "others", said("i1", "available", 0))
        .await
        .problem(403, "missing_right");
    tell(&tenants.ada, "others", said("i1", "available", 0)).await.expect(202);
    for bad in [
        said("i1", "gone", 0),
        said("i 1", "busy", 0),
        said("i1", "busy", 101),
        json!({ "id": "i" }),
    ] {
        tell(&tenants.ada, "mine", bad).await.problem(422, "invalid_command");
    }
    let found = node.resolves("%40desk", Some("mine")).await;
    assert_eq!(
        (&found["instance"]["id"], found["instances"].as_array().unwrap().len()),
        (&json!("i2"), 3)
    );
    let found = node.resolves("desk%23i3", Some("mine")).await;
    assert_eq!(found["instance"], said("i3", "busy", 0));
    let none = node.get("/v1/orgs/acme/resolve?address=desk%23i9").await;
    none.problem(404, "instance_not_found");
    // Whom an address means is told to whoever may read that entity.
    let scopes = json!({ "principal": "ada", "scopes": ["cap:run.read"] });
    let narrow = node.key("acme", "key-runs", scopes).await;
    let refused = node.by(Some(&narrow), Method::GET, "/v1/orgs/acme/resolve?address=%40desk").await;
    let nobody = node.by(Some(&narrow), Method::GET, "/v1/orgs/acme/resolve?address=%40nobody").await;
    let told = |answer: &Answer| {
        let mut problem = answer.problem(403, "missing_right");
        for own in ["request_id", "time"] {
            problem[own].take();
        }
        problem
    };
    assert_eq!(told(&refused), told(&nobody));
    for bad in ["", "?address=", "?address=a%20b", "?address=%40desk&x=1"] {
        let answer = node.get(&format!("/v1/orgs/acme/resolve{bad}")).await;
        assert_eq!(answer.status, 400, "{bad}: {}", answer.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_on_a_project_holds_for_its_entities_alone() {
    let tenants = Tenants::start().await;
    let node = &tenants.node;
    node.post("/v1/orgs/acme/projects/p1", json!({ "name": "Shop" })).await.expect(201);
    node.entity("within", json!({ "type": "service", "name": "Within", "project": "p1" }))
        .await;
    node.entity("beside", json!({ "type": "service", "name": "Beside" })).await;
    let grant = json!({ "right": "cap:entity.*", "on": "project/p1" });
    node.post("/v1/orgs/acme/grants/gus/give", grant).await.expect(202);
    let gus = node.key("acme", "key-gus", json!({ "principal": "gus" })).await;
    let send = async |id: &str, command: &str, body: Value| {
        let url = format!("{}{ENTITIES}/{id}{command}", node.running.url());
        TestNode::send(node.client.post(url).bearer_auth(&gus).json(&body)).await
    };
    let name = || json!({ "name": "Renamed" });
    let renamed = send("within", "/rename", name()).await.expect(202);
    send("beside", "/rename", name()).await.problem(403, "missing_right");
    send("new", "", json!({ "type": "service", "name": "New", "project": "p1" }))
        .await
        .expect(201);
    send("other", "", json!({ "type": "service", "name": "Other", "project": "p2" }))
        .await
        .problem(403, "missing_right");
    send("other", "", json!({ "type": "service", "name": "Other" }))
        .await
        .problem(403, "missing_right");
    // Nobody draws into their project what they hold no right on.
    send("beside", "/move", json!({ "project": "p1" }))
        .await
        .problem(403, "missing_right");
    let at = renamed.header("quipu-position");
    let path = |id: &str| format!("{ENTITIES}/{id}?min_position={at}");
    let row = node.by(Some(&gus), Method::GET, &path("within")).await.expect(200).json();
    assert_eq!((&row["name"], &row["project"]), (&json!("Renamed"), &json!("p1")));
    node.by(Some(&gus), Method::GET, &path("beside"))
        .await
        .problem(403, "missing_right");
    node.by(Some(&gus), Method::GET, "/v1/orgs/acme/resolve?address=within")
        .await
        .expect(200);
    node.by(Some(&gus), Method::GET, "/v1/orgs/acme/resolve?address=beside")
        .await
        .problem(403, "missing_right");
    lists_and_feeds_show_the_project_alone(node, &gus, at).await;
    // Moved out, it is theirs no longer.
    send("within", "/move", json!({})).await.expect(202);
    send("within", "/rename", name()).await.problem(403, "missing_right");
    let feed = node.by(Some(&gus), Method::GET, "/v1/orgs/acme/events?follow=false").await;
    assert!(!feed.expect(200).text.contains("\"subject\":\"within\""));
}

/// What a grant on a project opens of lists, feeds, histories and states.
async fn lists_and_feeds_show_the_project_alone(node: &TestNode, gus: &str, at: &str) {
    node.post("/v1/orgs/acme/projects/p2", json!({ "name": "Other" })).await.expect(201);
    node.entity("elsewhere", json!({ "type": "service", "name": "Elsewhere", "project": "p2" }))
        .await;
    let by = async |path: &str| node.by(Some(gus), Method::GET, path).await;
    let listed = async |query: &str| {
        let rows = by(&format!("{ENTITIES}?min_position={at}{query}")).await.expect(200).json();
        let ids = rows["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["id"].as_str().unwrap().to_owned());
        (ids.collect::<Vec<_>>(), rows["next"].clone())
    };
    let (ids, _) = listed("").await;
    assert_eq!(ids, ["new", "within"]);
    // Pages and filters are cut alike: nothing of others shows in where a page ends.
    let (ids, next) = listed("&limit=1").await;
    assert_eq!(ids, ["new"]);
    let (ids, next) = listed(&format!("&limit=1&after={}", next.as_str().unwrap())).await;
    assert_eq!((ids, next), (vec!["within".to_owned()], Value::Null));
    assert_eq!(listed("&project=p2").await.0, Vec::<String>::new());
    // The feed gives the same entities, whether or not it is asked for their kind, and nothing else of the org.
    for query in ["", "&kind=entity", "&kind=entity&id=within"] {
        let feed = by(&format!("/v1/orgs/acme/events?follow=false{query}")).await.expect(200).text;
        assert!(feed.contains("\"subject\":\"within\""), "{query}: {feed}");
        for other in ["beside", "elsewhere", "acme", "p1", "gus"] {
            assert!(!feed.contains(&format!("\"subject\":\"{other}\"")), "{query}: {feed}");
        }
    }
    by("/v1/orgs/acme/events?follow=false&kind=run").await.problem(403, "missing_right");
    let beside = by("/v1/orgs/acme/events?follow=false&kind=entity&id=beside").await;
    assert!(!beside.expect(200).text.contains("specversion"));
    for part in ["history", "state"] {
        by(&format!("{ENTITIES}/within/{part}")).await.expect(200);
        by(&format!("{ENTITIES}/elsewhere/{part}")).await.problem(403, "missing_right");
    }
    by("/v1/orgs/acme/projects").await.problem(403, "missing_right");
}
