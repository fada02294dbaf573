//! Kinds as people write them: `run` and `runs` are the same.

use quipu_schemas::ids::Kind;

/// The kinds whose plural every verb takes. A kind of somebody's own is written as it is called.
const KINDS: [Kind; 4] = [Kind::ORG, Kind::AGENT, Kind::CONVERSATION, Kind::RUN];

/// Parses a kind in the singular or the plural.
pub(super) fn singular(text: &str) -> Result<Kind, String> {
    let known = KINDS.into_iter().find(|kind| text.strip_suffix('s') == Some(kind.as_str()));
    match known {
        Some(kind) => Ok(kind),
        None => Kind::parse(text).map_err(|e| e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_taken_in_singular_and_plural() {
        assert_eq!(singular("runs").unwrap(), Kind::RUN);
        assert_eq!(singular("run").unwrap(), Kind::RUN);
        assert_eq!(singular("status").unwrap().as_str(), "status");
        assert!(singular("a b").is_err());
    }
}
