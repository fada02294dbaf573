//! Crates that `deny.toml` bans are not locked, so that a second TLS stack is seen without `cargo deny`.

use super::layout::root;
use std::{collections::BTreeMap, fs};

/// A banned crate with those that may depend on it all the same.
fn bans(deny: &str) -> BTreeMap<String, Vec<String>> {
    let mut bans = BTreeMap::new();
    for line in deny.lines().map(str::trim_start) {
        let Some(rest) = line.strip_prefix("{ crate = \"") else { continue };
        let Some((name, rest)) = rest.split_once('"') else { continue };
        let wrappers = rest.split_once("wrappers = [").and_then(|(_, rest)| rest.split_once(']'));
        let wrappers = wrappers.map_or("", |(list, _)| list).split(',');
        let wrappers = wrappers.map(|name| name.trim().trim_matches('"').to_owned());
        bans.insert(name.to_owned(), wrappers.filter(|name| !name.is_empty()).collect());
    }
    bans
}

/// Locked packages with what they depend on.
fn locked(lock: &str) -> Vec<(String, Vec<String>)> {
    let package = |text: &str| {
        let name = text.lines().find_map(|line| line.strip_prefix("name = \""))?.trim_end_matches('"');
        let listed = text.split_once("dependencies = [").map_or("", |(_, rest)| rest);
        let depends = listed.lines().filter_map(|line| line.trim().strip_prefix('"'));
        let depends = depends.map(|line| line.split([' ', '"']).next().unwrap_or_default().to_owned());
        Some((name.to_owned(), depends.collect()))
    };
    lock.split("[[package]]").skip(1).filter_map(package).collect()
}

/// What is locked against the bans.
fn wrong(deny: &str, lock: &str) -> Vec<String> {
    let bans = bans(deny);
    let packages = locked(lock);
    let mut wrong = Vec::new();
    for (name, _) in &packages {
        let Some(wrappers) = bans.get(name) else { continue };
        let by: Vec<&String> = packages
            .iter()
            .filter(|(_, depends)| depends.contains(name))
            .map(|(by, _)| by)
            .collect();
        if by.is_empty() {
            wrong.push(name.clone());
        }
        let others = by.into_iter().filter(|by| !wrappers.contains(by));
        wrong.extend(others.map(|by| format!("{name} by {by}")));
    }
    wrong
}

#[test]
fn banned_crates_are_not_locked() {
    let read = |name: &str| fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let deny = read("deny.toml");
    assert!(bans(&deny).len() >= 6, "the bans were not read");
    for lock in ["Cargo.lock", "tests/oracle/Cargo.lock"] {
        let lock = read(lock);
        assert!(locked(&lock).len() > 100, "the packages were not read");
        assert_eq!(wrong(&deny, &lock), Vec::<String>::new());
    }
}

#[test]
fn banned_crate_is_found_but_behind_its_wrapper() {
    let deny = "deny = [\n    { crate = \"bad\", wrappers = [\"may\"], reason = \"x\" },\n    { crate = \"worse\", reason = \"y\" },\n]";
    let package = |name: &str, on: &str| format!("[[package]]\nname = \"{name}\"\ndependencies = [\n \"{on}\",\n]\n");
    let lock = package("may", "bad") + &package("else", "bad 1.0") + "[[package]]\nname = \"bad\"\n" + "[[package]]\nname = \"worse\"\n";
    assert_eq!(wrong(deny, &lock), ["bad by else", "worse"]);
}
