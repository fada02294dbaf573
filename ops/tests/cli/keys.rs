//! Lost keys: a log is not served under new ones unless that is wanted, and then what was sealed reads as erased.

mod at_rest;

use at_rest::until;
use quipu::{
    client::{Client, Command, FeedQuery},
    config::{Config, Flags},
    export,
    serve::{self, Running},
};
use quipu_schemas::ids::{OrgId, PrincipalId, StreamId};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::Path, process::Output};

const ORG: OrgId = OrgId::from_static("acme");
const FINGERPRINT: &str = "keys.fingerprint";

/// A receiver that answers every request with this body.
async fn receiver(body: &'static str) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 64 * 1024];
            let _ = stream.read(&mut request).await;
            let head = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}",
                body.len()
            );
            let _ = stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await;
        }
    });
    address
}

/// A run whose input, signal, answer, request and outputs are personal; once it is done.
async fn personal_run(client: &Client, receiver: std::net::SocketAddr) {
    let definition = json!({
        "name": "order", "inputs": { "order": {} }, "outputs": { "told": {}, "said": {} },
        "nodes": [
            { "id": "call", "component": "http.request", "config": {
                "method": "PUT", "url": format!("='http://{receiver}/' + input.name"), "headers": { "x-name": "=input.name" },
                "body": { "name": "=input.name + '!'" } } },
            { "id": "told", "component": "map", "config": { "expression": "input.body.answer + run.input.order.name" } },
            { "id": "go", "component": "wait_signal", "config": { "signal": "go" } },
            { "id": "said", "component": "wait_approval", "config": { "prompt": "=input.word" } },
        ],
        "edges": [
            { "from": "input.order", "to": "call.in" }, { "from": "call.out", "to": "told.in" }, { "from": "told.out", "to": "output.told" },
            { "from": "told.out", "to": "go.in" }, { "from": "go.out", "to": "said.in" }, { "from": "said.approved", "to": "output.said" },
        ],
    });
    let input = json!({ "order": { "name": "zanzibar-i", "more": "zanzibar-l ".repeat(500) } });
    let create = json!({ "definition": definition, "input": input });
    send(client, "ada", "acme/run/order", "create", create).await;
    let steps = "/v1/orgs/acme/runs/order/steps";
    until(client, steps, "\"waits_for\":\"signal\"").await;
    let signal = json!({ "name": "go", "payload": { "word": "zanzibar-w", "more": "zanzibar-m ".repeat(1_000) } });
    send(client, "ada", "acme/run/order", "signal", signal).await;
    until(client, steps, "\"waits_for\":\"approval\"").await;
    send(client, "ada", "acme/run/order", "approve", json!({ "node": "said" })).await;
    // People with the right see what was said.
    until(client, "/v1/orgs/acme/runs/order", "\"told\":\"zanzibar-azanzibar-i\"").await;
    for path in ["runs/order/history", "runs/order", "runs/order/steps"] {
        let answer = client.get(&format!("/v1/orgs/acme/{path}"), &[]).await.unwrap().body.to_string();
        assert!(answer.contains("zanzibar-w") && answer.contains("zanzibar-m"), "{path}: {answer}");
    }
}

fn config(data: &Path, without_keys: bool) -> Config {
    let flags = Flags {
        listen: Some("127.0.0.1:0".into()),
        data: Some(data.display().to_string()),
        without_keys,
        ..Flags::default()
    };
    Config::from_layers(None, BTreeMap::new(), flags).unwrap()
}

async fn node(config: Config) -> (Running, Client) {
    let running = serve::start(config).await.unwrap();
    let client = Client::new(&running.url(), running.token.expose()).unwrap();
    (running, client)
}

/// Why a node does not start on this data directory without the flag.
async fn refusal(data: &Path) -> String {
    let error = serve::start(config(data, false)).await.err().expect("a refusal").to_string();
    released(data).await;
    assert!(
        error.contains("restore the keys directory") && error.contains("--without-keys"),
        "{error}"
    );
    error
}

async fn send(client: &Client, by: &'static str, stream: &str, name: &str, body: Value) {
    let command = Command::to(&stream.parse::<StreamId>().unwrap(), name, body).on_behalf_of(Some(&PrincipalId::from_static(by)));
    client.command(&command).await.unwrap();
}

/// Waits until the last task of a stopped node has let go of the data directory.
async fn released(data: &Path) {
    let lock = fs::File::open(data.join("lock")).unwrap();
    for _ in 0..1_000 {
        if lock.try_lock().is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await; // poll
    }
    panic!("the data directory is still held");
}

async fn stop(running: Running, data: &Path) {
    running.stop().await;
    released(data).await;
}

fn quipu(data: &Path, url: &str, args: &[&str]) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_quipu"));
    for name in ["QUIPU_TOKEN", "QUIPU_ORG", "QUIPU_CONFIG", "QUIPU_URL"] {
        command.env_remove(name);
    }
    tokio::task::block_in_place(|| {
        command
            .args(args)
            .env("QUIPU_DATA", data)
            .envs((!url.is_empty()).then_some(("QUIPU_URL", url)))
            .output()
            .unwrap()
    })
}

/// Whether what was sealed opens.
async fn opens(client: &Client) -> bool {
    let history = client.get("/v1/orgs/acme/conversations/desk/history", &[]).await.unwrap();
    history.body.to_string().contains("a private word")
}

