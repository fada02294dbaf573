//! One flush: frames are staged, written, synced and published.

use super::super::{
    catalog::{Active, Sealed, write_sidecar},
    recover::create_segment,
    segment::{FLUSH_HEADER, FlushHeader, SEGMENT_HEADER, SegmentHeader},
    sidecar::{FrameAt, Layout, Summary},
};
use super::{Flushed, SegmentEngine, Staged, Write, is_full};
use crate::{
    frame::{self, FrameHeader},
    memory::claim_header,
    port::{AppendError, Appended, Batch, Head, Place},
};
use std::collections::BTreeMap;

impl SegmentEngine {
    pub(super) fn stage(
        &self,
        index: usize,
        write: &Write,
        ends: &mut BTreeMap<u16, Head>,
        buffer: &mut Vec<u8>,
    ) -> Result<Staged, AppendError> {
        if let Some(why) = &self.poisoned {
            return Err(AppendError::Poisoned(why.clone()));
        }
        let partition = match write {
            Write::Append(batch) => batch.partition,
            Write::Claim { partition, .. } => *partition,
        };
        let head = match ends.get(&partition) {
            Some(head) => *head,
            None => self.end_of(partition)?,
        };
        let meta = &self.catalog.meta;
        let (header, records): (_, &[_]) = match write {
            Write::Claim { owner, .. } => (claim_header(meta.log_id, meta.generation, partition, head, owner), &[]),
            Write::Append(batch) => {
                continues(batch, head)?;
                let header = FrameHeader {
                    log_id: meta.log_id,
                    generation: meta.generation,
                    partition,
                    epoch: batch.epoch,
                    batch_id: batch.batch_id,
                    first_offset: batch.first_offset,
                    previous: batch.previous,
                    owner: None,
                };
                (header, &batch.records)
            }
        };
        let encoded = frame::encode_onto(buffer, &header, records.iter().map(|r| r.bytes.as_slice()))
            .map_err(|e| AppendError::Invalid(e.to_string()))?;
        let count = records.len() as u32;
        let head = Head {
            epoch: header.epoch,
            next_offset: header.first_offset + u64::from(count),
            frame_hash: encoded.hash,
        };
        ends.insert(partition, head);
        let frame = FrameAt {
            first_offset: header.first_offset,
            at: encoded.range.start as u32,
            len: encoded.range.len() as u32,
            count,
        };
        Ok(Staged {
            index,
            partition,
            head,
            frame,
            records: encoded.records,
            claim: count == 0,
        })
    }

    pub(super) fn end_of(&self, partition: u16) -> Result<Head, AppendError> {
        let state = self.catalog.state();
        let p = usize::from(partition);
        let head = *state
            .heads
            .get(p)
            .ok_or_else(|| AppendError::Invalid(format!("no such partition: {partition}")))?;
        match &state.stops[p] {
            Some(stop) => {
                let detail = format!(
                    "partition {partition} is damaged at offset {} ({}): {}",
                    stop.offset, stop.at, stop.detail
                );
                Err(AppendError::Poisoned(detail))
            }
            None => Ok(head),
        }
    }

    /// Writes and syncs a flush; the byte where it begins.
    pub(super) fn commit(&mut self, buffer: &mut [u8], staged: &[Staged]) -> Result<u64, AppendError> {
        let (mut file, mut end, mut number) = self.active();
        let len = buffer.len() as u64;
        let room = self
            .segment_bytes
            .max(file.len().map_err(|e| self.poison(&e, AppendError::Poisoned))?);
        if self.full || (end + len > room && end > SEGMENT_HEADER as u64) || end + len > u64::from(u32::MAX) {
            self.roll(len)?;
            (file, end, number) = self.active();
        }
        let header = FlushHeader {
            body_len: (buffer.len() - FLUSH_HEADER) as u32,
            frames: staged.len() as u32,
            at: end as u32,
            flush: self.next_flush(),
            segment: number,
        };
        buffer[..FLUSH_HEADER].copy_from_slice(&header.encode());
        if let Err(e) = file.write_all_at(end, buffer) {
            // Only where space could not be reserved. Nothing may be left of it that a later open would find whole.
            if is_full(&e) && file.set_len(end).and_then(|()| file.sync_data()).is_ok() {
                self.full = true;
                return Err(AppendError::Full);
            }
            return Err(self.poison(&e, AppendError::Unknown));
        }
        // Never again on this handle: a second sync would succeed without the bytes that the first one lost.
        file.sync_data().map_err(|e| self.poison(&e, AppendError::Unknown))?;
        Ok(end)
    }

