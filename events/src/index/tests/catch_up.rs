//! Catching up past what gives no records.

use super::scene::{Scene, stream};
use crate::{
    index::{Index, Unreadable},
    memory::MemoryLog,
    port::{AppendDone, AppendError, Batch, FrameRead, Head, Log, LogMeta, Place, ReadError},
};
use parking_lot::Mutex;
use quipu_schemas::limits::FRAME_MAX_BYTES;

/// A log whose second record stands behind `claims` bytes of claim frames: a read of fewer gives none of it.
struct Claimed {
    log: MemoryLog,
    claims: usize,
    asked: Mutex<Vec<usize>>,
}

impl Log for Claimed {
    fn meta(&self) -> LogMeta {
        self.log.meta()
    }
    fn claim(&self, partition: u16, owner: &str) -> Result<Head, AppendError> {
        self.log.claim(partition, owner)
    }
    fn append(&self, batch: Batch, done: AppendDone) {
        self.log.append(batch, done);
    }
    fn read(&self, partition: u16, from_offset: u64, max_bytes: usize) -> Result<Vec<FrameRead>, ReadError> {
        self.asked.lock().push(max_bytes);
        let mut frames = self.log.read(partition, from_offset, max_bytes)?;
        frames.retain(|frame| match from_offset {
            0 => frame.first_offset == 0,
            1 => max_bytes >= self.claims && frame.first_offset == 1,
            _ => true,
        });
        Ok(frames)
    }
    fn read_at(&self, places: &[Place]) -> Result<Vec<Vec<u8>>, ReadError> {
        self.log.read_at(places)
    }
    fn head(&self, partition: u16) -> Result<Head, ReadError> {
        self.log.head(partition)
    }
}

#[test]
fn claims_are_skipped_up_to_a_bound_and_holes_reported() {
    let read = 2 * FRAME_MAX_BYTES;
    for (claims, asked, records) in [
        (0, vec![read; 3], 3),
        (read + 1, vec![read, read, 8 * read, read], 3),
        (64 * read, vec![read, read, 8 * read, 64 * read, read], 3),
        (64 * read + 1, vec![read, read, 8 * read, 64 * read], 1),
    ] {
        let mut scene = Scene::new(1);
        (0..3).for_each(|_| drop(scene.write(&stream(1), 1, vec![], None)));
        let index = Index::in_memory(&scene.log.meta()).unwrap();
        let log = Claimed {
            log: scene.log,
            claims,
            asked: Mutex::default(),
        };
        let caught = index.catch_up(&log, &mut |_| {}).unwrap();
        assert_eq!(
            (caught.records, log.asked.into_inner()),
            (records, asked),
            "{claims} bytes of claims"
        );
        let hole = Unreadable::Log(ReadError::Damaged {
            partition: 0,
            offset: 1,
            at: "end of what it gives".into(),
            detail: "it announces records up to 3".into(),
        });
        assert_eq!(caught.stopped.get(&0), (records == 1).then_some(&hole));
    }
}
