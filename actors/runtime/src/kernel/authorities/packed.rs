//! Entities in few bytes: keys, what principals were given, and principals themselves are many, and each is looked at seldom.
//!
//! A row is the entity's name, how far its stream was read, and its state as a snapshot has it. What is computed from some of them
//! stays at hand beside, in bounded number.

use super::folded::Folded;
use crate::kernel::entity::Base;
use quipu_schemas::{
    digest::Digest,
    ids::{Kind, OrgId, StreamId},
};
use serde::{Deserialize, Serialize};
use std::{borrow::Borrow, cmp::Ordering, collections::BTreeSet};

const BINCODE: bincode::config::Configuration = bincode::config::standard();

/// The kinds whose entities are packed.
const KINDS: [Kind; 3] = [Kind::API_KEY, Kind::GRANT, Kind::PRINCIPAL];

/// Whether entities of this kind are kept in few bytes.
pub(super) fn is_packed(kind: &Kind) -> bool {
    KINDS.contains(kind)
}

/// What a stream is found by.
pub(super) struct Name(Vec<u8>);

impl Name {
    /// Among those of its org alone where the org is left out.
    fn written(stream: &StreamId, org: &str) -> Self {
        let mut bytes = Vec::with_capacity(3 + org.len() + stream.id.as_str().len());
        bytes.push(KINDS.iter().position(|kind| *kind == stream.kind).unwrap_or(KINDS.len()) as u8);
        bytes.extend_from_slice(org.as_bytes());
        // No id has it.
        bytes.push(b'/');
        bytes.extend_from_slice(stream.id.as_str().as_bytes());
        Self(bytes)
    }
}

/// What stands before the state.
#[derive(Serialize, Deserialize)]
struct Head {
    version: u64,
    /// How far its partition had been read when it was last compared with its stream's end.
    read: u64,
    /// What it counts as.
    parts: usize,
}

/// One entity.
pub(super) struct Row(Box<[u8]>);

impl Row {
    /// `None` where its state is gone.
    fn pack(name: &Name, entity: &Folded, read: u64) -> Option<Self> {
        let (version, parts) = (entity.version(), entity.parts());
        let snapshot = match version {
            0 => None,
            _ => Some(entity.snapshot()?),
        };
        let head = bincode::serde::encode_to_vec(Head { version, read, parts }, BINCODE).ok()?;
        let mut row = Vec::with_capacity(1 + name.0.len() + head.len() + snapshot.as_ref().map_or(0, |of| 32 + of.bytes.len()));
        row.push(u8::try_from(name.0.len()).ok()?);
        row.extend_from_slice(&name.0);
        row.extend_from_slice(&head);
        if let Some(snapshot) = snapshot {
            row.extend_from_slice(&snapshot.record_hash.0);
            row.extend_from_slice(&snapshot.bytes);
        }
        Some(Self(row.into_boxed_slice()))
    }

    fn name(&self) -> &[u8] {
        &self.0[1..=usize::from(self.0[0])]
    }

    fn head(&self) -> Option<(Head, &[u8])> {
        let rest = &self.0[1 + usize::from(self.0[0])..];
        let (head, used) = bincode::serde::decode_from_slice::<Head, _>(rest, BINCODE).ok()?;
        Some((head, &rest[used..]))
    }

    fn hash(&self) -> Option<Digest> {
        let (head, rest) = self.head()?;
        match head.version {
            0 => Some(Digest::ZERO),
            _ => rest.first_chunk::<32>().map(|hash| Digest(*hash)),
        }
    }

    fn unpack(&self, stream: &StreamId) -> Option<Folded> {
        let (head, rest) = self.head()?;
        if head.version == 0 {
            return Folded::empty(stream.clone());
        }
        let (hash, bytes) = rest.split_first_chunk::<32>()?;
        let base = Base {
            version: head.version,
            hash: Digest(*hash),
            // Rules look at the time of a record, and nothing is decided on what is kept here.
            time: 0,
            bytes: bytes.to_vec(),
        };
        Folded::from_snapshot(stream.clone(), &base)
    }
}

impl Borrow<[u8]> for Row {
    fn borrow(&self) -> &[u8] {
        self.name()
    }
}
impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}
impl Eq for Row {}
impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Row {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(other.name())
    }
}

/// Many of them.
#[derive(Default)]
pub(super) struct Rows(BTreeSet<Row>);

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Bytes that the rows take, without what holds them together: some 35 each.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|row| row.0.len()).sum()
    }

    fn row(&self, name: &Name) -> Option<&Row> {
        self.0.get(name.0.as_slice())
    }

    /// The entity, where it was compared with its stream's end after the partition had been read so far.
    pub(super) fn current(&self, name: &Name, stream: &StreamId, read: u64) -> Option<Folded> {
        let row = self.row(name)?;
        if row.head()?.0.read == read { row.unpack(stream) } else { None }
    }

    pub(super) fn has(&self, name: &Name) -> bool {
        self.row(name).is_some()
    }

    pub(super) fn hash(&self, name: &Name) -> Option<Digest> {
        self.row(name)?.hash()
    }

    /// How far its partition had been read when it was compared.
    pub(super) fn read(&self, name: &Name) -> Option<u64> {
        Some(self.row(name)?.head()?.0.read)
    }

    /// It was compared with its stream's end; whether that is its last record.
    pub(super) fn confirm(&mut self, name: &Name, stream: &StreamId, hash: Digest, read: u64) -> bool {
        let Some(row) = self.row(name).filter(|row| row.hash() == Some(hash)) else {
            return false;
        };
        row.unpack(stream).is_some_and(|entity| self.put(name, &entity, read))
    }

    /// Keeps an entity; whether it can be kept. What is kept can be taken out again.
    pub(super) fn put(&mut self, name: &Name, entity: &Folded, read: u64) -> bool {
        let row = Row::pack(name, entity, read).filter(|row| row.unpack(entity.stream()).is_some());
        row.is_some_and(|row| {
            self.0.replace(row);
            true
        })
    }

    /// The row itself, on its way from one lot to another.
    pub(super) fn lift(&mut self, name: &Name) -> Option<Row> {
        self.0.take(name.0.as_slice())
    }

    pub(super) fn lay(&mut self, row: Row) {
        self.0.replace(row);
    }

    /// Takes an entity out, with what it counted as.
    pub(super) fn take(&mut self, name: &Name, stream: &StreamId) -> Option<(Folded, usize)> {
        let row = self.lift(name)?;
        Some((row.unpack(stream)?, row.head()?.0.parts))
    }
}

/// The name of an entity among those of its org.
pub(super) fn in_org(stream: &StreamId) -> Name {
    Name::written(stream, "")
}

/// The name of an entity among those of all orgs.
pub(super) fn anywhere(stream: &StreamId) -> Name {
    let org: &OrgId = &stream.org;
    Name::written(stream, org.as_str())
}
