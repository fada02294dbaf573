//! What lies on the disk.

use super::{config, node, personal_run, receiver, send, stop};
use quipu::client::{Client, Command};
use quipu_schemas::ids::PrincipalId;
use serde_json::json;
use std::{fs, path::Path};

/// Whether a file under this directory holds these bytes, in any place.
fn files_with(root: &Path, needle: &str) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::read(&path).unwrap().windows(needle.len()).any(|part| part == needle.as_bytes()) {
                found.push(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    found
}

/// Asks until the answer holds this text.
pub(super) async fn until(client: &Client, path: &str, text: &str) {
    for _ in 0..1_000 {
        if client
            .get(path, &[])
            .await
            .is_ok_and(|answer| answer.body.to_string().contains(text))
        {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await; // poll
    }
    panic!("{path} never shows {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_file_of_the_data_directory_holds_personal_text() {
    const SECRET: &str = "zanzibar";
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let receiver = receiver(r#"{"answer":"zanzibar-a"}"#).await;
    let mut config = config(&data, false);
    config.egress_allow = vec![receiver.to_string()];
    let (running, client) = node(config).await;
    send(&client, "ada", "acme/org/acme", "create", json!({ "name": "Acme" })).await;
    personal_run(&client, receiver).await;
    let bob = json!({ "principal": "bob", "role": "member", "name": "Bob zanzibar-n", "email": "bob@zanzibar-e.example" });
    send(&client, "ada", "acme/org/acme", "add_member", bob).await;
    let scout = json!({ "name": "Scout", "model": { "provider": "scripted", "model": "test" }, "directive": "Answer." });
    send(&client, "ada", "acme/agent/scout", "create", scout).await;
    // More events than a snapshot waits for.
    let desk = "acme/conversation/desk";
    send(
        &client,
        "ada",
        desk,
        "create",
        json!({ "type": "group", "title": "zanzibar-t", "auto_turns": false }),
    )
    .await;
    for n in 0..220 {
        let post = json!({ "message_id": format!("open-id-{n}"), "body": format!("zanzibar-b {n}") });
        send(&client, "ada", desk, "post", post).await;
    }
    send(
        &client,
        "ada",
        desk,
        "edit_message",
        json!({ "message_id": "open-id-7", "body": "zanzibar-d" }),
    )
    .await;
    let content = json!({ "content": "zanzibar-c", "name": "zanzibar-s" });
    let import = json!({ "message_id": "open-id-i", "role": "user", "content": content });
    send(&client, "ada", desk, "import_message", import).await;
    // What an agent is told and says passes through runs, effects and their outcomes.
    let talk = "acme/conversation/talk";
    let participants = json!([{ "principal": "scout", "kind": "agent" }]);
    send(
        &client,
        "ada",
        talk,
        "create",
        json!({ "type": "group", "participants": participants, "claim_window_ms": 0 }),
    )
    .await;
    send(&client, "ada", talk, "post", json!({ "body": "zanzibar-q?" })).await;
    until(&client, "/v1/orgs/acme/conversations/talk/messages", "\"sender\":\"scout\"").await;
    // A person's comment on a run.
    let definition = json!({
        "name": "ask", "outputs": { "done": {} },
        "nodes": [{ "id": "yes", "component": "wait_approval", "config": { "prompt": "Yes?" } }],
        "edges": [{ "from": "yes.approved", "to": "output.done" }],
    });
    send(&client, "ada", "acme/run/r", "create", json!({ "definition": definition })).await;
    let approve = Command::to(
        &"acme/run/r".parse().unwrap(),
        "approve",
        json!({ "node": "yes", "comment": "zanzibar-y" }),
    );
    let approve = approve.on_behalf_of(Some(&PrincipalId::from_static("ada")));
    let mut approved = client.command(&approve).await;
    for _ in 0..1_000 {
        if approved.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await; // poll
        approved = client.command(&approve).await;
    }
    approved.unwrap();
    until(&client, "/v1/orgs/acme/conversations/desk/messages?limit=1000", "zanzibar-c").await;
    for _ in 0..1_000 {
        if running.node.counters().snapshots.load(std::sync::atomic::Ordering::Relaxed) > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await; // poll
    }
    stop(running, &data).await;

    // What is in the clear is found where it is kept, so the search sees every file.
    let open = files_with(&data, "open-id-");
    for kept in ["log", "index", "views"] {
        assert!(open.iter().any(|file| file.starts_with(kept)), "{kept}: {open:?}");
    }
    assert_eq!(files_with(&data, SECRET), Vec::<String>::new());
}
