use super::*;
use ractor::{Actor, ActorProcessingErr};
use std::time::Duration;

/// An actor that only takes a place.
struct Idle;

impl Actor for Idle {
    type Msg = EntityMsg;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<EntityMsg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

async fn filled(entities: usize) -> (Registry, Vec<(StreamId, ActorRef<EntityMsg>)>) {
    let registry = Registry::new();
    let mut all = Vec::new();
    for id in 0..entities {
        let stream: StreamId = format!("acme/run/r-{id}").parse().expect("a stream");
        let (actor, _) = Actor::spawn(None, Idle, ()).await.expect("an actor");
        let slot = registry.insert(&mut registry.shard(&stream), &stream, actor.clone());
        slot.last_used.store(id as u64, Ordering::Relaxed);
        all.push((stream, actor));
    }
    (registry, all)
}

fn stop(all: Vec<(StreamId, ActorRef<EntityMsg>)>) {
    for (_, actor) in all {
        actor.stop(None);
    }
}

/// Looking for an entity by its actor would need the shards, which are all locked here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entity_that_took_itself_out_is_not_looked_for() {
    let (registry, all) = filled(100).await;
    for (stream, actor) in &all {
        assert!(registry.remove_if_idle(stream, actor.get_id()));
    }
    let registry = Arc::new(registry);
    let shards: Vec<_> = registry.shards.iter().map(|shard| shard.lock()).collect();
    let (asked, ids) = (registry.clone(), all.iter().map(|(_, actor)| actor.get_id()).collect::<Vec<_>>());
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(ids.into_iter().filter_map(|id| asked.ended(id)).count()));
    let found = receiver.recv_timeout(Duration::from_secs(20));
    drop(shards);
    assert_eq!(found, Ok(0), "the end of an entity looks through the shards");
    stop(all);
}

#[tokio::test]
async fn an_actor_that_crashed_is_found_and_taken_out() {
    let (registry, all) = filled(10).await;
    let (stream, actor) = &all[3];
    assert_eq!(registry.ended(actor.get_id()).as_ref(), Some(stream));
    assert_eq!(registry.ended(actor.get_id()), None);
    assert_eq!(registry.len(), 9);
    // A fresh one under the same name is not taken for it.
    let (fresh, _) = Actor::spawn(None, Idle, ()).await.expect("an actor");
    registry.insert(&mut registry.shard(stream), stream, fresh.clone());
    assert_eq!(registry.ended(actor.get_id()), None);
    assert_eq!(registry.len(), 10);
    fresh.stop(None);
    stop(all);
}

#[tokio::test]
async fn idle_entities_fall_asleep_a_few_at_a_time() {
    let (registry, all) = filled(200).await;
    let (mut rounds, mut asleep) = (0, std::collections::BTreeSet::new());
    while asleep.len() < 150 {
        rounds += 1;
        assert!(rounds < 1_000, "{} of 150", asleep.len());
        let idle = registry.idle(150, 1_000, 10);
        assert!(idle.len() <= 10);
        for actor in idle {
            asleep.insert(registry.ended(actor.get_id()).expect("in memory"));
        }
    }
    assert!(rounds >= 15);
    assert_eq!(registry.len(), 50, "those used lately stay");
    stop(all);
}

#[tokio::test]
async fn the_least_recently_used_go_first_above_the_bound() {
    let (registry, all) = filled(200).await;
    let mut idle: Vec<ActorId> = registry.idle(0, 180, 5).iter().map(|actor| actor.get_id()).collect();
    let mut expected: Vec<ActorId> = all[..20].iter().map(|(_, actor)| actor.get_id()).collect();
    idle.sort();
    expected.sort();
    assert_eq!(idle, expected);
    stop(all);
}
