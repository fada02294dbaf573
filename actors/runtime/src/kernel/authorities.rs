//! What a node knows of whoever may what: orgs, grants, roles, keys and clients, folded record by record, in bounded memory.
//!
//! An entity that was read once is kept up by its own records as they become durable or are followed, so that a change costs what
//! the change is. What rights come to is computed once and forgotten when one of the records that it came from is followed by
//! another: nothing is decided by its age. Orgs that have not been used for long are forgotten beyond the bounds, whole; those
//! that do not exist are not kept, nor keys that do not. Whoever was given nothing is remembered as that.

use super::{
    entity::Active,
    principals::KnownPrincipal,
    rights::{ActorRights, KnownKey, OrgView},
};
use folded::Folded;
use principals::Principals;
use quipu_rules::{
    org::Org,
    principal::Person,
    rights::{Charter, Roles},
};
use quipu_schemas::{
    digest::Digest,
    ids::{EntityId, Home, Kind, OrgId, PrincipalId, StreamId},
    limits::{PRINCIPALS_KNOWN_MAX, PRINCIPALS_UNKNOWN_MAX},
    record::Record,
};
use std::{collections::BTreeMap, sync::Arc};

mod applications;
pub mod folded;
mod principals;

/// Whether rights are decided by entities of this kind.
pub fn is_about(kind: &Kind) -> bool {
    let of_org = [Kind::ORG, Kind::GRANT, Kind::ROLE, Kind::API_KEY];
    of_org.contains(kind) || [Kind::APPLICATION, Kind::PRINCIPAL].contains(kind)
}

/// One entity, and how far its partition had been read when it was last compared with its stream's end.
struct Known {
    entity: Folded,
    read: u64,
}

/// Something computed, and how far the partition had been read then.
struct Computed<T> {
    value: Arc<T>,
    read: u64,
}

/// What is known of one org.
#[derive(Default)]
struct Shelf {
    entities: BTreeMap<(Kind, EntityId), Known>,
    actors: BTreeMap<PrincipalId, Computed<ActorRights>>,
    keys: BTreeMap<EntityId, Computed<KnownKey>>,
    roles: Option<Arc<Roles>>,
    parts: usize,
    used: u64,
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
    uses: u64,
    orgs_max: usize,
    parts_max: usize,
}

/// The stream that has to be read, or compared with what is known of it, before the question can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted(pub StreamId);

impl Shelf {
    fn entity(&self, kind: Kind, id: &EntityId, org: &OrgId, read: u64) -> Result<&Folded, Wanted> {
        let key = (kind, id.clone());
        match self.entities.get(&key).filter(|known| known.read == read) {
            Some(known) => Ok(&known.entity),
            None => Err(Wanted(StreamId::new(org.clone(), key.0, key.1))),
        }
    }

    fn org(&self, org: &OrgId, read: u64) -> Result<&Active<Org>, Wanted> {
        let stream = StreamId::of_org(org);
        let entity = self.entity(Kind::ORG, &stream.id, org, read)?;
        entity.org().ok_or(Wanted(stream))
    }

    fn roles(&mut self, org: &OrgId, read: u64, charter: &Charter, plain: &Arc<Roles>) -> Result<Arc<Roles>, Wanted> {
        let all = self.entity(Kind::ROLE, &quipu_rules::role::ALL, org, read)?;
        if let Some(roles) = &self.roles {
            return Ok(roles.clone());
        }
        let own = all.own_roles();
        let roles = if own.is_empty() {
            plain.clone()
        } else {
            Arc::new(charter.roles(&own))
        };
        self.roles = Some(roles.clone());
        Ok(roles)
    }

    /// What came of an entity that changes is forgotten with it.
    fn forget_computed(&mut self, stream: &StreamId) {
        if stream.kind == Kind::GRANT {
            if let Ok(principal) = PrincipalId::parse(stream.id.as_str()) {
                self.parts -= usize::from(self.actors.remove(&principal).is_some());
            }
        } else if stream.kind == Kind::API_KEY {
            self.parts -= usize::from(self.keys.remove(&stream.id).is_some());
        } else {
            self.parts -= self.actors.len();
            self.actors.clear();
            if stream.kind == Kind::ROLE {
                self.roles = None;
                self.parts -= self.keys.len();
                self.keys.clear();
            }
        }
    }

    fn take(&mut self, stream: &StreamId) -> Option<Folded> {
        self.forget_computed(stream);
        let known = self.entities.remove(&(stream.kind.clone(), stream.id.clone()))?;
        self.parts -= known.entity.parts();
        Some(known.entity)
    }

    /// All but the org itself and its roles: they are read again where they are asked for.
    fn forget_most(&mut self) {
        self.actors.clear();
        self.keys.clear();
        self.entities.retain(|(kind, _), _| *kind == Kind::ORG || *kind == Kind::ROLE);
        self.parts = self.entities.values().map(|known| known.entity.parts()).sum();
    }
}

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
                let given = shelf.entity(Kind::GRANT, &id, org, read)?.given();
                ActorRights::of(view, given, &roles, &self.charter)
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
        let is_new = shelf.actors.insert(principal.clone(), computed).is_none();
        self.grew(org, usize::from(is_new));
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
        let folded = shelf.entity(Kind::API_KEY, id, org, read)?;
        let key = folded.key().and_then(|state| KnownKey::of(id, state, &roles, &self.charter));
        let value = Arc::new(key.ok_or_else(stream)?);
        let computed = Computed {
            value: value.clone(),
            read,
        };
        let is_new = shelf.keys.insert(id.clone(), computed).is_none();
        self.grew(org, usize::from(is_new));
        Ok(value)
    }

    /// An entity was compared with its stream's end; it is right where that is its last record.
    pub fn confirm(&mut self, stream: &StreamId, hash: Digest, read: u64) -> bool {
        if stream.kind == Kind::PRINCIPAL {
            return self.principals.confirm(stream, hash, read);
        }
        let known = self
            .shelves
            .get_mut(&stream.org)
            .and_then(|shelf| shelf.entities.get_mut(&(stream.kind.clone(), stream.id.clone())));
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
        let entity = match entity {
            Folded::Principal(principal) => {
                self.principals.insert(principal, read);
                return true;
            }
            entity => entity,
        };
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
            shelf.entities.insert((stream.kind, stream.id), Known { entity, read });
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
