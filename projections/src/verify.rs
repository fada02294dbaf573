//! Proves views against the log: a rebuild from zero must give the same rows.

use crate::{
    error::ViewError,
    follower::Follower,
    progress::Progress,
    projector::Stop,
    store::{Checkpoint, DigestOf, Digests, ViewStore},
};
use quipu_events::port::{AppendDone, AppendError, Batch, FrameRead, Head, Log, LogMeta, Place, ReadError};
use quipu_schemas::digest::Digest;
use std::sync::Arc;

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Digest of each table as it stands.
    pub digests: Digests,
    /// Tables whose rows are not those of a rebuild, with the digest that they should have.
    pub differing: Digests,
    /// Records that were reduced again.
    pub records: u64,
    /// Partitions where the rebuild stopped before the checkpoint of the views.
    pub stopped: Vec<Stop>,
}

impl Verdict {
    /// Whether the views are what the log says.
    pub fn is_equal(&self) -> bool {
        self.differing.is_empty() && self.stopped.is_empty()
    }
}

/// Rebuilds `store`'s views from zero into `side` (empty, of the same origin), as far as `store`'s checkpoints, and
/// compares. The views must not move meanwhile; where they do, the answer is [`ViewError::Conflict`].
pub fn verify(log: &dyn Log, store: &dyn ViewStore, side: &Arc<dyn ViewStore>) -> Result<Verdict, ViewError> {
    let checkpoints = store.checkpoints()?;
    let digests = store.digests(DigestOf::Everything)?;
    let now = store.checkpoints()?;
    if let Some((partition, moved)) = (0u16..)
        .zip(checkpoints.iter().zip(&now))
        .find(|(_, (before, after))| before != after)
    {
        return Err(ViewError::Conflict {
            partition,
            expected: moved.0.next_offset,
        });
    }
    let bounded = UpTo { log, checkpoints };
    let round = Follower::new(&bounded, side.clone())?.catch_up(&bounded, &Progress::new(side.cursor()?))?;
    let stopped = round
        .stopped
        .into_iter()
        .filter(|s| s.offset < bounded.checkpoints[usize::from(s.partition)].next_offset)
        .collect();
    let mut differing = side.digests(DigestOf::Everything)?;
    // Families that are behind hold a part of their rows by right.
    let late = store.behind()?;
    let late: Vec<_> = store
        .origin()
        .families
        .iter()
        .filter(|f| late.iter().any(|l| l.family == f.name))
        .collect();
    let is_late = |table: &str| late.iter().any(|family| family.tables.iter().any(|t| t.name == table));
    let mut digests = digests;
    digests.retain(|table, _| !is_late(table));
    differing.retain(|table, digest: &mut Digest| !is_late(table) && digests.get(table) != Some(digest));
    Ok(Verdict {
        digests,
        differing,
        records: round.records,
        stopped,
    })
}

/// A log as far as some checkpoints.
struct UpTo<'l> {
    log: &'l dyn Log,
    checkpoints: Vec<Checkpoint>,
}

impl Log for UpTo<'_> {
    fn meta(&self) -> LogMeta {
        self.log.meta()
    }
    fn claim(&self, partition: u16, _: &str) -> Result<Head, AppendError> {
        Err(AppendError::Invalid(format!(
            "partition {partition} is being read for verification"
        )))
    }
    fn append(&self, batch: Batch, done: AppendDone) {
        done(Err(AppendError::Invalid(format!(
            "partition {} is being read for verification",
            batch.partition
        ))));
    }
    fn read(&self, partition: u16, from_offset: u64, max_bytes: usize) -> Result<Vec<FrameRead>, ReadError> {
        let end = self.checkpoints[usize::from(partition)].next_offset;
        if from_offset >= end {
            return Ok(Vec::new());
        }
        let mut frames = self.log.read(partition, from_offset, max_bytes)?;
        frames.retain(|frame| frame.first_offset < end);
        for frame in &mut frames {
            let within = usize::try_from(end - frame.first_offset).unwrap_or(usize::MAX);
            frame.records.truncate(within);
        }
        Ok(frames)
    }
    fn read_at(&self, places: &[Place]) -> Result<Vec<Vec<u8>>, ReadError> {
        self.log.read_at(places)
    }
    fn head(&self, partition: u16) -> Result<Head, ReadError> {
        let mut head = self.log.head(partition)?;
        head.next_offset = head.next_offset.min(self.checkpoints[usize::from(partition)].next_offset);
        Ok(head)
    }
}
