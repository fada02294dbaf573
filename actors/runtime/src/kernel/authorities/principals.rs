//! Principals in bounded memory, each kept up by its own records, with an order of use of their own: people belong to no org.
//!
//! Names that nobody has are remembered apart, so that whoever makes some up pushes out nobody who is there.

use super::{Authorities, Wanted, folded::Folded};
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
    record::Record,
};
use std::{collections::BTreeMap, sync::Arc};

struct Known {
    entity: Box<Active<Principal>>,
    /// How far its partition had been read when it was last compared with its stream's end.
    read: u64,
    computed: Option<Arc<KnownPrincipal>>,
    used: u64,
}

/// Some of them, the least recently used forgotten first.
struct Kept {
    known: BTreeMap<StreamId, Known>,
    by_use: BTreeMap<u64, StreamId>,
    uses: u64,
    most: usize,
}

impl Kept {
    fn new(most: usize) -> Self {
        Self {
            known: BTreeMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            most: most.max(1),
        }
    }

    /// Only what is not among the recently used moves.
    fn used(&mut self, stream: &StreamId) -> Option<&mut Known> {
        let half = self.known.len() as u64 / 2;
        let known = self.known.get_mut(stream)?;
        if known.used + half < self.uses {
            self.by_use.remove(&known.used);
            self.uses += 1;
            known.used = self.uses;
            self.by_use.insert(self.uses, stream.clone());
        }
        Some(known)
    }

    fn put(&mut self, entity: Box<Active<Principal>>, read: u64) {
        let stream = entity.stream().clone();
        self.take(&stream);
        while self.known.len() >= self.most {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            self.known.remove(&oldest);
        }
        self.uses += 1;
        self.by_use.insert(self.uses, stream.clone());
        let known = Known {
            entity,
            read,
            computed: None,
            used: self.uses,
        };
        self.known.insert(stream, known);
    }

    fn take(&mut self, stream: &StreamId) -> Option<Known> {
        let known = self.known.remove(stream)?;
        self.by_use.remove(&known.used);
        Some(known)
    }
}

impl Authorities {
    /// A device that waits for a person, or has; `None` where none does under this name.
    pub fn device(&mut self, home: &Home, read: u64) -> Result<Option<Device>, Wanted> {
        self.principals.device(home, read)
    }
}

/// What is known of principals.
pub(super) struct Principals {
    here: Kept,
    nowhere: Kept,
}

impl Principals {
    pub(super) fn new(most: usize, nowhere_most: usize) -> Self {
        Self {
            here: Kept::new(most),
            nowhere: Kept::new(nowhere_most),
        }
    }

    fn of(&mut self, stream: &StreamId) -> Option<&mut Known> {
        match self.here.used(stream) {
            Some(known) => Some(known),
            None => self.nowhere.used(stream),
        }
    }

    /// What is known of one; `None` where nobody is there.
    pub(super) fn get(&mut self, home: &Home, read: u64, roles: &Roles, charter: &Charter) -> Result<Option<Arc<KnownPrincipal>>, Wanted> {
        let stream = home.stream();
        let known = self.of(&stream).filter(|known| known.read == read);
        let known = known.ok_or(Wanted(stream))?;
        if known.computed.is_none() {
            let (version, state) = (known.entity.version(), known.entity.typed_state());
            known.computed = KnownPrincipal::of(home.clone(), version, state, roles, charter).map(Arc::new);
        }
        Ok(known.computed.clone())
    }

    pub(super) fn person(&mut self, home: &Home, read: u64) -> Result<Option<Person>, Wanted> {
        let stream = home.stream();
        let known = self.of(&stream).filter(|known| known.read == read);
        let known = known.ok_or(Wanted(stream))?;
        Ok(known.entity.typed_state().person().cloned())
    }

    pub(super) fn device(&mut self, home: &Home, read: u64) -> Result<Option<Device>, Wanted> {
        let stream = home.stream();
        let known = self.of(&stream).filter(|known| known.read == read);
        let known = known.ok_or(Wanted(stream))?;
        Ok(known.entity.typed_state().device().cloned())
    }

    pub(super) fn confirm(&mut self, stream: &StreamId, hash: Digest, read: u64) -> bool {
        match self.of(stream).filter(|known| known.entity.hash() == hash) {
            Some(known) => {
                known.read = read;
                true
            }
            None => false,
        }
    }

    pub(super) fn insert(&mut self, entity: Box<Active<Principal>>, read: u64) {
        self.take(&entity.stream().clone());
        if entity.version() > 0 {
            self.here.put(entity, read);
        } else {
            self.nowhere.put(entity, read);
        }
    }

    pub(super) fn take(&mut self, stream: &StreamId) -> Option<Folded> {
        let taken = self.here.take(stream).or_else(|| self.nowhere.take(stream));
        taken.map(|known| Folded::Principal(known.entity))
    }

    /// A record of one is durable. One that does not continue what is known makes it forgotten.
    pub(super) fn record(&mut self, record: &Record) {
        let stream = &record.header.stream;
        let Some(known) = self.here.known.get_mut(stream).or_else(|| self.nowhere.known.get_mut(stream)) else {
            return;
        };
        // It was read with the rest.
        if known.entity.hash() == record.hash {
            return;
        }
        if known.entity.fold(record).is_err() {
            self.take(stream);
            return;
        }
        known.computed = None;
        let read = known.read;
        if let Some(born) = self.nowhere.take(stream) {
            self.insert(born.entity, read);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.here.known.len()
    }
}
