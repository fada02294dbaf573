//! Other things that a node can run out of: whoever reads its log lines, the size of a file, address space.

use quipu_tests::process::{Launch, binary};
use serde_json::json;
use std::{
    fs::OpenOptions,
    process::{Output, Stdio},
};
use tokio::process::Command;

fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").expect("a full device").into()
}

/// A pipe whose reader has ended.
fn unread() -> Stdio {
    let (_, writer) = std::io::pipe().expect("a pipe");
    writer.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_whose_log_lines_are_lost_serves_and_stops_in_order() {
    for lines in [full, unread] {
        let mut launch = Launch::new().lines_to(lines);
        let node = launch.start().await;
        let ada = node.caller.acting_for("ada");
        ada.post("/v1/orgs/acme/orgs/acme", json!({ "name": "Acme" })).await.taken();
        let page = node.caller.get("/metrics").await.text;
        let lost = page.lines().find_map(|line| line.strip_prefix("quipu_log_lines_lost_total "));
        assert!(lost.is_some_and(|lost| lost != "0"), "{lost:?}");
        node.stop().await;
    }
}

/// Runs `quipu serve` under a limit of the shell until it ends.
async fn limited(limit: &str) -> Output {
    let data = tempfile::tempdir().expect("a directory");
    Command::new("sh")
        .args(["-c", &format!("ulimit {limit}; exec \"$@\""), "sh"])
        .arg(binary())
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data.path().join("data"))
        // Names the binary to the tests, and would be a key of the configuration to it.
        .env_remove("QUIPU_BIN")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("sh runs")
}

#[tokio::test]
async fn limits_that_a_node_cannot_live_with_refuse_its_start() {
    // 16 MiB a file, in blocks of 512 bytes: no segment fits. 500 MiB of addresses.
    for (limit, told) in [("-f 32768", "File too large"), ("-v 512000", "ulimit -v")] {
        let output = limited(limit).await;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{limit}: {error}");
        assert!(error.contains(told), "{limit}: {error}");
    }
}
