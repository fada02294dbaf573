//! A family that is behind the others: a machine without I/O from frames to batches, over records that the others have seen.
//!
//! The others have checked chains and parked what does not fit; a late family leaves the same records alone. Once it is where
//! they are, it joins them and is reduced with them from then on.

use crate::{
    family::Family,
    gathered::Gathered,
    projector::{Stop, StopReason},
    scope::At,
    statement::Statements,
    store::{Checkpoint, Of, ViewBatch},
};
use quipu_events::port::FrameRead;
use quipu_schemas::{ids::StreamId, record};
use std::collections::BTreeMap;

/// One partition of a family, from `at` towards the others at `others`.
pub(crate) struct Late<'a> {
    pub(crate) family: &'static Family,
    pub(crate) partition: u16,
    pub(crate) at: Checkpoint,
    pub(crate) others: Checkpoint,
    /// Streams that the others parked, with the offset of the first record that they left alone.
    pub(crate) parked: &'a BTreeMap<StreamId, u64>,
}

impl Late<'_> {
    /// The batch of these frames, which begin where the family is; `None` where nothing was read.
    pub(crate) fn batch(&self, frames: Vec<FrameRead>) -> Result<Option<ViewBatch>, Stop> {
        let mut next = self.at;
        let mut out = Gathered::default();
        for frame in frames {
            if frame.epoch < next.epoch {
                continue;
            }
            if frame.first_offset > next.next_offset {
                let found = frame.first_offset;
                return Err(self.stop(next.next_offset, StopReason::Hole { found }));
            }
            next.epoch = frame.epoch;
            for (offset, (_, bytes)) in (frame.first_offset..).zip(frame.records) {
                if offset < next.next_offset || offset >= self.others.next_offset {
                    continue;
                }
                self.record(offset, &bytes, &mut out)?;
                next.next_offset = offset + 1;
            }
        }
        let of = if next.next_offset == self.others.next_offset {
            Of::Joining(self.family.name, self.others)
        } else if next == self.at {
            return Ok(None);
        } else {
            Of::Late(self.family.name)
        };
        Ok(Some(ViewBatch {
            partition: self.partition,
            of,
            expected: self.at,
            next,
            statements: out.into_inner(),
        }))
    }

    fn stop(&self, offset: u64, why: StopReason) -> Stop {
        Stop {
            partition: self.partition,
            offset,
            why,
        }
    }

    fn record(&self, offset: u64, bytes: &[u8], out: &mut Gathered) -> Result<(), Stop> {
        let header = record::decode_header(bytes).map_err(|e| self.stop(offset, StopReason::NoStream(e.to_string())))?;
        let is_parked = self.parked.get(&header.stream).is_some_and(|from| offset >= *from);
        if is_parked || !self.family.is_of(header.stream.kind.as_str()) {
            return Ok(());
        }
        let at = At {
            partition: self.partition,
            offset,
        };
        let unfit = |detail: String| {
            let (family, stream) = (self.family.name, header.stream.clone());
            self.stop(offset, StopReason::Unfit { family, stream, detail })
        };
        let record = record::decode(bytes).map_err(|e| unfit(e.to_string()))?;
        let mut statements = Statements::default();
        (self.family.reduce)(&record, at, &mut statements).map_err(|e| unfit(e.to_string()))?;
        out.extend(statements.into_inner());
        Ok(())
    }
}
