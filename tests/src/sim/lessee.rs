//! One node's view of the leases and of the other nodes: it asks, renews and lets go by compare-and-set, and counts each
//! lease from when it saw it change, on its own clock. As the leases on JetStream do it.

use super::broker::Lease;
use quipu_events::leases::{Member, placement};
use quipu_runtime::kernel::ownership::LeaseAnswer;
use std::collections::BTreeMap;

/// Life of a lease, milliseconds.
pub(crate) const LEASE_MS: u64 = quipu_schemas::limits::LEASE_MS / 3;

/// A question to the store of leases.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LeaseAsk {
    Look,
    Store { lease: Lease, expected: u64 },
}

/// Its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LeaseTold {
    Looked { lease: Option<Lease>, sequence: u64 },
    Stored(Option<u64>),
}

/// What is asked of the node.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LeaseOut {
    Ask {
        partition: u16,
        flow: u64,
        ask: LeaseAsk,
    },
    /// [`Lessee::timed_out`] is due after so long.
    Deadline {
        flow: u64,
        after_ms: u64,
    },
    Answer {
        partition: u16,
        asked_at: u64,
        answer: LeaseAnswer,
    },
    /// The lease as seen: its grant, and how long it may last.
    Seen {
        partition: u16,
        seen: Option<(u64, u64)>,
    },
    Wanted {
        partition: u16,
        wanted: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Ask,
    Renew {
        grant: u64,
        again: bool,
    },
    Release {
        grant: u64,
    },
    /// Somebody said that it is time to look.
    Watch,
}

struct Flow {
    partition: u16,
    wish: Wish,
    asked_at: u64,
    storing: Option<Lease>,
    refused: bool,
}

#[derive(Clone, Copy)]
struct Seen {
    lease: Option<Lease>,
    sequence: u64,
    at: u64,
}

pub(crate) struct Lessee {
    me: usize,
    seen: Vec<Option<Seen>>,
    wanted: Vec<bool>,
    members: BTreeMap<usize, u64>,
    flows: BTreeMap<u64, Flow>,
    next_flow: u64,
}

impl Lessee {
    pub(crate) fn new(me: usize, partitions: u16) -> Self {
        let partitions = usize::from(partitions);
        Self {
            me,
            seen: vec![None; partitions],
            wanted: vec![false; partitions],
            members: BTreeMap::from([(me, 0)]),
            flows: BTreeMap::new(),
            next_flow: 0,
        }
    }

    /// Who holds a lease, as last seen.
    pub(crate) fn holder(&self, partition: u16) -> Option<usize> {
        let seen = self.seen[usize::from(partition)]?;
        seen.lease.filter(|lease| !lease.free).map(|lease| lease.holder)
    }

    pub(crate) fn ask(&mut self, partition: u16, asked_at: u64) -> Vec<LeaseOut> {
        self.begin(partition, Wish::Ask, asked_at)
    }

    pub(crate) fn renew(&mut self, partition: u16, grant: u64, asked_at: u64) -> Vec<LeaseOut> {
        self.begin(partition, Wish::Renew { grant, again: false }, asked_at)
    }

    pub(crate) fn release(&mut self, partition: u16, grant: u64) -> Vec<LeaseOut> {
        self.begin(partition, Wish::Release { grant }, 0)
    }

    pub(crate) fn watch(&mut self, partition: u16) -> Vec<LeaseOut> {
        self.begin(partition, Wish::Watch, 0)
    }

    fn begin(&mut self, partition: u16, wish: Wish, asked_at: u64) -> Vec<LeaseOut> {
        self.next_flow += 1;
        let flow = self.next_flow;
        self.flows.insert(
            flow,
            Flow {
                partition,
                wish,
                asked_at,
                storing: None,
                refused: false,
            },
        );
        vec![
            LeaseOut::Ask {
                partition,
                flow,
                ask: LeaseAsk::Look,
            },
            LeaseOut::Deadline {
                flow,
                after_ms: LEASE_MS / 2,
            },
        ]
    }

    /// No answer came in time.
    pub(crate) fn timed_out(&mut self, flow: u64) -> Vec<LeaseOut> {
        match self.flows.remove(&flow) {
            Some(Flow {
                partition,
                wish: Wish::Ask | Wish::Renew { .. },
                asked_at,
                ..
            }) => {
                vec![LeaseOut::Answer {
                    partition,
                    asked_at,
                    answer: LeaseAnswer::Unknown,
                }]
            }
            _ => Vec::new(),
        }
    }

