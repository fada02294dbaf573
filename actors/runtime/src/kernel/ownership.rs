//! Who owns a partition: one node's part of the ownership protocol, for one partition.
//!
//! A lease says who should own (liveness); the epoch of the last claim frame says who does (safety). A node asks for the
//! lease, claims the next epoch in the log, reads to the end, and only then admits commands. Whatever the lease says, an
//! owner of a lower epoch cannot append; inside the lease alone may an owner answer without appending.
//!
//! Times are milliseconds of this node's monotonic clock. An input that belongs to an earlier epoch or an earlier
//! question changes nothing, so a shell may pass on whatever arrives.

mod action;
mod answers;
mod input;
mod reader;
#[cfg(test)]
mod tests;

pub use action::Action;
pub use input::{AppendOutcome, ClaimOutcome, Input, LeaseAnswer, outcome_of};
pub use reader::{Broken, Frame, Reader, Reading};

/// Tells an append from every other, for reading back an unknown outcome.
pub type BatchId = [u8; 16];

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timing {
    /// Life of a lease in its store, from the store's last grant or renewal.
    pub lease_ms: u64,
    /// What the holder takes off, counting from when it asked: at least the most that its clock can fall behind the
    /// store's within one lease.
    pub margin_ms: u64,
    /// From one renewal to the next.
    pub renew_ms: u64,
    /// Longest wait for what was admitted before a handoff.
    pub drain_ms: u64,
    /// Pause after a claim or a restore that failed, so that another node may try.
    pub rest_ms: u64,
}

/// A lease as its holder counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The store's number for this tenure; a higher one is another tenure.
    pub grant: u64,
    /// When it ends, the margin taken off.
    pub until: u64,
    /// When to renew it.
    pub renew_at: u64,
    /// The renewal under way.
    pub asked_at: Option<u64>,
}

/// Where the node stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum State {
    /// It does not own, and asks for nothing before a time.
    Follower {
        /// When the lease may be free.
        not_before: u64,
        /// End of its pause after a claim or a restore that failed, whatever it hears of the lease meanwhile.
        rest_until: u64,
    },
    /// It asked for the lease.
    Acquiring {
        /// When.
        asked_at: u64,
    },
    /// It holds the lease; a claim frame is on its way. The claim's answer is awaited whatever happens meanwhile.
    Claiming {
        /// The lease, which may end meanwhile.
        lease: Lease,
        /// An append of an earlier epoch whose outcome is unknown.
        unknown: Option<BatchId>,
    },
    /// Its claim is durable; it reads to the end, then reads back what is unknown.
    Restoring {
        /// The lease.
        lease: Lease,
        /// Its epoch.
        epoch: u64,
        /// Next record offset after the claim: the end that must be reached.
        end: u64,
        /// An append of an earlier epoch whose outcome is unknown.
        unknown: Option<BatchId>,
    },
    /// It admits commands.
    Owner {
        /// The lease.
        lease: Lease,
        /// Its epoch.
        epoch: u64,
    },
    /// It admits no more and waits for what was admitted.
    Draining {
        /// The lease, which may have ended.
        lease: Lease,
        /// Its epoch.
        epoch: u64,
        /// When it gives up waiting.
        until: u64,
    },
    /// Shut down.
    Stopped,
}

/// One node's ownership of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ownership {
    timing: Timing,
    state: State,
    wanted: bool,
    stopping: bool,
}

impl Ownership {
    /// A node that was just started and is not asked to own yet.
    pub fn new(timing: Timing) -> Self {
        Self {
            timing,
            state: State::Follower {
                not_before: 0,
                rest_until: 0,
            },
            wanted: false,
            stopping: false,
        }
    }

    /// Where it stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The epoch under which commands are admitted.
    pub fn admits(&self) -> Option<u64> {
        match self.state {
            State::Owner { epoch, .. } => Some(epoch),
            _ => None,
        }
    }

    /// Whether an answer that appends nothing may be given now. Asked when the answer is ready, not when its command came.
    pub fn may_refuse(&self, now: u64) -> bool {
        matches!(self.state, State::Owner { lease, .. } if now < lease.until)
    }

    /// End of the time within which an answer that appends nothing may be given; `None` outside of it.
    pub fn refuses_until(&self) -> Option<u64> {
        match self.state {
            State::Owner { lease, .. } => Some(lease.until),
            _ => None,
        }
    }

    /// The lease that it holds, perhaps past its end.
    pub fn lease_held(&self) -> Option<u64> {
        match self.state {
            State::Claiming { lease, .. } | State::Restoring { lease, .. } | State::Owner { lease, .. } | State::Draining { lease, .. } => {
                Some(lease.grant)
            }
            State::Follower { .. } | State::Acquiring { .. } | State::Stopped => None,
        }
    }

    /// When the next [`Input::Tick`] has something to do, if nothing else happens before; `None` while an answer is awaited.
    pub fn next_due(&self) -> Option<u64> {
        let renewal = |lease: Lease| {
            if lease.asked_at.is_none() {
                lease.renew_at.min(lease.until)
            } else {
                lease.until
            }
        };
        match self.state {
            State::Follower { not_before, rest_until } => self.wanted.then_some(not_before.max(rest_until)),
            // Past the lease's end only the claim's answer counts.
            State::Claiming { lease, .. } => lease.asked_at.is_none().then_some(lease.renew_at),
            State::Restoring { lease, .. } | State::Owner { lease, .. } => Some(renewal(lease)),
            State::Draining { lease, until, .. } => Some(renewal(lease).min(until)),
            State::Acquiring { .. } | State::Stopped => None,
        }
    }

