//! What a node reads of its log through its index: records, entities, authority, pending work.

use quipu_events::{
    index::{Index, PendingCursor},
    port::Log,
};
use quipu_rules::application::ApplicationState;
use quipu_runtime::{
    kernel::{
        admission::Admission,
        authorities::{Authorities, Wanted, folded::Folded},
        entity::{Base, Entity},
        principals::KnownPrincipal,
        relay::{Loaded, Page, PageRow, find},
        rights::KnownKey,
        stops::{Look, Unknown},
    },
    kinds::Kinds,
};
use quipu_schemas::{
    client_secret::ClientId,
    ids::{EntityId, Home, Kind, OrgId, StreamId},
    record::{self, Record},
};
use std::{collections::BTreeSet, sync::Arc};

/// A node's log, index and rules.
#[derive(Clone, Copy)]
pub(crate) struct Library<'a> {
    pub(crate) log: &'a dyn Log,
    pub(crate) index: &'a Index,
    pub(crate) kinds: &'a Kinds,
}

impl Library<'_> {
    /// The stream's records from the one that holds this version on.
    pub(crate) fn records(&self, stream: &StreamId, from: u64) -> Result<Vec<Record>, String> {
        let places: Vec<_> = self
            .index
            .places(stream, from)
            .map_err(|e| e.to_string())?
            .iter()
            .map(|row| row.place)
            .collect();
        let bytes = self.log.read_at(&places).map_err(|e| e.to_string())?;
        bytes.iter().map(|bytes| record::decode(bytes).map_err(|e| e.to_string())).collect()
    }

    /// Looks up what was said of a name.
    pub(crate) fn recall(&self, stream: &StreamId, name: String, admission: &mut Admission) -> Result<(), String> {
        let places = self.index.named(stream, &name).map_err(|e| e.to_string())?;
        let places: Vec<_> = places.iter().map(|row| row.place).collect();
        let bytes = self.log.read_at(&places).map_err(|e| e.to_string())?;
        let records: Result<Vec<Record>, _> = bytes.iter().map(|bytes| record::decode(bytes)).collect();
        let records = records.map_err(|e| e.to_string())?;
        admission.recalled(name, records.into_iter().flat_map(|record| record.events).collect());
        Ok(())
    }

    /// An entity from its snapshot, if there is one, and the stream's tail.
    pub(crate) fn recover(&self, stream: &StreamId) -> Result<Box<dyn Entity>, String> {
        let handler = self.kinds.get(&stream.kind).ok_or("unknown kind")?;
        let head = self.index.stream_head(stream).map_err(|e| e.to_string())?;
        let snapshot = self
            .index
            .latest_snapshot(stream, &handler.shape(), handler.rules_version())
            .map_err(|e| e.to_string())?;
        if let (Some(snapshot), Some(head)) = (snapshot, head) {
            let base = Base {
                version: snapshot.version,
                hash: snapshot.record,
                time: head.time,
                bytes: snapshot.bytes,
            };
            let rows = self.index.places(stream, snapshot.version).map_err(|e| e.to_string())?;
            let places: Vec<_> = rows
                .iter()
                .filter(|row| row.offset > snapshot.offset)
                .map(|row| row.place)
                .collect();
            let bytes = self.log.read_at(&places).map_err(|e| e.to_string())?;
            let records: Result<Vec<Record>, _> = bytes.iter().map(|b| record::decode(b).map_err(|e| e.to_string())).collect();
            return handler
                .recover(stream, Some(&base), &mut records?.into_iter())
                .map_err(|e| e.to_string());
        }
        let records = self.records(stream, 0)?;
        handler.recover(stream, None, &mut records.into_iter()).map_err(|e| e.to_string())
    }

    /// An entity by which rights are decided, from its first record on.
    pub(crate) fn folded(&self, stream: &StreamId) -> Result<Folded, String> {
        let mut folded = Folded::empty(stream.clone()).ok_or("no rights are decided by it")?;
        for record in self.records(stream, 0)? {
            folded.fold(&record).map_err(|e| e.to_string())?;
        }
        Ok(folded)
    }

    /// What is known of rights, brought to what the log says where it is not known; `None` where there is nothing to be known.
    pub(crate) fn known<T>(
        &self,
        known: &mut Authorities,
        ask: &mut dyn FnMut(&mut Authorities) -> Result<T, Wanted>,
    ) -> Result<Option<T>, String> {
        loop {
            match ask(known) {
                Ok(answer) => return Ok(Some(answer)),
                Err(Wanted(stream)) => {
                    let folded = self.folded(&stream)?;
                    let is_nothing = folded.version() == 0 && [Kind::ORG, Kind::API_KEY, Kind::APPLICATION].contains(&stream.kind);
                    known.insert(folded, 0);
                    if is_nothing {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// A page of what a partition's relay has to carry out.
    pub(crate) fn page(
        &self,
        partition: u16,
        after: Option<PendingCursor>,
        most: usize,
        without: &BTreeSet<OrgId>,
    ) -> Result<Page, String> {
        let end = self.index.next_offset(partition);
        let pending = self
            .index
            .pending_without(partition, after, most, without)
            .map_err(|e| e.to_string())?;
        let mut rows = Vec::new();
        for row in pending {
            let records = self.records(&row.key.stream, row.key.version)?;
            let found = find(&[row.key.clone()].into(), records.iter()).remove(&row.key);
            let found = found.ok_or_else(|| format!("{} has no record", row.key))?;
            let attempts = self.index.attempts(&row.key).map_err(|e| e.to_string())?;
            let settled = self.index.settled(&row.key).map_err(|e| e.to_string())?;
            rows.push(PageRow {
                loaded: Some(Loaded::new(found, &attempts, settled.map(|settled| settled.outcome))),
                offset: row.position.offset,
                key: row.key,
            });
        }
        Ok(Page { rows, end })
    }
}

/// What a node knows of whoever may have been stopped, read where it is not known yet.
pub(crate) struct Looked<'a> {
    pub(crate) library: Library<'a>,
    pub(crate) known: &'a mut Authorities,
}

impl Look for Looked<'_> {
    fn principal(&mut self, home: &Home, _: Option<&EntityId>) -> Result<Option<Arc<KnownPrincipal>>, Unknown> {
        let known = self.library.known(self.known, &mut |known| known.principal(home, 0));
        known.map(Option::flatten).map_err(|_| Unknown)
    }

    fn key(&mut self, org: &OrgId, id: &EntityId) -> Result<Option<Arc<KnownKey>>, Unknown> {
        self.library
            .known(self.known, &mut |known| known.key(org, id, 0))
            .map_err(|_| Unknown)
    }

    fn application(&mut self, client: &ClientId) -> Result<Option<ApplicationState>, Unknown> {
        let known = self
            .library
            .known(self.known, &mut |known| known.application(&client.org, &client.id, 0));
        known.map_err(|_| Unknown)
    }
}
