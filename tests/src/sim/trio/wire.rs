//! What leaves a node, and what broker and lease store answer: lost, late or doubled on the way.

use super::{NODES, Trio, network::Event};
use crate::sim::{
    appender::{AGAIN_MS, Ask, BrokerAnswer},
    lessee::{LEASE_MS, LeaseAsk, LeaseTold},
    member::{Fate, ForwardAnswer, Out},
};
use quipu_schemas::{envelope::CommandEnvelope, problem::Problem};
use std::sync::Arc;

impl Trio {
    pub(super) fn take(&mut self, node: usize, boot: u64, out: Out) {
        match out {
            Out::Later { after_ms, wake } => {
                let after = after_ms * 1_000 / self.seats[node].rate + u64::from(after_ms > 0);
                self.later(after, Event::Wake { node, boot, wake });
            }
            Out::Broker { partition, question, ask } => {
                if matches!(ask, Ask::Put { .. }) && self.chance(1) {
                    // With its answer on the way.
                    let after = self.draw(8);
                    self.later(after, Event::Crash { node });
                }
                let event = Event::ToBroker {
                    node,
                    boot,
                    partition,
                    question,
                    ask,
                };
                if self.chance(4) {
                    // Once more, much later: whoever sent it may be dead or replaced by then.
                    self.counts.late_appends += 1;
                    let after = self.draw(3 * LEASE_MS);
                    self.later(after, event.clone());
                }
                if self.now < self.seats[node].cut_until || self.chance(4) {
                    self.counts.lost_appends += 1;
                } else {
                    let after = self.travel();
                    self.later(after, event);
                }
            }
            Out::Lease { partition, flow, ask } => {
                if self.now < self.seats[node].cut_until || self.chance(3) {
                    self.counts.lost_lease_questions += 1;
                } else {
                    let after = self.travel();
                    self.later(
                        after,
                        Event::ToLeases {
                            node,
                            boot,
                            partition,
                            flow,
                            ask,
                        },
                    );
                }
            }
            Out::Forward {
                to,
                submission,
                attempt,
                envelope,
            } => self.forward(node, boot, to, (submission, attempt), envelope),
            Out::Forwarded(answer) => {
                if self.is_apart(node, answer.node) || self.chance(3) {
                    self.counts.lost_forward_answers += 1;
                } else {
                    let after = self.travel();
                    self.later(after, Event::ForwardAnswered(Box::new(answer)));
                }
            }
            Out::Answer {
                operation,
                stream,
                id,
                result,
            } => {
                if self.chance(3) {
                    self.counts.lost_answers += 1;
                } else {
                    let after = self.travel();
                    self.later(
                        after,
                        Event::Answer {
                            operation,
                            stream,
                            id,
                            result,
                        },
                    );
                }
            }
            Out::Attempt {
                number,
                key,
                attempt,
                effect,
            } => {
                if !effect.facts().is_repeatable {
                    let begun = self.begun.entry((key.clone(), attempt)).or_default();
                    *begun += 1;
                    if *begun > 1 {
                        self.broken.push(format!(
                            "{key}: attempt {attempt} of an effect that must not be sent twice was begun twice, now by node {node}"
                        ));
                    }
                }
                let fate = match self.draw(100) {
                    0..=74 => Fate::Taken,
                    75..=79 => Fate::Refused,
                    _ => Fate::Unanswered,
                };
                let (arrives, ends) = (1 + self.draw(60), 61 + self.draw(100));
                if fate != Fate::Unanswered || self.rng.chance(50) {
                    self.later(arrives, Event::Arrive { id: key.message_id(), key });
                }
                self.later(ends, Event::AttemptEnds { node, boot, number, fate });
            }
            Out::Admitted { partition, epoch } => self.admits(node, boot, partition, epoch),
            Out::Lost { partition } => self.note(&format!("node {node} gives up partition {partition}")),
        }
    }

