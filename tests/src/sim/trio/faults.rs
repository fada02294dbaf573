//! What strikes the nodes and what lies between them.

use super::{NODES, Trio, network::Event};
use crate::sim::lessee::LEASE_MS;

/// Time that a node takes to hand over in order, before it is given up.
const LEAVE_MS: u64 = 12_000;

impl Trio {
    pub(super) fn strike(&mut self) {
        let node = self.draw(NODES as u64) as usize;
        match self.draw(100) {
            0..=24 => {
                // Somewhere within what happens next.
                let after = self.draw(100);
                self.later(after, Event::Crash { node });
            }
            25..=49 => self.pause(node),
            50..=64 => {
                self.counts.cuts_from_the_broker += 1;
                let ms = 100 + self.draw(2 * LEASE_MS);
                self.note(&format!("node {node} is cut off from the broker for {ms} ms"));
                self.seats[node].cut_until = self.now + ms;
                // Mostly the others are out of reach as well.
                if self.chance(50) {
                    self.counts.cuts_from_the_nodes += 1;
                    self.seats[node].alone_until = self.now + ms;
                }
            }
            65..=74 => {
                self.counts.cuts_from_the_nodes += 1;
                let ms = 100 + self.draw(2 * LEASE_MS);
                self.note(&format!("node {node} is cut off from the others for {ms} ms"));
                self.seats[node].alone_until = self.now + ms;
            }
            75..=79 => {
                self.counts.cuts_of_all += 1;
                let ms = 100 + self.draw(2 * LEASE_MS);
                self.note(&format!("nobody reaches the broker for {ms} ms"));
                for seat in &mut self.seats {
                    seat.cut_until = self.now + ms;
                }
            }
            80..=84 => self.set_clock(node),
            _ => self.leave(node),
        }
    }

    /// A node's wall clock is set ahead, back, or right again.
    fn set_clock(&mut self, node: usize) {
        let by = [10_000, 60_000, 600_000][self.draw(3) as usize];
        let off = match self.draw(3) {
            0 => by,
            1 => -by,
            _ => 0,
        };
        let Some(member) = &mut self.seats[node].member else { return };
        member.clock.off = off;
        self.counts.clocks_set += 1;
        self.note(&format!("the wall clock of node {node} is set {off} ms ahead"));
    }

    fn pause(&mut self, node: usize) {
        if !self.is_up(node) {
            return;
        }
        self.counts.pauses += 1;
        let ms = if self.chance(50) {
            self.draw(LEASE_MS)
        } else {
            LEASE_MS + self.draw(2 * LEASE_MS)
        };
        self.counts.pauses_past_the_lease += u64::from(ms >= LEASE_MS);
        self.note(&format!("node {node} stands still for {ms} ms"));
        self.seats[node].paused_until = self.now + ms;
    }

    pub(super) fn crash(&mut self, node: usize) {
        let Some(member) = self.seats[node].member.take() else { return };
        self.note(&format!("node {node} crashes"));
        self.counts.crashes += 1;
        self.counts.crashes_while_writing += u64::from(member.is_writing());
        let after = 50 + self.draw(3_000);
        self.later(after, Event::Start { node });
    }

    fn leave(&mut self, node: usize) {
        let Some(member) = &self.seats[node].member else { return };
        if member.leaving {
            return;
        }
        let boot = member.boot;
        self.note(&format!("node {node} leaves"));
        self.beat(node, false, true);
        self.seats[node].leaves_by = self.now + LEAVE_MS;
        self.with(node, Some(boot), crate::sim::member::Member::leave);
    }

    /// A node has handed everything over, or is given up.
    pub(super) fn gone(&mut self, node: usize) {
        let Some(member) = self.seats[node].member.take() else { return };
        self.note(&format!("node {node} is gone"));
        self.counts.left += u64::from(member.has_left());
        let after = 100 + self.draw(4_000);
        self.later(after, Event::Start { node });
    }
}
