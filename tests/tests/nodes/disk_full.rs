//! A full disk under the log and the values of the real binary: commands are refused before anything of them is stored, reads go on,
//! and once there is room again so do commands. (A failing `fsync` is injected on the simulated disk: see the suites of
//! `quipu-events` and `simulation.rs`.)
//!
//! The disk is a small `tmpfs` in a mount namespace of the node's own, which needs Linux and unprivileged namespaces;
//! where they are missing the test says so and passes.

mod limits;

use quipu_tests::{
    caller::{Caller, wait},
    process::{Launch, binary},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, process::Stdio};
use tokio::{process::Command, task::JoinSet};

/// One reserved segment fits, a second one only once the ballast is gone.
const DISK: &str = "170m";
const BALLAST_MIB: &str = "60";

/// Mounts the disk, runs the node on it, drops the ballast and stops the node when told to, and verifies the log at the end.
const SCRIPT: &str = r#"
set -e
home=$1; quipu=$2; shift 2
mkdir -p "$home/disk" "$home/data/log" "$home/data/blobs"
mount -t tmpfs -o size="$DISK" tmpfs "$home/disk"
mkdir "$home/disk/log" "$home/disk/blobs"
mount --bind "$home/disk/log" "$home/data/log"
mount --bind "$home/disk/blobs" "$home/data/blobs"
dd if=/dev/zero of="$home/disk/ballast" bs=1M count="$BALLAST_MIB" 2>/dev/null
(until [ -e "$home/room" ]; do sleep 0.05; done; rm "$home/disk/ballast"; touch "$home/roomy") &
"$quipu" "$@" &
node=$!
(until [ -e "$home/stop" ]; do sleep 0.05; done; kill -TERM "$node") &
wait "$node" || echo "$?" > "$home/failed"
"$quipu" verify "$home/data" --json > "$home/verified.json"
"#;

/// Why there can be no such disk, if so.
async fn missing() -> Option<String> {
    let tried = Command::new("unshare")
        .args(["-rmpf", "--kill-child", "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"])
        .output()
        .await;
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(e) => Some(format!("unshare: {e}")),
    }
}