    /// Begins the next segment. Until it is durable, file and name, nothing is written to it.
    pub(super) fn roll(&mut self, flush_len: u64) -> Result<(), AppendError> {
        // A name in a directory that is not this one's any more would begin another log there.
        if let Err(why) = self.lock.check() {
            self.give_up(&why);
            return Err(AppendError::Poisoned(why));
        }
        let (old, end, number) = self.active();
        let meta = &self.catalog.meta;
        let header = SegmentHeader {
            log_id: meta.log_id,
            generation: meta.generation,
            partitions: meta.partitions,
            segment: number + 1,
            first_flush: self.next_flush(),
        };
        let bytes = self.segment_bytes.max(SEGMENT_HEADER as u64 + flush_len);
        let file = match create_segment(self.catalog.disk.as_ref(), &self.catalog.log_dir, &header, bytes) {
            Ok(file) => file,
            Err(e) if is_full(&e) => return Err(AppendError::Full),
            Err(e) => return Err(self.poison(&e, AppendError::Poisoned)),
        };
        self.full = false;
        let damaged = std::mem::take(&mut self.damaged);
        let layout = {
            let mut state = self.catalog.change();
            let layout = Layout::new(state.heads.clone().into_iter());
            let active = Active {
                number: number + 1,
                file,
                end: SEGMENT_HEADER as u64,
                layout,
            };
            let sealed = std::mem::replace(&mut state.active, active);
            state.sealed.push(Sealed {
                number,
                bytes: end,
                spans: sealed.layout.spans.clone(),
            });
            sealed.layout
        };
        if !damaged {
            // Gives back what was reserved; a failure costs space, not data.
            let _ = old.set_len(end);
            let summary = Summary {
                log_id: header.log_id,
                segment: number,
                bytes: end,
                next_flush: self.next_flush(),
                spans: layout.spans.clone(),
            };
            write_sidecar(self.catalog.disk.as_ref(), &self.catalog.log_dir, &summary, &layout);
        }
        self.catalog.keep_open(number, old, layout);
        Ok(())
    }

    pub(super) fn publish(&self, base: u64, len: usize, staged: &[Staged], results: &mut [Option<Result<Flushed, AppendError>>]) {
        let mut state = self.catalog.change();
        let number = state.active.number;
        state.active.end = base + len as u64;
        state.next_flush += 1;
        for frame in staged {
            state.heads[usize::from(frame.partition)] = frame.head;
            let place = FrameAt {
                at: base as u32 + frame.frame.at,
                ..frame.frame
            };
            state.active.layout.push(frame.partition, place, frame.head);
            let places = frame.records.iter().map(|r| Place {
                unit: number,
                at: (base + r.start as u64) as u32,
                len: r.len() as u32,
            });
            results[frame.index] = Some(Ok(if frame.claim {
                Flushed::Claimed(frame.head)
            } else {
                Flushed::Appended(Appended {
                    frame_hash: frame.head.frame_hash,
                    places: places.collect(),
                })
            }));
        }
    }
}

/// Refuses a batch whose owner was replaced, or that does not continue its partition.
fn continues(batch: &Batch, head: Head) -> Result<(), AppendError> {
    let partition = batch.partition;
    if batch.epoch < head.epoch {
        return Err(AppendError::Fenced {
            partition,
            epoch: head.epoch,
        });
    }
    if batch.epoch != head.epoch || batch.first_offset != head.next_offset || batch.previous != head.frame_hash {
        return Err(AppendError::Conflict {
            partition,
            expected: head.next_offset,
        });
    }
    Ok(())
}
