//! A damaged partition: what lies before the damage is served, and nobody is told that this is all.

use quipu::{
    client::{Client, Command},
    config::Config,
    serve::{self, Running},
};
use quipu_schemas::{
    ids::{OrgId, PrincipalId, StreamId},
    position::Cursor,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::Path, process::Output};

const ORG: OrgId = OrgId::from_static("acme");
const PARTITIONS: u16 = 16;

async fn node(data: &Path) -> (Running, Client) {
    let running = serve::start(Config::at(data).unwrap()).await.unwrap();
    let client = Client::new(&running.url(), running.token.expose()).unwrap();
    (running, client)
}

async fn send(client: &Client, stream: &StreamId, name: &str, body: Value) {
    let command = Command::to(stream, name, body).on_behalf_of(Some(&PrincipalId::from_static("ada")));
    client.command(&command).await.unwrap();
}

/// Waits until the last task of a stopped node has let go of the data directory.
async fn stop(running: Running, data: &Path) {
    running.stop().await;
    let lock = fs::File::open(data.join("lock")).unwrap();
    for _ in 0..1_000 {
        if lock.try_lock().is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await; // poll
    }
    panic!("the data directory is still held");
}

fn room(n: usize) -> StreamId {
    format!("acme/conversation/room-{n}").parse().unwrap()
}

/// Flips a bit in the last record that names `words`.
fn damage(data: &Path, words: &str) {
    let mut segments: Vec<_> = fs::read_dir(data.join("log"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "seg"))
        .collect();
    segments.sort();
    let (path, mut bytes, at) = segments
        .into_iter()
        .filter_map(|path| {
            let bytes = fs::read(&path).unwrap();
            let at = bytes.windows(words.len()).rposition(|w| w == words.as_bytes())?;
            Some((path, bytes, at))
        })
        .next_back()
        .unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn quipu(data: &Path, url: &str, args: &[&str]) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_quipu"));
    for name in ["QUIPU_TOKEN", "QUIPU_ORG", "QUIPU_CONFIG"] {
        command.env_remove(name);
    }
    tokio::task::block_in_place(|| command.args(args).env("QUIPU_DATA", data).env("QUIPU_URL", url).output().unwrap())
}

