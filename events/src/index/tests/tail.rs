//! What a flush takes out of the tail, and that nothing of it is left behind.

use super::scene::{Scene, command, effect, key, stream, wake};
use crate::{
    index::{Index, IndexEntry},
    port::Log,
};
use quipu_schemas::{ids::StreamId, limits::INDEX_TAIL_RECORDS, reaction::Settled};

/// A stream of each partition.
fn streams(partitions: u16) -> Vec<StreamId> {
    let of = |partition| (0..).map(stream).find(|s| s.partition(partitions) == partition).unwrap();
    (0..partitions).map(of).collect()
}

#[test]
fn flush_takes_the_oldest_of_each_partition_up_to_its_bound() {
    for (entries, max, expected) in [
        ([5, 1, 0], 4, vec![(0, 3), (1, 1)]),
        ([5, 5, 1], 7, vec![(0, 4), (1, 2), (2, 1)]),
        ([1, 0, 5], 5, vec![(0, 1), (2, 4)]),
        ([5, 5, 5], 15, vec![(0, 5), (1, 5), (2, 5)]),
        ([2, 2, 2], 100, vec![(0, 2), (1, 2), (2, 2)]),
        ([5, 5, 5], 2, vec![(0, 2)]),
        ([5, 0, 0], 0, vec![]),
        ([0, 0, 0], 9, vec![]),
    ] {
        let mut scene = Scene::new(3);
        let index = Index::in_memory(&scene.log.meta()).unwrap();
        for (stream, count) in streams(3).iter().zip(entries) {
            (0..count).for_each(|_| drop(scene.note(&index, stream, 1, vec![], None)));
        }
        let flush = index.tail().oldest(max);
        let taken: Vec<(u16, usize)> = flush.iter().map(|(partition, entries)| (*partition, entries.len())).collect();
        assert_eq!(taken, expected, "{max} of {entries:?}");
        for (_, entries) in &flush {
            assert!((0..).zip(entries).all(|(offset, entry)| entry.offset == offset), "the oldest first");
        }
    }
}

#[test]
fn what_was_flushed_takes_no_memory_any_more() {
    let mut scene = Scene::new(1);
    let index = Index::in_memory(&scene.log.meta()).unwrap();
    let (a, b) = (stream(1), stream(2));
    scene.note(&index, &a, 1, vec![effect(), wake("w", 9)], None);
    scene.note(&index, &a, 0, vec![], None);
    scene.note(&index, &b, 1, vec![], Some((key(&a, 1, 0), Settled::Accepted)));
    index.flush(1).unwrap();
    {
        let tail = index.tail();
        let held = &tail.streams[&a];
        assert_eq!((held.entries.len(), held.reactions.len(), held.wakes.len()), (1, 0, 0));
        assert_eq!(
            held.commands.keys().collect::<Vec<_>>(),
            [&command(1)],
            "the one that is still there"
        );
        assert_eq!(tail.notes.len(), 1);
    }
    index.flush_all().unwrap();
    let tail = index.tail();
    assert!(tail.streams.is_empty() && tail.notes.is_empty() && tail.len == 0);
}

#[test]
fn everything_is_flushed_however_much_it_is() {
    let mut scene = Scene::new(1);
    let index = Index::in_memory(&scene.log.meta()).unwrap();
    let first = scene.note(&index, &stream(1), 0, vec![], None);
    let more = INDEX_TAIL_RECORDS as u64 + 5;
    let entries = (1..more).map(|offset| IndexEntry { offset, ..first.clone() });
    index.note_durable(0, entries.collect()).unwrap();
    assert_eq!(index.tail_len() as u64, more);
    index.flush_all().unwrap();
    assert_eq!((index.tail_len(), index.next_offset(0)), (0, more));
    assert_eq!(index.stream_head(&stream(1)).unwrap().unwrap().records, more);
}
