//! Nodes that the binary starts.

use super::{Cli, quipu, stop};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

/// A node of its own process, with the first line that it prints.
pub(super) fn serve(args: &[&str]) -> (std::process::Child, Value) {
    let mut child = quipu()
        .arg("serve")
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let ready = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
    (child, ready)
}

/// Stops it in order, and returns what it logged.
fn stopped(child: std::process::Child) -> String {
    let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    String::from_utf8(output.stderr).unwrap()
}

#[cfg(unix)]
#[test]
fn an_ordinary_stop_logs_nothing_bad_and_a_new_token_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let (child, ready) = serve(&["--data", data, "--listen", "127.0.0.1:0"]);
    let file = ready["token_file"].as_str().unwrap_or_else(|| panic!("{ready}"));
    let token = std::fs::read_to_string(file).unwrap();
    assert!(!ready.to_string().contains(token.trim()), "a token in a file is in no log as well");
    let sent = quipu()
        .args(["send", "acme", "org", "acme", "create", r#"{"name":"Acme"}"#, "--data", data])
        .output()
        .unwrap();
    assert!(sent.status.success());
    // Records wait to be moved into the index's file at this moment.
    let log = stopped(child);
    assert!(log.contains("stopped") && log.contains("token was minted"), "{log}");
    assert!(
        !log.contains("ERROR") && !log.contains("WARN") && !log.contains(token.trim()),
        "{log}"
    );

    let (child, ready) = serve(&["--data", data, "--listen", "127.0.0.1:0"]);
    assert_eq!(ready.get("token_file"), None, "only the start that mints it tells");
    stopped(child);
}

/// With everything that a node can log.
#[cfg(unix)]
#[test]
fn a_key_is_printed_once_and_no_log_line_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let (mut child, _) = serve(&["--data", data, "--listen", "127.0.0.1:0", "--set", "logging.level=trace"]);
    // Read while it is written: there is more than a pipe holds.
    let mut lines = child.stderr.take().unwrap();
    let log = std::thread::spawn(move || {
        let mut log = String::new();
        lines.read_to_string(&mut log).map(|_| log)
    });
    let send = |args: &[&str]| {
        let output = quipu().arg("send").arg("acme").args(args).args(["--data", data]).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    send(&["org", "acme", "create", r#"{"name":"Acme"}"#]);
    let create = ["api-key", "ci", "create", r#"{"name":"CI","principal":"ada"}"#, "--id", "once"];
    let printed: Value = serde_json::from_str(&send(&create)).unwrap();
    let key = printed["shown"].as_str().unwrap_or_else(|| panic!("{printed}"));
    let secret = key.strip_prefix("qpk_acme.ci.").unwrap();
    let again = send(&create);
    assert!(again.contains(r#""duplicate":true"#) && !again.contains("qpk_"), "{again}");
    stopped(child);
    let log = log.join().unwrap().unwrap();
    assert!(log.contains("TRACE"), "everything is logged: {log}");
    assert!(!log.contains(&secret[..20]));
}

#[cfg(unix)]
#[test]
fn open_node_warns_and_a_node_without_files_shows_its_token() {
    let (child, ready) = serve(&["--memory", "--listen", "0.0.0.0:0"]);
    assert!(ready["token"].as_str().is_some_and(|token| token.starts_with("qp_")), "{ready}");
    let log = stopped(child);
    assert!(log.contains("WARN") && log.contains("TLS"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_is_located_and_the_exit_code_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let running = quipu::serve::start(quipu::config::Config::at(dir.path()).unwrap()).await.unwrap();
    let cli = Cli {
        data: dir.path(),
        url: running.url(),
    };
    let words = "a name to be found again";
    let body = json!({ "name": words }).to_string();
    assert_eq!(
        cli.json(&["send", "acme", "org", "acme", "create", &body, "--as", "ada"]).await.0,
        0
    );
    stop(running, dir.path()).await;

    let segment = std::fs::read_dir(dir.path().join("log"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "seg"))
        .unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(words.len()).position(|w| w == words.as_bytes()).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();

    let (status, report) = cli.json(&["verify", dir.path().to_str().unwrap()]).await;
    assert_eq!((status, &report["intact"]), (1, &json!(false)), "{report}");
    let problem = &report["problems"][0];
    assert_eq!(problem["file"].as_str(), segment.to_str());
    assert!(problem["byte"].as_u64().unwrap() <= at as u64, "{problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_before_damage_is_served_and_the_damage_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let running = quipu::serve::start(quipu::config::Config::at(dir.path()).unwrap()).await.unwrap();
    let cli = Cli {
        data: dir.path(),
        url: running.url(),
    };
    for (command, name) in [
        ("create", "first"),
        ("rename", "second"),
        ("rename", "to be damaged"),
        ("rename", "last"),
    ] {
        let body = json!({ "name": name }).to_string();
        assert_eq!(cli.json(&["send", "acme", "org", "acme", command, &body, "--as", "ada"]).await.0, 0);
    }
    stop(running, dir.path()).await;
    let segment = dir.path().join("log/0000000000000001.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    let words = b"to be damaged";
    let at = bytes.windows(words.len()).position(|w| w == words).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();

    // Once with the index and views as they were, once from the log alone.
    for (anew, other) in [(false, "other"), (true, "another")] {
        if anew {
            std::fs::remove_dir_all(dir.path().join("index")).unwrap();
            std::fs::remove_dir_all(dir.path().join("views")).unwrap();
        }
        let running = quipu::serve::start(quipu::config::Config::at(dir.path()).unwrap()).await.unwrap();
        let cli = Cli {
            data: dir.path(),
            url: running.url(),
        };
        let tail = tokio::task::block_in_place(|| cli.run(&["tail", "acme", "--from", "start", "--no-follow"]));
        let tail = String::from_utf8([tail.stdout, tail.stderr].concat()).unwrap();
        assert!(tail.contains("\"second\"") && !tail.contains("\"last\""), "{tail}");
        assert!(tail.contains("\"control\":\"stopped\"") && tail.contains("damaged"), "{tail}");
        let (status, health) = cli.json(&["ops", "health"]).await;
        assert_eq!((status, &health["status"]), (1, &json!("degraded")), "{health}");
        assert!(health.to_string().contains("stopped at offset 2"), "{health}");
        // The other partitions go on.
        assert_eq!(cli.json(&["send", other, "org", other, "create", r#"{"name":"O"}"#]).await.0, 0);
        stop(running, dir.path()).await;
    }
}
