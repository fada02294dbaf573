//! The binary as people and scripts use it: output, files, exit codes.

mod serving;

use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::SystemTime,
};

struct Cli<'a> {
    data: &'a Path,
    url: String,
}

fn quipu() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quipu"));
    for name in ["QUIPU_URL", "QUIPU_TOKEN", "QUIPU_DATA", "QUIPU_ORG", "QUIPU_CONFIG"] {
        command.env_remove(name);
    }
    command
}

impl Cli<'_> {
    fn run(&self, args: &[&str]) -> Output {
        quipu()
            .args(args)
            .env("QUIPU_DATA", self.data)
            .env("QUIPU_URL", &self.url)
            .output()
            .unwrap()
    }

    /// Runs off the test's own runtime threads, which serve the node.
    async fn json(&self, args: &[&str]) -> (i32, Value) {
        let output = tokio::task::block_in_place(|| self.run(args));
        let text = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
        let value = serde_json::from_slice(text).unwrap_or_else(|e| panic!("{args:?}: {e}: {}", String::from_utf8_lossy(text)));
        (output.status.code().unwrap(), value)
    }
}

/// Stops a node of this process, and waits until its last task has let go of the data directory.
async fn stop(running: quipu::serve::Running, data: &Path) {
    running.stop().await;
    let lock = std::fs::File::open(data.join("lock")).unwrap();
    for _ in 0..1_000 {
        if lock.try_lock().is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await; // poll
    }
    panic!("the data directory is still held");
}

fn code(args: &[&str]) -> i32 {
    quipu().args(args).output().unwrap().status.code().unwrap()
}

