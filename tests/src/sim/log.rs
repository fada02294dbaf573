//! The embedded engine on a simulated disk, without its thread.

use parking_lot::{Mutex, MutexGuard};
use quipu_events::{
    disk::Disk,
    embedded::{EmbeddedOptions, OpenError, SegmentEngine},
    port::{AppendDone, AppendError, Batch, FrameRead, Head, Log, LogMeta, Place, ReadError},
};
use quipu_schemas::position::LogId;
use std::{path::Path, sync::Arc};

/// The log of one incarnation of the node.
pub(crate) struct SimLog(Mutex<SegmentEngine>);

impl SimLog {
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path, partitions: u16) -> Result<Self, OpenError> {
        let options = EmbeddedOptions {
            partitions,
            log_id: Some(LogId([7; 16])),
            segment_bytes: 24 * 1024,
        };
        SegmentEngine::open(disk, dir, &options).map(|engine| Self(Mutex::new(engine)))
    }

    pub(crate) fn engine(&self) -> MutexGuard<'_, SegmentEngine> {
        self.0.lock()
    }
}

impl Log for SimLog {
    fn meta(&self) -> LogMeta {
        self.engine().meta()
    }
    fn claim(&self, partition: u16, owner: &str) -> Result<Head, AppendError> {
        self.engine().claim(partition, owner)
    }
    fn append(&self, batch: Batch, done: AppendDone) {
        let result = self.engine().append_all(vec![batch]).pop();
        done(result.unwrap_or(Err(AppendError::Unknown("the engine gave no answer".into()))));
    }
    fn read(&self, partition: u16, from_offset: u64, max_bytes: usize) -> Result<Vec<FrameRead>, ReadError> {
        self.engine().read(partition, from_offset, max_bytes)
    }
    fn read_at(&self, places: &[Place]) -> Result<Vec<Vec<u8>>, ReadError> {
        self.engine().read_at(places)
    }
    fn head(&self, partition: u16) -> Result<Head, ReadError> {
        self.engine().head(partition)
    }
}
