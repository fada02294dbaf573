//! Which states are the same: times count from now, ages past their use are equal, grants are the last or not, and nodes
//! are told apart by what they do. So time needs no horizon, and the search no symmetry of its own.

use super::world::{LEASE, Node, Request, State, Way};
use quipu_runtime::kernel::ownership::{Lease, State as At};
use std::hash::{DefaultHasher, Hash, Hasher};

impl Hash for State {
    fn hash<H: Hasher>(&self, out: &mut H) {
        let mut nodes: Vec<u64> = (0..self.nodes.len()).map(|n| self.node(n)).collect();
        nodes.sort_unstable();
        nodes.hash(out);
        self.lease.map(|(_, expires)| expires.saturating_sub(self.now)).hash(out);
        self.log.hash(out);
        self.producer.hash(out);
        for stray in &self.strays {
            match stray {
                // Counted with its node.
                Request::Ask { .. } => {}
                Request::Renew { .. } => (1, 0).hash(out),
                Request::Claim | Request::ClaimFrame { .. } | Request::Append { .. } => (3, stray).hash(out),
            }
        }
        (&self.receipts, self.sends, self.faults, self.lags, self.handoffs).hash(out);
        (&self.denied, self.two_receipts, self.refused_outside_lease, self.refused_stale).hash(out);
    }
}

impl State {
    fn node(&self, n: usize) -> u64 {
        let mut out = DefaultHasher::new();
        let clock = self.clock(n);
        let Node {
            machine,
            lag: _,
            wanted,
            admitting,
            lease,
            log,
            reading,
            known,
            next_offset,
            guard,
            in_flight,
        } = &self.nodes[n];
        let age = |asked_at: u64| (clock - asked_at).min(LEASE);
        let left = |until: u64| until.saturating_sub(clock);
        let held = |lease: &Lease| {
            (
                lease.grant == self.grant,
                left(lease.until),
                left(lease.renew_at),
                lease.asked_at.map(age),
            )
        };
        match machine.state() {
            At::Follower { not_before, rest_until } => (0, left(*not_before.max(rest_until)), left(*rest_until)).hash(&mut out),
            At::Acquiring { asked_at } => (1, age(*asked_at)).hash(&mut out),
            At::Claiming { lease, unknown } => (2, held(lease), unknown).hash(&mut out),
            At::Restoring {
                lease,
                epoch,
                end,
                unknown,
            } => (3, held(lease), epoch, end, unknown).hash(&mut out),
            At::Owner { lease, epoch } => (4, held(lease), epoch).hash(&mut out),
            At::Draining { lease, epoch, until } => (5, held(lease), epoch, left(*until)).hash(&mut out),
            At::Stopped => 6.hash(&mut out),
        }
        let awaited = match machine.state() {
            At::Acquiring { asked_at } => Some(*asked_at),
            At::Claiming { lease, .. } | At::Restoring { lease, .. } | At::Owner { lease, .. } | At::Draining { lease, .. } => {
                lease.asked_at
            }
            At::Follower { .. } | At::Stopped => None,
        };
        if let Some((asked_at, way)) = lease {
            (awaited == Some(*asked_at), age(*asked_at)).hash(&mut out);
            match way {
                Way::There(Request::Ask { .. }) => 0.hash(&mut out),
                Way::There(Request::Renew { grant }) => (1, *grant == self.grant).hash(&mut out),
                Way::There(other) => other.hash(&mut out),
                Way::Back(super::world::Reply::Granted { grant }) => (2, *grant == self.grant).hash(&mut out),
                Way::Back(other) => (3, other).hash(&mut out),
            }
        }
        (
            lease.is_some(),
            wanted,
            admitting,
            log,
            reading,
            known,
            next_offset,
            guard,
            in_flight,
        )
            .hash(&mut out);
        self.lease.is_some_and(|(holder, _)| holder == n).hash(&mut out);
        self.strays
            .iter()
            .filter(|s| **s == Request::Ask { node: n })
            .count()
            .hash(&mut out);
        out.finish()
    }
}
