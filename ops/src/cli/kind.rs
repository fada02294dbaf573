//! Kinds as people write them: `run` and `runs` are the same.

use quipu_runtime::kinds::Kinds;
use quipu_schemas::ids::Kind;
use std::sync::LazyLock;

static HOUSE: LazyLock<Kinds> = LazyLock::new(Kinds::builtin);

/// The kind that a plural names, of the house or with an irregular plural.
pub(super) fn of_plural(text: &str) -> Option<Kind> {
    let named = || HOUSE.named(text).filter(|kind| HOUSE.plural(kind) == text).cloned();
    Kind::parse_plural(text).or_else(named)
}

/// Parses a kind in the singular or the plural. A kind of somebody's own is written as it is called, unless its plural is one
/// of the irregular ones.
pub(super) fn singular(text: &str) -> Result<Kind, String> {
    of_plural(text).map_or_else(|| Kind::parse(text).map_err(|e| e.to_string()), Ok)
}

/// A stream, or the key of something of it, with its kind in the singular: `acme/runs/r-1@7.0` is `acme/run/r-1@7.0`.
pub(super) fn of_stream(text: &str) -> String {
    match text.splitn(3, '/').collect::<Vec<_>>()[..] {
        [org, kind, rest] => {
            let kind = of_plural(kind).map_or_else(|| kind.to_owned(), |kind| kind.to_string());
            format!("{org}/{kind}/{rest}")
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_taken_in_singular_and_plural() {
        assert_eq!(singular("runs").unwrap(), Kind::RUN);
        assert_eq!(singular("run").unwrap(), Kind::RUN);
        assert_eq!(singular("memories").unwrap().as_str(), "memory");
        assert_eq!(singular("status").unwrap().as_str(), "status");
        assert!(singular("a b").is_err());
    }

    /// With a sheet in `schemas` or without.
    #[test]
    fn each_kind_of_the_house_is_known_by_its_plural() {
        for info in Kinds::builtin().info() {
            assert_eq!(singular(&info.plural).unwrap().as_str(), info.kind);
            assert_eq!(of_stream(&format!("acme/{}/x", info.plural)), format!("acme/{}/x", info.kind));
        }
    }

    #[test]
    fn streams_are_taken_with_singular_and_plural_kinds() {
        assert_eq!(of_stream("acme/runs/r-1"), "acme/run/r-1");
        assert_eq!(of_stream("acme/run/r-1@7.0"), "acme/run/r-1@7.0");
        assert_eq!(of_stream("acme/status/s"), "acme/status/s");
        assert_eq!(of_stream("acme"), "acme");
    }
}