#[test]
fn usage_is_two_and_help_is_zero() {
    assert_eq!(code(&["--help"]), 0);
    assert_eq!(code(&["send", "--help"]), 0);
    assert_eq!(code(&["--version"]), 0);
    for usage in [
        &[][..],
        &["fly"],
        &["send", "acme"],
        &["send", "a b", "org", "x", "create"],
        &["replay", "acme", "run", "r", "--version", "1", "--at", "2"],
    ] {
        assert_eq!(code(usage), 2, "{usage:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    assert_eq!(code(&["get", "acme", "runs", "--data", data]), 2, "no token");
    assert_eq!(code(&["verify", data]), 2, "no log");
    let help = quipu().args(["import", "--help"]).output().unwrap();
    assert!(String::from_utf8_lossy(&help.stdout).contains("Examples:"));
}

#[test]
fn nobody_there_is_four() {
    let output = quipu()
        .args(["get", "acme", "runs", "--url", "http://127.0.0.1:9"])
        .env("QUIPU_TOKEN", "qp_x")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("quipu serve"));
}

/// Every file below a directory, with what changes when it is written.
fn files(dir: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let about = path.metadata().unwrap();
        if about.is_dir() {
            found.extend(files(&path));
        }
        // SQLite coordinates readers in this one; no data is in it.
        if path.extension().is_none_or(|e| e != "sqlite-shm") {
            found.insert(path, (about.len(), about.modified().unwrap()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_queries_time_travel_and_refusals() {
    let dir = tempfile::tempdir().unwrap();
    let running = quipu::serve::start(quipu::config::Config::at(dir.path()).unwrap()).await.unwrap();
    let cli = Cli {
        data: dir.path(),
        url: running.url(),
    };

    let (status, receipt) = cli
        .json(&[
            "send",
            "acme",
            "org",
            "acme",
            "create",
            r#"{"name":"Acme"}"#,
            "--as",
            "ada",
            "--id",
            "c-1",
        ])
        .await;
    assert_eq!(
        (status, &receipt["command_id"], &receipt["durability"]),
        (0, &json!("c-1"), &json!("fsync"))
    );
    let (status, again) = cli
        .json(&[
            "send",
            "acme",
            "org",
            "acme",
            "create",
            r#"{"name":"Acme"}"#,
            "--as",
            "ada",
            "--id",
            "c-1",
        ])
        .await;
    assert_eq!(
        (status, &again["duplicate"], &again["position"]),
        (0, &json!(true), &receipt["position"])
    );
    let (status, renamed) = cli
        .json(&["send", "acme", "org", "acme", "rename", r#"{"name":"Acme Two"}"#, "--as", "ada"])
        .await;
    assert_eq!(status, 0);

    let version = renamed["version"].to_string();
    let (status, refused) = cli
        .json(&["send", "acme", "org", "acme", "rename", r#"{"name":"x"}"#, "--as", "eve"])
        .await;
    assert_eq!((status, refused["error"]["status"].as_u64()), (3, Some(403)), "{refused}");
    let (status, conflict) = cli
        .json(&[
            "send",
            "acme",
            "org",
            "acme",
            "rename",
            r#"{"name":"x"}"#,
            "--as",
            "ada",
            "--expect",
            "1",
        ])
        .await;
    assert_eq!((status, conflict["error"]["status"].as_u64()), (3, Some(412)), "{conflict}");
    assert_eq!(conflict["error"]["current_version"].to_string(), version);
    let (status, unknown) = cli.json(&["send", "acme", "org", "acme", "fly"]).await;
    assert_eq!(status, 3, "{unknown}");

    let position = renamed["position"].as_str().unwrap();
    let (status, row) = cli.json(&["get", "acme", "org", "acme", "--min-position", position]).await;
    assert_eq!((status, &row["name"]), (0, &json!("Acme Two")));
    let (status, members) = cli.json(&["get", "acme", "members", "--filter", "role=owner", "--all"]).await;
    assert_eq!((status, &members["items"][0]["principal"]), (0, &json!("ada")));
    assert_eq!(cli.json(&["get", "acme", "runs", "--filter", "colour=red"]).await.0, 3);

    let (_, then) = cli
        .json(&[
            "replay",
            "acme",
            "org",
            "acme",
            "--version",
            receipt["version"].to_string().as_str(),
        ])
        .await;
    assert!(then["state"].to_string().contains(r#""Acme""#), "{then}");
    let (_, diff) = cli
        .json(&[
            "replay",
            "acme",
            "org",
            "acme",
            "--diff",
            receipt["version"].to_string().as_str(),
            "now",
        ])
        .await;
    assert_eq!(
        (&diff["changes"][0]["op"], &diff["changes"][0]["to"]),
        (&json!("changed"), &json!("Acme Two")),
        "{diff}"
    );

    let tail =
        tokio::task::block_in_place(|| cli.run(&["tail", "acme", "--from", "start", "--no-follow", "--type", "quipu.org.renamed.v1"]));
    let lines: Vec<Value> = String::from_utf8(tail.stdout)
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(
        (lines[0]["data"]["name"].as_str(), lines[1]["control"].as_str(), lines.len()),
        (Some("Acme Two"), Some("caught_up"), 2)
    );

    assert_eq!(cli.json(&["ops", "health"]).await.1["status"], "ok");
    assert_eq!(cli.json(&["ops", "tree"]).await.1["role"], "node");
    assert_eq!(cli.json(&["outbox", "ls"]).await.1["items"], json!([]));
    assert_eq!(cli.json(&["outbox", "retry", "acme/org/acme@1.0"]).await.0, 3);
    assert_eq!(cli.json(&["views", "lag"]).await.1["ok"], true);
    let (status, verified) = cli.json(&["views", "verify"]).await;
    assert_eq!((status, &verified["equal"]), (0, &json!(true)), "{verified}");
    assert_eq!(cli.json(&["views", "rebuild"]).await.1["status"], "done");

    let data = dir.path().to_str().unwrap();
    assert_eq!(cli.json(&["verify", data]).await.0, 4, "a node uses it");
    let online = dir.path().join("online");
    let (status, manifest) = cli.json(&["backup", "--data", data, online.to_str().unwrap(), "--with-keys"]).await;
    assert_eq!(
        (status, &manifest["keys"]),
        (0, &json!(true)),
        "the node copies itself while it runs: {manifest}"
    );
    assert_eq!(cli.json(&["verify", online.to_str().unwrap()]).await.1["intact"], true);
    assert_eq!(
        cli.json(&["backup", "--data", data, online.to_str().unwrap()]).await.0,
        1,
        "the target is not empty"
    );

    stop(running, dir.path()).await;
    let before = files(dir.path());
    let (status, report) = cli.json(&["verify", data, "--replay"]).await;
    assert_eq!(files(dir.path()), before, "a replay changes nothing: it may be read-only storage");
    assert_eq!(
        (status, &report["intact"], report["replay"]["entities"].as_array().map(Vec::len)),
        (0, &json!(true), Some(2)),
        "the org, and what was refused: {report}"
    );

    // A backup is verified like a data directory, restores to the same records, and opens under a new generation.
    let (backup, restored) = (dir.path().join("backup"), dir.path().join("restored"));
    assert_eq!(
        cli.json(&["backup", "--data", data, backup.to_str().unwrap()]).await.0,
        4,
        "a node is named, and it is gone"
    );
    let offline = quipu().args(["backup", "--data", data, backup.to_str().unwrap()]).output().unwrap();
    let manifest: Value = serde_json::from_slice(&offline.stdout).unwrap();
    assert_eq!((offline.status.code(), &manifest["keys"]), (Some(0), &json!(false)), "{manifest}");
    assert_eq!(
        cli.json(&["restore", backup.to_str().unwrap(), restored.to_str().unwrap()]).await.0,
        0
    );
    let (status, copy) = cli.json(&["verify", restored.to_str().unwrap(), "--replay"]).await;
    assert_eq!(status, 0, "{copy}");
    assert_eq!(
        (&copy["digest"], &copy["replay"]["digest"]),
        (&report["digest"], &report["replay"]["digest"])
    );
    assert!(copy["generation"].as_u64() > report["generation"].as_u64());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_of_the_node_that_is_named_whatever_lies_here() {
    let (there, here) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // A log lies here whose node does not run.
    let idle = quipu::serve::start(quipu::config::Config::at(here.path()).unwrap()).await.unwrap();
    stop(idle, here.path()).await;
    let running = quipu::serve::start(quipu::config::Config::at(there.path()).unwrap()).await.unwrap();
    let cli = Cli {
        data: there.path(),
        url: running.url(),
    };
    assert_eq!(
        cli.json(&["send", "acme", "org", "acme", "create", r#"{"name":"Acme"}"#, "--as", "ada"])
            .await
            .0,
        0
    );
    let out = there.path().join("backup");
    let output = tokio::task::block_in_place(|| {
        quipu()
            .args([
                "backup",
                out.to_str().unwrap(),
                "--data",
                here.path().to_str().unwrap(),
                "--url",
                &running.url(),
            ])
            .env("QUIPU_TOKEN", running.token.expose())
            .output()
            .unwrap()
    });
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report = cli.json(&["verify", out.to_str().unwrap(), "--replay"]).await.1;
    assert_eq!(report["replay"]["entities"].as_array().map(Vec::len), Some(1), "{report}");
    stop(running, there.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn view_without_plural_is_read_and_doubled_fields_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let running = quipu::serve::start(quipu::config::Config::at(dir.path()).unwrap()).await.unwrap();
    let cli = Cli {
        data: dir.path(),
        url: running.url(),
    };
    let (_, receipt) = cli
        .json(&["send", "acme", "org", "acme", "create", r#"{"name":"Acme"}"#, "--as", "ada"])
        .await;
    let position = receipt["position"].as_str().unwrap();
    let (status, activity) = cli.json(&["get", "acme", "activity", "--min-position", position]).await;
    assert_eq!((status, &activity["items"][0]["on_behalf_of"]), (0, &json!("ada")), "{activity}");
    let (status, twice) = cli
        .json(&["send", "acme", "org", "acme", "rename", r#"{"name":"a","name":"b"}"#, "--as", "ada"])
        .await;
    assert!(status == 2 && twice.to_string().contains("`name`"), "{twice}");
    stop(running, dir.path()).await;
}
