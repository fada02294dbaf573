//! The laws of the house: arrows between crates, purity of the rules, nothing unfinished, paths in documents exist.

mod english;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the root")
        .to_owned()
}

fn sources(under: &Path, ending: &str, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(under).unwrap_or_else(|e| panic!("{}: {e}", under.display())) {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && !["target", "node_modules", "corpus"].contains(&name.as_str()) {
                sources(&path, ending, out);
            }
        } else if name.ends_with(ending) {
            out.push(path);
        }
    }
}

pub(super) fn files(ending: &str) -> Vec<PathBuf> {
    let mut out = Vec::new();
    sources(&root(), ending, &mut out);
    out.sort();
    out
}

pub(super) fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// `crate -> crates that it may depend on`, dev-dependencies included.
fn arrows() -> BTreeMap<&'static str, Vec<&'static str>> {
    BTreeMap::from([
        ("schemas", vec![]),
        ("schemas/kinds", vec!["quipu-schemas"]),
        ("actors/rules", vec!["quipu-schemas", "quipu-kinds"]),
        ("events", vec!["quipu-schemas"]),
        ("projections", vec!["quipu-schemas", "quipu-kinds", "quipu-events"]),
        (
            "actors/runtime",
            vec!["quipu-schemas", "quipu-kinds", "quipu-rules", "quipu-events"],
        ),
        (
            "ops",
            vec!["quipu-schemas", "quipu-kinds", "quipu-runtime", "quipu-projections", "quipu-events"],
        ),
    ])
}

#[test]
fn nothing_but_the_allowed_arrows_compiles() {
    for (folder, allowed) in arrows() {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let ours = manifest
            .lines()
            .filter_map(|line| line.split(['.', ' ', '=']).next())
            .filter(|name| name.starts_with("quipu-"));
        for name in ours {
            assert!(
                allowed.contains(&name),
                "{folder} must not depend on {name}: see DESIGN, the arrows of the house"
            );
        }
    }
}

#[test]
fn ractor_stays_in_runtime_and_the_environment_in_ops() {
    for path in files(".rs") {
        let name = shown(&path);
        if name.starts_with("tests/") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let runtime = name.starts_with("actors/runtime/");
        assert!(runtime || !text.contains("ractor::"), "{name} names ractor");
        let ops = name.starts_with("ops/") || name.contains("/examples/") || name.contains("/benches/") || name.contains("/tests/");
        assert!(
            ops || !(text.contains("env::var") || text.contains("env::args")),
            "{name} reads the environment"
        );
    }
}

#[test]
fn rules_are_pure() {
    let banned = [
        "SystemTime",
        "Instant::now",
        "rand::",
        "getrandom",
        "HashMap",
        "HashSet",
        "std::fs",
        "std::net",
        "tokio",
        "async fn",
        "std::env",
    ];
    for path in files(".rs").into_iter().filter(|p| shown(p).starts_with("actors/rules/src")) {
        let text = fs::read_to_string(&path).unwrap();
        for word in banned {
            assert!(
                !text.contains(word),
                "{} uses {word}: rules look at nothing but their inputs",
                shown(&path)
            );
        }
    }
}

/// Plurals come from the sheet of kinds: `memorys` would stand in the sources of events for ever.
#[test]
fn plurals_are_not_made_by_formatting() {
    let allowed = ["schemas/src/kind.rs", "tests/tests/laws/layout.rs"];
    for path in files(".rs").into_iter().filter(|p| !allowed.contains(&shown(p).as_str())) {
        for (place, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            // A placeholder with an `s` right behind it, in a path or alone; numbers with their unit look otherwise.
            let made = line.match_indices("}s").any(|(at, _)| {
                let (before, after) = (&line[..at], &line[at + 2..]);
                let placeholder = before.rsplit('{').next().unwrap_or_default();
                let is_number = placeholder.contains(':');
                let is_placeholder = before.contains('{') && placeholder.chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c));
                !is_number && is_placeholder && (after.starts_with(['/', '"', '?', '\\', '[', '`']))
            });
            assert!(!made, "{}:{}: use Kind::plural, not an `s`", shown(&path), place + 1);
        }
    }
}

#[test]
fn machines_iterate_no_randomly_seeded_map() {
    let machines = ["actors/runtime/src/kernel", "projections/src", "events/src"];
    for path in files(".rs")
        .into_iter()
        .filter(|p| machines.iter().any(|m| shown(p).starts_with(m)))
    {
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            !text.contains("HashMap") && !text.contains("HashSet"),
            "{} uses a randomly seeded map",
            shown(&path)
        );
    }
}