fn lines(text: &[u8]) -> Vec<Value> {
    let lines = std::str::from_utf8(text).unwrap().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

fn ids(lines: &[Value]) -> BTreeSet<String> {
    let events = lines.iter().filter(|line| line.get("specversion").is_some());
    events.map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_partition_is_read_up_to_the_damage_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let (running, client) = node(data).await;
    send(&client, &StreamId::of_org(&ORG), "create", json!({ "name": "Acme" })).await;
    // Two rooms share the partition that will be damaged, and most rooms lie elsewhere.
    let hit = room(0);
    let partition = hit.partition(PARTITIONS);
    let neighbour = (1..).map(room).find(|room| room.partition(PARTITIONS) == partition).unwrap();
    let others: Vec<StreamId> = (1..)
        .map(room)
        .filter(|room| room.partition(PARTITIONS) != partition)
        .take(6)
        .collect();
    for room in others.iter().chain([&hit, &neighbour]) {
        send(&client, room, "create", json!({ "type": "group", "title": "Talk" })).await;
    }
    for n in 0..3 {
        for room in others.iter().chain([&hit]) {
            send(&client, room, "post", json!({ "body": format!("message {n}") })).await;
        }
    }
    // Something behind the damage, in its partition and elsewhere.
    for room in [&neighbour, &others[0]] {
        send(&client, room, "post", json!({ "body": "behind" })).await;
    }
    let all = lines(&quipu(data, &running.url(), &["export", "acme"]).stdout);
    let before = running.node.cursor();
    stop(running, data).await;
    damage(data, "acme/conversation/room-0\"");
    let offset = check(data, &hit, &neighbour, &others, &all, &before).await;
    assert!(offset > 0 && offset < before.next[usize::from(partition)]);
    // The same without what is derived: nothing of it held the truth up.
    for derived in ["index", "views"] {
        fs::remove_dir_all(data.join(derived)).unwrap();
    }
    assert_eq!(check(data, &hit, &neighbour, &others, &all, &before).await, offset);
}

/// Everything that must be said about the damage; gives its offset.
async fn check(data: &Path, hit: &StreamId, neighbour: &StreamId, others: &[StreamId], all: &[Value], before: &Cursor) -> u64 {
    let partition = hit.partition(PARTITIONS);
    let (running, client) = node(data).await;
    let url = running.url();
    let run = |args: &[&str]| {
        let output = quipu(data, &url, args);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap(), lines(&output.stdout), error)
    };

    let (code, lag, _) = run(&["views", "lag", "--json"]);
    assert_eq!((code, &lag[0]["ok"]), (1, &json!(false)), "{lag:?}");
    let stopped = &lag[0]["partitions"][usize::from(partition)]["stopped"];
    let offset = stopped["offset"].as_u64().unwrap_or_else(|| panic!("{lag:?}"));
    let named = format!("partition {partition} stops at offset {offset}");

    let (code, written, error) = run(&["export", "acme"]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains(&named), "{error}");
    let missing: BTreeSet<String> = ids(all).difference(&ids(&written)).cloned().collect();
    assert!(
        missing.contains(&format!("{hit}@5")) && missing.contains(&format!("{neighbour}@3")),
        "{missing:?}"
    );
    let streams = missing.iter().map(|id| id.split('@').next().unwrap().parse::<StreamId>().unwrap());
    assert!(
        streams.clone().all(|stream| stream.partition(PARTITIONS) == partition),
        "{missing:?}"
    );
    assert!(ids(&written).contains(&format!("{hit}@4")), "what lies before the damage is there");

    for follow in [&["--no-follow"][..], &[]] {
        let (code, shown, error) = run(&[&["tail", "acme", "--from", "start", "--json"], follow].concat());
        assert_eq!(code, 1, "{error}");
        assert!(error.contains(&named), "{error}");
        assert_eq!(ids(&shown), ids(&written));
    }
    let one = |stream: &StreamId| {
        ["tail", "acme", "--from", "start", "--no-follow", "--kind", "conversation", "--id"]
            .map(str::to_owned)
            .into_iter()
            .chain([stream.id.to_string()])
            .collect::<Vec<_>>()
    };
    for (stream, expected) in [(hit, 1), (&others[0], 0)] {
        let args = one(stream);
        let (code, _, error) = run(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(code, expected, "{stream}: {error}");
    }
    let (code, chats, error) = run(&["export", "acme", "--format", "openai-chat"]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains(&named), "{error}");
    assert_eq!(chats.len(), others.len(), "what may be cut off is not a transcript");

    let http = reqwest::Client::new();
    for (accept, last) in [
        ("application/x-ndjson", "\"control\":\"stopped\""),
        ("text/event-stream", "event: stopped"),
    ] {
        let feed = http
            .get(format!("{url}/v1/orgs/acme/events?follow=false"))
            .bearer_auth(running.token.expose());
        let text = feed.header("accept", accept).send().await.unwrap().text().await.unwrap();
        assert!(!text.contains("caught_up"), "{text}");
        let end = text
            .trim_end()
            .rsplit(if accept.contains("json") { "\n" } else { "\n\n" })
            .next()
            .unwrap();
        for word in [
            last,
            "\"code\":\"partition_stopped\"",
            &format!("\"offset\":{offset}"),
            &format!("\"partition\":{partition}"),
        ] {
            assert!(end.contains(word), "{word}: {end}");
        }
    }

    let health = client.get("/health", &[]).await.unwrap().body;
    assert_eq!(health["status"], "degraded", "{health}");
    let part = |name: &str| {
        health["parts"]
            .as_array()
            .unwrap()
            .iter()
            .find(|part| part["name"] == name)
            .cloned()
            .unwrap()
    };
    for name in [format!("partition-{partition}"), "views".into()] {
        let part = part(&name);
        assert_eq!(part["ok"], false, "{part}");
        assert!(part["detail"].as_str().unwrap().contains(&format!("offset {offset}")), "{part}");
    }
    // What can be read of a stream there may not be all of it, so it does not pass for that.
    for part in ["history", "state"] {
        let error = client
            .get(&format!("/v1/orgs/acme/conversations/{}/{part}", hit.id), &[])
            .await
            .unwrap_err();
        assert_eq!(
            error.problem().map(|problem| problem.code.as_str()),
            Some("partition_stopped"),
            "{error}"
        );
    }
    // A cursor from before the damage is behind it.
    let behind = http
        .get(format!("{url}/v1/orgs/acme/events?from={before}"))
        .bearer_auth(running.token.expose())
        .send();
    let behind = behind.await.unwrap();
    assert_eq!(behind.status(), 503);
    assert!(behind.text().await.unwrap().contains(&format!("offset {offset}")));
    // The rest is in service.
    send(&client, &others[1], "post", json!({ "body": "still here" })).await;
    let refused = http
        .post(format!("{url}/v1/orgs/acme/conversations/{}/post", hit.id))
        .bearer_auth(running.token.expose());
    let refused = refused.json(&json!({ "body": "x" })).send().await.unwrap();
    assert_eq!(refused.status(), 503, "a stopped partition takes no command");
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "partition_stopped");
    stop(running, data).await;
    offset
}
