//! What is too long today, counted: the numbers only shrink.

use super::layout::{files, root, shown};
use std::{fs, path::Path};

/// Longest file, in lines.
const FILE_LINES: usize = 400;
/// Longest function, in lines.
const FUNCTION_LINES: usize = 70;
/// Longest name of a test, in letters.
const TEST_NAME_LETTERS: usize = 60;

/// How many there are of each. Where there are fewer, lower the number; where there are more, divide or shorten what is new.
const ALLOWED: [(&str, usize); 4] = [
    ("files of more than 400 lines", 27),
    ("functions of more than 70 lines", 74),
    ("names of tests of more than 60 letters", 0),
    ("limits outside schemas/src/limits", 0),
];

/// Functions of a formatted source with their lengths: from the line of `fn` to the brace that closes it.
fn functions(source: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = source.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let words = ["pub ", "pub(crate) ", "pub(super) ", "const ", "async "];
        let bare = words.iter().fold(code, |rest, word| rest.strip_prefix(word).unwrap_or(rest));
        let Some(rest) = bare.strip_prefix("fn ") else { continue };
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let close = format!("{}}}", " ".repeat(indent));
        // A body on one line, or a declaration, has no such brace before the next function.
        let is_open = lines[at..].iter().find_map(|line| match line.trim_end() {
            end if end.ends_with('{') => Some(true),
            end if end.ends_with(';') || end.ends_with('}') => Some(false),
            _ => None,
        });
        if is_open != Some(true) {
            continue;
        }
        if let Some(length) = lines[at..].iter().position(|line| *line == close) {
            found.push((name, length + 1));
        }
    }
    found
}

/// Names of the functions that `#[test]` or the like stands before.
fn tests(source: &str) -> Vec<String> {
    let mut is_test = false;
    let mut found = Vec::new();
    for line in source.lines().map(str::trim_start) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if is_test && line.contains("fn ") {
            let name = line.split("fn ").nth(1).and_then(|rest| rest.split(['(', '<']).next());
            found.extend(name.map(str::to_owned));
            is_test = false;
        }
    }
    found
}

/// Names of constants that bound something, by how their names end.
fn limits(source: &str) -> Vec<String> {
    let bounds = |name: &str| name.ends_with("_MAX") || name.contains("_MAX_") || name.starts_with("MAX_");
    let named = |line: &str| {
        let code = line.trim_start();
        let rest = ["pub const ", "pub(crate) const ", "pub(super) const ", "const "]
            .iter()
            .find_map(|word| code.strip_prefix(word))?;
        rest.split(':').next().map(str::to_owned).filter(|name| bounds(name))
    };
    source.lines().filter_map(named).collect()
}

fn is_shipped(path: &Path) -> bool {
    let name = shown(path);
    let is_test = name.contains("/tests/") || name.contains("/benches/") || name.contains("/examples/") || name.starts_with("tests/");
    !is_test && !name.ends_with("/tests.rs")
}

#[test]
fn nothing_grows_longer_than_it_may() {
    let mut found: [Vec<String>; 4] = Default::default();
    for path in files(".rs") {
        let source = fs::read_to_string(&path).unwrap();
        let lines = source.lines().count();
        if lines > FILE_LINES {
            found[0].push(format!("{} ({lines})", shown(&path)));
        }
        for (name, length) in functions(&source).into_iter().filter(|(_, length)| *length > FUNCTION_LINES) {
            found[1].push(format!("{}: {name} ({length})", shown(&path)));
        }
        for name in tests(&source).into_iter().filter(|name| name.len() > TEST_NAME_LETTERS) {
            found[2].push(format!("{}: {name}", shown(&path)));
        }
        if is_shipped(&path) && !path.starts_with(root().join("schemas/src/limits")) && shown(&path) != "schemas/src/limits.rs" {
            found[3].extend(limits(&source).into_iter().map(|name| format!("{}: {name}", shown(&path))));
        }
    }
    let wrong: Vec<String> = ALLOWED
        .iter()
        .zip(&found)
        .filter(|((_, allowed), found)| *allowed != found.len())
        .map(|((what, allowed), found)| format!("{what}: {} (ratchet: {allowed})\n  {}", found.len(), found.join("\n  ")))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn long_functions_tests_and_limits_are_found() {
    let source = "impl X {\n    pub async fn long(\n        a: u8,\n    ) {\n        b();\n    }\n    fn short() {}\n}\n#[test]\nfn a_name() {\n}\nconst X_MAX: u8 = 1;\npub const OTHER: u8 = 1;\n";
    assert_eq!(functions(source), [("long".to_owned(), 5), ("a_name".to_owned(), 2)]);
    assert_eq!(tests(source), ["a_name"]);
    assert_eq!(limits(source), ["X_MAX"]);
}
