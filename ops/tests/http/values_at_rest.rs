//! Values beside the log where nobody asks for them by a command: backups, damage, what went by a rule or with its subject.

use super::{
    values::{blob_path, fed, large, put},
    *,
};
use std::fs;

/// Verifies a directory with its values.
fn verified(dir: &std::path::Path) -> quipu_events::verify::VerifyReport {
    use quipu_events::{blobs::DirectoryBlobs, disk::RealDisk, erased::Erased, verify};
    let mut report = verify::verify(&RealDisk, dir, |_, _| {}).unwrap();
    let blobs = DirectoryBlobs::open_to_read(&dir.join("blobs")).unwrap();
    report.check_blobs(Some(&blobs), &Erased::read(dir).unwrap()).unwrap();
    report
}

/// The one file of a large blob.
fn large_file(blobs: &std::path::Path) -> std::path::PathBuf {
    let mut at = blobs.join("large");
    while at.is_dir() {
        at = fs::read_dir(&at).unwrap().next().unwrap().unwrap().path();
    }
    at
}

#[tokio::test]
async fn a_backup_holds_every_value_and_verify_tells_what_is_lost() {
    let node = TestNode::with_org().await;
    node.conversation("c").await;
    let (packed, own_file) = (large(5_000), large(200_000));
    node.say("c", &packed).await;
    node.say("c", &own_file).await;
    put(&node, &[], large(4_000)).await.expect(201);
    let root = tempfile::tempdir().unwrap();
    let (copy, new) = (root.path().join("copy"), root.path().join("new"));
    node.post("/v1/ops/backup", json!({ "to": copy, "with_keys": true }))
        .await
        .expect(202);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let job = loop {
        let job = node.get("/v1/ops/backup").await.expect(200).json();
        if job["status"] != "running" || std::time::Instant::now() > deadline {
            break job;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!((&job["status"], &job["manifest"]["blobs"]), (&json!("done"), &json!(3)), "{job}");
    node.running.stop().await;

    let report = verified(&copy);
    assert_eq!((report.problems.len(), report.blobs), (0, Some(2)), "{:?}", report.problems);
    quipu_events::backup::restore(&copy, &new, |_| {}).unwrap();
    let restored = serve::start(Config::at(&new).unwrap()).await.unwrap();
    let node = TestNode {
        running: restored,
        client: client(),
        data: root,
    };
    let events = fed(&node).await;
    assert_eq!(events[0]["data"]["body"], packed.as_str());
    assert!(node.get(&blob_path(&events[1]["data"]["body"])).await.expect(200).text == own_file);
    node.running.stop().await;

    // A flipped byte and a lost file are found, with the record that names them.
    let file = large_file(&new.join("blobs"));
    let mut bytes = fs::read(&file).unwrap();
    bytes[1_000] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let damaged = verified(&new);
    let told: Vec<&str> = damaged.problems.iter().map(|p| p.detail.as_str()).collect();
    assert!(told.len() == 1 && told[0].contains("damaged"), "{told:?}");
    assert_eq!(damaged.problems[0].stream.as_deref(), Some("acme/conversation/c"));
    let node = TestNode {
        running: serve::start(Config::at(&new).unwrap()).await.unwrap(),
        client: client(),
        data: node.data,
    };
    let events = fed(&node).await;
    assert_eq!(events[0]["data"]["body"], packed.as_str(), "the rest is served");
    node.get(&blob_path(&events[1]["data"]["body"])).await.problem(503, "blob_damaged");
    node.running.stop().await;
    fs::write(large_file(&copy.join("blobs")), b"cut").unwrap();
    let refused = quipu_events::backup::restore(&copy, &node.data.path().join("third"), |_| {});
    assert!(refused.is_err(), "a value of the backup that is not what its manifest says");
}

const SETTINGS: &str = "/v1/orgs/acme/orgs/acme/change_settings";

/// The node's data directory after an orderly stop, and the node again.
async fn restarted(node: TestNode, meanwhile: impl FnOnce(&std::path::Path)) -> TestNode {
    node.running.stop().await;
    meanwhile(node.data.path());
    TestNode::over(node.data).await
}

#[tokio::test]
async fn values_go_when_their_orgs_rule_says_so() {
    use quipu_events::{
        blobs::{DirectoryBlobs, sweep::sweep},
        embedded::{EmbeddedLog, EmbeddedOptions},
        erased::Erased,
    };
    let node = TestNode::with_org().await;
    node.post("/v1/orgs/other/orgs", json!({ "name": "Other" })).await.expect(201);
    node.post("/v1/orgs/other/conversations/c", json!({ "type": "group" }))
        .await
        .expect(201);
    node.conversation("c").await;
    let text = large(100_000);
    node.say("c", &text).await;
    node.say("c", &text[..20_000]).await;
    node.say("c", "small").await;
    node.post("/v1/orgs/other/conversations/c/post", json!({ "body": text }))
        .await
        .expect(202);
    let change = |days: Value| json!({ "settings": { "values.retention_days": days } });
    for bad in [json!(0), json!("30"), json!(1.5), json!(40_000)] {
        node.post(SETTINGS, change(bad)).await.problem(422, "bad_setting");
    }
    node.post(SETTINGS, change(json!(30))).await.expect(202);
    let named = fed(&node).await[0]["data"]["body"].clone();
    let state = "/v1/orgs/acme/conversations/c/state";
    let before = node.get(state).await.expect(200).json()["digest"].clone();
    let node = restarted(node, |data| {
        let log = EmbeddedLog::open(data, &EmbeddedOptions::default()).unwrap();
        let blobs = DirectoryBlobs::open(&data.join("blobs")).unwrap();
        #[expect(clippy::disallowed_methods, reason = "the sweep is told when it happens, counted from now")]
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_millis() as u64;
        let after = |days: u64| {
            let day = 24 * 60 * 60 * 1000;
            let swept = sweep(&log, &blobs, now + days * day, day, &Erased::default()).unwrap();
            (swept.over, swept.deleted, swept.named)
        };
        assert_eq!(after(29), (0, 0, 3));
        assert_eq!(after(31), (2, 2, 1), "of the org that has a rule");
    })
    .await;
    node.get(&blob_path(&named)).await.problem(410, "value_expired");
    let shown = fed(&node).await;
    assert_eq!(shown[0]["data"]["body"], named, "the digest is left");
    assert_eq!(shown[1]["data"]["body"]["unavailable"], "missing", "{}", shown[1]);
    assert_eq!(shown[2]["data"]["body"], "small");
    assert_eq!(node.get(state).await.expect(200).json()["digest"], before, "no fold knows");
    node.post("/v1/orgs/acme/conversations/c/post", json!({ "body": named }))
        .await
        .problem(410, "value_expired");
    let theirs = node.get("/v1/orgs/other/conversations/c/messages").await.expect(200);
    let path = blob_path(&theirs.json()["items"][0]["body"]).replace("/acme/", "/other/");
    assert_eq!(node.get(&path).await.expect(200).text, text);
}

const ADA: [(&str, &str); 1] = [("quipu-on-behalf-of", "ada")];

/// Org, a conversation with an agent that answers at length, and a run of ada's that waits.
async fn scene_of_ada() -> (TestNode, String, String) {
    let node = TestNode::with_org().await;
    let member = json!({ "principal": "ada", "role": "member" });
    node.post("/v1/orgs/acme/orgs/acme/add_member", member).await.expect(202);
    let model = json!({ "provider": "scripted", "model": "any" });
    node.post("/v1/orgs/acme/agents/scout", json!({ "name": "Scout", "model": model }))
        .await
        .expect(201);
    let participants = json!([{ "principal": "scout", "kind": "agent" }, { "principal": "ada", "kind": "person" }]);
    node.post(
        "/v1/orgs/acme/conversations/c",
        json!({ "type": "group", "participants": participants }),
    )
    .await
    .expect(201);
    let body = format!("scripted: reply {}", "an answer of ada's ".repeat(500));
    node.post_with("/v1/orgs/acme/conversations/c/post", &ADA, json!({ "body": body }))
        .await
        .expect(202);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while fed(&node).await.len() < 2 {
        assert!(std::time::Instant::now() < deadline, "no answer");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await; // poll
    }
    let start = |definition: Value| {
        let (node, doc) = (&node, large(9_000));
        async move {
            let body = json!({ "definition": definition, "input": { "doc": doc } });
            let made = node.post_with("/v1/orgs/acme/runs", &ADA, body).await.expect(201).json();
            made["stream"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
        }
    };
    let waits = start(json!({
        "name": "later", "inputs": { "doc": {} }, "outputs": { "size": {} },
        "nodes": [
            { "id": "wait", "component": "wait_signal", "config": { "signal": "go" } },
            { "id": "look", "component": "map", "config": { "expression": "size(run.input.doc)" } }
        ],
        "edges": [{ "from": "input.doc", "to": "wait.in" }, { "from": "wait.out", "to": "look.in" }, { "from": "look.out", "to": "output.size" }]
    }))
    .await;
    let done = start(json!({
        "name": "now", "inputs": { "doc": {} }, "outputs": { "doc": {} },
        "nodes": [{ "id": "pass", "component": "passthrough" }],
        "edges": [{ "from": "input.doc", "to": "pass.in" }, { "from": "pass.out", "to": "output.doc" }]
    }))
    .await;
    let participants = json!([{ "principal": "ada", "kind": "person" }]);
    node.post(
        "/v1/orgs/acme/conversations/d",
        json!({ "type": "group", "participants": participants }),
    )
    .await
    .expect(201);
    let body = json!({ "message_id": "m", "body": large(100_000) });
    node.post_with("/v1/orgs/acme/conversations/d/post", &ADA, body).await.expect(202);
    let said = node.say("d", &large(7_000)).await.json();
    let seen = format!(
        "/v1/orgs/acme/conversations/d/messages?min_position={}",
        said["position"].as_str().unwrap()
    );
    node.get(&seen).await.expect(200);
    (node, waits, done)
}

/// How many blobs in a data directory are ada's, and how many are not.
fn kept(data: &std::path::Path) -> (u64, u64) {
    use quipu_events::blobs::{Blobs, DirectoryBlobs, each};
    let blobs = DirectoryBlobs::open_to_read(&data.join("blobs")).unwrap();
    let (mut hers, mut others) = (0, 0);
    each(&blobs, |listed| {
        let blob = quipu_schemas::personal::BlobRef::told_by(listed.name, &blobs.get(&listed.org, &listed.name)?);
        *(if blob.unwrap().subject.contains("ada") {
            &mut hers
        } else {
            &mut others
        }) += 1;
        Ok(())
    })
    .unwrap();
    (hers, others)
}

/// A run, once the views have it in this state.
async fn run_in(node: &TestNode, id: &str, state: &str) -> Value {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let answer = node.get(&format!("/v1/orgs/acme/runs/{id}")).await;
        let run = answer.json();
        if answer.status == 200 && run["state"] == state {
            return run;
        }
        assert!(std::time::Instant::now() < deadline, "{run}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await; // poll
    }
}

#[tokio::test]
async fn an_erased_subjects_values_are_gone_at_once() {
    let (node, waits, done) = scene_of_ada().await;
    let posted = node.get("/v1/orgs/acme/conversations/d/messages?limit=2").await.expect(200).json();
    let named = posted["items"].as_array().unwrap().iter().find(|m| m["id"] == "m").unwrap()["body"].clone();
    let output = run_in(&node, &done, "completed").await["output"]["doc"].clone();
    assert_eq!(output, large(9_000).as_str(), "shown in place");
    let history = node.get(&format!("/v1/orgs/acme/runs/{done}/history")).await.expect(200).text;
    assert!(history.contains("one MiB of"));
    let (org, ada) = ("acme".parse().unwrap(), "ada".parse().unwrap());
    let (hers, others) = kept(node.data.path());
    assert!(hers >= 5 && others >= 1, "{hers} of ada, {others} of others");
    assert_eq!(node.running.node.erase(&org, &ada).await.unwrap(), hers);
    assert_eq!(kept(node.data.path()), (0, others), "what is not ada's stays");
    assert_eq!(node.running.node.erase(&org, &ada).await.unwrap(), 0, "again");

    // Bodies and the agent's answer; what was said in between is there.
    let check = async |node: &TestNode| {
        let shown = fed(node).await;
        assert_eq!(shown[0]["data"]["body"], json!({ "erased": true }), "{}", shown[0]);
        assert_eq!(shown[1]["data"]["body"], json!({ "erased": true }), "{}", shown[1]);
        let beside = node.get("/v1/orgs/acme/conversations/d/messages").await.expect(200).json();
        let bodies: Vec<&Value> = beside["items"].as_array().unwrap().iter().map(|message| &message["body"]).collect();
        assert!(bodies.contains(&&json!({ "erased": true })) && bodies.contains(&&json!(large(7_000))));
        for path in ["c/messages", "c/history"] {
            let page = node.get(&format!("/v1/orgs/acme/conversations/{path}")).await.expect(200);
            assert!(!page.text.contains("answer of ada") && page.text.contains("erased"), "{path}");
        }
        let run = node.get(&format!("/v1/orgs/acme/runs/{done}")).await.expect(200).json();
        assert_eq!(run["output"]["doc"], json!({ "erased": true }), "{run}");
        let history = node.get(&format!("/v1/orgs/acme/runs/{done}/history")).await.expect(200).text;
        assert!(!history.contains("one MiB of") && history.contains("erased"));
    };
    check(&node).await;
    node.get(&blob_path(&named)).await.problem(410, "value_erased");
    // A node that needs one fails, and the run with it; nothing is sealed for ada any more.
    node.post(&format!("/v1/orgs/acme/runs/{waits}/signal"), json!({ "name": "go", "payload": 1 }))
        .await
        .expect(202);
    let failed = run_in(&node, &waits, "failed").await;
    assert!(failed.to_string().contains("value_erased"), "{failed}");
    node.post_with("/v1/orgs/acme/conversations/c/post", &ADA, json!({ "body": "back again" }))
        .await
        .problem(410, "value_erased");

    let node = restarted(node, |data| {
        let report = verified(data);
        assert_eq!((report.problems.len(), report.blobs), (0, Some(others)), "{:?}", report.problems);
        assert!(report.gone >= hers, "{} of {hers}", report.gone);
        let views = data.join("views");
        fs::remove_dir_all(views).unwrap();
    })
    .await;
    run_in(&node, &done, "completed").await;
    check(&node).await;
    node.post_with("/v1/orgs/acme/conversations/c/post", &ADA, json!({ "body": "once more" }))
        .await
        .problem(410, "value_erased");
}

/// Uploads count among the bodies that a node holds, and reads among its reads: more is refused before it takes memory.
#[tokio::test]
async fn uploads_and_reads_of_values_are_bounded_together() {
    let data = tempfile::tempdir().unwrap();
    let mut config = Config::at(data.path()).unwrap();
    config.queue_bytes = 1_000_000;
    let node = TestNode {
        running: serve::start(config).await.unwrap(),
        client: client(),
        data,
    };
    node.post("/v1/orgs/acme/orgs", json!({ "name": "Acme" })).await.expect(201);
    let kept = put(&node, &[], large(900_000)).await.expect(201).json();
    let refused = put(&node, &[], large(1_100_000)).await;
    assert_eq!(refused.header("retry-after"), "1");
    refused.problem(503, "overloaded");
    put(&node, &[], large(900_000)).await.expect(201);
    let mut reads = Vec::new();
    while node.running.node.reads_held() < quipu_schemas::limits::READ_BUDGET_BYTES {
        reads.push(node.running.node.reserve_read(usize::MAX).await.unwrap());
    }
    let refused = node.get(&blob_path(&kept)).await;
    assert_eq!(refused.header("retry-after"), "1");
    refused.problem(503, "reads_busy");
    drop(reads);
    assert_eq!(node.get(&blob_path(&kept)).await.expect(200).text, large(900_000));
}