/// A conversation of ada's with one message by her and one without content.
async fn scene(data: &Path) {
    let (running, client) = node(config(data, false)).await;
    send(&client, "ada", "acme/org/acme", "create", json!({ "name": "Acme" })).await;
    let room = "acme/conversation/desk";
    send(
        &client,
        "ada",
        room,
        "create",
        json!({ "type": "group", "title": "A private title" }),
    )
    .await;
    send(&client, "ada", room, "post", json!({ "body": "a private word" })).await;
    stop(running, data).await;
}

/// Every way to read answers, shows nothing of before, and shows what came since.
async fn check(url: &str, client: &Client, since: Option<&str>) {
    let mut read = String::new();
    for path in [
        "conversations",
        "conversations/desk",
        "messages",
        "members",
        "activity",
        "conversations/desk/history",
        "conversations/desk/state",
        "orgs/acme/state",
    ] {
        let answer = client
            .get(&format!("/v1/orgs/acme/{path}"), &[])
            .await
            .unwrap_or_else(|e| panic!("{path}: {e}"));
        if path.ends_with("history") {
            assert!(answer.body.to_string().contains(r#"{"erased":true}"#), "{path}: {}", answer.body);
        }
        read += &answer.body.to_string();
    }
    let mut events = Vec::new();
    export::cloudevents(client, &ORG, &FeedQuery::default(), &mut events).await.unwrap();
    read += std::str::from_utf8(&events).unwrap();
    assert!(!read.contains("private"), "{url}: {read}");
    assert!(read.contains(r#""body":{"erased":true}"#), "{read}");
    if let Some(since) = since {
        assert!(read.matches(since).count() > 1, "{read}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_keys_are_not_replaced_and_their_data_reads_erased() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    scene(&data).await;
    let (keys, kept) = (data.join("keys"), root.path().join("kept"));
    fs::rename(&keys, &kept).unwrap();
    assert!(refusal(&data).await.contains(&keys.display().to_string()));
    assert!(!keys.exists(), "a refusal makes no keys");
    let output = quipu(&data, "", &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("restore the keys directory"));

    // Keys of another log.
    let other = root.path().join("other");
    scene(&other).await;
    fs::rename(other.join("keys"), &keys).unwrap();
    assert!(refusal(&data).await.contains("not those of this log"));
    fs::remove_dir_all(&keys).unwrap();

    // The right ones open everything again.
    fs::rename(&kept, &keys).unwrap();
    let (running, client) = node(config(&data, false)).await;
    assert!(opens(&client).await);
    stop(running, &data).await;
    fs::remove_dir_all(&keys).unwrap();

    let (running, client) = node(config(&data, true)).await;
    check(&running.url(), &client, None).await;
    // The same subject gets a new key, under which the old words do not open either.
    send(&client, "ada", "acme/conversation/desk", "post", json!({ "body": "said later" })).await;
    check(&running.url(), &client, Some("said later")).await;
    stop(running, &data).await;
    // The new keys are the log's own from then on.
    let (running, client) = node(config(&data, false)).await;
    check(&running.url(), &client, Some("said later")).await;

    let export = |more: &[&str]| {
        quipu(
            &data,
            &running.url(),
            &[&["export", "acme", "--format", "openai-chat"], more].concat(),
        )
    };
    for (more, code) in [(&[][..], 1), (&["--allow-erased"], 0)] {
        let output = export(more);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.contains("1 messages were erased"), "{error}");
        let chat: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            chat["messages"],
            json!([
                { "role": "user", "name": "ada", "content": null, "quipu_erased": true },
                { "role": "user", "name": "ada", "content": "said later" },
            ])
        );
    }
    stop(running, &data).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backup_without_keys_restores_a_log_that_asks_for_them() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    scene(&data).await;
    let backup = |name: &str, more: &[&str]| {
        let (copy, restored) = (root.path().join(name), root.path().join(format!("{name}-restored")));
        let paths = [data.to_str().unwrap(), copy.to_str().unwrap(), restored.to_str().unwrap()].map(str::to_owned);
        let made = quipu(&data, "", &[&["backup", "--data", &paths[0], &paths[1]], more].concat());
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        // Asking whether anybody uses it writes nothing into it.
        let verified = quipu(&data, "", &["verify", &paths[1], "--json"]);
        let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
        assert_eq!((verified.status.code(), &report["verdict"]), (Some(0), &json!("intact")));
        assert!(!copy.join("lock").exists());
        fs::write(copy.join("backup.unfinished"), "").unwrap();
        let verified = quipu(&data, "", &["verify", &paths[1], "--json"]);
        let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
        assert_eq!((verified.status.code(), &report["verdict"]), (Some(1), &json!("incomplete")));
        fs::remove_file(copy.join("backup.unfinished")).unwrap();
        let back = quipu(&data, "", &["restore", &paths[1], &paths[2]]);
        assert!(back.status.success(), "{}", String::from_utf8_lossy(&back.stderr));
        restored
    };
    let bare = backup("bare", &[]);
    assert!(bare.join(FINGERPRINT).exists() && !bare.join("keys").exists());
    refusal(&bare).await;
    let (running, client) = node(config(&bare, true)).await;
    check(&running.url(), &client, None).await;
    stop(running, &bare).await;

    let whole = backup("whole", &["--with-keys"]);
    let (running, client) = node(config(&whole, false)).await;
    assert!(opens(&client).await);
    stop(running, &whole).await;
}
