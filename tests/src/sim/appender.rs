//! One node's writer to one partition of the broker: one job at a time, sent again and looked for until its outcome is
//! known or its time is over. As the writers of the logs on brokers do it, with every answer on its own way.

use super::broker::{Fence, Found, Guard, Put, header, places};
use quipu_events::{
    frame::{self, Encoded},
    port::{AppendError, Appended, Batch, Head},
};
use std::collections::VecDeque;

/// How long an outcome is looked for, and the pause between two questions, milliseconds of the node's clock.
pub(crate) const OUTCOME_MS: u64 = quipu_schemas::limits::BROKER_OUTCOME_MS / 3;
pub(crate) const AGAIN_MS: u64 = 60;

/// A question to the broker.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    Begin,
    Put { guard: Guard, bytes: Vec<u8> },
    Look { guard: Guard, bytes: Vec<u8> },
}

/// Its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BrokerAnswer {
    Begun { guard: Guard, head: Head },
    Put(Put),
    Looked { found: Found, head: Head },
}

/// How a job ended.
pub(crate) enum Ended {
    Appended {
        batch: Batch,
        result: Result<Appended, AppendError>,
    },
    Claimed(Result<Head, AppendError>),
}

/// What is asked of the world.
pub(crate) enum Out {
    Ask {
        question: u64,
        ask: Ask,
    },
    Ended(Ended),
    /// [`Appender::look_again`] is due after so long.
    Again {
        question: u64,
        after_ms: u64,
    },
}

enum Job {
    Append(Batch),
    Claim { id: [u8; 16] },
}

enum Standing {
    Stranger,
    Owner(Guard, Head),
    Unsure(Head),
}

struct Active {
    job: Job,
    deadline: u64,
    guard: Guard,
    sent: Option<(Vec<u8>, Encoded, Head)>,
}

pub(crate) struct Appender {
    partition: u16,
    fence: Fence,
    owner: String,
    standing: Standing,
    jobs: VecDeque<Job>,
    active: Option<Active>,
    question: u64,
}

impl Appender {
    pub(crate) fn new(partition: u16, fence: Fence, owner: String) -> Self {
        Self {
            partition,
            fence,
            owner,
            standing: Standing::Stranger,
            jobs: VecDeque::new(),
            active: None,
            question: 0,
        }
    }

    pub(crate) fn append(&mut self, batch: Batch, now: u64) -> Vec<Out> {
        self.jobs.push_back(Job::Append(batch));
        self.next(now)
    }

    pub(crate) fn claim(&mut self, id: [u8; 16], now: u64) -> Vec<Out> {
        self.jobs.push_back(Job::Claim { id });
        self.next(now)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.active.is_none() && self.jobs.is_empty()
    }

    fn next(&mut self, now: u64) -> Vec<Out> {
        let mut out = Vec::new();
        while self.active.is_none() {
            let Some(job) = self.jobs.pop_front() else { break };
            let deadline = now + OUTCOME_MS;
            let refused = |batch, error| Out::Ended(Ended::Appended { batch, result: Err(error) });
            match job {
                Job::Claim { .. } => {
                    self.active = Some(Active {
                        job,
                        deadline,
                        guard: 0,
                        sent: None,
                    });
                    self.ask(Ask::Begin, &mut out);
                }
                Job::Append(batch) => match self.standing {
                    Standing::Owner(guard, head)
                        if batch.epoch == head.epoch && batch.first_offset == head.next_offset && batch.previous == head.frame_hash =>
                    {
                        self.active = Some(Active {
                            job: Job::Append(batch),
                            deadline,
                            guard,
                            sent: None,
                        });
                        self.send(guard, head, &mut out);
                    }
                    Standing::Owner(_, head) | Standing::Unsure(head) if batch.epoch < head.epoch => {
                        out.push(refused(
                            batch,
                            AppendError::Fenced {
                                partition: self.partition,
                                epoch: head.epoch,
                            },
                        ));
                    }
                    Standing::Owner(_, head) => out.push(refused(
                        batch,
                        AppendError::Conflict {
                            partition: self.partition,
                            expected: head.next_offset,
                        },
                    )),
                    Standing::Stranger | Standing::Unsure(_) => out.push(refused(batch, AppendError::Poisoned("claim it again".into()))),
                },
            }
        }
        out
    }

    fn ask(&mut self, ask: Ask, out: &mut Vec<Out>) {
        self.question += 1;
        out.push(Out::Ask {
            question: self.question,
            ask,
        });
        out.push(Out::Again {
            question: self.question,
            after_ms: AGAIN_MS,
        });
    }

