//! The catalogue of problems is whole: every code that the source refuses with has a row, and every row is used.

use super::layout::{files, root, shown};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

/// Where definitions of runs are checked: their flaws are problems by the code of the first.
const FLAWS: [&str; 3] = [
    "actors/rules/src/definition",
    "actors/rules/src/components",
    "actors/rules/src/json",
];

/// A source without its comments and what is compiled for tests alone; texts stay.
fn shipped(source: &str) -> String {
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    source.lines().filter(is_code).collect::<Vec<_>>().join("\n")
}

fn is_code(text: &str) -> bool {
    text.len() > 2
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// The text or name that stands here, and what follows it.
fn text_or_name(rest: &str) -> Option<(&str, &str)> {
    match rest.strip_prefix('"') {
        Some(text) => text.split_once('"'),
        None => {
            let end = rest.find(|c: char| !(c.is_ascii_uppercase() || c == '_'))?;
            (end > 1).then(|| rest.split_at(end))
        }
    }
}

/// Codes by which a source refuses: a text or constant behind a status, `404, "not_found",`.
fn refused_with(source: &str, constants: &BTreeMap<String, String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let bytes = source.as_bytes();
    for (at, _) in source.match_indices(',') {
        let Some(status) = at.checked_sub(3).map(|from| &bytes[from..at]) else {
            continue;
        };
        let is_status = matches!(status[0], b'4' | b'5') && status[1..].iter().all(u8::is_ascii_digit);
        let is_whole = at == 3 || !(bytes[at - 4].is_ascii_alphanumeric() || matches!(bytes[at - 4], b'_' | b'.'));
        if !is_status || !is_whole {
            continue;
        }
        let Some((word, behind)) = text_or_name(source[at + 1..].trim_start()) else {
            continue;
        };
        let code = constants.get(word).map_or(word, String::as_str);
        if behind.trim_start().starts_with([',', ')']) && is_code(code) {
            found.insert(code.to_owned());
        }
    }
    found
}

/// Codes that a source hands to a helper of its own, a function or closure with `Problem::new(422, code, …)` in it.
fn refused_through(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, call) in source.match_indices("Problem::new(") {
        let behind = source[at + call.len()..].trim_start();
        if !behind.get(3..).is_some_and(|rest| rest.starts_with(", code,")) {
            continue;
        }
        let before = &source[..at];
        let Some(from) = ["let ", "fn "]
            .iter()
            .filter_map(|word| Some(before.rfind(word)? + word.len()))
            .max()
        else {
            continue;
        };
        let helper = before[from..]
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .next()
            .unwrap_or_default();
        for (at, call) in source.match_indices(&format!("{helper}(")) {
            let text = source[at + call.len()..].trim_start().strip_prefix('"');
            let code = text.and_then(|text| text.split('"').next()).filter(|code| is_code(code));
            found.extend(code.map(str::to_owned));
        }
    }
    found
}

/// Codes of flaws: the second argument of what adds one, or a field `code`.
fn flawed_with(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for call in ["ConfigFlaw::new(", "DefinitionError::one(", ".add("] {
        for (at, _) in source.match_indices(call) {
            let arguments = &source[at + call.len()..];
            let end = arguments.find(';').unwrap_or(arguments.len());
            let parts: Vec<&str> = arguments[..end].split('"').collect();
            // What comes before the text, the text itself, what comes behind it.
            let is_second =
                |three: &&[&str]| three[0].trim_end().ends_with(',') && is_code(three[1]) && three[2].trim_start().starts_with(',');
            found.extend(parts.windows(3).step_by(2).find(is_second).map(|three| three[1].to_owned()));
        }
    }
    for (at, mark) in source.match_indices("code: \"") {
        let code = source[at + mark.len()..].split('"').next().unwrap_or_default();
        found.extend(is_code(code).then(|| code.to_owned()));
    }
    found
}

/// `const NAME: &str = "code";`
fn constants(source: &str) -> impl Iterator<Item = (String, String)> {
    let line = |line: &str| {
        let (name, value) = line.split_once("const ")?.1.split_once(": &str = \"")?;
        let code = value.split('"').next()?;
        is_code(code).then(|| (name.to_owned(), code.to_owned()))
    };
    source.lines().filter_map(line).collect::<Vec<_>>().into_iter()
}

fn sources() -> Vec<(String, String)> {
    let is_ours =
        |name: &str| !name.starts_with("tests/") && !name.contains("/tests/") && !name.contains("/benches/") && !name.ends_with("tests.rs");
    files(".rs")
        .iter()
        .map(|path| (shown(path), path))
        .filter(|(name, _)| is_ours(name))
        .map(|(name, path)| (name, shipped(&fs::read_to_string(path).unwrap())))
        .collect()
}

/// Codes with their statuses, as the table has them.
fn rows() -> BTreeMap<String, String> {
    let table = fs::read_to_string(root().join("ops/docs/problems.md")).unwrap();
    let row = |line: &str| {
        let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
        let (code, statuses) = (cells.next()?, cells.next()?);
        statuses.starts_with(['4', '5']).then(|| (code.to_owned(), statuses.to_owned()))
    };
    table.lines().filter_map(row).collect()
}

#[test]
fn every_code_of_the_source_stands_in_the_catalogue() {
    let (sources, rows) = (sources(), rows());
    let constants: BTreeMap<String, String> = sources.iter().flat_map(|(_, source)| constants(source)).collect();
    let mut missing = BTreeMap::new();
    for (name, source) in &sources {
        let mut codes = refused_with(source, &constants);
        codes.extend(refused_through(source));
        if FLAWS.iter().any(|place| name.starts_with(place)) {
            codes.extend(flawed_with(source));
        }
        for code in codes.into_iter().filter(|code| !rows.contains_key(code)) {
            missing.entry(code).or_insert_with(Vec::new).push(name.clone());
        }
    }
    assert!(missing.is_empty(), "ops/docs/problems.md lacks a row for {missing:#?}");
}

#[test]
fn every_code_of_the_catalogue_is_used() {
    let texts: String = sources().into_iter().map(|(_, source)| source).collect::<Vec<_>>().join("\n");
    let unused: Vec<String> = rows().into_keys().filter(|code| !texts.contains(&format!("\"{code}\""))).collect();
    assert!(
        unused.is_empty(),
        "ops/docs/problems.md has rows that nothing refuses with: {unused:?}"
    );
}

#[test]
fn codes_are_found_however_they_are_written() {
    let constants = BTreeMap::from([("ENDED".to_owned(), "key_ended".to_owned())]);
    let found = refused_with(
        "Problem::new(404, \"not_found\", x) say(\n    409,\n    \"archived\",\n) Problem::new(403, ENDED, x) at(1404, \"no_code\", 1) (400, \"Words.\")",
        &constants,
    );
    assert_eq!(found, BTreeSet::from(["not_found", "archived", "key_ended"].map(str::to_owned)));
    let found = refused_through(
        "fn bad(code: &str) -> Problem { Problem::new(422, code, x) } let late = |code| Problem::new(409, code, y); bad(\"no_scope\") late(\n \"too_late\", z) other(\"not_one\")",
    );
    assert_eq!(found, BTreeSet::from(["no_scope", "too_late"].map(str::to_owned)));
    let found = flawed_with(
        "ConfigFlaw::new(\"method\", \"bad_config\", y); found.add(format!(\"{at}.id\"), \"twice_named\", z); Flaw { code: \"bad_retry\".into() }",
    );
    assert_eq!(found, BTreeSet::from(["bad_config", "twice_named", "bad_retry"].map(str::to_owned)));
}
