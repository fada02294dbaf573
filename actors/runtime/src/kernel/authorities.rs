//! What a node knows of whoever may what: orgs, grants, roles, keys and clients, folded record by record, in bounded memory.
//!
//! An entity that was read once is kept up by its own records as they become durable or are followed, so that a change costs what
//! the change is. What rights come to is computed once and forgotten when one of the records that it came from is followed by
//! another: nothing is decided by its age. Keys, what was given and principals are kept in few bytes (`packed.rs`). Orgs that have not been used for long are forgotten beyond the bounds, whole; those
//! that do not exist are not kept, nor keys that do not. Whoever was given nothing is remembered as that.

use super::{
    principals::KnownPrincipal,
    rights::{ActorRights, KnownKey, OrgView},
};
use folded::Folded;
use packed::{in_org, is_packed};
use principals::Principals;
use quipu_rules::{
    principal::Person,
    rights::{Charter, Roles},
};
use quipu_schemas::{
    digest::Digest,
    ids::{EntityId, Home, Kind, OrgId, PrincipalId, StreamId},
    limits::{AUTHORITY_AT_HAND_MAX, PRINCIPALS_KNOWN_MAX, PRINCIPALS_UNKNOWN_MAX},
    record::Record,
};
use shelf::{Computed, Known, Shelf};
use std::{collections::BTreeMap, sync::Arc};

mod applications;
pub mod folded;
mod packed;
mod principals;
mod projects;
mod shelf;

/// Whether rights are decided by entities of this kind.
pub fn is_about(kind: &Kind) -> bool {
    let of_org = [Kind::ORG, Kind::GRANT, Kind::ROLE, Kind::API_KEY, Kind::PROJECT];
    of_org.contains(kind) || [Kind::APPLICATION, Kind::PRINCIPAL].contains(kind)
}

/// What one node knows of the rights in all orgs.
pub struct Authorities {
    charter: Arc<Charter>,
    /// Of orgs that have none of their own.
    plain: Arc<Roles>,
    shelves: BTreeMap<OrgId, Shelf>,
    by_use: BTreeMap<u64, OrgId>,
    principals: Principals,
    parts: usize,
    /// What was computed since what was at hand was last dropped.
    computed: usize,
    uses: u64,
    orgs_max: usize,
    parts_max: usize,
}

/// The stream that has to be read, or compared with what is known of it, before the question can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted(pub StreamId);

impl Authorities {
    /// Knows nothing yet, and never more than so many orgs, and members, grants, roles and keys of them together.
    pub fn new(charter: Arc<Charter>, orgs_max: usize, parts_max: usize) -> Self {
        Self {
            plain: Arc::new(charter.roles([])),
            charter,
            shelves: BTreeMap::new(),
            by_use: BTreeMap::new(),
            principals: Principals::new(PRINCIPALS_KNOWN_MAX, PRINCIPALS_UNKNOWN_MAX),
            parts: 0,
            computed: 0,
            uses: 0,
            orgs_max,
            parts_max,
        }
    }

    /// The same with never more than so many principals, and so many names that nobody has.
    #[must_use]
    pub fn with_principals(self, most: usize, nowhere_most: usize) -> Self {
        Self {
            principals: Principals::new(most, nowhere_most),
            ..self
        }
    }

    /// A principal; `None` where nobody is there, which is remembered.
    pub fn principal(&mut self, home: &Home, read: u64) -> Result<Option<Arc<KnownPrincipal>>, Wanted> {
        self.principals.get(home, read, &self.plain, &self.charter)
    }

    /// What is known of a person, for logging in; `None` where nobody is there any more.
    pub fn person(&mut self, home: &Home, read: u64) -> Result<Option<Person>, Wanted> {
        self.principals.person(home, read)
    }

    /// Principals in memory.
    pub fn principals_known(&self) -> usize {
        self.principals.len()
    }

    /// An org itself. `read` rises when its partition was read further by other means than [`Authorities::record`].
    pub fn org(&mut self, org: &OrgId, read: u64) -> Result<OrgView, Wanted> {
        self.used(org);
        let missing = || Wanted(StreamId::of_org(org));
        let shelf = self.shelves.get(org).ok_or_else(missing)?;
        Ok(OrgView::of(shelf.org(org, read)?, None))
    }

