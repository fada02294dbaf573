//! Several projectors of one database.

use crate::{
    fresh::{name, shared},
    record_log::RecordLog,
    scene::{Scene, caught_up, sealed},
};
use quipu_events::port::Log;
use quipu_projections::{
    error::ViewError,
    follower::Follower,
    postgres::{Database, PostgresStore},
    progress::Progress,
    store::{DigestOf, Origin, ViewStore},
};
use serde_json::json;
use std::{
    sync::{Arc, Barrier},
    thread,
};

fn talk() -> RecordLog {
    let mut scene = Scene::default();
    for n in 0..24 {
        let id = format!("acme/conversation/cnv_{n}");
        scene.events(
            &id,
            "ada",
            json!([["created", {"stream": id, "conversation_type": "group", "title": sealed("t"), "claim_window_ms": 1, "auto_turns": false}]]),
        );
        for principal in ["ada", "bob", "cyd"] {
            scene.events(
                &id,
                "ada",
                json!([["participant_added", {"principal": principal, "kind": "person", "role": "member"}]]),
            );
        }
    }
    scene.log(4)
}

/// A log that gives one frame at a time, so that projectors take many rounds.
struct Sips<'l>(&'l RecordLog);
impl Log for Sips<'_> {
    fn meta(&self) -> quipu_events::port::LogMeta {
        self.0.meta()
    }
    fn claim(&self, partition: u16, owner: &str) -> Result<quipu_events::port::Head, quipu_events::port::AppendError> {
        self.0.claim(partition, owner)
    }
    fn append(&self, batch: quipu_events::port::Batch, done: quipu_events::port::AppendDone) {
        self.0.append(batch, done);
    }
    fn read(&self, partition: u16, from: u64, _: usize) -> Result<Vec<quipu_events::port::FrameRead>, quipu_events::port::ReadError> {
        self.0.read(partition, from, 1)
    }
    fn read_at(&self, places: &[quipu_events::port::Place]) -> Result<Vec<Vec<u8>>, quipu_events::port::ReadError> {
        self.0.read_at(places)
    }
    fn head(&self, partition: u16) -> Result<quipu_events::port::Head, quipu_events::port::ReadError> {
        self.0.head(partition)
    }
}

#[test]
fn projectors_that_race_for_one_store_double_and_lose_nothing() {
    let Some(shared) = shared() else { return };
    let log = talk();
    let wanted = caught_up(&log).digests(DigestOf::Everything).unwrap();
    for round in 0..3 {
        let name = name();
        let together = Barrier::new(2);
        let projector = |partitions: [u16; 4]| {
            // Each as a process of its own.
            let database = Database::connect(&shared.server.url().parse().unwrap()).unwrap();
            let store: Arc<dyn ViewStore> = Arc::new(PostgresStore::open(&database, &name, Origin::of(&log.meta())).unwrap());
            let progress = Progress::new(store.cursor().unwrap());
            let mut follower = Follower::new(&log, store.clone()).unwrap();
            let (mut conflicts, mut applied) = (0, 0);
            together.wait();
            loop {
                match follower.round(&Sips(&log), &partitions, &progress) {
                    Ok(done) if done.caught_up => break,
                    Ok(done) => applied += done.records,
                    Err(ViewError::Conflict { .. }) => conflicts += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            assert_eq!(progress.now(), store.cursor().unwrap(), "whoever lost knows how far the views are");
            (conflicts, applied, store.digests(DigestOf::Everything).unwrap())
        };
        let (first, second) = thread::scope(|scope| {
            // In opposite orders: the store puts their locks in one.
            let first = scope.spawn(|| projector([0, 1, 2, 3]));
            let second = scope.spawn(|| projector([3, 2, 1, 0]));
            (first.join().unwrap(), second.join().unwrap())
        });
        assert_eq!(first.1 + second.1, 96, "round {round}: {} and {} conflicts", first.0, second.0);
        assert_eq!((&first.2, &second.2), (&wanted, &wanted));
    }
}
