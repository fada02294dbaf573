//! Flushes of the writers, and their ends.

use super::super::Rng;
use super::SimNode;
use quipu_events::{
    index::IndexEntry,
    port::{Batch, Log},
};
use quipu_runtime::kernel::{authorities, writer::Durable};
use quipu_schemas::{context::Millis, ids::StreamId, problem::Problem};
use std::collections::BTreeMap;

impl SimNode {
    /// Writes some or all waiting frames in one group commit; their ends are heard later.
    pub(crate) fn flush(&mut self, rng: &mut Rng, _: Millis) {
        let some = rng.below(self.batches.len() as u64 + 1) as usize;
        let batches: Vec<Batch> = self.batches.drain(..some).collect();
        let partitions: Vec<u16> = batches.iter().map(|b| b.partition).collect();
        let results = self.log.engine().append_all(batches);
        self.completions.extend(partitions.into_iter().zip(results));
    }

    pub(crate) fn complete(&mut self, _: &mut Rng, now: Millis) {
        let Some((partition, result)) = self.completions.pop_front() else {
            return;
        };
        let id = self.batch_id();
        let flushed = self.writers[usize::from(partition)].appended(result, id);
        self.batches.extend(flushed.next);
        let entries: Vec<IndexEntry> = flushed
            .durable
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
        if let Err(error) = self.index.note_durable(partition, entries) {
            self.broken.push(format!("index: {error}"));
        }
        for Durable { decided, position, .. } in flushed.durable {
            self.ends[usize::from(partition)] = position.offset + 1;
            let stream = decided.record.header.stream.clone();
            if authorities::is_about(&stream.kind) {
                self.known.record(&decided.record);
            }
            let actions = self.relays[usize::from(partition)].record(position.offset, &decided.record);
            self.relay_actions(partition, actions);
            if let Some((entity, ..)) = self.entities.get_mut(&stream) {
                let actions = entity.durable(decided.encoded.hash, position, self.log.meta().durability);
                self.entity_actions(&stream, actions, now);
            }
        }
        let failed: BTreeMap<StreamId, Problem> = flushed
            .failed
            .into_iter()
            .map(|(d, p)| (d.record.header.stream.clone(), p))
            .collect();
        for (stream, problem) in failed {
            self.drop_entity(&stream, &problem, now);
        }
    }

    pub(crate) fn flush_all(&mut self, rng: &mut Rng, now: Millis) {
        while !self.batches.is_empty() || !self.completions.is_empty() {
            self.flush(rng, now);
            self.complete(rng, now);
        }
    }
}