    fn admits(&mut self, node: usize, boot: u64, partition: u16, epoch: u64) {
        self.note(&format!("node {node} admits to partition {partition} under epoch {epoch}"));
        self.counts.admitted += 1;
        if let Some(other) = self.admitted.insert((partition, epoch), (node, boot)) {
            self.broken.push(format!(
                "partition {partition}: node {node} admits under epoch {epoch}, and so did {other:?}"
            ));
        }
        if self
            .last_owner
            .insert(partition, (node, epoch))
            .is_some_and(|(last, _)| last != node)
        {
            self.counts.takeovers += 1;
        }
    }

    fn is_apart(&self, one: usize, other: usize) -> bool {
        self.now < self.seats[one].alone_until || self.now < self.seats[other].alone_until
    }

    fn forward(&mut self, node: usize, boot: u64, to: usize, (submission, attempt): (u64, u32), envelope: Arc<CommandEnvelope>) {
        self.counts.forwarded += 1;
        let unreachable = || Problem::new(503, "owner_unreachable", format!("node {to} does not answer")).retry_after(1);
        let answer = Box::new(ForwardAnswer {
            node,
            boot,
            submission,
            attempt,
            result: Err(unreachable()),
        });
        if !self.is_up(to) {
            return self.later(2, Event::ForwardAnswered(answer));
        }
        if self.is_apart(node, to) || self.chance(4) {
            self.counts.lost_forwards += 1;
            return;
        }
        if self.chance(4) {
            self.counts.doubled_forwards += 1;
            let after = self.travel() + self.draw(LEASE_MS);
            self.later(
                after,
                Event::Forward {
                    to,
                    envelope: envelope.clone(),
                    answer: answer.clone(),
                },
            );
        }
        let after = self.travel();
        self.later(after, Event::Forward { to, envelope, answer });
    }

    pub(super) fn at_broker(&mut self, node: usize, boot: u64, partition: u16, question: u64, ask: Ask) {
        if self.seats[node].member.as_ref().is_none_or(|member| member.boot != boot) && matches!(ask, Ask::Put { .. }) {
            self.counts.appends_of_the_dead += 1;
        }
        let mut broker = self.broker.lock();
        let told = match &ask {
            Ask::Begin => {
                let (guard, head) = broker.begin(partition);
                BrokerAnswer::Begun { guard, head }
            }
            Ask::Put { guard, bytes } => BrokerAnswer::Put(broker.put(partition, *guard, bytes)),
            Ask::Look { guard, bytes } => {
                let (found, head) = broker.look(partition, *guard, bytes);
                BrokerAnswer::Looked { found, head }
            }
        };
        drop(broker);
        let event = Event::BrokerTold {
            node,
            boot,
            partition,
            question,
            told,
        };
        if self.now < self.seats[node].cut_until || self.chance(4) {
            self.counts.lost_acknowledgements += 1;
            return;
        }
        if self.chance(3) {
            self.counts.doubled_acknowledgements += 1;
            let after = self.travel();
            self.later(after, event.clone());
        }
        let mut after = self.travel();
        if self.chance(3) {
            self.counts.late_acknowledgements += 1;
            after += AGAIN_MS + self.draw(LEASE_MS);
        }
        self.later(after, event);
    }

    pub(super) fn at_leases(&mut self, node: usize, boot: u64, partition: u16, flow: u64, ask: LeaseAsk) {
        let told = {
            let mut broker = self.broker.lock();
            match ask {
                LeaseAsk::Look => {
                    let (lease, sequence) = broker.lease(partition);
                    LeaseTold::Looked { lease, sequence }
                }
                LeaseAsk::Store { lease, expected } => LeaseTold::Stored(broker.store_lease(partition, lease, expected)),
            }
        };
        if matches!(told, LeaseTold::Stored(Some(_))) {
            for other in 0..NODES {
                if self.now >= self.seats[other].cut_until && !self.chance(20) {
                    let after = self.travel();
                    self.later(after, Event::Hint { node: other, partition });
                }
            }
        }
        if self.now < self.seats[node].cut_until || self.chance(3) {
            self.counts.lost_lease_answers += 1;
        } else {
            let after = self.travel();
            self.later(after, Event::LeasesTold { node, boot, flow, told });
        }
    }
}
