//! Entries that are durable in the log and not yet in SQLite; every lookup looks here first.

use super::{
    PendingKind, Wake,
    entry::{IndexEntry, IndexedKind},
    settlement::Note,
};
use quipu_schemas::{
    ids::{CommandId, StreamId},
    position::Position,
    reaction::ReactionKey,
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// Entries taken for one flush, by partition, in offset order.
pub(crate) type Flush = Vec<(u16, Vec<Arc<IndexEntry>>)>;

/// A reaction that is pending unless settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TailReaction {
    pub(crate) kind: PendingKind,
    pub(crate) position: Position,
    pub(crate) place: crate::port::Place,
}

#[derive(Default)]
pub(crate) struct PartitionTail {
    /// The offset that comes next.
    pub(crate) next: u64,
    pub(crate) entries: VecDeque<Arc<IndexEntry>>,
}

/// One stream's part of the tail.
#[derive(Default)]
pub(crate) struct StreamTail {
    pub(crate) entries: VecDeque<Arc<IndexEntry>>,
    pub(crate) commands: BTreeMap<CommandId, Arc<IndexEntry>>,
    pub(crate) reactions: BTreeMap<(u64, u32), TailReaction>,
    /// What was done to each timer, oldest first: `None` cancelled it.
    pub(crate) wakes: BTreeMap<String, VecDeque<(u64, Option<Wake>)>>,
    /// The entries whose events gave a name, oldest first.
    pub(crate) names: BTreeMap<String, VecDeque<Arc<IndexEntry>>>,
}

/// The tail of all partitions.
pub(crate) struct Tail {
    pub(crate) partitions: Vec<PartitionTail>,
    pub(crate) streams: BTreeMap<StreamId, StreamTail>,
    pub(crate) notes: BTreeMap<ReactionKey, VecDeque<Arc<Note>>>,
    pub(crate) len: usize,
}

fn position(partition: u16, offset: u64) -> Position {
    Position {
        partition,
        offset,
        index: 0,
    }
}

impl Tail {
    pub(crate) fn new(next: &[u64]) -> Self {
        let partitions = next
            .iter()
            .map(|next| PartitionTail {
                next: *next,
                entries: VecDeque::new(),
            })
            .collect();
        Self {
            partitions,
            streams: BTreeMap::new(),
            notes: BTreeMap::new(),
            len: 0,
        }
    }

    /// Adds the partition's next entry. The caller has checked its offset.
    pub(crate) fn push(&mut self, partition: u16, entry: IndexEntry) {
        let entry = Arc::new(entry);
        let at = position(partition, entry.offset);
        if let Some(settlement) = &entry.settlement {
            let note = Note {
                outcome: settlement.outcome.clone(),
                stream: entry.stream.clone(),
                version: entry.last_version(),
                position: at,
                time: entry.time,
            };
            self.notes.entry(settlement.key.clone()).or_default().push_back(Arc::new(note));
        }
        let stream = self.streams.entry(entry.stream.clone()).or_default();
        for reaction in &entry.reactions {
            if let Some(kind) = reaction.pending_kind() {
                stream.reactions.insert(
                    (reaction.version, reaction.ordinal),
                    TailReaction {
                        kind,
                        position: at,
                        place: entry.place,
                    },
                );
            }
            match &reaction.kind {
                IndexedKind::WakeAt { name, due } => {
                    let key = ReactionKey {
                        stream: entry.stream.clone(),
                        version: reaction.version,
                        ordinal: reaction.ordinal,
                    };
                    let wake = Wake {
                        key,
                        name: name.clone(),
                        due: *due,
                        position: at,
                    };
                    stream.wakes.entry(name.clone()).or_default().push_back((entry.offset, Some(wake)));
                }
                IndexedKind::CancelWake { name } => stream.wakes.entry(name.clone()).or_default().push_back((entry.offset, None)),
                IndexedKind::Dispatch { .. } | IndexedKind::Effect => {}
            }
        }
        stream.commands.entry(entry.command_id.clone()).or_insert_with(|| entry.clone());
        for name in &entry.names {
            stream.names.entry(name.clone()).or_default().push_back(entry.clone());
        }
        stream.entries.push_back(entry.clone());
        let tail = &mut self.partitions[usize::from(partition)];
        tail.next = entry.offset + 1;
        tail.entries.push_back(entry);
        self.len += 1;
    }

    /// The oldest entries of each partition, `max` in all where there are so many, shared so that none starves.
    pub(crate) fn oldest(&self, max: usize) -> Flush {
        let waiting = self.partitions.iter().filter(|tail| !tail.entries.is_empty()).count();
        let share = max / waiting.max(1);
        let mut left = max - self.partitions.iter().map(|tail| tail.entries.len().min(share)).sum::<usize>();
        let mut flush = Flush::new();
        for (partition, tail) in (0u16..).zip(&self.partitions) {
            let shared = tail.entries.len().min(share);
            let more = (tail.entries.len() - shared).min(left);
            left -= more;
            if shared + more > 0 {
                flush.push((partition, tail.entries.iter().take(shared + more).cloned().collect()));
            }
        }
        flush
    }

    /// Drops a partition's oldest entries, which a flush has made visible in SQLite.
    pub(crate) fn forget(&mut self, partition: u16, entries: &[Arc<IndexEntry>]) {
        for entry in entries {
            self.forget_entry(partition, entry);
        }
        let tail = &mut self.partitions[usize::from(partition)].entries;
        tail.drain(..entries.len());
        if tail.is_empty() && tail.capacity() > 4096 {
            tail.shrink_to_fit();
        }
        self.len -= entries.len();
    }

    fn forget_entry(&mut self, partition: u16, entry: &IndexEntry) {
        if let Some(settlement) = &entry.settlement
            && let Some(notes) = self.notes.get_mut(&settlement.key)
        {
            notes.retain(|note| note.position != position(partition, entry.offset));
            if notes.is_empty() {
                self.notes.remove(&settlement.key);
            }
        }
        let Some(stream) = self.streams.get_mut(&entry.stream) else {
            return;
        };
        stream.entries.pop_front();
        if stream.entries.is_empty() {
            self.streams.remove(&entry.stream);
            return;
        }
        if stream
            .commands
            .get(&entry.command_id)
            .is_some_and(|held| held.offset == entry.offset)
        {
            stream.commands.remove(&entry.command_id);
        }
        for name in &entry.names {
            if let Some(named) = stream.names.get_mut(name) {
                named.retain(|held| held.offset != entry.offset);
                if named.is_empty() {
                    stream.names.remove(name);
                }
            }
        }
        for reaction in &entry.reactions {
            stream.reactions.remove(&(reaction.version, reaction.ordinal));
            if let IndexedKind::WakeAt { name, .. } | IndexedKind::CancelWake { name } = &reaction.kind
                && let Some(changes) = stream.wakes.get_mut(name)
            {
                changes.retain(|(offset, _)| *offset != entry.offset);
                if changes.is_empty() {
                    stream.wakes.remove(name);
                }
            }
        }
    }

    /// The notes on one key, copied.
    pub(crate) fn notes_on(&self, key: &ReactionKey) -> Vec<Arc<Note>> {
        self.notes.get(key).map(|notes| notes.iter().cloned().collect()).unwrap_or_default()
    }
}
