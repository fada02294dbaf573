//! How a node comes to own a partition, and how it gives it up: the shell of the machine of ownership.

use super::{Member, Out, Wake, not_open};
use crate::sim::{
    appender::{self, BrokerAnswer, Ended},
    lessee::{LeaseOut, LeaseTold},
    trio::Plant,
};
use quipu_events::{
    index::{CaughtUp, IndexError},
    port::{AppendError, Log},
};
use quipu_runtime::kernel::{
    authorities,
    ownership::{Action, ClaimOutcome, Input, State},
    writer,
};
use quipu_schemas::{ids::StreamId, limits, record};

/// A third of what the product waits, as the lease is.
const AUTHORITY_STALE_MS: u64 = limits::AUTHORITY_STALE_MS / 3;

impl Member {
    /// Tells a partition's machine, and does what it asks for.
    pub(crate) fn tell(&mut self, partition: u16, input: Input) {
        let now = self.monotonic();
        for action in self.part(partition).ownership.step(input, now) {
            self.perform(partition, action);
        }
        let part = self.part(partition);
        part.refuses_until = part.ownership.refuses_until().unwrap_or(0);
        if let Some(due) = part.ownership.next_due() {
            let at = due.max(now + 1);
            if part.planned.is_none_or(|planned| planned > at) {
                part.planned = Some(at);
                self.later(at - now, Wake::Tick(partition));
            }
        }
    }

    fn perform(&mut self, partition: u16, action: Action) {
        match action {
            Action::AskLease { asked_at } => {
                let outs = self.leases.ask(partition, asked_at);
                self.lease_outs(outs);
            }
            Action::RenewLease { grant, asked_at } => {
                let outs = self.leases.renew(partition, grant, asked_at);
                self.lease_outs(outs);
            }
            Action::ReleaseLease { grant } => {
                let outs = self.leases.release(partition, grant);
                self.lease_outs(outs);
            }
            Action::Claim => {
                let (id, now) = (self.batch_id(), self.monotonic());
                let outs = self.part(partition).appender.claim(id, now);
                self.appender_outs(partition, outs);
            }
            Action::ReadToEnd { epoch } => self.later(1, Wake::ReadToEnd { partition, epoch }),
            Action::ReadBack { epoch, batch } => self.later(1, Wake::ReadBack { partition, epoch, batch }),
            // Its commands were answered when the append failed.
            Action::Settle { .. } => {}
            Action::Admit { epoch } => {
                let part = self.part(partition);
                let Some(head) = part.head.filter(|head| head.epoch == epoch) else {
                    return self.broken.push(format!(
                        "partition {partition} is to admit under epoch {epoch}, which it did not claim"
                    ));
                };
                part.writer.resume(head);
                part.unknown = None;
                self.start_relay(partition);
                self.outs.push(Out::Admitted { partition, epoch });
                self.owners_changed();
            }
            Action::StopAdmission => self.part(partition).writer.close(not_open(partition)),
            Action::Drain { epoch } => self.later(1, Wake::Drain { partition, epoch }),
            Action::Abandon => self.abandon(partition),
        }
    }

    /// Forgets everything about a partition that only its owner may know.
    fn abandon(&mut self, partition: u16) {
        let part = self.part(partition);
        part.relay = None;
        let problem = part.writer.stopped().cloned().unwrap_or_else(|| not_open(partition));
        part.writer.abandon(problem);
        self.forget_entities(partition);
        self.outs.push(Out::Lost { partition });
        self.owners_changed();
    }

    pub(super) fn appender_outs(&mut self, partition: u16, outs: Vec<appender::Out>) {
        for out in outs {
            match out {
                appender::Out::Ask { question, ask } => self.outs.push(Out::Broker { partition, question, ask }),
                appender::Out::Again { question, after_ms } => self.later(after_ms, Wake::LookAgain { partition, question }),
                appender::Out::Ended(Ended::Appended { batch, result }) => self.appended(&batch, result),
                appender::Out::Ended(Ended::Claimed(result)) => {
                    let outcome = match result {
                        Ok(head) => {
                            self.part(partition).head = Some(head);
                            ClaimOutcome::Durable {
                                epoch: head.epoch,
                                next_offset: head.next_offset,
                            }
                        }
                        Err(AppendError::Fenced { .. } | AppendError::Conflict { .. }) => ClaimOutcome::Stale,
                        Err(AppendError::Unknown(_)) => ClaimOutcome::Unknown,
                        Err(error) => {
                            self.part(partition).writer.refuse(writer::stopped(partition, &error));
                            ClaimOutcome::Failed
                        }
                    };
                    self.tell(partition, Input::Claimed(outcome));
                }
            }
        }
    }

    /// The broker answers.
    pub(crate) fn broker_told(&mut self, partition: u16, question: u64, told: BrokerAnswer) {
        let now = self.monotonic();
        let outs = self.part(partition).appender.told(question, told, now);
        self.appender_outs(partition, outs);
    }

