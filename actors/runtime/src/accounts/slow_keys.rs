//! Argon2id of API keys, where a node is configured to keep it in the place of their keyed hashes.
//!
//! A key has 256 random bits, so nobody guesses one by either hash (ADR 0041 says what each costs). What was computed for a text that
//! opened its key is remembered by the keyed hash of the text. It is a number and no decision: whether the key opens anything is asked
//! each time, of what is known of it then.

use super::passwords::Passwords;
use parking_lot::Mutex;
use quipu_rules::api_key::Tried;
use quipu_schemas::{digest::Digest, ids::StreamId, limits::TOKENS_CHECKED_MAX, problem::Problem};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

#[derive(Default)]
struct Known {
    computed: BTreeMap<[u8; 32], [u8; 32]>,
    by_age: VecDeque<[u8; 32]>,
}

/// What Argon2id made of the keyed hashes of texts that opened a key.
#[derive(Default)]
pub(crate) struct SlowKeys(Mutex<Known>, #[cfg(test)] std::sync::atomic::AtomicUsize);

impl SlowKeys {
    /// Both hashes of what is shown; computed on the threads of passwords unless it is known. `503 login_busy` where too many wait.
    pub(crate) async fn of(&self, passwords: &Arc<Passwords>, key: &StreamId, hash: Digest) -> Result<Tried, Problem> {
        let known = self.0.lock().computed.get(&hash.0).copied();
        let argon2id = match known {
            Some(known) => known,
            None => self.made(passwords, key, hash).await?.0,
        };
        Ok(Tried {
            hash: hash.0,
            argon2id: Some(argon2id),
        })
    }

    /// Costs what [`SlowKeys::of`] does for a text that is not known, and tells nothing.
    pub(crate) async fn spend(&self, passwords: &Arc<Passwords>, key: &StreamId, hash: Digest) -> Result<(), Problem> {
        self.made(passwords, key, hash).await.map(|_| ())
    }

    async fn made(&self, passwords: &Arc<Passwords>, key: &StreamId, hash: Digest) -> Result<Digest, Problem> {
        #[cfg(test)]
        self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        passwords.of_key(key.clone(), hash).await
    }

    /// Remembers what opened its key. A wrong text is not remembered: whoever guesses would push out what is right.
    pub(crate) fn keep(&self, tried: &Tried) {
        let Some(argon2id) = tried.argon2id else { return };
        let mut known = self.0.lock();
        if known.computed.insert(tried.hash, argon2id).is_none() {
            known.by_age.push_back(tried.hash);
        }
        while known.by_age.len() > TOKENS_CHECKED_MAX {
            let Some(oldest) = known.by_age.pop_front() else { break };
            known.computed.remove(&oldest);
        }
    }

    /// Hashes that were made.
    #[cfg(test)]
    pub(crate) fn made_so_far(&self) -> usize {
        self.1.load(std::sync::atomic::Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.lock().computed.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_has_one_slow_hash_by_pepper_and_stream() {
        let stream: StreamId = "acme/api-key/k1".parse().unwrap();
        let other: StreamId = "acme/api-key/k2".parse().unwrap();
        let (here, elsewhere) = (Arc::new(Passwords::new(&[1; 32], 1)), Arc::new(Passwords::new(&[2; 32], 1)));
        let hash = Digest([7; 32]);
        let made = here.of_key(stream.clone(), hash).await.unwrap();
        assert_eq!(made, here.of_key(stream.clone(), hash).await.unwrap());
        assert_ne!(made, here.of_key(other, hash).await.unwrap());
        assert_ne!(made, here.of_key(stream.clone(), Digest([8; 32])).await.unwrap());
        assert_ne!(made, elsewhere.of_key(stream, hash).await.unwrap());
        assert_ne!(made, hash);
    }

    #[tokio::test]
    async fn what_opened_a_key_is_known_and_bounded() {
        let slow = SlowKeys::default();
        let tried = |n: u32| {
            let mut hash = [0; 32];
            hash[..4].copy_from_slice(&n.to_be_bytes());
            Tried {
                hash,
                argon2id: Some(hash),
            }
        };
        for n in 0..TOKENS_CHECKED_MAX as u32 + 10 {
            slow.keep(&tried(n));
            slow.keep(&tried(n));
        }
        assert_eq!(slow.len(), TOKENS_CHECKED_MAX);
        // Known: nothing is computed, which would not give this.
        let stream: StreamId = "acme/api-key/k1".parse().unwrap();
        let passwords = Arc::new(Passwords::new(&[1; 32], 1));
        let last = tried(TOKENS_CHECKED_MAX as u32 + 9);
        assert_eq!(slow.of(&passwords, &stream, Digest(last.hash)).await.unwrap(), last);
    }
}
