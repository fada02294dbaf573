//! What the scheduler does with the world.

use super::{ACTIONS, CALM, Rng, Strike, World, node::SimNode};
use quipu_runtime::kernel::clock::Reading;
use quipu_schemas::context::Millis;

impl World {
    pub(super) fn act(&mut self) {
        if self.node.is_none() {
            self.disk.inject(|faults| faults.capacity_bytes = None);
            return self.start();
        }
        let drawn = self.rng.below(1000);
        if self.strike != Strike::Anything && drawn >= CALM {
            return;
        }
        self.did = ACTIONS.iter().find(|(until, _)| drawn < *until).map_or("a fault", |(_, name)| name);
        match drawn {
            0..=229 => self.client_sends(),
            230..=259 => self.client_repeats(),
            260..=439 => self.deliver(),
            440..=449 => self.consume(),
            450..=459 => self.read_own_write(),
            460..=599 => self.with_node(|node, rng, now| node.flush(rng, now)),
            600..=699 => self.with_node(|node, rng, now| node.complete(rng, now)),
            700..=779 => self.with_node(|node, rng, now| node.relay(rng, now)),
            780..=839 => self.perform(),
            840..=899 => {
                let by = 1 + self.rng.below(2_000);
                self.now += by;
            }
            900..=929 => self.fire(),
            930..=959 => self.with_node(|node, rng, now| node.project_or_index(rng, now)),
            960..=974 => {
                if self.with_node(|node, rng, now| node.passivate(rng, now)) {
                    self.counts.passivated += 1;
                }
            }
            975..=984 => self.crash(),
            985..=986 => {
                self.note("next sync fails".into());
                self.counts.failed_syncs += 1;
                self.disk.inject(|faults| faults.fail_next_sync = true);
            }
            987 => {
                self.note("next write fails".into());
                self.disk.inject(|faults| faults.fail_next_write = true);
            }
            988 => self.burst(),
            989..=991 => {
                let after = self.rng.below(6);
                self.note(format!("power loss {after} writes from now"));
                self.disk.inject(|faults| faults.power_loss_after = Some(after));
            }
            992..=993 => {
                self.note("disk full".into());
                self.counts.full += 1;
                self.disk.inject(|faults| faults.capacity_bytes = Some(1));
            }
            994..=995 => self.disk.inject(|faults| faults.capacity_bytes = None),
            996 => {
                self.note("clients cut off".into());
                self.counts.partitions += 1;
                self.cut_off_until = self.now + 1_000 + self.rng.below(5_000);
            }
            _ => self.jump(drawn),
        }
        self.see_power_loss();
        self.settle();
    }

    /// What was caused by whoever is suspended comes to rest only when they are resumed.
    fn resume_principals(&mut self, round: u64) {
        let found = self.node.as_mut().map(|node| node.suspended_of(self.workload.principals()));
        let suspended = match found {
            Some(Ok(suspended)) => suspended,
            Some(Err(error)) => return self.broken.push(error),
            None => return,
        };
        for (n, home) in (0u64..).zip(suspended) {
            if home.is_person() {
                self.tell(&home, serde_json::json!({ "resume": {} }));
            } else {
                self.send(self.workload.resume_principal(300_000 + round * 8 + n, &home));
            }
        }
    }

    /// The wall clock is set ahead, back, or right again. Time passes as it did.
    pub(super) fn jump(&mut self, drawn: u64) {
        let by = [10_000, 600_000, 3_600_000][self.rng.below(3) as usize];
        self.off = match drawn {
            997 => self.off + by,
            998 => self.off - by,
            _ => 0,
        };
        self.counts.jumps += 1;
        self.note(format!("the wall clock is set: now {} ms ahead", self.off));
    }

    pub(super) fn reading(&self) -> Reading {
        Reading {
            wall: self.now.saturating_add_signed(self.off),
            elapsed: self.now,
        }
    }

    pub(super) fn with_node<T: Default>(&mut self, act: impl FnOnce(&mut SimNode, &mut Rng, Millis) -> T) -> T {
        let reading = self.reading();
        match &mut self.node {
            Some(node) => {
                let now = node.at(reading);
                act(node, &mut self.rng, now)
            }
            None => T::default(),
        }
    }

