//! How far each partition is relayed, kept in the bus itself: whoever relays next goes on from there.

use quipu_schemas::position::Cursor;
use serde::{Deserialize, Serialize};

/// How far one partition of one log is relayed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The log.
    pub(super) log: String,
    /// Its generation: a restored log is relayed anew.
    pub(super) generation: u32,
    /// Offset of the first record that is not wholly relayed.
    pub(super) next: u64,
}

/// Whose marks they are.
#[derive(Debug, Clone)]
pub(super) struct Marked {
    /// The log, as in [`Mark`].
    pub(super) log: String,
    generation: u32,
}

impl Marked {
    pub(super) fn new(log: &Cursor) -> Self {
        Self {
            log: hex::encode(log.log.0),
            generation: log.generation,
        }
    }

    /// A mark as bytes.
    pub(super) fn encode(&self, next: u64) -> Result<Vec<u8>, String> {
        let mark = Mark {
            log: self.log.clone(),
            generation: self.generation,
            next,
        };
        serde_json::to_vec(&mark).map_err(|e| e.to_string())
    }

    /// Where to go on by a mark; 0 where it speaks of another log or generation.
    pub(super) fn decode(&self, bytes: &[u8]) -> Result<u64, String> {
        let mark: Mark = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        Ok(if (&mark.log, mark.generation) == (&self.log, self.generation) {
            mark.next
        } else {
            0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_speaks_of_one_generation_of_one_log() {
        let of = |log: &str, generation| Marked {
            log: log.into(),
            generation,
        };
        let mark = of("a", 2).encode(7).unwrap();
        assert_eq!(of("a", 2).decode(&mark), Ok(7));
        assert_eq!((of("b", 2).decode(&mark), of("a", 3).decode(&mark)), (Ok(0), Ok(0)));
        assert!(of("a", 2).decode(b"{").is_err());
    }
}
