//! Who should own a partition, and which nodes there are: leases for liveness.
//!
//! What keeps a stale owner from writing is the claim in the log alone. A lease store that grants everything to everybody
//! costs availability and the freshness of refusals, never the log.

use quipu_schemas::digest::Digest;
use serde::{Deserialize, Serialize};
use std::{future::Future, pin::Pin};

/// What the store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// Granted, or renewed under the same number: nobody else held it in between.
    Granted {
        /// Rises with each tenure, whoever holds it.
        grant: u64,
    },
    /// Another's.
    Refused {
        /// Milliseconds until it may be free.
        free_in_ms: u64,
    },
    /// No answer came in time: it may be granted or not.
    Unknown,
}

/// A node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Member {
    /// Its id, kept in its data directory: the same after a restart.
    pub node: String,
    /// Where other nodes reach it, `http://host:port`.
    pub address: String,
    /// Its public key, which other nodes expect there: base64 of it as TLS shows it (RFC 7250).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Which only somebody with the cluster's secret can make: that it is this node's key, at this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

impl Member {
    /// A node that tells no key.
    pub fn new(node: impl Into<String>, address: impl Into<String>) -> Self {
        Self {
            node: node.into(),
            address: address.into(),
            key: None,
            proof: None,
        }
    }
}

/// What changed, for whoever runs the partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Whether this node should own a partition, by the nodes that there are.
    Wanted {
        /// The partition.
        partition: u16,
        /// Whether it should.
        wanted: bool,
    },
    /// A partition's lease as the store has it.
    Lease {
        /// The partition.
        partition: u16,
        /// Its grant, and in how many milliseconds it may be free; `None`: free.
        seen: Option<(u64, u64)>,
    },
}

/// Hears of changes; must not block.
pub type Tell = Box<dyn Fn(Change) + Send + Sync>;

/// An answer on its way.
pub type Answering<'a, T = LeaseAnswer> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A store of leases, one a partition. Every question is answered within the store's own deadline.
pub trait Leases: Send + Sync {
    /// Life of a lease from its last grant or renewal, milliseconds.
    fn lease_ms(&self) -> u64;
    /// Asks for a partition's lease: granted if it is free, past its end, or this node's from an earlier life.
    fn ask(&self, partition: u16) -> Answering<'_>;
    /// Renews, if this grant is still the last.
    fn renew(&self, partition: u16, grant: u64) -> Answering<'_>;
    /// Lets it go, if this grant is still the last; no answer.
    fn release(&self, partition: u16, grant: u64) -> Answering<'_, ()>;
    /// Whether this node should own a partition.
    fn is_wanted(&self, _partition: u16) -> bool {
        true
    }
    /// Who holds a partition's lease, as last seen; perhaps this node itself.
    fn holder(&self, _partition: u16) -> Option<Member> {
        None
    }
    /// The nodes that were heard of lately, this one included, in order of their ids.
    fn members(&self) -> Vec<Member> {
        Vec::new()
    }
    /// Whom to tell of changes from now on; what is known at once included.
    fn on_change(&self, _tell: Tell) {}
    /// Says good-bye: others need not wait to miss this node.
    fn leave(&self) -> Answering<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// For a log that no other node can own: everything is granted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

/// As good as for ever, and far from the end of the clock.
const ALONE_MS: u64 = 100 * 365 * 86_400_000;

impl Leases for Alone {
    fn lease_ms(&self) -> u64 {
        ALONE_MS
    }

    fn ask(&self, _: u16) -> Answering<'_> {
        Box::pin(std::future::ready(LeaseAnswer::Granted { grant: 1 }))
    }

    fn renew(&self, _: u16, grant: u64) -> Answering<'_> {
        Box::pin(std::future::ready(LeaseAnswer::Granted { grant }))
    }

    fn release(&self, _: u16, _: u64) -> Answering<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Which member should own each partition: rendezvous hashing, none with more than its share, so that a node that comes or
/// goes moves little else. The same at every node that knows the same members; empty where there are none.
pub fn placement(members: &[Member], partitions: u16) -> Vec<String> {
    let mut nodes: Vec<&str> = members.iter().map(|member| member.node.as_str()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    if nodes.is_empty() {
        return Vec::new();
    }
    let share = usize::from(partitions).div_ceil(nodes.len());
    let mut held = vec![0; nodes.len()];
    (0..partitions)
        .map(|partition| {
            let weight = |node: &str| Digest::of(&[b"quipu placement\0", &partition.to_be_bytes(), node.as_bytes()]).0;
            let free = (0..nodes.len()).filter(|n| held[*n] < share);
            // There is always one with room: shares add up to at least all partitions.
            let chosen = free.max_by_key(|n| weight(nodes[*n])).unwrap_or_default();
            held[chosen] += 1;
            nodes[chosen].to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(names: &[&str]) -> Vec<Member> {
        names.iter().map(|node| Member::new(*node, format!("http://{node}"))).collect()
    }

    #[test]
    fn partitions_are_shared_evenly_in_any_member_order() {
        let placed = placement(&members(&["a", "b", "c"]), 16);
        for node in ["a", "b", "c"] {
            let count = placed.iter().filter(|p| *p == node).count();
            assert!((4..=6).contains(&count), "{node} has {count} of {placed:?}");
        }
        assert_eq!(placed, placement(&members(&["c", "a", "b", "a"]), 16));
        assert_eq!(placement(&members(&["a"]), 3), ["a", "a", "a"]);
        assert!(placement(&[], 3).is_empty());
    }

    #[test]
    fn a_node_that_is_alone_wants_everything_and_keeps_it() {
        let century = 100 * 365 * 24 * 60 * 60 * 1_000;
        assert_eq!(Alone.lease_ms(), century);
        assert!(Alone.is_wanted(0) && Alone.holder(0).is_none() && Alone.members().is_empty());
    }

    #[test]
    fn a_node_that_goes_moves_mostly_its_own() {
        let before = placement(&members(&["a", "b", "c"]), 64);
        let after = placement(&members(&["a", "b"]), 64);
        let moved = (0..64).filter(|p| before[*p] != "c" && before[*p] != after[*p]).count();
        assert!(moved <= 16, "{moved} partitions moved between nodes that stayed");
    }
}
