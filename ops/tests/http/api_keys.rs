//! Keys, grants and roles over HTTP: a key's text is shown once and stands nowhere.

use super::*;
use quipu_schemas::key_text::KeyText;
use std::{fs, path::Path};

const KEYS: &str = "/v1/orgs/acme/api-keys";

/// Whether any file below a directory holds these bytes.
fn holds(dir: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            holds(&path, bytes)
        } else {
            let file = fs::read(&path).unwrap();
            file.windows(bytes.len()).any(|window| window == bytes)
        }
    })
}

/// The secret of a key's text, without its checksum.
fn secret(shown: &Value) -> String {
    let text = shown.as_str().unwrap_or_else(|| panic!("nothing is shown: {shown}"));
    assert_eq!(KeyText::parse(text).unwrap().org.as_str(), "acme");
    let secret = text.rsplit('.').next().unwrap();
    secret[..secret.len() - 8].to_owned()
}

#[tokio::test]
async fn a_key_is_shown_once_and_stands_nowhere() {
    let node = TestNode::with_org().await;
    let body = || json!({ "name": "laptop", "principal": "ada", "scopes": ["cap:run.*"], "networks": ["192.0.2.0/24"] });
    let once = [("idempotency-key", "make-1")];
    let path = format!("{KEYS}/key_ada");
    let first = node.post_with(&path, &once, body()).await.expect(201);
    assert_eq!(first.header("cache-control"), "no-store");
    let mut secrets = vec![secret(&first.json()["shown"])];
    let again = node.post_with(&path, &once, body()).await.expect(201).json();
    assert_eq!((&again["duplicate"], again.get("shown")), (&json!(true), None), "{again}");
    let turned = [("idempotency-key", "turn-1")];
    let rotate = format!("{path}/rotate");
    let rotated = node
        .post_with(&rotate, &turned, json!({ "grace_hours": 1 }))
        .await
        .expect(202)
        .json();
    secrets.push(secret(&rotated["shown"]));
    assert_ne!(secrets[0], secrets[1]);
    let again = node
        .post_with(&rotate, &turned, json!({ "grace_hours": 1 }))
        .await
        .expect(202)
        .json();
    assert_eq!(again.get("shown"), None, "{again}");
    let revoked = node
        .post(&format!("{path}/revoke"), json!({ "reason": "lost" }))
        .await
        .expect(202)
        .json();
    assert_eq!(revoked.get("shown"), None, "{revoked}");

    // Everything that is read of it.
    let at = revoked["position"].as_str().unwrap();
    let row = node.get(&format!("{path}?min_position={at}")).await.expect(200);
    let shown = row.json();
    assert_eq!(
        (&shown["status"], &shown["rotations"], &shown["scopes"], &shown["principal"]),
        (&json!("revoked"), &json!(1), &json!(["cap:run.*"]), &json!("ada")),
        "{shown}"
    );
    assert!(shown.get("hash").is_none() && shown.get("old").is_none(), "{shown}");
    let mut read = vec![row.text];
    for path in [
        KEYS.to_owned(),
        format!("{path}/state"),
        format!("{path}/history"),
        format!("{path}/commands/make-1"),
        "/v1/orgs/acme/events?follow=false".into(),
        "/v1/orgs/acme/activity".into(),
        "/metrics".into(),
    ] {
        read.push(node.get(&path).await.expect(200).text);
    }
    node.running.stop().await;
    assert!(holds(node.data.path(), b"key_ada"), "the search finds what is there");
    for secret in &secrets {
        assert!(read.iter().all(|text| !text.contains(secret)));
        // As it is written, and as it is.
        assert!(!holds(node.data.path(), secret.as_bytes()));
        let bytes = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, secret).unwrap();
        assert!(!holds(node.data.path(), &bytes));
    }
}

#[tokio::test]
async fn the_field_that_the_node_fills_is_taken_from_nobody() {
    let node = TestNode::with_org().await;
    let body = json!({ "name": "x", "principal": "ada", "hash": "0".repeat(64) });
    let refused = node.post(KEYS, body).await.problem(422, "minted_field");
    assert_eq!(refused["field"], "hash");
    let openapi = node.get("/docs/openapi.json").await.expect(200).json();
    let create = &openapi["paths"]["/v1/orgs/{org}/api-keys"]["post"];
    assert!(create.is_object(), "the command is in the document");
    assert!(!create.to_string().contains("\"hash\""), "{create}");
    // The holder of the node's token is nobody who has keys.
    node.post(KEYS, json!({ "name": "x" })).await.problem(422, "reserved_id");
}

#[tokio::test]
async fn grants_and_roles_are_kept_and_listed() {
    let node = TestNode::with_org().await;
    let roles = "/v1/orgs/acme/roles/all";
    let clerk = json!({ "name": "clerk", "holds": ["role:viewer", "cap:run.start"] });
    node.post(&format!("{roles}/set"), clerk.clone()).await.expect(202);
    let again = node.post(&format!("{roles}/set"), clerk).await.expect(202).json();
    assert_eq!(again["unchanged"], true, "{again}");
    let circle = json!({ "name": "clerk", "holds": ["role:clerk"] });
    node.post(&format!("{roles}/set"), circle).await.problem(422, "bad_role");
    let give = "/v1/orgs/acme/grants/ada/give";
    node.post(give, json!({ "right": "role:clerk" })).await.expect(202);
    let given = node
        .post(
            give,
            json!({ "right": "cap:run.*", "on": "project/p1", "until": 4_000_000_000_000_u64 }),
        )
        .await
        .expect(202)
        .json();
    let refused = node
        .post(give, json!({ "right": "run.start" }))
        .await
        .problem(422, "invalid_command");
    assert_eq!(refused["field"], "right", "{refused}");
    let at = given["position"].as_str().unwrap();
    let rows = node
        .get(&format!("/v1/orgs/acme/grants?principal=ada&min_position={at}"))
        .await
        .expect(200)
        .json();
    let rights: Vec<_> = rows["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| format!("{} {} {}", row["right"], row["on"], row["until"]))
        .collect();
    assert_eq!(rights, [r#""cap:run.*" "project/p1" 4000000000000"#, r#""role:clerk" "org" null"#]);
    let roles = node.get("/v1/orgs/acme/roles").await.expect(200).json();
    assert_eq!(roles["items"][0]["holds"], json!(["cap:run.start", "role:viewer"]), "{roles}");
    let of_ada = node.get("/v1/orgs/acme/grants/ada/grants").await.expect(200).json();
    assert_eq!(of_ada["items"], rows["items"]);
    let state = node.get("/v1/orgs/acme/grants/ada").await.expect(200).json();
    assert_eq!(state["state"]["grants"].as_array().map(Vec::len), Some(2), "{state}");
}