    /// What a principal may in an org.
    pub fn actor(&mut self, org: &OrgId, principal: &PrincipalId, read: u64) -> Result<Arc<ActorRights>, Wanted> {
        self.used(org);
        let missing = || Wanted(StreamId::of_org(org));
        let shelf = self.shelves.get_mut(org).ok_or_else(missing)?;
        if let Some(known) = shelf.actors.get(principal).filter(|known| known.read == read) {
            return Ok(known.value.clone());
        }
        let view = OrgView::of(shelf.org(org, read)?, Some(principal));
        let state = shelf.org(org, read)?.typed_state();
        let (gates, step_up) = (state.gates(), state.step_up());
        let rights = match EntityId::parse(principal.as_str()) {
            Ok(id) if !principal.is_platform() => {
                let roles = shelf.roles(org, read, &self.charter, &self.plain)?;
                let (is_given, counting) = shelf.counting(&id, org, read)?;
                ActorRights::of(view, &counting, &roles, &self.charter).somebody(is_given)
            }
            // Nobody of the platform is granted anything: by the node's own token the org is all that is read.
            _ => ActorRights::of(view, &[], &self.plain, &self.charter),
        };
        let rights = rights.recent(&step_up, &self.plain, &self.charter);
        let value = Arc::new(rights.gated(&gates, &self.plain, &self.charter));
        let computed = Computed {
            value: value.clone(),
            read,
        };
        shelf.actors.insert(principal.clone(), computed);
        self.computed_one_more();
        Ok(value)
    }

    /// A key of an org. One that does not exist is not kept: it is wanted each time.
    pub fn key(&mut self, org: &OrgId, id: &EntityId, read: u64) -> Result<Arc<KnownKey>, Wanted> {
        self.used(org);
        let missing = || Wanted(StreamId::of_org(org));
        let shelf = self.shelves.get_mut(org).ok_or_else(missing)?;
        if let Some(known) = shelf.keys.get(id).filter(|known| known.read == read) {
            return Ok(known.value.clone());
        }
        shelf.org(org, read)?;
        let roles = shelf.roles(org, read, &self.charter, &self.plain)?;
        let stream = || Wanted(StreamId::new(org.clone(), Kind::API_KEY, id.clone()));
        let folded = shelf.packed(Kind::API_KEY, id, org, read)?;
        let key = folded.key().and_then(|state| KnownKey::of(id, state, &roles, &self.charter));
        let value = Arc::new(key.ok_or_else(stream)?);
        let computed = Computed {
            value: value.clone(),
            read,
        };
        shelf.keys.insert(id.clone(), computed);
        self.computed_one_more();
        Ok(value)
    }

    /// What is at hand is bounded for all orgs together; beyond that it is computed again as it is asked for.
    fn computed_one_more(&mut self) {
        self.computed += 1;
        if self.computed > AUTHORITY_AT_HAND_MAX {
            self.computed = 0;
            for shelf in self.shelves.values_mut() {
                shelf.actors.clear();
                shelf.keys.clear();
            }
        }
    }

    /// An entity was compared with its stream's end; it is right where that is its last record.
    pub fn confirm(&mut self, stream: &StreamId, hash: Digest, read: u64) -> bool {
        if stream.kind == Kind::PRINCIPAL {
            return self.principals.confirm(stream, hash, read);
        }
        let Some(shelf) = self.shelves.get_mut(&stream.org) else {
            return false;
        };
        if is_packed(&stream.kind) {
            return shelf.rows.confirm(&in_org(stream), stream, hash, read);
        }
        let known = shelf.entities.get_mut(&(stream.kind.clone(), stream.id.clone()));
        match known.filter(|known| known.entity.hash() == hash) {
            Some(known) => {
                known.read = read;
                true
            }
            None => false,
        }
    }

