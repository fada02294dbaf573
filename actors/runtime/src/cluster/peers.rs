//! Which keys are nodes': those that the nodes tell each other where the leases are, each with a proof by the cluster's secret.
//! Whoever can write there and does not know the secret brings no key in, and whoever knows the secret alone has none.

use super::{NodeKey, PeerTls, node_key};
use base64::{Engine, engine::general_purpose::STANDARD};
use parking_lot::Mutex;
use quipu_events::leases::Member;
use quipu_schemas::{
    limits::{NODE_KEY_KEPT_MS, NODE_KEYS_MAX},
    problem::Problem,
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How long a node's key counts after it was last told: one that says good-bye still passes on what reaches it.
const KEPT: Duration = Duration::from_millis(NODE_KEY_KEPT_MS);

/// The keys of other nodes, and which of them a request may come from.
#[derive(Default)]
pub(crate) struct Peers {
    pub(super) mode: PeerTls,
    pub(super) own: Option<NodeKey>,
    /// When each was last told.
    known: Mutex<BTreeMap<String, Instant>>,
    /// Clients that expect one key each.
    pub(super) clients: Mutex<BTreeMap<String, reqwest::Client>>,
}

impl Peers {
    pub(super) fn new(mode: PeerTls, own: Option<NodeKey>) -> Self {
        Self {
            mode,
            own,
            ..Self::default()
        }
    }

    /// The key that a node has told, if the cluster's secret vouches for it.
    pub(super) fn key_of<'a>(secret: Option<&str>, member: &'a Member) -> Option<&'a str> {
        let (key, proof) = (member.key.as_deref()?, member.proof.as_deref()?);
        node_key::is_proof(secret?, [&member.node, &member.address, key], proof).then_some(key)
    }

    /// Notes the keys of the nodes that there are.
    pub(super) fn note<'a>(&self, keys: impl Iterator<Item = &'a str>, now: Instant) {
        let mut known = self.known.lock();
        for key in keys {
            match known.get_mut(key) {
                Some(told) => *told = now,
                None => drop(known.insert(key.to_owned(), now)),
            }
        }
        known.retain(|_, told| now.duration_since(*told) < KEPT);
        while known.len() > NODE_KEYS_MAX {
            let oldest = known.iter().min_by_key(|(_, told)| **told).map(|(key, _)| key.clone());
            oldest.and_then(|key| known.remove(&key));
        }
    }

    fn is_known(&self, key: &str, now: Instant) -> bool {
        self.known.lock().get(key).is_some_and(|told| now.duration_since(*told) < KEPT)
    }

    /// Whether a request may come from whoever has proved this key (`None`: none). `look` notes the nodes that there are now.
    pub(super) fn admit(&self, key: Option<&[u8]>, now: Instant, look: impl FnOnce()) -> Result<(), Problem> {
        let Some(key) = key else {
            return match self.mode {
                PeerTls::Required => Err(Problem::new(
                    401,
                    "node_key_required",
                    "commands of other nodes come over TLS with the node's own key; the cluster's secret alone opens nothing",
                )
                .fix("give every node this release; set cluster.tls = \"offered\" on all of them until each has it")),
                PeerTls::Offered | PeerTls::Off => Ok(()),
            };
        };
        let key = STANDARD.encode(key);
        if !self.is_known(&key, now) {
            look();
        }
        if self.is_known(&key, now) {
            return Ok(());
        }
        Err(
            Problem::new(401, "unknown_node_key", "this is not the key of a node that serves the log")
                .fix("ask again: a node that has just come is known in a moment"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(mode: PeerTls) -> Peers {
        Peers::new(mode, None)
    }

    #[test]
    fn secret_alone_opens_nothing_where_keys_are_required() {
        let now = Instant::now();
        let refused = peers(PeerTls::Required).admit(None, now, || {}).unwrap_err();
        assert_eq!((refused.status, refused.code.as_str()), (401, "node_key_required"));
        for mode in [PeerTls::Offered, PeerTls::Off] {
            assert_eq!(peers(mode).admit(None, now, || {}), Ok(()), "{mode:?}");
        }
        // A key that is shown counts in each.
        for mode in [PeerTls::Required, PeerTls::Offered, PeerTls::Off] {
            let refused = peers(mode).admit(Some(b"key"), now, || {}).unwrap_err();
            assert_eq!(refused.code, "unknown_node_key", "{mode:?}");
        }
    }

    #[test]
    fn key_counts_from_when_it_is_told_until_a_while_after() {
        let (peers, begun) = (peers(PeerTls::Required), Instant::now());
        let key = STANDARD.encode(b"key");
        let told = || peers.note([key.as_str()].into_iter(), begun);
        assert_eq!(peers.admit(Some(b"key"), begun, told), Ok(()), "it looks");
        let late = begun + KEPT - Duration::from_millis(1);
        assert_eq!(peers.admit(Some(b"key"), late, || {}), Ok(()));
        assert!(peers.admit(Some(b"key"), begun + KEPT, || {}).is_err());
        assert!(peers.admit(Some(b"other"), begun, || {}).is_err());
    }

    #[test]
    fn keys_are_bounded_and_the_oldest_goes() {
        let (peers, begun) = (peers(PeerTls::Required), Instant::now());
        for n in 0..=NODE_KEYS_MAX {
            let key = format!("key {n}");
            peers.note([key.as_str()].into_iter(), begun + Duration::from_millis(n as u64));
        }
        let known = peers.known.lock();
        assert_eq!(known.len(), NODE_KEYS_MAX);
        assert!(!known.contains_key("key 0") && known.contains_key("key 1"));
    }

    #[test]
    fn key_counts_only_with_the_proof_of_its_member() {
        let mut member = Member::new("node_1", "http://a:1");
        assert_eq!(Peers::key_of(Some("secret"), &member), None);
        member.key = Some("key".into());
        assert_eq!(Peers::key_of(Some("secret"), &member), None, "anybody could say so");
        member.proof = Some(node_key::proof("secret", ["node_1", "http://a:1", "key"]));
        assert_eq!(Peers::key_of(Some("secret"), &member), Some("key"));
        assert_eq!(Peers::key_of(Some("other"), &member), None);
        assert_eq!(Peers::key_of(None, &member), None);
        member.address = "http://elsewhere:1".into();
        assert_eq!(Peers::key_of(Some("secret"), &member), None);
    }
}
