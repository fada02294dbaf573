//! What is known of one org.

use super::{
    Wanted,
    folded::Folded,
    packed::{Rows, in_org, is_packed},
};
use crate::kernel::{
    entity::Active,
    rights::{ActorRights, KnownKey},
};
use quipu_rules::{
    org::Org,
    rights::{Charter, Roles},
};
use quipu_schemas::{
    ids::{EntityId, Kind, OrgId, PrincipalId, StreamId},
    record::Record,
};
use std::{collections::BTreeMap, sync::Arc};

/// One entity, and how far its partition had been read when it was last compared with its stream's end.
pub(super) struct Known {
    pub(super) entity: Folded,
    pub(super) read: u64,
}

/// Something computed, and how far the partition had been read then.
pub(super) struct Computed<T> {
    pub(super) value: Arc<T>,
    pub(super) read: u64,
}

/// What is known of one org.
#[derive(Default)]
pub(super) struct Shelf {
    /// The org itself, its roles, its clients.
    pub(super) entities: BTreeMap<(Kind, EntityId), Known>,
    /// Its keys, and what was given.
    pub(super) rows: Rows,
    /// What came of them, at hand while it is used.
    pub(super) actors: BTreeMap<PrincipalId, Computed<ActorRights>>,
    pub(super) keys: BTreeMap<EntityId, Computed<KnownKey>>,
    pub(super) roles: Option<Arc<Roles>>,
    pub(super) parts: usize,
    pub(super) used: u64,
}

impl Shelf {
    pub(super) fn entity(&self, kind: Kind, id: &EntityId, org: &OrgId, read: u64) -> Result<&Folded, Wanted> {
        let key = (kind, id.clone());
        match self.entities.get(&key).filter(|known| known.read == read) {
            Some(known) => Ok(&known.entity),
            None => Err(Wanted(StreamId::new(org.clone(), key.0, key.1))),
        }
    }

    /// A key, or what somebody was given.
    pub(super) fn packed(&self, kind: Kind, id: &EntityId, org: &OrgId, read: u64) -> Result<Folded, Wanted> {
        let stream = StreamId::new(org.clone(), kind, id.clone());
        self.rows.current(&in_org(&stream), &stream, read).ok_or(Wanted(stream))
    }

    pub(super) fn org(&self, org: &OrgId, read: u64) -> Result<&Active<Org>, Wanted> {
        let stream = StreamId::of_org(org);
        let entity = self.entity(Kind::ORG, &stream.id, org, read)?;
        entity.org().ok_or(Wanted(stream))
    }

    pub(super) fn roles(&mut self, org: &OrgId, read: u64, charter: &Charter, plain: &Arc<Roles>) -> Result<Arc<Roles>, Wanted> {
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
    pub(super) fn forget_computed(&mut self, stream: &StreamId) {
        if stream.kind == Kind::GRANT {
            if let Ok(principal) = PrincipalId::parse(stream.id.as_str()) {
                self.actors.remove(&principal);
            }
        } else if stream.kind == Kind::API_KEY {
            self.keys.remove(&stream.id);
        } else {
            self.actors.clear();
            if stream.kind == Kind::ROLE {
                self.roles = None;
                self.keys.clear();
            }
        }
    }

    pub(super) fn take(&mut self, stream: &StreamId) -> Option<Folded> {
        self.forget_computed(stream);
        if is_packed(&stream.kind) {
            let (entity, parts) = self.rows.take(&in_org(stream), stream)?;
            self.parts -= parts;
            return Some(entity);
        }
        let known = self.entities.remove(&(stream.kind.clone(), stream.id.clone()))?;
        self.parts -= known.entity.parts();
        Some(known.entity)
    }

    /// A record of a key, or of what somebody was given.
    pub(super) fn record_packed(&mut self, record: &Record) {
        let stream = &record.header.stream;
        let name = in_org(stream);
        // It was read with the rest.
        let known = self.rows.hash(&name).filter(|known| *known != record.hash);
        let Some(read) = known.and_then(|_| self.rows.read(&name)) else {
            return;
        };
        let Some(mut entity) = self.take(stream) else { return };
        if entity.fold(record).is_ok() && self.rows.put(&name, &entity, read) {
            self.parts += entity.parts();
        }
    }

    /// All but the org itself, its roles and its projects: they are read again where they are asked for. A grant is asked for together with
    /// the projects that it names, so one of both has to stay while the other is read.
    pub(super) fn forget_most(&mut self) {
        self.actors.clear();
        self.keys.clear();
        self.rows.clear();
        let stays = [Kind::ORG, Kind::ROLE, Kind::PROJECT];
        self.entities.retain(|(kind, _), _| stays.contains(kind));
        self.parts = self.entities.values().map(|known| known.entity.parts()).sum();
    }
}