    /// Sends the job's frame behind this end.
    fn send(&mut self, guard: Guard, head: Head, out: &mut Vec<Out>) {
        let Some(active) = &mut self.active else { return };
        let (batch, id) = match &active.job {
            Job::Append(batch) => (Some(batch), [0; 16]),
            Job::Claim { id } => (None, *id),
        };
        let header = header(self.partition, batch, head, (id, &self.owner));
        let records: Vec<&[u8]> = batch
            .iter()
            .flat_map(|batch| &batch.records)
            .map(|record| record.bytes.as_slice())
            .collect();
        let mut bytes = Vec::new();
        match frame::encode_onto(&mut bytes, &header, records.into_iter()) {
            Ok(encoded) => {
                let count = encoded.records.len() as u64;
                let end = Head {
                    epoch: header.epoch,
                    next_offset: header.first_offset + count,
                    frame_hash: encoded.hash,
                };
                active.guard = guard;
                active.sent = Some((bytes.clone(), encoded, end));
                self.ask(Ask::Put { guard, bytes }, out);
            }
            Err(error) => self.end(Err(AppendError::Invalid(error.to_string())), out),
        }
    }

    /// An answer arrives. One to an earlier question says nothing any more.
    pub(crate) fn told(&mut self, question: u64, told: BrokerAnswer, now: u64) -> Vec<Out> {
        let mut out = Vec::new();
        let Some(active) = self.active.as_ref().filter(|_| question == self.question) else {
            return out;
        };
        let (guard, is_claim, late) = (active.guard, matches!(active.job, Job::Claim { .. }), now >= active.deadline);
        match told {
            BrokerAnswer::Begun { guard, head } => self.send(guard, head, &mut out),
            BrokerAnswer::Put(Put::Stored { sequence })
            | BrokerAnswer::Looked {
                found: Found::Same { sequence },
                ..
            } => self.stored(sequence, &mut out),
            // No verdict: what is in its place is.
            BrokerAnswer::Put(Put::Refused) => {
                if let Some((bytes, ..)) = &active.sent {
                    let bytes = bytes.clone();
                    self.ask(Ask::Look { guard, bytes }, &mut out);
                }
            }
            BrokerAnswer::Looked { found: Found::Nothing, .. } if late => self.unknown("time is over", &mut out),
            BrokerAnswer::Looked { found: Found::Nothing, .. } => {
                if let Some((bytes, ..)) = &active.sent {
                    let bytes = bytes.clone();
                    self.ask(Ask::Put { guard, bytes }, &mut out);
                }
            }
            BrokerAnswer::Looked {
                found: Found::Another,
                head,
            } => {
                self.standing = Standing::Stranger;
                if is_claim && !late {
                    self.ask(Ask::Begin, &mut out);
                } else if is_claim {
                    self.end(Err(AppendError::Poisoned("others keep writing to it".into())), &mut out);
                } else {
                    let batch_epoch = match &active.job {
                        Job::Append(batch) => batch.epoch,
                        Job::Claim { .. } => 0,
                    };
                    let (partition, expected) = (self.partition, head.next_offset);
                    let fenced = head.epoch > batch_epoch;
                    self.end(
                        Err(if fenced {
                            AppendError::Fenced {
                                partition,
                                epoch: head.epoch,
                            }
                        } else {
                            AppendError::Conflict { partition, expected }
                        }),
                        &mut out,
                    );
                }
            }
        }
        out.extend(self.next(now));
        out
    }

    /// No answer came for a while.
    pub(crate) fn look_again(&mut self, question: u64, now: u64) -> Vec<Out> {
        let mut out = Vec::new();
        let Some(active) = self.active.as_ref().filter(|_| question == self.question) else {
            return out;
        };
        if now >= active.deadline {
            self.unknown("no answer", &mut out);
        } else {
            let ask = match &active.sent {
                None => Ask::Begin,
                Some((bytes, ..)) => Ask::Look {
                    guard: active.guard,
                    bytes: bytes.clone(),
                },
            };
            self.ask(ask, &mut out);
        }
        out.extend(self.next(now));
        out
    }

    fn stored(&mut self, sequence: u64, out: &mut Vec<Out>) {
        let Some(Active {
            sent: Some((_, encoded, end)),
            guard,
            ..
        }) = self.active.as_ref()
        else {
            return;
        };
        let guard = if self.fence == Fence::LastSequence { sequence } else { *guard };
        let appended = Appended {
            frame_hash: encoded.hash,
            places: places(self.partition, sequence, &encoded.records),
        };
        // It may be a replaced producer's: the next append tells.
        self.standing = Standing::Owner(guard, *end);
        self.end(Ok(appended), out);
    }

    fn unknown(&mut self, why: &str, out: &mut Vec<Out>) {
        if let Some(Active {
            sent: Some((_, _, end)), ..
        }) = &self.active
        {
            self.standing = Standing::Unsure(*end);
        }
        self.end(Err(AppendError::Unknown(why.into())), out);
    }

    fn end(&mut self, result: Result<Appended, AppendError>, out: &mut Vec<Out>) {
        let Some(active) = self.active.take() else { return };
        self.question += 1;
        out.push(Out::Ended(match active.job {
            Job::Append(batch) => Ended::Appended { batch, result },
            Job::Claim { .. } => Ended::Claimed(match (result, active.sent) {
                (Ok(_), Some((_, _, end))) => Ok(end),
                (Ok(_), None) => Err(AppendError::Unknown("nothing was sent".into())),
                (Err(error), _) => Err(error),
            }),
        }));
    }
}
