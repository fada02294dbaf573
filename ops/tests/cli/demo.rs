//! The demo as a newcomer runs it: the real binary, a real child process, a real SIGKILL.

use serde_json::Value;
use std::process::Command;

fn demo(args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_quipu")).arg("demo").args(args).output().unwrap()
}

#[test]
fn the_whole_scene_holds() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("scene");
    let output = demo(&["--once", "--json", "--data", data.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stdout);
    let told = format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.last().unwrap();
    assert_eq!(summary["ok"], true, "{told}");
    let shown: Vec<&str> = summary["shown"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["shown"].as_str().unwrap())
        .collect();
    for what in [
        "a repeated command is decided once",
        "two could answer, one won",
        "streamed token by token",
        "a run branches",
        "SIGKILL, and on from the log",
        "a durable timer survives",
        "a signed webhook, repeated safely",
        "a person approves",
        "views = rebuild from zero",
        "states = replay from zero",
        "the chain verifies",
        "personal data is sealed",
        "truth is the log alone",
    ] {
        assert!(shown.contains(&what), "{what} was not shown: {shown:?}");
    }
    // Whoever reads the answers is told that no model gave them.
    assert!(
        lines
            .iter()
            .any(|line| line["text"].as_str().is_some_and(|t| t.contains("provider `scripted`"))),
        "{told}"
    );

    // What it leaves behind is a data directory like any other; and the scene begins with an empty one.
    let verify = Command::new(env!("CARGO_BIN_EXE_quipu")).arg("verify").arg(&data).output().unwrap();
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stdout));
    assert_eq!(demo(&["--once", "--data", data.to_str().unwrap()]).status.code(), Some(2));
}

/// Whoever changes a flag or a default may break the nodes that a measurement starts.
#[test]
fn shortest_bench_measures_nodes_of_its_own() {
    let args = ["bench", "--json", "--quick", "--only", "start", "--entities", "200"];
    let output = Command::new(env!("CARGO_BIN_EXE_quipu")).args(args).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    // A build for tests may miss a target (exit code 1), but every line is measured.
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {told}"));
    let lines = report["lines"].as_array().unwrap();
    let is_measured = |line: &Value| {
        line["measured"]
            .as_str()
            .is_some_and(|measured| measured.contains(char::is_numeric))
    };
    assert!(lines.len() >= 3 && lines.iter().all(is_measured), "{report}");
}
