//! Principals in bounded memory and few bytes, each kept up by its own records. People belong to no org.
//!
//! Names that nobody has are remembered apart, so that whoever makes some up pushes out nobody who is there.

use super::{
    Authorities, Wanted,
    folded::Folded,
    packed::{Name, Rows, anywhere},
};
use crate::kernel::{
    entity::{Active, Entity},
    principals::KnownPrincipal,
};
use quipu_rules::{
    principal::{Device, Person, Principal},
    rights::{Charter, Roles},
};
use quipu_schemas::{
    digest::Digest,
    ids::{Home, StreamId},
    limits::AUTHORITY_AT_HAND_MAX,
    record::Record,
};
use std::{collections::BTreeMap, sync::Arc};

/// Some of them, in two halves: what is used comes to the young half, and when that is full, what has not been used since it was
/// last full is forgotten.
struct Kept {
    young: Rows,
    old: Rows,
    half: usize,
    /// How often the young ones turned old.
    turns: u64,
}

impl Kept {
    fn new(most: usize) -> Self {
        Self {
            young: Rows::default(),
            old: Rows::default(),
            half: most.div_ceil(2).max(1),
            turns: 0,
        }
    }

    /// Where a row is, once it counts as used; `None` where it is not here.
    fn used(&mut self, name: &Name) -> Option<&mut Rows> {
        if let Some(row) = self.old.lift(name) {
            self.make_room();
            self.young.lay(row);
        }
        self.young.has(name).then_some(&mut self.young)
    }

    fn put(&mut self, name: &Name, entity: &Folded, read: u64) -> bool {
        self.old.lift(name);
        self.make_room();
        self.young.put(name, entity, read)
    }

    fn make_room(&mut self) {
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
            self.turns += 1;
        }
    }

    fn take(&mut self, name: &Name, stream: &StreamId) -> Option<Folded> {
        let taken = self.young.take(name, stream).or_else(|| self.old.take(name, stream));
        taken.map(|(entity, _)| entity)
    }

    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

impl Authorities {
    /// A device that waits for a person, or has; `None` where none does under this name.
    pub fn device(&mut self, home: &Home, read: u64) -> Result<Option<Device>, Wanted> {
        self.principals.device(home, read)
    }
}

/// What was computed of one, and how far its partition had been read then.
struct AtHand {
    known: Option<Arc<KnownPrincipal>>,
    read: u64,
}

/// What is known of principals.
pub(super) struct Principals {
    here: Kept,
    nowhere: Kept,
    /// Of those who are here.
    at_hand: BTreeMap<StreamId, AtHand>,
    /// As of which turn of those.
    turns: u64,
}

impl Principals {
    pub(super) fn new(most: usize, nowhere_most: usize) -> Self {
        Self {
            here: Kept::new(most),
            nowhere: Kept::new(nowhere_most),
            at_hand: BTreeMap::new(),
            turns: 0,
        }
    }

    fn rows(&mut self, name: &Name) -> Option<&mut Rows> {
        let is_here = self.here.used(name).is_some();
        self.follow_turns();
        if is_here {
            Some(&mut self.here.young)
        } else {
            self.nowhere.used(name)
        }
    }

    /// What is at hand is of those who are here; whoever is asked for again counts as used then.
    fn follow_turns(&mut self) {
        if self.turns != self.here.turns {
            self.turns = self.here.turns;
            self.at_hand.clear();
        }
    }

    fn current(&mut self, stream: &StreamId, read: u64) -> Result<Folded, Wanted> {
        let name = anywhere(stream);
        let known = self.rows(&name).and_then(|rows| rows.current(&name, stream, read));
        known.ok_or_else(|| Wanted(stream.clone()))
    }

    /// What is known of one; `None` where nobody is there.
    pub(super) fn get(&mut self, home: &Home, read: u64, roles: &Roles, charter: &Charter) -> Result<Option<Arc<KnownPrincipal>>, Wanted> {
        let stream = home.stream();
        if let Some(at_hand) = self.at_hand.get(&stream).filter(|at_hand| at_hand.read == read) {
            return Ok(at_hand.known.clone());
        }
        let folded = self.current(&stream, read)?;
        if folded.version() == 0 {
            return Ok(None);
        }
        let of = |entity: &Active<Principal>| KnownPrincipal::of(home.clone(), entity.version(), entity.typed_state(), roles, charter);
        let known = folded.principal().and_then(of).map(Arc::new);
        if self.at_hand.len() >= AUTHORITY_AT_HAND_MAX {
            self.at_hand.clear();
        }
        let at_hand = AtHand {
            known: known.clone(),
            read,
        };
        self.at_hand.insert(stream, at_hand);
        Ok(known)
    }

    pub(super) fn person(&mut self, home: &Home, read: u64) -> Result<Option<Person>, Wanted> {
        let folded = self.current(&home.stream(), read)?;
        Ok(folded.principal().and_then(|entity| entity.typed_state().person().cloned()))
    }

    pub(super) fn device(&mut self, home: &Home, read: u64) -> Result<Option<Device>, Wanted> {
        let folded = self.current(&home.stream(), read)?;
        Ok(folded.principal().and_then(|entity| entity.typed_state().device().cloned()))
    }

    pub(super) fn confirm(&mut self, stream: &StreamId, hash: Digest, read: u64) -> bool {
        let name = anywhere(stream);
        self.at_hand.remove(stream);
        self.rows(&name).is_some_and(|rows| rows.confirm(&name, stream, hash, read))
    }

    /// Keeps a principal; whether it is kept.
    pub(super) fn insert(&mut self, entity: &Folded, read: u64) -> bool {
        let stream = entity.stream();
        self.take(stream);
        let name = anywhere(stream);
        if entity.version() == 0 {
            return self.nowhere.put(&name, entity, read);
        }
        let is_kept = self.here.put(&name, entity, read);
        self.follow_turns();
        is_kept
    }

    pub(super) fn take(&mut self, stream: &StreamId) -> Option<Folded> {
        let name = anywhere(stream);
        self.at_hand.remove(stream);
        self.here.take(&name, stream).or_else(|| self.nowhere.take(&name, stream))
    }

    /// A record of one is durable. One that does not continue what is known makes it forgotten.
    pub(super) fn record(&mut self, record: &Record) {
        let stream = &record.header.stream;
        let name = anywhere(stream);
        let all = [&self.here.young, &self.here.old, &self.nowhere.young, &self.nowhere.old];
        let Some((hash, read)) = all.into_iter().find_map(|rows| rows.hash(&name).zip(rows.read(&name))) else {
            return;
        };
        // It was read with the rest.
        if hash == record.hash {
            return;
        }
        let Some(mut entity) = self.take(stream) else { return };
        if entity.fold(record).is_ok() {
            self.insert(&entity, read);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.here.len()
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.here.young.bytes() + self.here.old.bytes()
    }
}