    pub(super) fn read_to_end(&mut self, partition: u16, epoch: u64) -> Input {
        if self.plant == Plant::AdmitsBeforeItHasRead
            && let State::Restoring { end, .. } = *self.part(partition).ownership.state()
        {
            return Input::CaughtUp {
                epoch,
                newest: epoch,
                next_offset: end,
            };
        }
        let mut caught = CaughtUp::default();
        let read = self.read_on(partition, &mut caught);
        let trouble = match (read, caught.stopped.remove(&partition)) {
            (Err(error), _) => error.to_string(),
            (Ok(()), Some(stopped)) => stopped.to_string(),
            (Ok(()), None) => match self.log.head(partition) {
                Ok(head) => {
                    return Input::CaughtUp {
                        epoch,
                        newest: head.epoch,
                        next_offset: self.index.next_offset(partition),
                    };
                }
                Err(error) => error.to_string(),
            },
        };
        self.unreadable(partition, &trouble);
        self.part(partition)
            .writer
            .refuse(writer::stopped(partition, &AppendError::Poisoned(trouble)));
        Input::RestoreFailed { epoch }
    }

    pub(super) fn unreadable(&mut self, partition: u16, trouble: &str) {
        if !trouble.contains("simulated") {
            self.broken
                .push(format!("node {} cannot read partition {partition}: {trouble}", self.id));
        }
    }

    pub(super) fn is_stored(&mut self, partition: u16, batch: [u8; 16]) -> Option<bool> {
        let Some((_, first)) = self.part(partition).unknown.filter(|(id, _)| *id == batch) else {
            return Some(false);
        };
        let frames = self.log.read(partition, first, usize::MAX).ok()?;
        Some(frames.iter().any(|frame| frame.batch_id == batch))
    }

    /// Reads a partition on into the index, and what is known of rights with it.
    fn read_on(&mut self, partition: u16, caught: &mut CaughtUp) -> Result<(), IndexError> {
        let known = &mut self.known;
        let mut each = |stream: &StreamId, _: u64, bytes: &[u8]| {
            if authorities::is_about(&stream.kind) {
                match record::decode(bytes) {
                    Ok(record) => known.record(&record),
                    Err(_) => drop(known.take(stream)),
                }
            }
        };
        self.index.follow_partition(&*self.log, partition, &mut each, caught)
    }

    /// Follows a partition that another node owns.
    pub(crate) fn follow(&mut self, partition: u16) {
        if self.is_owner(partition) {
            return;
        }
        let asked = self.monotonic();
        let mut caught = CaughtUp::default();
        let read = self.read_on(partition, &mut caught);
        match read
            .err()
            .map(|e| e.to_string())
            .or_else(|| caught.stopped.remove(&partition).map(|why| why.to_string()))
        {
            None => self.part(partition).followed = asked,
            Some(why) => self.unreadable(partition, &why),
        }
    }

    pub(super) fn is_fresh(&self, partition: u16) -> bool {
        self.is_owner(partition) || self.monotonic() <= self.parts[usize::from(partition)].followed + AUTHORITY_STALE_MS
    }

    pub(super) fn lease_outs(&mut self, outs: Vec<LeaseOut>) {
        for out in outs {
            match out {
                LeaseOut::Ask { partition, flow, ask } => self.outs.push(Out::Lease { partition, flow, ask }),
                LeaseOut::Deadline { flow, after_ms } => self.later(after_ms, Wake::LeaseDeadline { flow }),
                LeaseOut::Answer {
                    partition,
                    asked_at,
                    answer,
                } => self.tell(partition, Input::Lease { asked_at, answer }),
                LeaseOut::Seen { partition, seen } => {
                    let now = self.monotonic();
                    self.tell(partition, Input::LeaseSeen(seen.map(|(grant, left)| (grant, now + left))));
                    self.owners_changed();
                }
                LeaseOut::Wanted { partition, wanted } if !self.leaving => {
                    self.tell(partition, if wanted { Input::Own } else { Input::HandOff })
                }
                LeaseOut::Wanted { .. } => {}
            }
        }
    }

    pub(crate) fn lease_told(&mut self, flow: u64, told: LeaseTold) {
        let now = self.monotonic();
        let outs = self.leases.told(flow, told, now);
        self.lease_outs(outs);
    }

    /// Somebody said that a lease changed.
    pub(crate) fn lease_hint(&mut self, partition: u16) {
        let outs = self.leases.watch(partition);
        self.lease_outs(outs);
    }

    pub(crate) fn heard(&mut self, node: usize, leaving: bool) {
        let now = self.monotonic();
        let outs = self.leases.heard(node, leaving, now);
        self.lease_outs(outs);
    }

    pub(crate) fn place(&mut self) {
        let now = self.monotonic();
        let outs = self.leases.place(now);
        self.lease_outs(outs);
    }
}
