//! Tokens whose signature was checked: as many as fit, the oldest go first. What they say is not decided here.

use super::AccessClaims;
use parking_lot::Mutex;
use quipu_schemas::limits::TOKENS_CHECKED_MAX;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// Parts with a lock each, so that requests seldom wait for each other.
const PARTS: usize = 16;

/// A token with a right signature.
pub(super) struct Token {
    /// The key that signed it.
    pub(super) key: String,
    /// Whose it says that it is.
    pub(super) issuer: String,
    /// From when it is valid, in seconds.
    pub(super) not_before: Option<u64>,
    /// What it says.
    pub(super) claims: Arc<AccessClaims>,
}

#[derive(Default)]
struct Part {
    tokens: BTreeMap<[u8; 32], Arc<Token>>,
    by_age: VecDeque<[u8; 32]>,
}

/// What was checked.
#[derive(Default)]
pub(super) struct Checked([Mutex<Part>; PARTS]);

impl Checked {
    fn part(&self, digest: &[u8; 32]) -> &Mutex<Part> {
        &self.0[usize::from(digest[0]) % PARTS]
    }

    /// A token that was checked before, by the digest of its text.
    pub(super) fn get(&self, digest: &[u8; 32]) -> Option<Arc<Token>> {
        self.part(digest).lock().tokens.get(digest).cloned()
    }

    /// Remembers one.
    pub(super) fn keep(&self, digest: [u8; 32], token: Arc<Token>) {
        let mut part = self.part(&digest).lock();
        if part.tokens.insert(digest, token).is_none() {
            part.by_age.push_back(digest);
        }
        while part.by_age.len() > TOKENS_CHECKED_MAX / PARTS {
            let Some(oldest) = part.by_age.pop_front() else { break };
            part.tokens.remove(&oldest);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|part| part.lock().tokens.len()).sum()
    }
}
