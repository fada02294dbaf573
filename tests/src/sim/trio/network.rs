//! What is on its way, and what it does when it arrives.

use super::{NODES, PARTITIONS, Trio};
use crate::sim::{
    appender::{Ask, BrokerAnswer},
    lessee::{LEASE_MS, LeaseAsk, LeaseTold},
    member::{Fate, ForwardAnswer, Member, Origin, Wake},
};
use quipu_schemas::{
    envelope::{CommandEnvelope, Receipt},
    ids::{CommandId, StreamId},
    problem::Problem,
    reaction::ReactionKey,
};
use std::sync::Arc;

/// Something that happens at its time.
#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "a simulation holds few at a time")]
pub(crate) enum Event {
    Start {
        node: usize,
    },
    Crash {
        node: usize,
    },
    Routine {
        node: usize,
        boot: u64,
        round: u64,
    },
    Wake {
        node: usize,
        boot: u64,
        wake: Wake,
    },
    ToBroker {
        node: usize,
        boot: u64,
        partition: u16,
        question: u64,
        ask: Ask,
    },
    BrokerTold {
        node: usize,
        boot: u64,
        partition: u16,
        question: u64,
        told: BrokerAnswer,
    },
    ToLeases {
        node: usize,
        boot: u64,
        partition: u16,
        flow: u64,
        ask: LeaseAsk,
    },
    LeasesTold {
        node: usize,
        boot: u64,
        flow: u64,
        told: LeaseTold,
    },
    Hint {
        node: usize,
        partition: u16,
    },
    Beat {
        to: usize,
        from: usize,
        asks: bool,
        leaving: bool,
    },
    Command {
        node: usize,
        operation: u64,
        envelope: Arc<CommandEnvelope>,
    },
    Answer {
        operation: u64,
        stream: StreamId,
        id: CommandId,
        result: Result<Receipt, Problem>,
    },
    Forward {
        to: usize,
        envelope: Arc<CommandEnvelope>,
        answer: Box<ForwardAnswer>,
    },
    ForwardAnswered(Box<ForwardAnswer>),
    Arrive {
        key: ReactionKey,
        id: String,
    },
    AttemptEnds {
        node: usize,
        boot: u64,
        number: u64,
        fate: Fate,
    },
}

impl Event {
    /// The node whose process it needs to run.
    fn needs(&self) -> Option<usize> {
        match self {
            Event::Routine { node, .. }
            | Event::Wake { node, .. }
            | Event::BrokerTold { node, .. }
            | Event::LeasesTold { node, .. }
            | Event::Hint { node, .. }
            | Event::Command { node, .. }
            | Event::AttemptEnds { node, .. } => Some(*node),
            Event::Beat { to, .. } | Event::Forward { to, .. } => Some(*to),
            Event::ForwardAnswered(answer) => Some(answer.node),
            _ => None,
        }
    }

    /// Whether the world is not at rest while this is on its way.
    pub(super) fn is_work(&self) -> bool {
        matches!(
            self,
            Event::ToBroker { .. }
                | Event::BrokerTold { .. }
                | Event::Command { .. }
                | Event::Answer { .. }
                | Event::Forward { .. }
                | Event::ForwardAnswered(_)
                | Event::Arrive { .. }
                | Event::AttemptEnds { .. }
        )
    }
}

/// From one routine to the next, and what is done how often.
const ROUTINE_MS: u64 = 120;
const BEAT_EVERY: u64 = 3;
const FOLLOW_EVERY: u64 = 2;

impl Trio {
    /// How long a message travels.
    pub(super) fn travel(&mut self) -> u64 {
        let short = 1 + self.draw(9);
        if self.chance(2) { short + self.draw(LEASE_MS) } else { short }
    }

