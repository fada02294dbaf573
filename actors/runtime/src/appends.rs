//! Records on their way to the log, and what follows once they are there.

use crate::{
    core::Core,
    kernel::{
        authorities,
        entity::DecidedRecord,
        ownership::{AppendOutcome, Input, outcome_of},
        vitals::Trouble,
        writer::{self, Durable, Incarnation},
    },
    mailbox::{EntityMsg, RelayMsg},
    tasks::panic_text,
};
use quipu_events::{
    index::IndexEntry,
    port::{AppendError, Appended, Batch},
};
use quipu_schemas::{problem::Problem, reaction::Reaction, record::Record};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
};

impl Core {
    /// Hands a record to its partition's writer.
    pub(crate) fn append(self: &Arc<Self>, partition: u16, decided: DecidedRecord, incarnation: Incarnation) -> Result<(), Problem> {
        let batch = self
            .partition(partition)
            .writer
            .lock()
            .submit(decided, incarnation, self.next_batch_id())?;
        if let Some(batch) = batch {
            self.append_batch(batch);
        }
        Ok(())
    }

    // The append belongs to the log's own task, not to an actor: an actor that is killed cannot cut it in half.
    fn append_batch(self: &Arc<Self>, batch: Batch) {
        let sent = Sent::of(&batch);
        self.partition(sent.partition).appending_since(Some(self.monotonic()));
        let unanswered = Unanswered(Some((self.clone(), sent)));
        self.log.append(batch, Box::new(move |result| unanswered.answer(result)));
    }