    /// Takes an input; the actions are to be done in order.
    pub fn step(&mut self, input: Input, now: u64) -> Vec<Action> {
        let mut out = Vec::new();
        self.lapse(now, &mut out);
        self.take(input, now, &mut out);
        self.pursue(now, &mut out);
        out
    }

    fn take(&mut self, input: Input, now: u64, out: &mut Vec<Action>) {
        match input {
            Input::Tick => {}
            Input::Own => self.wanted = !self.stopping,
            Input::HandOff => {
                self.wanted = false;
                self.withdraw(now, out);
            }
            Input::Shutdown => {
                self.wanted = false;
                self.stopping = true;
                self.withdraw(now, out);
            }
            Input::LeaseSeen(seen) => self.seen(seen, now, out),
            Input::Lease { asked_at, answer } => self.answered(asked_at, answer, now, out),
            Input::Claimed(outcome) => self.claimed(outcome, now, out),
            Input::CaughtUp {
                epoch,
                newest,
                next_offset,
            } => self.caught_up(epoch, newest, next_offset, now, out),
            Input::RestoreFailed { epoch } => {
                if let State::Restoring { lease, epoch: ours, .. } = self.state
                    && ours == epoch
                {
                    self.leave(lease, now + self.timing.rest_ms, now, out);
                }
            }
            Input::Appended { epoch, outcome } => self.appended(epoch, outcome, now, out),
            Input::ReadBack { epoch, batch, stored } => {
                if let State::Restoring {
                    lease,
                    epoch: ours,
                    unknown,
                    ..
                } = self.state
                    && ours == epoch
                    && unknown == Some(batch)
                {
                    out.push(Action::Settle { batch, stored });
                    self.admit(lease, epoch, out);
                }
            }
            Input::Drained { epoch } => {
                if let State::Draining { lease, epoch: ours, .. } = self.state
                    && ours == epoch
                {
                    self.leave(lease, now, now, out);
                }
            }
        }
    }

    /// What ends by itself.
    fn lapse(&mut self, now: u64, out: &mut Vec<Action>) {
        match self.state {
            State::Restoring { lease, .. } if now >= lease.until => self.leave(lease, now, now, out),
            State::Owner { lease, epoch } if now >= lease.until => self.drain(lease, epoch, now, out),
            State::Draining { lease, until, .. } if now >= until => self.leave(lease, now, now, out),
            // The answer to a question or a claim is awaited; it finds the lease past its end.
            State::Follower { .. }
            | State::Acquiring { .. }
            | State::Claiming { .. }
            | State::Restoring { .. }
            | State::Owner { .. }
            | State::Draining { .. }
            | State::Stopped => {}
        }
    }

    /// Asks for the lease, or renews it.
    fn pursue(&mut self, now: u64, out: &mut Vec<Action>) {
        let stopping = self.stopping;
        match &mut self.state {
            State::Follower { .. } if stopping => self.state = State::Stopped,
            State::Follower { not_before, rest_until } if self.wanted && now >= *not_before && now >= *rest_until => {
                out.push(Action::AskLease { asked_at: now });
                self.state = State::Acquiring { asked_at: now };
            }
            State::Claiming { lease, .. } | State::Restoring { lease, .. } | State::Owner { lease, .. } | State::Draining { lease, .. } => {
                if lease.asked_at.is_none() && now >= lease.renew_at && now < lease.until {
                    lease.asked_at = Some(now);
                    out.push(Action::RenewLease {
                        grant: lease.grant,
                        asked_at: now,
                    });
                }
            }
            State::Follower { .. } | State::Acquiring { .. } | State::Stopped => {}
        }
    }

    /// No longer wanted: an owner drains, others step back as soon as nothing of theirs is on its way.
    fn withdraw(&mut self, now: u64, out: &mut Vec<Action>) {
        match self.state {
            State::Owner { lease, epoch } => self.drain(lease, epoch, now, out),
            State::Restoring { lease, .. } => self.leave(lease, now, now, out),
            State::Follower { .. } | State::Acquiring { .. } | State::Claiming { .. } | State::Draining { .. } | State::Stopped => {}
        }
    }

    fn lease(&self, grant: u64, asked_at: u64) -> Lease {
        let t = self.timing;
        Lease {
            grant,
            until: asked_at + t.lease_ms.saturating_sub(t.margin_ms),
            renew_at: asked_at + t.renew_ms,
            asked_at: None,
        }
    }

    fn held(&mut self) -> Option<&mut Lease> {
        match &mut self.state {
            State::Claiming { lease, .. } | State::Restoring { lease, .. } | State::Owner { lease, .. } | State::Draining { lease, .. } => {
                Some(lease)
            }
            State::Follower { .. } | State::Acquiring { .. } | State::Stopped => None,
        }
    }

    fn admit(&mut self, lease: Lease, epoch: u64, out: &mut Vec<Action>) {
        out.push(Action::Admit { epoch });
        self.state = State::Owner { lease, epoch };
    }

    fn drain(&mut self, lease: Lease, epoch: u64, now: u64, out: &mut Vec<Action>) {
        out.extend([Action::StopAdmission, Action::Drain { epoch }]);
        self.state = State::Draining {
            lease,
            epoch,
            until: now + self.timing.drain_ms,
        };
    }

    fn leave(&mut self, lease: Lease, rest_until: u64, now: u64, out: &mut Vec<Action>) {
        out.extend([Action::Abandon, Action::ReleaseLease { grant: lease.grant }]);
        self.state = State::Follower {
            not_before: now,
            rest_until,
        };
    }
}
