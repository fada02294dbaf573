//! A node's shell around its machine: performs actions, answers commands, and carries the planted mistakes.

use super::{
    motion::Motion,
    world::{Broker, Leases, Plant, Reply, Request, State, Step, Stored, Way, batch},
};
use quipu_runtime::kernel::ownership::{Action, AppendOutcome, ClaimOutcome, Input, LeaseAnswer, State as At};
use std::collections::VecDeque;

impl Motion<'_> {
    /// An answer that appends nothing; the entity saw nothing in flight.
    pub(crate) fn refuse(&self, s: &mut State, n: usize) {
        let node = &s.nodes[n];
        if !node.machine.may_refuse(s.clock(n)) && self.world.plant != Plant::RefuseWithoutLease {
            return;
        }
        self.seen.count("refusal");
        s.refused_outside_lease |= !s.lease.is_some_and(|(holder, expires)| holder == n && s.now < expires);
        s.refused_stale |= s
            .receipts
            .iter()
            .zip(&node.known)
            .any(|(receipt, known)| receipt.is_some() && known.is_none());
    }

    pub(crate) fn receipt(&self, s: &mut State, command: u8, offset: u64) {
        let first = *s.receipts[usize::from(command)].get_or_insert(offset);
        s.two_receipts |= first != offset;
    }

    pub(crate) fn append(&self, s: &mut State, n: usize, command: u8) {
        let node = &mut s.nodes[n];
        let epoch = node.machine.admits().unwrap_or_default();
        node.in_flight = Some(command);
        let offset = node.next_offset;
        node.log = Some(Way::There(Request::Append {
            epoch,
            guard: node.guard,
            offset,
            command,
        }));
        if self.world.plant == Plant::AcknowledgeBeforeOutcome {
            self.receipt(s, command, offset);
        }
    }

    pub(crate) fn answered(&self, s: &mut State, n: usize, reply: Reply) {
        match reply {
            Reply::Claimed { outcome, guard } => {
                s.nodes[n].guard = guard;
                self.feed(s, n, Input::Claimed(outcome));
            }
            Reply::Appended(outcome) => self.appended(s, n, outcome),
            Reply::Granted { .. } | Reply::Held { .. } => unreachable!("a reply of the lease store"),
        }
    }

    pub(crate) fn appended(&self, s: &mut State, n: usize, outcome: AppendOutcome) {
        let node = &mut s.nodes[n];
        let epoch = match *node.machine.state() {
            At::Owner { epoch, .. } | At::Draining { epoch, .. } => epoch,
            _ => 0,
        };
        if outcome == AppendOutcome::Stored
            && let Some(command) = node.in_flight.take()
        {
            let offset = node.next_offset;
            node.known[usize::from(command)] = Some(offset);
            node.next_offset += 1;
            if self.world.broker == Broker::CompareAndSet {
                node.guard += 1;
            }
            self.receipt(s, command, offset);
        }
        self.feed(s, n, Input::Appended { epoch, outcome });
        if s.nodes[n].in_flight.is_none() {
            self.feed(s, n, Input::Drained { epoch });
        }
    }

    /// The answer to a claim or an append is not awaited any longer; its request may still arrive.
    pub(crate) fn timed_out(&self, s: &mut State, n: usize, way: Way) {
        s.stray(way);
        let end = s.end();
        let appending = match (way, s.nodes[n].in_flight) {
            (Way::There(Request::Append { epoch, command, .. }), _) => Some((epoch, command)),
            (Way::Back(Reply::Appended(_)), Some(command)) => Some((s.nodes[n].machine.admits().unwrap_or_default(), command)),
            _ => None,
        };
        let Some((epoch, command)) = appending else {
            if self.world.plant == Plant::AwaitClaimForEver {
                return;
            }
            self.seen.count("claim of unknown outcome");
            return self.feed(s, n, Input::Claimed(ClaimOutcome::Unknown));
        };
        self.seen.count("append of unknown outcome");
        match self.world.plant {
            Plant::RetryUnknown => {
                let node = &mut s.nodes[n];
                node.next_offset = end.next_offset();
                if self.world.broker == Broker::CompareAndSet {
                    node.guard = s.log.len() as u64;
                }
                self.append(s, n, command);
            }
            Plant::ReadBackWithoutClaim => match s.log.contains(&Stored {
                epoch,
                offset: s.nodes[n].next_offset,
                command: Some(command),
            }) {
                true => self.appended(s, n, AppendOutcome::Stored),
                false => {
                    s.denied.push((epoch, command));
                    s.nodes[n].in_flight = None;
                }
            },
            Plant::Nothing
            | Plant::AdmitBeforeClaim
            | Plant::SkipRestore
            | Plant::StoreAnyEpoch
            | Plant::NotIdempotent
            | Plant::AcknowledgeBeforeOutcome
            | Plant::RefuseWithoutLease
            | Plant::NoMargin
            | Plant::AwaitClaimForEver => {
                self.appended(s, n, AppendOutcome::Unknown(batch(epoch, command)));
            }
        }
    }

    /// Gives the machine an input and does what it asks for.
    pub(crate) fn feed(&self, s: &mut State, n: usize, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let clock = s.clock(n);
            for action in s.nodes[n].machine.step(input, clock) {
                self.perform(s, n, action, &mut inputs);
            }
        }
    }

    pub(crate) fn perform(&self, s: &mut State, n: usize, action: Action, inputs: &mut VecDeque<Input>) {
        match action {
            Action::AskLease { asked_at } if self.world.leases == Leases::Broken => {
                inputs.push_back(Input::Lease {
                    asked_at,
                    answer: LeaseAnswer::Granted { grant: 0 },
                });
            }
            Action::RenewLease { grant, asked_at } if self.world.leases == Leases::Broken => {
                inputs.push_back(Input::Lease {
                    asked_at,
                    answer: LeaseAnswer::Granted { grant },
                });
            }
            Action::AskLease { asked_at } => self.ask(s, n, asked_at, Request::Ask { node: n }),
            Action::RenewLease { grant, asked_at } => self.ask(s, n, asked_at, Request::Renew { grant }),
            // One that is lost or late only leaves the lease to its end: its grant is never held again.
            Action::ReleaseLease { grant } => {
                if grant == s.grant {
                    s.lease = None;
                }
            }
            Action::Claim if self.world.plant == Plant::AdmitBeforeClaim => {
                let end = s.end();
                if !s.strays.contains(&Request::Claim) {
                    s.strays.push(Request::Claim);
                }
                s.nodes[n].guard = if self.world.broker == Broker::CompareAndSet {
                    s.log.len() as u64
                } else {
                    s.producer
                };
                inputs.push_back(Input::Claimed(ClaimOutcome::Durable {
                    epoch: end.epoch() + 1,
                    next_offset: end.next_offset(),
                }));
            }
            Action::Claim => s.nodes[n].log = Some(Way::There(Request::Claim)),
            Action::ReadToEnd { epoch } => {
                if self.world.plant == Plant::SkipRestore
                    && let At::Restoring { end, .. } = *s.nodes[n].machine.state()
                {
                    s.nodes[n].next_offset = end;
                    inputs.push_back(Input::CaughtUp {
                        epoch,
                        newest: epoch,
                        next_offset: end,
                    });
                } else {
                    s.nodes[n].reading = Some(epoch);
                }
            }
            Action::ReadBack { epoch, batch: id } => {
                let taken = s.readable().map(|(_, taken)| taken).unwrap_or_default();
                let stored = taken.iter().any(|r| r.command.is_some_and(|c| batch(r.epoch, c) == id));
                inputs.push_back(Input::ReadBack { epoch, batch: id, stored });
            }
            Action::Settle { batch: id, stored } => {
                s.nodes[n].in_flight = None;
                self.seen.count(if stored {
                    "unknown append settled: stored"
                } else {
                    "unknown append settled: absent"
                });
                let taken = s.readable().map(|(_, taken)| taken).unwrap_or_default();
                if stored && let Some(record) = taken.iter().find(|r| r.command.is_some_and(|c| batch(r.epoch, c) == id)) {
                    self.receipt(s, id[1], record.offset);
                } else if !stored {
                    s.denied.push((u64::from(id[0]), id[1]));
                }
            }
            Action::Admit { epoch } => {
                if epoch > 1 {
                    self.seen.count("takeover");
                }
                s.nodes[n].admitting = true;
            }
            Action::StopAdmission => s.nodes[n].admitting = false,
            Action::Drain { epoch } => {
                if s.nodes[n].in_flight.is_none() {
                    inputs.push_back(Input::Drained { epoch });
                }
            }
            Action::Abandon => {
                let node = &mut s.nodes[n];
                node.admitting = false;
                node.reading = None;
                node.known.fill(None);
                node.next_offset = 0;
                node.guard = 0;
                if node.in_flight.take().is_some() {
                    self.seen.count("in flight abandoned");
                }
                if let Some(way) = node.log.take() {
                    s.stray(way);
                }
            }
        }
    }

    pub(crate) fn ask(&self, s: &mut State, n: usize, asked_at: u64, request: Request) {
        if let Some((_, way)) = s.nodes[n].lease.replace((asked_at, Way::There(request))) {
            s.stray(way);
        }
    }

    /// Whether a network that loses nothing and a fair schedule bring the partition back: some node admits and answers
    /// each command with a receipt.
    pub(crate) fn recovers(&self, from: &State) -> bool {
        let mut s = from.clone();
        for _ in 0..24 {
            while !s.strays.is_empty() {
                self.apply(&mut s, Step::Stray(0));
            }
            for n in 0..s.nodes.len() {
                if *s.nodes[n].machine.state() == At::Stopped {
                    self.apply(&mut s, Step::Start(n));
                }
                if !s.nodes[n].wanted {
                    self.apply(&mut s, Step::Own(n));
                }
                for step in [
                    Step::LogArrives(n),
                    Step::LogArrives(n),
                    Step::LogAnswers(n),
                    Step::Read(n),
                    Step::LeaseArrives(n),
                    Step::LeaseAnswers(n),
                    Step::Tick(n),
                ] {
                    self.apply(&mut s, step);
                }
                let node = &s.nodes[n];
                if node.admitting && node.in_flight.is_none() {
                    match s.receipts.iter().position(Option::is_none) {
                        None => return true,
                        Some(command) => {
                            s.sends = 1;
                            self.apply(&mut s, Step::Send(n, command as u8));
                        }
                    }
                }
            }
            self.apply(&mut s, Step::Time { behind: None });
        }
        false
    }
}
