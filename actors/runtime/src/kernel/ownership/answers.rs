//! What the lease store and the log answer, and what follows.

use super::{Action, AppendOutcome, ClaimOutcome, LeaseAnswer, Ownership, State};

impl Ownership {
    pub(super) fn seen(&mut self, seen: Option<(u64, u64)>, now: u64, out: &mut Vec<Action>) {
        if let State::Follower { not_before, .. } = &mut self.state {
            *not_before = seen.map_or(now, |(_, until)| until);
        } else if let (Some(lease), Some((grant, _))) = (self.held(), seen)
            && grant > lease.grant
        {
            lease.until = now;
            self.lapse(now, out);
        }
    }

    pub(super) fn answered(&mut self, asked_at: u64, answer: LeaseAnswer, now: u64, out: &mut Vec<Action>) {
        if let State::Acquiring { asked_at: ours } = self.state
            && ours == asked_at
        {
            match answer {
                LeaseAnswer::Granted { grant } => {
                    let lease = self.lease(grant, asked_at);
                    if self.wanted && now < lease.until {
                        out.push(Action::Claim);
                        self.state = State::Claiming { lease, unknown: None };
                    } else {
                        out.push(Action::ReleaseLease { grant });
                        self.state = State::Follower {
                            not_before: now,
                            rest_until: now,
                        };
                    }
                }
                LeaseAnswer::Refused { until } => {
                    self.state = State::Follower {
                        not_before: until.max(now + 1),
                        rest_until: now,
                    }
                }
                LeaseAnswer::Unknown => {
                    self.state = State::Follower {
                        not_before: now,
                        rest_until: now + self.timing.rest_ms,
                    }
                }
            }
            return;
        }
        let renewed = match answer {
            LeaseAnswer::Granted { grant } => Some(self.lease(grant, asked_at)),
            LeaseAnswer::Refused { .. } | LeaseAnswer::Unknown => None,
        };
        let rest = now + self.timing.rest_ms;
        match self.held() {
            Some(lease) if lease.asked_at == Some(asked_at) => match (answer, renewed) {
                (LeaseAnswer::Granted { grant }, Some(renewed)) if grant == lease.grant => *lease = renewed,
                (LeaseAnswer::Unknown, _) => {
                    lease.asked_at = None;
                    lease.renew_at = rest;
                }
                // Another's now.
                _ => {
                    lease.asked_at = None;
                    lease.until = now;
                    self.lapse(now, out);
                }
            },
            _ => {
                // The answer to a question that was given up: the lease is let go unless it is the one at hand.
                if let LeaseAnswer::Granted { grant } = answer
                    && self.held().is_none_or(|lease| lease.grant != grant)
                {
                    out.push(Action::ReleaseLease { grant });
                }
            }
        }
    }

    pub(super) fn claimed(&mut self, outcome: ClaimOutcome, now: u64, out: &mut Vec<Action>) {
        let State::Claiming { lease, unknown } = self.state else { return };
        match outcome {
            ClaimOutcome::Failed => self.leave(lease, now + self.timing.rest_ms, now, out),
            // Past the lease the claim has fenced whoever appends, but this node must not go on.
            _ if !self.wanted || now >= lease.until => self.leave(lease, now, now, out),
            ClaimOutcome::Durable { epoch, next_offset } => {
                out.push(Action::ReadToEnd { epoch });
                self.state = State::Restoring {
                    lease,
                    epoch,
                    end: next_offset,
                    unknown,
                };
            }
            // A claim carries no command: the next one starts from the end of the log and takes the next epoch.
            ClaimOutcome::Stale | ClaimOutcome::Unknown => out.push(Action::Claim),
        }
    }

    pub(super) fn caught_up(&mut self, epoch: u64, newest: u64, next_offset: u64, now: u64, out: &mut Vec<Action>) {
        let State::Restoring {
            lease,
            epoch: ours,
            end,
            unknown,
        } = self.state
        else {
            return;
        };
        if ours != epoch {
            return;
        }
        if newest > epoch {
            self.leave(lease, now, now, out);
        } else if newest < epoch || next_offset < end {
            // The reader lags behind the claim: what it calls the end is not the end.
            out.push(Action::ReadToEnd { epoch });
        } else if let Some(batch) = unknown {
            out.push(Action::ReadBack { epoch, batch });
        } else {
            self.admit(lease, epoch, out);
        }
    }

    pub(super) fn appended(&mut self, epoch: u64, outcome: AppendOutcome, now: u64, out: &mut Vec<Action>) {
        let (lease, draining) = match self.state {
            State::Owner { lease, epoch: ours } if ours == epoch => (lease, false),
            State::Draining { lease, epoch: ours, .. } if ours == epoch => (lease, true),
            _ => return,
        };
        match outcome {
            AppendOutcome::Stored | AppendOutcome::Refused => {}
            AppendOutcome::Fenced => {
                if !draining {
                    out.push(Action::StopAdmission);
                }
                self.leave(lease, now, now, out);
            }
            // The next owner's claim settles it; a repeat of its commands gets the first receipts there.
            AppendOutcome::Unknown(_) if draining => self.leave(lease, now, now, out),
            // To look for it now would prove nothing: it may still arrive. A claim keeps it out for good.
            AppendOutcome::Unknown(batch) => {
                out.extend([Action::StopAdmission, Action::Claim]);
                self.state = State::Claiming {
                    lease,
                    unknown: Some(batch),
                };
            }
        }
    }
}
