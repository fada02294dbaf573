//! Pages say what the whole list says, from any place, flushed or not; and they cost what they return.

use super::scene::{Scene, stream};
use crate::{
    index::{Index, PageBefore, PageFrom, RecordPlace},
    port::Log,
};
use proptest::prelude::*;
use quipu_schemas::ids::{EntityId, Kind, OrgId};

/// Writes records of a few streams, flushing now and then; a record has 0 to 3 events.
fn play(partitions: u16, steps: &[(usize, u32, bool)]) -> (Scene, Index) {
    let mut scene = Scene::new(partitions);
    let index = Index::in_memory(&scene.log.meta()).unwrap();
    for (which, events, flush) in steps {
        scene.note(&index, &stream(*which), *events, vec![], None);
        if *flush {
            index.flush(3).unwrap();
        }
    }
    (scene, index)
}

fn cut(all: &[RecordPlace], limit: usize) -> Vec<RecordPlace> {
    all.iter().take(limit).copied().collect()
}

fn check(scene: &Scene, index: &Index, limit: usize) {
    for stream in scene.streams.keys() {
        let all = index.places(stream, 0).unwrap();
        let end = scene.entries.iter().map(|(_, entry)| entry.offset).max().unwrap_or(0) + 2;
        for version in 0..scene.streams[stream].version + 3 {
            let page = index.places_page(stream, PageFrom::Version(version), limit).unwrap();
            assert_eq!(page, cut(&index.places(stream, version).unwrap(), limit), "{stream} from {version}");
            let holder = all.iter().find(|p| p.first_version <= version && version <= p.last_version);
            assert_eq!(index.place_of(stream, version).unwrap().as_ref(), holder, "{stream}@{version}");
            let mut before: Vec<_> = all.iter().filter(|p| p.first_version <= version).copied().collect();
            before.reverse();
            let page = index.places_back(stream, PageBefore::Version(version), limit).unwrap();
            assert_eq!(page, cut(&before, limit), "{stream} back from {version}");
        }
        for offset in 0..end {
            let expected: Vec<_> = all.iter().filter(|p| p.offset >= offset).copied().collect();
            let page = index.places_page(stream, PageFrom::Offset(offset), limit).unwrap();
            assert_eq!(page, cut(&expected, limit), "{stream} from offset {offset}");
        }
        let (mut walked, mut from) = (Vec::new(), PageFrom::Version(0));
        while let Some(last) = {
            let page = index.places_page(stream, from, limit).unwrap();
            walked.extend_from_slice(&page);
            page.last().copied()
        } {
            from = PageFrom::After(last.key());
        }
        assert_eq!(walked, all);
        let (mut walked, mut before) = (Vec::new(), PageBefore::End);
        while let Some(last) = {
            let page = index.places_back(stream, before, limit).unwrap();
            walked.extend_from_slice(&page);
            page.last().copied()
        } {
            before = PageBefore::Key(last.key());
        }
        walked.reverse();
        assert_eq!(walked, all);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn pages_say_what_the_whole_list_says(
        partitions in 1u16..3,
        limit in 1usize..5,
        steps in prop::collection::vec((0usize..3, 0u32..4, prop::bool::weighted(0.2)), 0..40),
    ) {
        let (scene, index) = play(partitions, &steps);
        check(&scene, &index, limit);
        index.flush_all().unwrap();
        check(&scene, &index, limit);
    }
}

#[test]
fn an_unknown_stream_has_no_pages() {
    let (_, index) = play(1, &[(1, 1, true)]);
    let nobody = stream(9);
    assert!(index.places_page(&nobody, PageFrom::Version(0), 5).unwrap().is_empty());
    assert!(index.places_page(&nobody, PageFrom::Offset(0), 5).unwrap().is_empty());
    assert!(index.places_back(&nobody, PageBefore::End, 5).unwrap().is_empty());
    assert_eq!(index.place_of(&nobody, 1).unwrap(), None);
}

#[test]
fn few_streams_are_listed_and_many_are_not() {
    let (_, index) = play(2, &[(1, 1, true), (2, 0, false), (3, 1, false)]);
    let (org, run) = (OrgId::from_static("acme"), Kind::RUN);
    assert_eq!(
        index.few_streams(&org, &run, 3).unwrap(),
        Some(vec![stream(1), stream(2), stream(3)])
    );
    assert_eq!(index.few_streams(&org, &run, 2).unwrap(), None);
    assert_eq!(index.few_streams(&OrgId::from_static("acm"), &run, 2).unwrap(), Some(vec![]));
    assert_eq!(index.few_streams(&org, &Kind::ORG, 2).unwrap(), Some(vec![]));
    let all = Some(vec![stream(1), stream(2), stream(3)]);
    assert_eq!(
        (index.few_streams_of(&org, 3).unwrap(), index.few_streams_of(&org, 2).unwrap()),
        (all, None)
    );
    assert_eq!(index.few_streams_of(&OrgId::from_static("acm"), 0).unwrap(), Some(vec![]));
    let named = |id: &'static str| {
        index
            .streams_named(&org, &EntityId::from_static(id), &[Kind::ORG, run.clone()])
            .unwrap()
    };
    assert_eq!((named("r1"), named("r9")), (vec![stream(1)], vec![]));
}

#[test]
fn pages_seek_their_rows() {
    let (_, index) = play(1, &[(1, 1, true)]);
    let writer = index.writer().unwrap();
    for (op, order) in [(">=", ""), ("<", " DESC")] {
        let sql = format!(
            "EXPLAIN QUERY PLAN SELECT offset FROM places WHERE sid = 1 AND (first_version, offset) {op} (2, 3) \
             ORDER BY first_version{order}, offset{order} LIMIT 5"
        );
        let plan: String = writer.query_row(&sql, [], |row| row.get(3)).unwrap();
        assert!(plan.contains("(first_version,offset)") || plan.contains("first_version"), "{plan}");
        assert!(plan.starts_with("SEARCH"), "{plan}");
    }
}
