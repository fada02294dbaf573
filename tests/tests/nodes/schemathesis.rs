//! Schemathesis over our own OpenAPI: no 5xx, no undocumented answer.
//!
//! The tool is Python. It is installed once into `.tools/py` by `python3 -m venv` and pip; where Python or the package
//! index is missing, the test says what it skipped and passes. `QUIPU_SCHEMATHESIS_SECONDS` bounds the whole run.

use quipu_tests::{
    office::Office,
    venv::{skipped, venv},
};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

const VERSION: &str = "4.32.5";

/// The tool, installed if need be; or why there is none.
fn tool() -> Result<PathBuf, String> {
    let home = venv("py", &[&format!("schemathesis=={VERSION}")])?;
    Ok(home.join("bin/schemathesis"))
}

/// What the tool may run into that is no answer to wait for: channels that stay open until the client goes.
fn without_endless_channels(mut document: Value) -> Value {
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, item) in paths.iter_mut() {
            if (path.ends_with("/live") || path.ends_with("/events"))
                && let Some(operations) = item.as_object_mut()
            {
                operations.remove("get");
            }
        }
        paths.retain(|_, item| {
            item.as_object()
                .is_some_and(|o| o.keys().any(|k| ["get", "post"].contains(&k.as_str())))
        });
    }
    document
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_no_5xx_and_no_undocumented_answer() {
    let tool = match tool() {
        Ok(tool) => tool,
        Err(why) => {
            return skipped("Schemathesis over /docs/openapi.json", &why);
        }
    };
    let office = Office::open().await;
    office.agent("scout", "hello", json!([])).await;
    office.room("desk", &["scout"], 0).await;
    let token = std::fs::read_to_string(office.launch.data().join("token")).expect("the token");
    let bootstrap = ["Authorization: Bearer ".to_owned() + token.trim(), "Quipu-On-Behalf-Of: ada".into()];
    run(&tool, &office, &bootstrap, seconds() * 3 / 4).await;
    // Whoever may only read meets the refusals, which the node's token never does.
    let made = json!({ "name": "Vic", "principal": "vic" });
    let member = json!({ "principal": "vic", "role": "viewer" });
    office.ada.post("/v1/orgs/acme/orgs/acme/add_member", member).await.taken();
    let key = office.ada.post("/v1/orgs/acme/api-keys/key-vic", made).await.taken().body;
    let viewer = ["Authorization: Bearer ".to_owned() + key["shown"].as_str().expect("the key's text")];
    run(&tool, &office, &viewer, seconds() / 4).await;
    assert!(!office.node().log_text().contains("panicked"), "{}", office.node().log_tail());
    let job = office.node().caller.views_job("verify").await;
    assert_eq!(job["equal"], Value::Bool(true), "{job}");
}

/// How long all runs may take together.
fn seconds() -> u64 {
    let given = std::env::var("QUIPU_SCHEMATHESIS_SECONDS").ok();
    given.and_then(|s| s.parse().ok()).unwrap_or(60)
}

/// Runs the tool over the whole document, by whoever these headers show.
async fn run(tool: &Path, office: &Office, shown: &[String], seconds: u64) {
    let document = without_endless_channels(office.ada.get("/docs/openapi.json").await.taken().body);
    let home = tempfile::tempdir().expect("a directory");
    let schema = home.path().join("openapi.json");
    std::fs::write(&schema, document.to_string()).expect("written");
    let mut command = tokio::process::Command::new(tool);
    command
        .current_dir(home.path())
        .kill_on_drop(true)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["run", &schema.to_string_lossy(), "--url", office.ada.base()])
        .args(shown.iter().flat_map(|header| ["--header", header.as_str()]))
        // Undocumented statuses, types, headers and bodies are failures, and so is every 5xx.
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance",
        ])
        .args([
            "--phases",
            "examples,coverage,fuzzing",
            "--max-time",
            &seconds.to_string(),
            // Python before 3.11.5 loses count of its own parser's depth where two threads compile at once
            // ("AST constructor recursion depth mismatch"), and the tool then ends with an error of its own.
            "--workers",
            "1",
            "--request-timeout",
            "20",
            "--seed",
            "1",
        ])
        .args(["--suppress-health-check", "all", "--warnings", "off", "--no-shrink"]);
    // Tests that were begun when the time is up are finished.
    let ended = tokio::time::timeout(Duration::from_secs(seconds * 2 + 60), command.output()).await;
    match ended {
        Ok(output) => {
            let output = output.expect("the tool runs");
            let said = String::from_utf8_lossy(&output.stdout);
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}\n{words}\n{}", office.node().log_tail());
            println!(
                "{}",
                said.lines()
                    .rev()
                    .take(20)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .rev()
                    .collect::<Vec<_>>()
                    .join("\n")
            );
        }
        Err(_) => panic!("Schemathesis was given {seconds} s and does not end"),
    }
}