#[test]
fn nothing_is_unfinished_ignored_or_unsafe() {
    // Spelled apart so that this file does not accuse itself.
    let banned = [
        ["to", "do!("],
        ["unimple", "mented!("],
        ["#[ign", "ore"],
        ["FIX", "ME"],
        ["uns", "afe {"],
        ["mod util", "s;"],
        ["mod help", "ers;"],
    ];
    for path in files(".rs") {
        let text = fs::read_to_string(&path).unwrap();
        for [head, tail] in banned {
            let word = format!("{head}{tail}");
            assert!(!text.contains(&word), "{} contains `{word}`", shown(&path));
        }
    }
}

#[test]
fn tests_wait_for_conditions_not_for_time() {
    let word = ["thread::sl", "eep("].concat();
    for path in files(".rs").into_iter().filter(|p| shown(p).contains("tests/")) {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| line.contains(&word)) {
            let polls = line.contains("// poll");
            assert!(
                polls,
                "{}:{}: a test sleeps; wait for the condition (a bounded poll says `// poll`)",
                shown(&path),
                number + 1
            );
        }
    }
}

#[test]
fn tests_say_in_one_place_what_they_skipped() {
    // CI greps for these lines; what is said otherwise is not seen. Past the harness goes only what this file writes.
    let home = "events/tests/servers/skipped.rs";
    let words = [
        ["io::std", "err()"],
        ["SKIP", "PED"],
        ["QUIPU_REQUIRE", "_SERVERS"],
        ["skip", "ped: "],
    ];
    for path in files(".rs") {
        let name = shown(&path);
        if !(name.contains("/tests/") || name.starts_with("tests/src")) || name == home {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for [head, tail] in words {
                let word = format!("{head}{tail}");
                assert!(!line.contains(&word), "{name}:{}: `{word}`: call {home}", number + 1);
            }
        }
    }
}

#[test]
fn every_guarantee_names_tests_that_exist() {
    let document = fs::read_to_string(root().join("ops/docs/guarantees.md")).unwrap();
    let rows: Vec<Vec<&str>> = document
        .lines()
        .filter(|line| line.starts_with("| ") && line[2..].starts_with(|c: char| c.is_ascii_digit()))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert!(rows.len() >= 47, "{} rows", rows.len());
    for (at, row) in rows.iter().enumerate() {
        let [number, _, tests] = row[..] else {
            panic!("a guarantee has three columns: {row:?}")
        };
        assert_eq!(number, (at + 1).to_string(), "guarantees are numbered without gaps");
        let named: Vec<(&str, &str)> = tests
            .split('`')
            .skip(1)
            .step_by(2)
            .filter_map(|quoted| quoted.split_once("::"))
            .collect();
        assert!(!named.is_empty(), "guarantee {number} names no `file::test`: {tests}");
        for (file, test) in named {
            let text = fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("guarantee {number} names {file}: {e}"));
            // Macros make one test a backend out of each name of a contract.
            let is_there = text.contains(&format!("fn {test}(")) || text.lines().any(|line| line.trim().trim_end_matches(',') == test);
            assert!(is_there, "guarantee {number}: no test `{test}` in {file}");
        }
    }
}

#[test]
fn paths_named_in_documents_exist() {
    let mut documents = files(".md");
    documents.retain(|p| !shown(p).starts_with("CHANGELOG"));
    let roots = ["schemas/", "actors/", "events/", "projections/", "ops/", "tests/"];
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for quoted in text.split('`').skip(1).step_by(2) {
            let path = quoted.split([':', '#', ' ']).next().unwrap_or_default();
            let looks = roots.iter().any(|r| path.starts_with(r)) && !path.contains(['*', '{', '<', '…']);
            if looks {
                assert!(
                    root().join(path).exists(),
                    "{} names `{path}`, which does not exist",
                    shown(&document)
                );
            }
        }
    }
}

/// The folders of crates, none of which has a circle of imports: neither between its files, nor between the modules of its root.
const CRATES: [&str; 7] = [
    "schemas",
    "schemas/kinds",
    "actors/rules",
    "actors/runtime",
    "events",
    "projections",
    "ops",
];

#[test]
fn imports_of_a_crate_make_no_circle() {
    let mut wrong = Vec::new();
    for folder in CRATES {
        let imports = crate::circles::Imports::of(&root().join(folder).join("src"));
        for (between, found) in [("files", imports.circles()), ("modules", imports.of_rooms().circles())] {
            if !found.is_empty() {
                wrong.push(format!("between {between} of {folder}: {found:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "open these circles:\n{}", wrong.join("\n"));
}