    /// A panic in what follows an append must leave nobody waiting: whatever of it was not done counts as unknown, and the
    /// partition is read back from the log.
    pub(crate) fn guarded(&self, sent: Sent, work: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            self.given_up(sent, panic_text(&*panic));
        }
    }

    fn given_up(&self, sent: Sent, detail: &str) {
        let partition = sent.partition;
        let unknown = AppendError::Unknown(format!("what follows an append crashed: {detail}"));
        let failed = {
            let mut writer = self.partition(partition).writer.lock();
            if writer.epoch() != sent.epoch {
                return;
            }
            let flushed = if writer.is_appending() {
                writer.appended(Err(unknown.clone()), [0; 16])
            } else {
                writer::Flushed::default()
            };
            writer.refuse(writer::stopped(partition, &unknown));
            self.partition(partition).appending_since(None);
            flushed.failed
        };
        self.counters.appends_crashed.fetch_add(1, Ordering::Relaxed);
        self.fail(sent, failed, Some(outcome_of(&unknown, sent.batch_id)));
        // The logger may be what crashed, and this may run while that crash unwinds.
        let _ = catch_unwind(|| {
            tracing::error!(
                partition,
                detail,
                "the work after an append crashed; the partition is read back from the log"
            );
        });
    }

    /// The writer first, then everybody who waits; whoever only wants to know comes last.
    fn appended(self: &Arc<Self>, sent: Sent, result: Result<Appended, AppendError>) {
        let partition = sent.partition;
        let error = result.as_ref().err().map(ToString::to_string);
        let next_id = self.next_batch_id();
        let failed = result.as_ref().err().map(|error| outcome_of(error, sent.batch_id));
        let flushed = {
            let mut writer = self.partition(partition).writer.lock();
            // The partition was abandoned meanwhile. What was stored of it is read from the log, as by everybody else.
            if writer.epoch() != sent.epoch || !writer.is_appending() {
                return;
            }
            let flushed = writer.appended(result, next_id);
            self.partition(partition).appending_since(None);
            // Under the writer's lock: a stream that has nothing pending any more is recovered from the index.
            self.note_durable(partition, &flushed.durable);
            flushed
        };
        if let Some(next) = flushed.next {
            self.append_batch(next);
        }
        self.publish(partition, flushed.durable);
        self.fail(sent, flushed.failed, failed);
        if let Some(error) = error {
            tracing::error!(partition, error, "append failed");
        }
    }

    fn fail(&self, sent: Sent, failed: Vec<(DecidedRecord, Problem)>, outcome: Option<AppendOutcome>) {
        let partition = sent.partition;
        let mut problems = BTreeMap::new();
        for (decided, problem) in failed {
            problems.insert(decided.record.header.stream.clone(), problem);
        }
        let incarnation = self.incarnation(partition);
        for (stream, problem) in problems {
            self.registry.notify(&stream, EntityMsg::Failed(problem, incarnation));
        }
        if let Some(outcome) = outcome {
            // Whoever waits for what was in flight waits no longer.
            self.durable.send_modify(|n| *n += 1);
            self.partition(partition).lost_sight_of(sent.batch_id, sent.first_offset);
            self.tell(
                partition,
                Input::Appended {
                    epoch: sent.epoch,
                    outcome,
                },
            );
        }
    }

    /// Index first: whoever hears of a record can look it up.
    fn note_durable(&self, partition: u16, durable: &[Durable]) {
        let entries: Vec<IndexEntry> = durable
            .iter()
            .map(|d| {
                IndexEntry::new(
                    d.position.offset,
                    d.place,
                    d.decided.record.hash,
                    &d.decided.record.header,
                    &d.decided.record.reactions,
                )
            })
            .collect();
        if entries.is_empty() {
            return;
        }
        if let Err(error) = self.index.note_durable(partition, entries) {
            tracing::error!(partition, %error, "records cannot be indexed; the index is rebuilt at the next start");
        }
    }

    /// Then authority, then everybody who waits.
    fn publish(&self, partition: u16, durable: Vec<Durable>) {
        if durable.is_empty() {
            return;
        }
        self.counters.frames.fetch_add(1, Ordering::Relaxed);
        self.counters.records.fetch_add(durable.len() as u64, Ordering::Relaxed);
        for Durable { decided, position, .. } in &durable {
            self.rates.heard(&decided.record);
            if authorities::is_about(&decided.record.header.stream.kind) {
                self.authority.record(partition, &decided.record);
                self.accounts.book.record(&*self.keys, position.offset, &decided.record);
            }
        }
        self.hub.publish(&self.cursor, partition, &durable);
        let mut reacting = Vec::new();
        let mut wakes = false;
        for durable in durable {
            let record = durable.decided.record.clone();
            self.clock.met(record.header.time);
            self.note_trouble(&record);
            if !record.reactions.is_empty() || record.header.settlement.is_some() {
                wakes |= record.reactions.iter().any(|r| matches!(r.reaction, Reaction::WakeAt { .. }));
                reacting.push((durable.position.offset, record.clone()));
            }
            self.registry.notify(&record.header.stream, EntityMsg::Durable(durable));
        }
        if !reacting.is_empty()
            && let Some(relay) = self.partition(partition).relay.lock().as_ref()
        {
            let _ = relay.send_message(RelayMsg::Records(reacting));
        }
        if wakes {
            self.timers.send_modify(|n| *n += 1);
        }
        self.durable.send_modify(|n| *n += 1);
    }

    /// What a record tells of failures is counted, and said once.
    fn note_trouble(&self, record: &Record) {
        let now = self.monotonic();
        let told = self.vitals.lock().record(record, now);
        for trouble in told {
            match trouble {
                Trouble::Dead { key, code, detail } => {
                    tracing::warn!(%key, code, detail, "an effect was given up; see `quipu outbox ls`");
                }
                Trouble::TurnFailed { stream, turn, code } => {
                    tracing::warn!(%stream, turn, code, "a turn ended without an answer");
                }
            }
        }
    }
}

/// An append that is answered whatever becomes of it: a log that drops it unanswered leaves its outcome unknown.
struct Unanswered(Option<(Arc<Core>, Sent)>);

impl Unanswered {
    fn answer(mut self, result: Result<Appended, AppendError>) {
        if let Some((core, sent)) = self.0.take() {
            core.guarded(sent, || core.appended(sent, result));
        }
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some((core, sent)) = self.0.take() {
            core.given_up(sent, "the log dropped it");
        }
    }
}

/// A frame on its way to the log.
#[derive(Clone, Copy)]
pub(crate) struct Sent {
    partition: u16,
    epoch: u64,
    batch_id: [u8; 16],
    first_offset: u64,
}

impl Sent {
    pub(crate) fn of(batch: &Batch) -> Self {
        Self {
            partition: batch.partition,
            epoch: batch.epoch,
            batch_id: batch.batch_id,
            first_offset: batch.first_offset,
        }
    }
}