    pub(crate) fn told(&mut self, flow: u64, told: LeaseTold, now: u64) -> Vec<LeaseOut> {
        let Some(Flow {
            partition,
            wish,
            asked_at,
            storing,
            refused,
        }) = self.flows.remove(&flow)
        else {
            return Vec::new();
        };
        let mut out = Vec::new();
        match (told, storing) {
            (LeaseTold::Looked { lease, sequence }, _) => {
                let seen = self.note(partition, lease, sequence, now, &mut out);
                self.looked(
                    flow,
                    Flow {
                        partition,
                        wish,
                        asked_at,
                        storing: None,
                        refused,
                    },
                    seen,
                    now,
                    &mut out,
                );
            }
            (LeaseTold::Stored(Some(sequence)), Some(lease)) => {
                self.note(partition, Some(lease), sequence, now, &mut out);
                if matches!(wish, Wish::Ask | Wish::Renew { .. }) {
                    out.push(LeaseOut::Answer {
                        partition,
                        asked_at,
                        answer: LeaseAnswer::Granted { grant: lease.grant },
                    });
                }
            }
            (LeaseTold::Stored(_), _) => match wish {
                Wish::Ask | Wish::Renew { .. } => {
                    // Another came first, or a renewal of our own whose answer was lost: looked at again.
                    let refused = matches!(wish, Wish::Ask | Wish::Renew { again: true, .. });
                    let wish = if let Wish::Renew { grant, .. } = wish {
                        Wish::Renew { grant, again: true }
                    } else {
                        wish
                    };
                    self.flows.insert(
                        flow,
                        Flow {
                            partition,
                            wish,
                            asked_at,
                            storing: None,
                            refused,
                        },
                    );
                    out.push(LeaseOut::Ask {
                        partition,
                        flow,
                        ask: LeaseAsk::Look,
                    });
                }
                Wish::Release { .. } | Wish::Watch => {}
            },
        }
        out
    }

    fn looked(&mut self, flow: u64, asked: Flow, seen: Seen, now: u64, out: &mut Vec<LeaseOut>) {
        let Flow {
            partition,
            wish,
            asked_at,
            refused,
            ..
        } = asked;
        let left = (seen.at + LEASE_MS).saturating_sub(now);
        let mine = |lease: &Lease, grant: u64| lease.grant == grant && lease.holder == self.me && !lease.free;
        let refuse = |free_in_ms: u64| LeaseOut::Answer {
            partition,
            asked_at,
            answer: LeaseAnswer::Refused { until: now + free_in_ms },
        };
        let lease = match wish {
            Wish::Watch => return,
            Wish::Ask if refused => return out.push(refuse(self.shown(&seen, now).map_or(0, |(_, left)| left) + 1)),
            Wish::Ask => match seen.lease {
                None => Lease {
                    grant: 1,
                    holder: self.me,
                    free: false,
                },
                Some(lease) if lease.free || lease.holder == self.me || left == 0 => Lease {
                    grant: lease.grant + 1,
                    holder: self.me,
                    free: false,
                },
                Some(_) => return out.push(refuse(left + 1)),
            },
            Wish::Renew { grant, .. } => match seen.lease.filter(|lease| mine(lease, grant) && !refused) {
                Some(lease) => lease,
                None => return out.push(refuse(LEASE_MS)),
            },
            Wish::Release { grant } => match seen.lease.filter(|lease| lease.grant == grant && lease.holder == self.me) {
                Some(lease) => Lease { free: true, ..lease },
                None => return,
            },
        };
        self.flows.insert(
            flow,
            Flow {
                storing: Some(lease),
                ..asked
            },
        );
        out.push(LeaseOut::Ask {
            partition,
            flow,
            ask: LeaseAsk::Store {
                lease,
                expected: seen.sequence,
            },
        });
    }

    /// Answers may overtake each other.
    fn note(&mut self, partition: u16, lease: Option<Lease>, sequence: u64, now: u64, out: &mut Vec<LeaseOut>) -> Seen {
        if let Some(seen) = self.seen[usize::from(partition)].filter(|seen| seen.sequence >= sequence) {
            return seen;
        }
        let seen = Seen { lease, sequence, at: now };
        self.seen[usize::from(partition)] = Some(seen);
        out.push(LeaseOut::Seen {
            partition,
            seen: self.shown(&seen, now),
        });
        seen
    }

    /// One of this node's own, perhaps of an earlier life, may be asked for at once.
    fn shown(&self, seen: &Seen, now: u64) -> Option<(u64, u64)> {
        let lease = seen.lease.filter(|lease| !lease.free)?;
        let left = if lease.holder == self.me {
            0
        } else {
            (seen.at + LEASE_MS).saturating_sub(now)
        };
        Some((lease.grant, left))
    }

    /// A node says that it is here, or that it goes.
    pub(crate) fn heard(&mut self, node: usize, leaving: bool, now: u64) -> Vec<LeaseOut> {
        if leaving {
            self.members.remove(&node);
        } else {
            self.members.insert(node, now);
        }
        self.place(now)
    }

    /// Forgets nodes that were not heard of, and tells what this one should own.
    pub(crate) fn place(&mut self, now: u64) -> Vec<LeaseOut> {
        let me = self.me;
        self.members
            .retain(|node, heard| *node == me || now.saturating_sub(*heard) < LEASE_MS);
        let members: Vec<Member> = self.members.keys().map(|node| Member::new(name(*node), "")).collect();
        let placed = placement(&members, self.seen.len() as u16);
        let mut out = Vec::new();
        for (partition, owner) in (0u16..).zip(placed) {
            let wanted = owner == name(me);
            if std::mem::replace(&mut self.wanted[usize::from(partition)], wanted) != wanted {
                out.push(LeaseOut::Wanted { partition, wanted });
            }
        }
        out
    }
}

/// A node's name in claims and placement.
pub(crate) fn name(node: usize) -> String {
    format!("node{node}")
}
