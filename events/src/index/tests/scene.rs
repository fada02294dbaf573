//! A small log, written record by record, and the index beside it.

use crate::{
    index::{Index, IndexEntry},
    memory::MemoryLog,
    port::{Batch, Log},
};
use quipu_schemas::{
    digest::Digest,
    envelope::DataClass,
    ids::{CommandId, PrincipalId, StreamId},
    json::Json,
    position::LogId,
    reaction::{Dispatch, Effect, HttpRequest, Perform, Reaction, ReactionKey, Retry, Settled, Settlement},
    record::{Header, StoredEvent, StoredReaction, encode},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc},
};

/// A stream's version, last hash and record count as the scene wrote them.
#[derive(Clone, Copy)]
pub(super) struct StreamEnd {
    pub(super) version: u64,
    pub(super) hash: Digest,
}

pub(super) struct Scene {
    pub(super) log: MemoryLog,
    pub(super) streams: BTreeMap<StreamId, StreamEnd>,
    pub(super) entries: Vec<(u16, IndexEntry)>,
    epochs: Vec<u64>,
    records: u64,
}

pub(super) fn stream(n: usize) -> StreamId {
    format!("acme/run/r{n}").parse().unwrap()
}

pub(super) fn key(stream: &StreamId, version: u64, ordinal: u32) -> ReactionKey {
    ReactionKey {
        stream: stream.clone(),
        version,
        ordinal,
    }
}

pub(super) fn dispatch(to: &StreamId) -> Reaction {
    Reaction::Dispatch(Dispatch::new(to.clone(), Json(serde_json::json!({"poke": {}}))))
}

pub(super) fn effect() -> Reaction {
    let request = HttpRequest {
        method: "POST".into(),
        url: "http://127.0.0.1:1/".into(),
        sealed_url: None,
        ..HttpRequest::default()
    };
    Reaction::Perform(Perform {
        name: "call".into(),
        effect: Effect::Http(request),
        retry: Retry::default(),
    })
}

pub(super) fn wake(name: &str, due: u64) -> Reaction {
    Reaction::WakeAt { name: name.into(), due }
}

pub(super) fn cancel(name: &str) -> Reaction {
    Reaction::CancelWake { name: name.into() }
}

pub(super) fn dead() -> Settled {
    Settled::Dead {
        attempts: 3,
        code: "timeout".into(),
        detail: "slow".into(),
    }
}

/// What the events of some records name: every sixth record says something of the name of the fifth before it.
pub(super) fn named(n: u64) -> Vec<String> {
    match n % 6 {
        1 => vec![format!("name-{}", n / 6), "often".into()],
        0 if n > 0 => vec![format!("name-{}", n / 6 - 1)],
        _ => Vec::new(),
    }
}

pub(super) fn command(n: u64) -> CommandId {
    CommandId::parse(format!("c-{n}")).unwrap()
}

impl Scene {
    pub(super) fn new(partitions: u16) -> Self {
        let log = MemoryLog::new(LogId([7; 16]), partitions);
        let epochs = (0..partitions)
            .map(|partition| log.claim(partition, "test").unwrap().epoch)
            .collect();
        Self {
            log,
            streams: BTreeMap::new(),
            entries: Vec::new(),
            epochs,
            records: 0,
        }
    }

    /// Writes one record; each reaction hangs on the record's last event (or the version before it).
    pub(super) fn write(
        &mut self,
        stream: &StreamId,
        events: u32,
        reactions: Vec<Reaction>,
        settlement: Option<(ReactionKey, Settled)>,
    ) -> IndexEntry {
        let partitions = self.log.meta().partitions;
        let partition = stream.partition(partitions);
        let before = self.streams.get(stream).copied().unwrap_or(StreamEnd {
            version: 0,
            hash: Digest::ZERO,
        });
        let version = before.version + u64::from(events);
        let reactions: Vec<StoredReaction> = (0u32..)
            .zip(reactions)
            .map(|(ordinal, reaction)| StoredReaction {
                version,
                ordinal,
                reaction,
            })
            .collect();
        let n = self.records;
        self.records += 1;
        let header = Header {
            stream: stream.clone(),
            first_version: before.version + 1,
            events,
            reactions: reactions.len() as u32,
            command_id: command(n),
            digest: Digest([n as u8; 32]),
            time: 1_000 + n,
            principal: PrincipalId::parse("ada").unwrap(),
            on_behalf_of: n.is_multiple_of(3).then(|| PrincipalId::parse("eve").unwrap()),
            home: None,
            credential: None,
            acts_as: None,
            environment: None,
            data_class: DataClass::None,
            authority: 1,
            correlation: None,
            causation: None,
            traceparent: None,
            schema: 1,
            settlement: settlement.map(|(key, outcome)| Settlement { key, outcome }),
            names: named(n),
        };
        let event = || StoredEvent {
            name: "quipu.run.moved.v1".into(),
            data: serde_json::value::RawValue::from_string("{}".into()).unwrap(),
        };
        let record = encode(
            &header,
            (0..events).map(|_| event()).collect::<Vec<_>>(),
            reactions.clone(),
            before.hash,
        )
        .unwrap();
        let hash = record.hash;
        let head = self.log.head(partition).unwrap();
        let batch = Batch {
            partition,
            epoch: self.epochs[usize::from(partition)],
            batch_id: [n as u8; 16],
            first_offset: head.next_offset,
            previous: head.frame_hash,
            records: vec![Arc::new(record)],
        };
        let (sender, receiver) = mpsc::channel();
        self.log.append(batch, Box::new(move |done| sender.send(done).unwrap()));
        let appended = receiver.recv().unwrap().unwrap();
        let entry = IndexEntry::new(head.next_offset, appended.places[0], hash, &header, &reactions);
        self.streams.insert(stream.clone(), StreamEnd { version, hash });
        self.entries.push((partition, entry.clone()));
        entry
    }

    /// Writes a record and notes it in an index.
    pub(super) fn note(
        &mut self,
        index: &Index,
        stream: &StreamId,
        events: u32,
        reactions: Vec<Reaction>,
        settlement: Option<(ReactionKey, Settled)>,
    ) -> IndexEntry {
        let entry = self.write(stream, events, reactions, settlement);
        index
            .note_durable(stream.partition(self.log.meta().partitions), vec![entry.clone()])
            .unwrap();
        entry
    }

    /// An index in memory that was built from the log alone.
    pub(super) fn rebuilt(&self) -> Index {
        let index = Index::in_memory(&self.log.meta()).unwrap();
        let caught = index.catch_up(&self.log, &mut |_| {}).unwrap();
        assert!(caught.stopped.is_empty() && caught.parked.is_empty());
        index
    }
}

#[test]
fn an_entry_read_from_bytes_is_the_one_made_at_append() {
    let mut scene = Scene::new(1);
    let (a, b) = (stream(1), stream(2));
    scene.write(&a, 2, vec![dispatch(&b), effect(), wake("w", 5), cancel("x")], None);
    scene.write(&b, 0, vec![], Some((key(&a, 2, 0), Settled::Unchanged)));
    let frames = scene.log.read(0, 0, usize::MAX).unwrap();
    let read: Vec<IndexEntry> = frames
        .iter()
        .flat_map(|frame| (frame.first_offset..).zip(&frame.records))
        .map(|(offset, (place, bytes))| IndexEntry::read(offset, *place, bytes).unwrap())
        .collect();
    assert_eq!(read, scene.entries.iter().map(|(_, entry)| entry.clone()).collect::<Vec<_>>());
}
