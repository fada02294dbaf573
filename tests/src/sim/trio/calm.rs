//! The calm end: no more faults and no new commands. Everything pending must settle, and every node catch up.

use super::{NODES, PARTITIONS, Trio, network::Event};
use crate::sim::member::Member;
use quipu_schemas::ids::OrgId;

/// Rounds after which the world must have come to rest.
const ROUNDS: u64 = 3_000;
const ROUND_MS: u64 = 40;
/// Timers further away than this may stay.
const FAR_MS: u64 = 7_200_000;

impl Trio {
    pub(super) fn calm_down(&mut self) {
        self.note("calm");
        self.calm = true;
        for node in 0..NODES {
            let seat = &mut self.seats[node];
            if let Some(member) = &mut seat.member {
                member.log.reach(true);
                member.clock.off = 0;
            }
            (seat.cut_until, seat.alone_until) = (0, 0);
            seat.paused_until = seat.paused_until.min(self.now);
            self.start(node);
        }
        self.queue.retain(|_, event| !matches!(event, Event::Crash { .. }));
        for round in 0..ROUNDS {
            self.pass(ROUND_MS);
            self.consume();
            self.read_own_write();
            if !self.broken.is_empty() {
                return;
            }
            // What a suspension holds back comes to rest only after it.
            let acme = OrgId::from_static("acme");
            if round % 16 == 0
                && self
                    .seats
                    .iter_mut()
                    .filter_map(|seat| seat.member.as_mut())
                    .any(|member| member.is_suspended(&acme))
            {
                self.send(self.workload.resume_org(200_000 + round));
            }
            if round % 16 == 8 {
                self.resume_principals(round);
            }
            if !self.is_at_rest() {
                continue;
            }
            match self.seats.iter().filter_map(|seat| seat.member.as_ref()?.next_due()).min() {
                Some(due) if due < self.wall() + FAR_MS => self.jump(due),
                _ if self.is_fed() => return,
                _ => {}
            }
        }
        let owners: Vec<String> = self
            .seats
            .iter()
            .enumerate()
            .map(|(node, seat)| format!("node {node}: {}", seat.member.as_ref().map_or("down".into(), Member::standing)))
            .collect();
        self.broken.push(format!("the nodes do not come to rest: {}", owners.join("; ")));
    }

    /// What was caused by whoever is suspended comes to rest only when they are resumed.
    fn resume_principals(&mut self, round: u64) {
        for (n, home) in (0u64..).zip(self.workload.principals()) {
            let mut members = self.seats.iter_mut().filter_map(|seat| seat.member.as_mut());
            if members.any(|member| member.is_suspended_principal(&home)) {
                self.send(self.workload.resume_principal(300_000 + round * 8 + n, &home));
            }
        }
    }

    /// The earliest of the nodes' wall clocks.
    pub(super) fn wall(&self) -> u64 {
        self.now + self.seats.iter().map(|seat| seat.ahead).min().unwrap_or(0)
    }

    /// Every wall clock goes on to what is due; the leases' clocks do not.
    fn jump(&mut self, due: u64) {
        let by = due.saturating_sub(self.wall());
        for seat in &mut self.seats {
            seat.ahead += by;
            if let Some(member) = &mut seat.member {
                member.clock.ahead += by;
            }
        }
    }

    fn is_fed(&self) -> bool {
        let broker = self.broker.lock();
        (0u16..)
            .zip(&self.feed.next)
            .all(|(partition, next)| *next >= broker.head(partition).next_offset)
    }

    /// One owner a partition, nothing on its way, nothing pending but what waits for its time.
    fn is_at_rest(&self) -> bool {
        let members: Vec<_> = self.seats.iter().filter_map(|seat| seat.member.as_ref()).collect();
        let owned = |partition: u16| members.iter().filter(|member| member.is_owner(partition)).count() == 1;
        members.len() == NODES
            && members.iter().all(|member| !member.leaving && member.is_waiting_only())
            && (0..PARTITIONS).all(owned)
            && !self.queue.values().any(Event::is_work)
    }
}
