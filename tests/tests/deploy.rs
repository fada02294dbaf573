//! The files under `ops/deploy/` name metrics and keys that exist. What they start is not started here: there is no container engine.

use std::{collections::BTreeSet, fs, path::Path};

fn text(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    fs::read_to_string(root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
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
            assert!(reference.contains(&format!("`{name}`")), "{file} sets {name}, which is no key");
        }
    }
}

#[test]
fn the_image_is_built_with_every_backend_and_runs_as_nobody_in_particular() {
    let dockerfile = text("ops/deploy/Dockerfile");
    let manifest = text("ops/Cargo.toml");
    for feature in ["jetstream", "kafka", "postgres"] {
        assert!(
            manifest.contains(&format!("\n{feature} = ")) && dockerfile.contains(feature),
            "{feature}"
        );
    }
    assert!(dockerfile.contains("\nUSER quipu\n"));
}
