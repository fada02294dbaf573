//! Random logs: the live index, a rebuilt one and a naive model say the same, flushed or not.

use super::scene::{Scene, cancel, dead, dispatch, effect, key, stream, wake};
use crate::{
    index::{Index, PendingKind},
    port::Log,
};
use proptest::prelude::*;
use quipu_schemas::{
    ids::{Kind, StreamId},
    reaction::{Reaction, ReactionKey, Settled},
};
use std::collections::{BTreeMap, BTreeSet};

const STREAMS: usize = 5;

#[derive(Debug, Clone)]
struct Step {
    stream: usize,
    events: u32,
    reactions: Vec<(u8, u8)>,
    /// Which known reaction to speak about, and how.
    settle: Option<(usize, u8)>,
    flush: Option<u8>,
}

fn step() -> impl Strategy<Value = Step> {
    let reactions = prop::collection::vec((0u8..5, 0u8..4), 0..4);
    let settle = prop::option::of((any::<usize>(), 0u8..8));
    (0..STREAMS, 0u32..3, reactions, settle, prop::option::weighted(0.3, 1u8..9)).prop_map(|(stream, events, reactions, settle, flush)| {
        Step {
            stream,
            events,
            reactions,
            settle,
            flush,
        }
    })
}

/// The naive model: everything that was said, in the order in which it was said.
#[derive(Default)]
struct Model {
    reactions: BTreeMap<ReactionKey, (PendingKind, StreamId)>,
    settled: BTreeMap<ReactionKey, Settled>,
    wakes: BTreeMap<(StreamId, String), (ReactionKey, u64)>,
    timers: Vec<ReactionKey>,
}

impl Model {
    fn reacted(&mut self, stream: &StreamId, version: u64, reactions: &[Reaction]) {
        for (ordinal, reaction) in (0u32..).zip(reactions) {
            let key = key(stream, version, ordinal);
            match reaction {
                Reaction::Dispatch(dispatch) => {
                    self.reactions.insert(key, (PendingKind::Dispatch, dispatch.to.clone()));
                }
                Reaction::Perform(_) => {
                    self.reactions.insert(key, (PendingKind::Effect, stream.clone()));
                }
                Reaction::WakeAt { name, due } => {
                    self.timers.push(key.clone());
                    self.wakes.insert((stream.clone(), name.clone()), (key, *due));
                }
                Reaction::CancelWake { name } => {
                    self.wakes.remove(&(stream.clone(), name.clone()));
                }
                Reaction::CancelEffect { .. } => {}
            }
        }
    }

    fn said(&mut self, key: &ReactionKey, outcome: &Settled) {
        let is_dead = matches!(self.settled.get(key), Some(Settled::Dead { .. } | Settled::Parked { .. }));
        if *outcome == Settled::Retried && is_dead {
            self.settled.remove(key);
        } else if outcome.is_final() && (!self.settled.contains_key(key) || (is_dead && *outcome == Settled::Dropped)) {
            self.settled.insert(key.clone(), outcome.clone());
        }
        if outcome.is_final() {
            self.wakes.retain(|_, (set_by, _)| set_by != key);
        }
    }

    fn pending(&self, dead: bool) -> BTreeSet<ReactionKey> {
        let wanted = |key: &ReactionKey| match self.settled.get(key) {
            None => !dead,
            Some(Settled::Dead { .. } | Settled::Parked { .. }) => dead,
            Some(_) => false,
        };
        self.reactions.keys().filter(|key| wanted(key)).cloned().collect()
    }
}

fn outcome(kind: u8) -> Settled {
    match kind {
        0 => Settled::Accepted,
        1 => Settled::Refused { code: "no".into() },
        2 => dead(),
        3 => Settled::Retried,
        4 => Settled::Dropped,
        5 => Settled::Started { attempt: 1 },
        6 => Settled::AttemptFailed {
            attempt: 1,
            code: "timeout".into(),
            detail: "slow".into(),
            retry_at: 5,
        },
        _ => Settled::Late,
    }
}

/// Plays the steps into a live index that flushes now and then and one that never does.
fn play(partitions: u16, steps: &[Step]) -> (Scene, Index, Index, Model) {
    let mut scene = Scene::new(partitions);
    let live = Index::in_memory(&scene.log.meta()).unwrap();
    let tail_only = Index::in_memory(&scene.log.meta()).unwrap();
    let mut model = Model::default();
    for step in steps {
        let mut at = stream(step.stream);
        let mut settlement = None;
        if let Some((which, how)) = step.settle {
            let known: Vec<_> = model.reactions.keys().cloned().chain(model.timers.iter().cloned()).collect();
            if !known.is_empty() {
                let key = known[which % known.len()].clone();
                // A dispatch is settled by its receiver, everything else in its own stream.
                at = model
                    .reactions
                    .get(&key)
                    .map_or_else(|| key.stream.clone(), |(_, receiver)| receiver.clone());
                settlement = Some((key, outcome(how)));
            }
        }
        let reactions: Vec<Reaction> = step
            .reactions
            .iter()
            .filter(|_| step.events > 0)
            .map(|(kind, n)| match kind {
                0 => dispatch(&stream(usize::from(*n))),
                1 => effect(),
                2 | 3 => wake(&format!("w{}", n % 2), 100 * u64::from(*n)),
                _ => cancel(&format!("w{}", n % 2)),
            })
            .collect();
        if let Some((key, outcome)) = &settlement {
            model.said(key, outcome);
        }
        let entry = scene.note(&live, &at, step.events, reactions.clone(), settlement);
        model.reacted(&at, entry.last_version(), &reactions);
        tail_only.note_durable(at.partition(partitions), vec![entry]).unwrap();
        if let Some(max) = step.flush {
            live.flush(usize::from(max)).unwrap();
        }
    }
    (scene, live, tail_only, model)
}

