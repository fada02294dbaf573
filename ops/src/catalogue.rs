//! All codes of problems, with what they mean and what to do: the table of `ops/docs/problems.md`, as the node serves it.

use quipu_schemas::problem::Problem;
use serde::Serialize;
use std::{collections::BTreeMap, sync::OnceLock};

/// Where the node serves it.
pub const PATH: &str = "/docs/problems";

const TABLE: &str = include_str!("../docs/problems.md");

/// One code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// As in a problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The stable code.
    pub code: &'static str,
    /// Statuses that it comes with.
    pub statuses: Vec<u16>,
    /// The code in words.
    pub title: String,
    /// What it means.
    pub meaning: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

/// A row of the table: its cells, where it has four.
fn cells(line: &'static str) -> Option<[&'static str; 4]> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    let cells: Vec<&str> = inner.split('|').map(str::trim).collect();
    cells.try_into().ok()
}

fn entry(line: &'static str) -> Option<Entry> {
    let [code, statuses, meaning, remedy] = cells(line)?;
    // The heads of the columns, and the line below them.
    let statuses: Vec<u16> = statuses
        .split(',')
        .map(|status| status.trim().parse().ok())
        .collect::<Option<_>>()?;
    let Problem { kind, title, .. } = Problem::new(0, code, "");
    Some(Entry {
        kind,
        code,
        statuses,
        title,
        meaning,
        remedy,
    })
}

/// All codes, in order.
pub fn all() -> &'static BTreeMap<&'static str, Entry> {
    static ALL: OnceLock<BTreeMap<&'static str, Entry>> = OnceLock::new();
    ALL.get_or_init(|| TABLE.lines().filter_map(entry).map(|entry| (entry.code, entry)).collect())
}

/// Where a code is explained, below the node's address; `None` for a code that only a kind of somebody's own uses.
pub fn docs(code: &str) -> Option<String> {
    all().contains_key(code).then(|| format!("{PATH}/{code}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read_and_stands_in_order() {
        let rows: Vec<&str> = TABLE.lines().filter(|line| line.starts_with('|')).skip(2).collect();
        let read: Vec<&str> = rows.iter().filter_map(|row| entry(row)).map(|entry| entry.code).collect();
        assert_eq!(read.len(), rows.len(), "a row without four cells, or without statuses");
        assert!(
            read.windows(2).all(|pair| pair[0] < pair[1]),
            "rows are sorted by code, each once: {read:?}"
        );
        assert_eq!(all().len(), rows.len());
        for entry in all().values() {
            let ends = |text: &str| text.ends_with('.') && text.len() > 5;
            assert!(ends(entry.meaning) && ends(entry.remedy), "{entry:?}");
            assert!(entry.statuses.iter().all(|status| (400..600).contains(status)), "{entry:?}");
        }
    }

    #[test]
    fn only_known_codes_have_a_page() {
        assert_eq!(docs("no_access").as_deref(), Some("/docs/problems/no_access"));
        assert_eq!(docs("a_code_of_somebodys_own"), None);
        assert_eq!(all()["no_access"].kind, "https://quipu.dev/problems/no_access");
    }
}