    pub(super) fn happen(&mut self, event: Event) {
        if let Some(node) = event.needs() {
            let until = self.seats[node].paused_until;
            if self.now < until {
                // It wakes with everything that came meanwhile, in any order.
                let after = until - self.now + self.draw(8);
                return self.later(after, event);
            }
        }
        match event {
            Event::Start { node } => self.start(node),
            Event::Crash { node } => self.crash(node),
            Event::Routine { node, boot, round } => self.routine(node, boot, round),
            Event::Wake { node, boot, wake } => self.with(node, Some(boot), |member| member.wake(wake)),
            Event::ToBroker {
                node,
                boot,
                partition,
                question,
                ask,
            } => self.at_broker(node, boot, partition, question, ask),
            Event::BrokerTold {
                node,
                boot,
                partition,
                question,
                told,
            } => self.with(node, Some(boot), |member| member.broker_told(partition, question, told)),
            Event::ToLeases {
                node,
                boot,
                partition,
                flow,
                ask,
            } => self.at_leases(node, boot, partition, flow, ask),
            Event::LeasesTold { node, boot, flow, told } => self.with(node, Some(boot), |member| member.lease_told(flow, told)),
            Event::Hint { node, partition } => self.with(node, None, |member| member.lease_hint(partition)),
            Event::Beat { to, from, asks, leaving } => {
                self.with(to, None, |member| member.heard(from, leaving));
                if asks && self.is_up(to) {
                    self.beat(to, false, false);
                }
            }
            Event::Command { node, operation, envelope } => {
                let goes = self.seats[node].member.as_ref().is_none_or(|member| member.leaving);
                if goes {
                    let problem = Problem::new(503, "stopping", "the node is stopping");
                    let (stream, id) = (envelope.stream.clone(), envelope.command_id.clone());
                    return self.hear(operation, &stream, &id, Err(problem));
                }
                self.with(node, None, |member| member.submit(envelope, Origin::Client { operation }));
            }
            Event::Answer {
                operation,
                stream,
                id,
                result,
            } => self.hear(operation, &stream, &id, result),
            Event::Forward { to, envelope, answer } => self.with(to, None, |member| member.forwarded(envelope, *answer)),
            Event::ForwardAnswered(answer) => {
                let ForwardAnswer {
                    node,
                    boot,
                    submission,
                    attempt,
                    result,
                } = *answer;
                self.with(node, Some(boot), |member| member.forward_ended(submission, attempt, result));
            }
            Event::Arrive { key, id } => {
                self.sink.arrive(&key, id);
                self.counts.delivered = self.sink.delivered();
            }
            Event::AttemptEnds { node, boot, number, fate } => self.with(node, Some(boot), |member| member.attempt_ended(number, fate)),
        }
    }

    /// Lets a node do something, if that life of it runs, and takes what it gives.
    pub(super) fn with(&mut self, node: usize, boot: Option<u64>, act: impl FnOnce(&mut Member)) {
        let (now, seat) = (self.now, &mut self.seats[node]);
        let reaches = now >= seat.cut_until;
        let Some(member) = seat.member.as_mut().filter(|member| boot.is_none_or(|boot| member.boot == boot)) else {
            return;
        };
        member.log.reach(reaches);
        act(member.at(now));
        let (outs, broken, boot) = (std::mem::take(&mut member.outs), std::mem::take(&mut member.broken), member.boot);
        self.broken.extend(broken);
        for out in outs {
            self.take(node, boot, out);
        }
    }

    /// Says to the others that a node is here, or that it goes. On the broker's wire, as the leases are.
    pub(super) fn beat(&mut self, node: usize, asks: bool, leaving: bool) {
        if self.now < self.seats[node].cut_until {
            return;
        }
        for to in (0..NODES).filter(|to| *to != node) {
            if self.now >= self.seats[to].cut_until && !self.chance(10) {
                let after = self.travel();
                self.later(
                    after,
                    Event::Beat {
                        to,
                        from: node,
                        asks,
                        leaving,
                    },
                );
            }
        }
    }

    /// What a node does by itself, again and again.
    fn routine(&mut self, node: usize, boot: u64, round: u64) {
        let Some(member) = self.seats[node].member.as_ref().filter(|member| member.boot == boot) else {
            return;
        };
        let leaving = member.leaving;
        if leaving && (member.has_left() || self.now > self.seats[node].leaves_by) {
            return self.gone(node);
        }
        if !leaving && round.is_multiple_of(BEAT_EVERY) {
            self.beat(node, false, false);
            self.with(node, Some(boot), Member::place);
        }
        let mut fired = 0;
        self.with(node, Some(boot), |member| fired = member.fire_timers());
        self.counts.fired += fired;
        if round % FOLLOW_EVERY == node as u64 % FOLLOW_EVERY {
            self.with(node, Some(boot), |member| {
                (0..PARTITIONS).for_each(|partition| member.follow(partition))
            });
        }
        let (drawn, at) = (self.draw(100), self.rng.draw());
        let mut asleep = false;
        match drawn {
            0..=29 => self.with(node, Some(boot), Member::project),
            30..=49 => self.with(node, Some(boot), Member::flush),
            50..=64 => self.with(node, Some(boot), |member| asleep = member.passivate(at >> 1, at % 2 == 0)),
            _ => {}
        }
        self.counts.passivated += u64::from(asleep);
        self.later(
            ROUTINE_MS,
            Event::Routine {
                node,
                boot,
                round: round + 1,
            },
        );
    }
}