fn keys(index: &Index, partitions: u16, dead: bool) -> BTreeSet<ReactionKey> {
    let mut found = BTreeSet::new();
    for partition in 0..partitions {
        let mut after = None;
        loop {
            // Pages of two, so that cursors are walked.
            let page = if dead {
                index.dead_letters(partition, after, 2)
            } else {
                index.pending(partition, after, 2)
            }
            .unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.cursor());
            assert!(page.iter().all(|pending| pending.position.partition == partition));
            found.extend(page.into_iter().map(|pending| pending.key));
        }
    }
    found
}

/// Everything that lookups say, as text to compare.
fn said(scene: &Scene, index: &Index, model: &Model, partitions: u16) -> Vec<String> {
    let mut said = Vec::new();
    for stream in scene.streams.keys() {
        said.push(format!("{:?}", index.stream_head(stream).unwrap()));
        for from in 0..4 {
            said.push(format!("{:?}", index.places(stream, from).unwrap()));
        }
        said.push(format!("{:?}", index.pending_of(stream).unwrap()));
    }
    for (_, entry) in &scene.entries {
        said.push(format!("{:?}", index.command(&entry.stream, &entry.command_id).unwrap()));
    }
    for key in model.reactions.keys().chain(&model.timers) {
        said.push(format!("{:?} {:?}", index.settled(key).unwrap(), index.attempts(key).unwrap()));
    }
    for partition in 0..partitions {
        said.push(format!("{:?}", index.pending(partition, None, 100).unwrap()));
        said.push(format!("{:?}", index.dead_letters(partition, None, 100).unwrap()));
        said.push(format!(
            "{:?} {:?}",
            index.wakes_due(partition, 150, 3).unwrap(),
            index.next_wake(partition).unwrap()
        ));
        said.push(format!("{:?}", index.wakes_due(partition, u64::MAX, 100).unwrap()));
    }
    said.push(format!("{:?}", index.streams(&Kind::RUN, None, None, 3).unwrap()));
    said.push(format!("{:?}", index.streams(&Kind::RUN, None, Some(&stream(1)), 3).unwrap()));
    said
}

fn check_model(scene: &Scene, index: &Index, model: &Model, partitions: u16) {
    assert_eq!(keys(index, partitions, false), model.pending(false));
    assert_eq!(keys(index, partitions, true), model.pending(true));
    let mut wakes: Vec<_> = (0..partitions)
        .flat_map(|p| index.wakes_due(p, u64::MAX, 100).unwrap())
        .map(|w| (w.key, w.due))
        .collect();
    wakes.sort();
    let mut expected: Vec<_> = model.wakes.values().cloned().collect();
    expected.sort();
    assert_eq!(wakes, expected);
    for key in model.reactions.keys() {
        assert_eq!(
            index.settled(key).unwrap().map(|state| state.outcome),
            model.settled.get(key).cloned(),
            "{key}"
        );
    }
    for (stream, written) in &scene.streams {
        let head = index.stream_head(stream).unwrap().unwrap();
        let records: Vec<_> = scene.entries.iter().filter(|(_, entry)| entry.stream == *stream).collect();
        assert_eq!(
            (head.version, head.hash, head.records),
            (written.version, written.hash, records.len() as u64)
        );
        let places = index.places(stream, 0).unwrap();
        assert_eq!(
            places.iter().map(|p| p.offset).collect::<Vec<_>>(),
            records.iter().map(|(_, e)| e.offset).collect::<Vec<_>>()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn live_tail_rebuilt_and_model_agree(partitions in 1u16..4, steps in prop::collection::vec(step(), 0..40)) {
        let (scene, live, tail_only, model) = play(partitions, &steps);
        let rebuilt = scene.rebuilt();
        for index in [&live, &tail_only, &rebuilt] {
            check_model(&scene, index, &model, partitions);
        }
        let expected = said(&scene, &rebuilt, &model, partitions);
        prop_assert_eq!(said(&scene, &live, &model, partitions), expected.clone());
        prop_assert_eq!(said(&scene, &tail_only, &model, partitions), expected.clone());
        let digest = rebuilt.content_digest().unwrap();
        prop_assert_eq!(live.content_digest().unwrap(), digest);
        prop_assert_eq!(tail_only.content_digest().unwrap(), digest);
        prop_assert_eq!(said(&scene, &live, &model, partitions), expected);
    }

    #[test]
    fn partitions_may_be_indexed_in_any_order(partitions in 2u16..4, steps in prop::collection::vec(step(), 0..40), flush in any::<bool>()) {
        let (scene, live, _, model) = play(partitions, &steps);
        let backwards = Index::in_memory(&scene.log.meta()).unwrap();
        for partition in (0..partitions).rev() {
            for (_, entry) in scene.entries.iter().filter(|(p, _)| *p == partition) {
                backwards.note_durable(partition, vec![entry.clone()]).unwrap();
            }
            if flush {
                backwards.flush_all().unwrap();
            }
        }
        prop_assert_eq!(said(&scene, &backwards, &model, partitions), said(&scene, &live, &model, partitions));
        prop_assert_eq!(backwards.content_digest().unwrap(), live.content_digest().unwrap());
    }
}
