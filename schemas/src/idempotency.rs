//! Idempotency keys: how a client names a command, and whether its org lets it send one without a name.

use crate::{
    digest::Digest,
    ids::{BadId, CommandId},
    json::Json,
    limits::{COMMAND_ID_MAX_CHARS, IDEMPOTENCY_KEY_MAX_CHARS},
};
use sha2::{Digest as _, Sha256};

/// The setting by which an org refuses commands without an idempotency key; unset or `false`, they get an id of the node's.
pub const KEY_REQUIRED_SETTING: &str = "commands.require_idempotency_key";

/// What [`KEY_REQUIRED_SETTING`] says; `None` where it has no such value.
pub fn is_key_required(value: &Json) -> Option<bool> {
    value.0.as_bool()
}

/// The command id of a client's key. A key that is longer than a stored id, up to [`IDEMPOTENCY_KEY_MAX_CHARS`], counts as its
/// digest: the same key is the same id, and what is stored keeps its bound.
pub fn command_id(key: String) -> Result<CommandId, BadId> {
    if key.len() <= COMMAND_ID_MAX_CHARS || key.len() > IDEMPOTENCY_KEY_MAX_CHARS {
        return CommandId::parse(key);
    }
    // Each part is within the grammar where the whole is.
    let (head, tail) = key.split_at_checked(COMMAND_ID_MAX_CHARS).unwrap_or((&key, ""));
    CommandId::parse(head.to_owned())?;
    CommandId::parse(tail.to_owned())?;
    let digest = Digest(Sha256::digest(key.as_bytes()).into());
    CommandId::parse(format!("sha256:{digest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_key_counts_as_its_digest() {
        let id = |len: usize| command_id("k".repeat(len));
        assert_eq!(id(128).unwrap().as_str(), "k".repeat(128));
        let long = id(129).unwrap();
        assert!(long.as_str().starts_with("sha256:") && long.as_str().len() == 71, "{long}");
        assert_ne!(long, id(130).unwrap());
        assert_eq!(long, id(129).unwrap());
        assert!(id(IDEMPOTENCY_KEY_MAX_CHARS).is_ok());
        assert!(id(IDEMPOTENCY_KEY_MAX_CHARS + 1).is_err() && id(0).is_err());
    }

    #[test]
    fn long_key_outside_the_grammar_is_refused() {
        for (at, bad) in [(3, " "), (127, "é"), (128, "/"), (200, "é")] {
            let mut key = "k".repeat(210);
            key.replace_range(at..=at, bad);
            assert!(command_id(key).is_err(), "{at}");
        }
    }
}