/// Posts messages of 64 KiB side by side until one is refused or there are enough; the acknowledged ones and the refusals.
async fn fill(caller: &Caller, from: usize, most: usize) -> (BTreeMap<String, Value>, Vec<(String, u16, String)>) {
    let (mut taken, mut refused, mut next) = (BTreeMap::new(), Vec::new(), from);
    let mut open = JoinSet::new();
    loop {
        while open.len() < 8 && next < from + most && refused.is_empty() {
            let (caller, id) = (caller.clone(), format!("m{next}"));
            next += 1;
            open.spawn(async move {
                let body = json!({ "message_id": id, "body": "x".repeat(60 * 1024) });
                let room = next % 4;
                let answer = caller
                    .try_command(&format!("/v1/orgs/acme/conversations/c{room}/post"), &id, &body)
                    .await
                    .expect("an answer");
                (id, room, answer)
            });
        }
        let Some(done) = open.join_next().await else {
            return (taken, refused);
        };
        let (id, room, answer) = done.expect("a task");
        match answer.status {
            202 => drop(taken.insert(format!("c{room}/{id}"), answer.body)),
            status => {
                assert_eq!(answer.header("x-should-retry"), "true", "{}", answer.text);
                refused.push((format!("c{room}/{id}"), status, answer.text));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_refuses_commands_until_there_is_room() {
    if let Some(why) = missing().await {
        return quipu_tests::venv::skipped(
            "a full disk under the real binary",
            &format!("a small disk cannot be mounted here: {why}"),
        );
    }
    let launch = Launch::new();
    let home = launch.data().parent().expect("a home").to_owned();
    let mut command = Command::new("unshare");
    // A process namespace, so that nothing of it outlives the test.
    command
        .args(["-rmpf", "--kill-child", "sh", "-c", SCRIPT, "sh"])
        .arg(&home)
        .arg(binary());
    command
        .env_remove("QUIPU_BIN")
        .env("DISK", DISK)
        .env("BALLAST_MIB", BALLAST_MIB)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let node = launch.start_by(command).await;
    let ada = node.caller.acting_for("ada");
    ada.post("/v1/orgs/acme/orgs/acme", json!({ "name": "Acme" })).await.taken();
    for n in 0..4 {
        ada.post(
            &format!("/v1/orgs/acme/conversations/c{n}"),
            json!({ "type": "group", "auto_turns": false }),
        )
        .await
        .taken();
    }
    let (mut taken, refused) = fill(&ada, 0, 3_000).await;
    assert!(
        refused
            .iter()
            .any(|(_, status, text)| *status == 507 && text.contains("storage_full")),
        "{} taken, {refused:?}",
        taken.len()
    );
    assert!(refused.iter().all(|(_, status, _)| matches!(status, 503 | 507)), "{refused:?}");
    // Nothing of a refused command is there, and reads go on.
    let refused_once: Vec<String> = refused.into_iter().map(|(id, ..)| id).collect();
    check(&ada, &taken, &refused_once).await;
    // What was cleaned up meanwhile may have made some room. It is soon full again, and says that trying later helps.
    let (more, refused) = fill(&ada, 5_000, 3_000).await;
    taken.extend(more);
    let still: Vec<String> = refused.iter().map(|(id, ..)| id.clone()).collect();
    let full = refused.into_iter().find(|(_, status, _)| *status == 507).expect("full again");
    assert!(full.2.contains("storage_full"), "{}", full.2);
    let refused_once = [refused_once, still].concat();

    fs::write(home.join("room"), "").expect("told");
    wait("room on the disk", || async { home.join("roomy").exists().then_some(()) }).await;
    for id in &refused_once {
        let (room, message) = id.split_once('/').expect("room/message");
        let body = json!({ "message_id": message, "body": "x".repeat(60 * 1024) });
        let at = format!("/v1/orgs/acme/conversations/{room}/post");
        // The same ids as before: refused is not decided.
        let answer = wait("the command to be taken", || async {
            let answer = ada.try_command(&at, message, &body).await.expect("an answer");
            (answer.status == 202).then_some(answer)
        })
        .await;
        assert_eq!(answer.body["duplicate"], Value::Null, "{}", answer.text);
        taken.insert(id.clone(), answer.body);
    }
    let (more, refused) = fill(&ada, 10_000, 40).await;
    assert_eq!(refused, []);
    taken.extend(more);
    check(&ada, &taken, &[]).await;
    let job = node.caller.views_job("verify").await;
    assert_eq!(job["equal"], Value::Bool(true), "{job}");
    fs::write(home.join("stop"), "").expect("told");
    wait("the log to be verified", || async {
        fs::read_to_string(home.join("verified.json"))
            .ok()
            .filter(|text| text.ends_with("}\n"))
    })
    .await;
    assert!(!home.join("failed").exists(), "the node stopped in order:\n{}", node.log_tail());
    let report: Value = serde_json::from_str(&fs::read_to_string(home.join("verified.json")).expect("a report")).expect("JSON");
    assert_eq!(report["intact"], Value::Bool(true), "{report}");
}

/// Every acknowledged message is in its conversation once, and no refused one.
async fn check(ada: &Caller, taken: &BTreeMap<String, Value>, refused: &[String]) {
    let mut stored: BTreeMap<String, usize> = BTreeMap::new();
    for n in 0..4 {
        for record in ada.records(&format!("/v1/orgs/acme/conversations/c{n}")).await {
            for event in record["events"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|e| e["type"] == "quipu.conversation.message_posted.v1")
            {
                *stored
                    .entry(format!("c{n}/{}", event["data"]["message_id"].as_str().unwrap_or_default()))
                    .or_default() += 1;
            }
        }
    }
    assert!(stored.values().all(|times| *times == 1), "each once");
    let lost: Vec<&String> = taken.keys().filter(|id| !stored.contains_key(*id)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let kept: Vec<&String> = refused.iter().filter(|id| stored.contains_key(*id)).collect();
    assert!(kept.is_empty(), "refused and stored: {kept:?}");
}
