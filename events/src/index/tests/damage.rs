//! Damage met while catching up: the stream parks or the partition stops, and nothing is skipped.

use super::scene::{Scene, effect, stream};
use crate::{
    index::{EntryError, Index, Unreadable},
    memory::MemoryLog,
    port::{AppendDone, AppendError, Batch, FrameRead, Head, Log, LogMeta, Place, ReadError},
};

/// A log that flips one bit of one record as it is read, as if frames were intact around it.
struct Flipped<'a> {
    log: &'a MemoryLog,
    offset: u64,
    /// Byte from the front, or from the back where negative.
    byte: isize,
}

impl Log for Flipped<'_> {
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
        let mut frames = self.log.read(partition, from_offset, max_bytes)?;
        for frame in &mut frames {
            for (offset, (_, bytes)) in (frame.first_offset..).zip(&mut frame.records) {
                if offset == self.offset {
                    let at = if self.byte < 0 {
                        bytes.len() - self.byte.unsigned_abs()
                    } else {
                        self.byte.unsigned_abs()
                    };
                    bytes[at] ^= 1;
                }
            }
        }
        Ok(frames)
    }
    fn read_at(&self, places: &[Place]) -> Result<Vec<Vec<u8>>, ReadError> {
        self.log.read_at(places)
    }
    fn head(&self, partition: u16) -> Result<Head, ReadError> {
        self.log.head(partition)
    }
}

fn scene() -> Scene {
    let mut scene = Scene::new(1);
    scene.write(&stream(1), 1, vec![], None);
    scene.write(&stream(2), 1, vec![effect()], None);
    scene.write(&stream(1), 1, vec![effect()], None);
    scene
}

#[test]
fn undecodable_body_parks_its_stream_and_others_go_on() {
    let scene = scene();
    let index = Index::in_memory(&scene.log.meta()).unwrap();
    let caught = index
        .catch_up(
            &Flipped {
                log: &scene.log,
                offset: 1,
                byte: -70,
            },
            &mut |_| {},
        )
        .unwrap();
    assert!(caught.stopped.is_empty());
    assert_eq!(caught.records, 3);
    assert_eq!(
        caught.parked.iter().map(|parked| parked.stream.clone()).collect::<Vec<_>>(),
        vec![stream(2)]
    );
    assert_eq!(index.all_parked().unwrap(), caught.parked);
    assert_eq!(index.pending(0, None, 10).unwrap().len(), 1);

    let caught = index.rebuild(&scene.log, &mut |_| {}).unwrap();
    assert!(caught.parked.is_empty() && index.all_parked().unwrap().is_empty());
    assert_eq!(
        index.pending(0, None, 10).unwrap().len(),
        2,
        "what the parked record asked for is known once it is mended"
    );
}

#[test]
fn undecodable_header_stops_its_partition() {
    let scene = scene();
    let index = Index::in_memory(&scene.log.meta()).unwrap();
    let caught = index
        .catch_up(
            &Flipped {
                log: &scene.log,
                offset: 1,
                byte: 20,
            },
            &mut |_| {},
        )
        .unwrap();
    let stopped = caught.stopped.get(&0);
    assert!(
        matches!(stopped, Some(Unreadable::Record { position, error: EntryError::Header(_) }) if position.offset == 1),
        "{stopped:?}"
    );
    assert_eq!(index.next_offset(0), 1);
    let caught = index.catch_up(&scene.log, &mut |_| {}).unwrap();
    assert_eq!(
        (caught.records, caught.rebuilt),
        (2, false),
        "it goes on from there once it is mended"
    );
}
