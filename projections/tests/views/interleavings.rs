//! No view leans on order across streams.

use crate::{
    record_log::RecordLog,
    scene::{Random, Sample, caught_up, world},
};
use quipu_projections::store::DigestOf;
use std::collections::{BTreeMap, VecDeque};

/// A random merge of the streams that keeps each one's order.
fn interleave(records: &[Sample], random: &mut Random) -> Vec<Sample> {
    let mut streams: BTreeMap<_, VecDeque<Sample>> = BTreeMap::new();
    for sample in records {
        streams.entry(sample.stream.clone()).or_default().push_back(sample.clone());
    }
    let mut queues: Vec<_> = streams.into_values().collect();
    let mut out = Vec::new();
    while !queues.is_empty() {
        let at = random.below(queues.len());
        out.extend(queues[at].pop_front());
        queues.retain(|q| !q.is_empty());
    }
    out
}

#[test]
fn interleavings_give_equal_digests() {
    let records = world().records;
    let wanted = caught_up(&RecordLog::new(&records, 1, 1)).digests(DigestOf::Content).unwrap();
    for seed in 0..crate::fresh::SEEDS {
        let mut random = Random(seed);
        let partitions = 1 + random.below(16) as u16;
        let per_frame = 1 + random.below(9);
        let store = caught_up(&RecordLog::new(&interleave(&records, &mut random), partitions, per_frame));
        assert_eq!(store.digests(DigestOf::Content).unwrap(), wanted, "seed {seed}");
    }
}

#[test]
fn a_digest_sees_every_table() {
    let all = caught_up(&world().log(1)).digests(DigestOf::Content).unwrap();
    let mut less = world();
    less.records.truncate(1);
    let few = caught_up(&less.log(1)).digests(DigestOf::Content).unwrap();
    for (table, digest) in all {
        assert!(few[table] != digest || matches!(table, "parked_streams"), "{table}");
    }
}
