//! The threat model tells no threat answered without a test that is there.

use super::layout::root;
use std::fs;

/// Rows of the tables whose last column is called `test`.
fn threats(document: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut is_within = false;
    for line in document.lines() {
        let Some(row) = line.strip_prefix("| ") else {
            is_within &= line.starts_with("|--");
            continue;
        };
        let columns: Vec<String> = row.trim_end_matches(" |").split(" | ").map(str::to_owned).collect();
        if columns == ["threat", "answer", "test"] {
            is_within = true;
        } else if is_within {
            rows.push(columns);
        }
    }
    rows
}

#[test]
fn every_threat_names_tests_that_exist() {
    let document = fs::read_to_string(root().join("ops/docs/threat-model.md")).unwrap();
    let rows = threats(&document);
    assert!(rows.len() >= 40, "{} threats", rows.len());
    for row in rows {
        let [threat, answer, tests] = &row[..] else {
            panic!("a threat has three columns: {row:?}")
        };
        assert!(!answer.is_empty(), "{threat} has no answer");
        let named: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{threat} names no test");
        for name in named {
            let (file, test) = name.split_once("::").unwrap_or_else(|| panic!("{threat}: not a test: {name}"));
            let text = fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{threat} names {file}: {e}"));
            assert!(text.contains(&format!("fn {test}(")), "{threat}: no test `{test}` in {file}");
        }
    }
}