    /// Keeps an entity that was read from its stream; whether it is kept. An org or key that does not exist is not, nor anything
    /// of an org of which nothing is known.
    pub fn insert(&mut self, entity: Folded, read: u64) -> bool {
        if entity.principal().is_some() {
            return self.principals.insert(&entity, read);
        }
        let stream = entity.stream().clone();
        self.take(&stream);
        let is_kept = match stream.kind {
            ref kind if *kind == Kind::ORG => entity.version() > 0,
            ref kind if *kind == Kind::API_KEY => entity.version() > 0 && self.shelves.contains_key(&stream.org),
            _ => self.shelves.contains_key(&stream.org),
        };
        if !is_kept {
            return false;
        }
        let parts = entity.parts();
        self.make_room(&stream.org, parts);
        if !self.shelves.contains_key(&stream.org) {
            self.uses += 1;
            self.by_use.insert(self.uses, stream.org.clone());
            let used = self.uses;
            self.shelves.insert(stream.org.clone(), Shelf { used, ..Shelf::default() });
        }
        if let Some(shelf) = self.shelves.get_mut(&stream.org) {
            if !is_packed(&stream.kind) {
                shelf.entities.insert((stream.kind, stream.id), Known { entity, read });
            } else if !shelf.rows.put(&in_org(&stream), &entity, read) {
                return false;
            }
        }
        self.grew(&stream.org, parts);
        true
    }

    /// Takes an entity out; with an org, everything of it.
    pub fn take(&mut self, stream: &StreamId) -> Option<Folded> {
        if stream.kind == Kind::PRINCIPAL {
            return self.principals.take(stream);
        }
        let shelf = self.shelves.get_mut(&stream.org)?;
        let before = shelf.parts;
        let taken = shelf.take(stream);
        self.parts = self.parts + shelf.parts - before;
        taken
    }

    /// A record of an entity of these kinds is durable. One that does not continue what is known makes it forgotten.
    pub fn record(&mut self, record: &Record) {
        let stream = &record.header.stream;
        if stream.kind == Kind::PRINCIPAL {
            return self.principals.record(record);
        }
        let Some(shelf) = self.shelves.get_mut(&stream.org) else {
            return;
        };
        let before = shelf.parts;
        if is_packed(&stream.kind) {
            shelf.record_packed(record);
            self.parts = self.parts + shelf.parts - before;
            return;
        }
        let is_right = match shelf.entities.get_mut(&(stream.kind.clone(), stream.id.clone())) {
            // It was read with the rest.
            Some(known) if known.entity.hash() == record.hash => return,
            Some(known) => {
                shelf.parts -= known.entity.parts();
                let is_right = known.entity.fold(record).is_ok();
                shelf.parts += known.entity.parts();
                is_right
            }
            None => return,
        };
        if is_right {
            shelf.forget_computed(stream);
        } else {
            shelf.take(stream);
        }
        self.parts = self.parts + shelf.parts - before;
    }

    /// Orgs in memory.
    pub fn len(&self) -> usize {
        self.shelves.len()
    }

    /// Whether none is in memory.
    pub fn is_empty(&self) -> bool {
        self.shelves.is_empty()
    }

    /// Only what is not among the recently used moves: most looks change nothing.
    fn used(&mut self, org: &OrgId) {
        let (uses, len) = (self.uses, self.shelves.len() as u64);
        if let Some(shelf) = self.shelves.get_mut(org)
            && shelf.used + len / 2 < uses
        {
            self.by_use.remove(&shelf.used);
            self.uses += 1;
            shelf.used = self.uses;
            self.by_use.insert(self.uses, org.clone());
        }
    }

    fn grew(&mut self, org: &OrgId, parts: usize) {
        if let Some(shelf) = self.shelves.get_mut(org) {
            shelf.parts += parts;
            self.parts += parts;
        }
        self.forget_others(org, 0);
    }

    /// Makes room in an org that is about to grow. One that alone is larger than the bound forgets of itself what can be read
    /// again in parts.
    fn make_room(&mut self, org: &OrgId, parts: usize) {
        self.forget_others(org, parts);
        if self.parts + parts > self.parts_max
            && let Some(shelf) = self.shelves.get_mut(org)
        {
            let before = shelf.parts;
            shelf.forget_most();
            self.parts = self.parts + shelf.parts - before;
        }
    }

    /// Forgets other orgs, the least recently used first, until this one has room for more.
    fn forget_others(&mut self, org: &OrgId, parts: usize) {
        let is_new = usize::from(!self.shelves.contains_key(org));
        while self.shelves.len() + is_new > self.orgs_max || self.parts + parts > self.parts_max {
            let oldest = self.by_use.iter().find(|(_, of)| *of != org).map(|(used, of)| (*used, of.clone()));
            let Some((used, oldest)) = oldest else { break };
            self.by_use.remove(&used);
            self.parts -= self.shelves.remove(&oldest).map_or(0, |shelf| shelf.parts);
        }
    }
}

#[cfg(test)]
mod tests;
