//! Kinds as people write them: `run` and `runs` are the same.

use quipu_schemas::ids::Kind;

/// Parses a kind in the singular or the plural. A kind of somebody's own is written as it is called, unless its plural is one
/// of the irregular ones.
pub(super) fn singular(text: &str) -> Result<Kind, String> {
    Kind::parse_plural(text).map_or_else(|| Kind::parse(text).map_err(|e| e.to_string()), Ok)
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
}