    /// Takes the node's answers to its clients; a node that found its log failing is started again.
    pub(super) fn settle(&mut self) {
        let Some(node) = &mut self.node else { return };
        let answers = std::mem::take(&mut node.answers);
        let broken = std::mem::take(&mut node.broken);
        let failing = node.is_failing();
        self.broken.extend(broken);
        let answers: Vec<_> = answers
            .into_iter()
            .map(|answer| (node.durable_version(&answer.stream), answer))
            .collect();
        for (durable, answer) in answers {
            self.hear(answer, durable);
        }
        if failing {
            self.note("the log failed: restart".into());
            self.crash();
        }
    }

    pub(super) fn deliver(&mut self) {
        if let Some(line) = self.with_node(|node, rng, now| node.deliver(rng, now)) {
            self.note(line);
        }
    }

    pub(super) fn perform(&mut self) {
        let reading = self.reading();
        let Some(node) = &mut self.node else { return };
        let now = node.at(reading);
        if let Some(line) = node.perform(&mut self.rng, now, &mut self.sink, &self.keys) {
            self.counts.delivered = self.sink.delivered();
            self.note(line);
        }
    }

    pub(super) fn fire(&mut self) {
        self.counts.fired += self.with_node(|node, rng, _| node.fire_timers(rng));
    }

    pub(super) fn crash(&mut self) {
        self.note("crash".into());
        self.counts.crashes += 1;
        self.history.crash();
        if let Some(node) = &self.node {
            self.counts.woken += node.woken;
        }
        // Whatever was not answered is forgotten with the node; clients may repeat it.
        self.node = None;
        self.lose_power();
    }

    pub(super) fn lose_power(&mut self) {
        self.see_power_loss();
        self.disk.crash();
    }

    pub(super) fn see_power_loss(&mut self) {
        if let Some(change) = self.disk.lost_before() {
            self.struck.get_or_insert(format!("in {}: before {change}", self.did));
        }
    }

    /// No more faults and no new commands: everything pending must settle, every view catch up.
    pub(super) fn calm_down(&mut self) {
        self.note("calm".into());
        self.did = "the calm end";
        self.cut_off_until = 0;
        // Half of the time in the life that met the steps of the clock, and half of the time with a clock that stays wrong.
        if self.strike != Strike::Anything || self.rng.chance(50) || self.node.as_ref().is_none_or(SimNode::is_failing) {
            self.crash();
        }
        if self.rng.chance(50) {
            self.off = 0;
        }
        self.disk.inject(|faults| *faults = Default::default());
        if self.node.is_none() {
            self.start();
        }
        for round in 0..20_000 {
            // An append may have failed before the faults ended.
            if self.node.is_none() {
                self.start();
            }
            if self.node.is_none() {
                self.broken.push("the node does not start on a healthy disk".into());
                return;
            }
            // What a suspension holds back comes to rest only after it.
            if round % 16 == 0 && self.node.as_ref().is_some_and(SimNode::is_suspended) {
                self.send(self.workload.resume_org(200_000 + round));
            }
            if round % 16 == 8 {
                self.resume_principals(round);
            }
            self.deliver();
            self.with_node(|node, rng, now| node.flush_all(rng, now));
            self.with_node(|node, rng, now| node.relay(rng, now));
            self.perform();
            self.fire();
            self.consume();
            self.read_own_write();
            self.settle();
            if !self.broken.is_empty() {
                return;
            }
            let (is_fed, reading) = (self.is_fed(), self.reading());
            let Some(node) = &mut self.node else { continue };
            let now = node.at(reading);
            if node.is_quiet() && is_fed {
                match node.next_due() {
                    // Timers a day away (handoffs) may stay; anything nearer is waited for.
                    Some(at) if at < now + 7_200_000 => {
                        let wait = at.checked_sub(now).filter(|ms| *ms > 0);
                        self.now += wait.unwrap_or_else(|| node.timers_wait_ms().max(7));
                    }
                    _ => {
                        self.counts.woken += node.woken;
                        return;
                    }
                }
            } else if !node.is_quiet() {
                // After clock jumps a retry may be due an hour from now.
                self.now += node.next_retry().map_or(7, |at| at.saturating_sub(now)).max(7);
            }
        }
        self.broken.push("the node does not come to rest".into());
    }
}
