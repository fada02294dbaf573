//! What a node reads of its log through its index: records, entities, authority, pending work.

use quipu_events::{
    index::{Index, PendingKind},
    port::Log,
};
use quipu_rules::org::{Org, OrgState};
use quipu_runtime::{
    kernel::{
        entity::{Active, Base, Entity},
        orgs::OrgView,
        relay::{Cause, Loaded, Work},
    },
    kinds::Kinds,
};
use quipu_schemas::{
    context::Authority,
    envelope::{CommandBody, CommandEnvelope},
    ids::{OrgId, PrincipalId, StreamId},
    reaction::Reaction,
    record::{self, Record},
};

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

    /// An org's status, and its version.
    pub(crate) fn org(&self, org: &OrgId) -> Result<(OrgState, u64), String> {
        let org = self.recover(&StreamId::of_org(org))?;
        let state = serde_json::from_value(org.state().0).map_err(|e| e.to_string())?;
        Ok((state, org.version()))
    }

    /// An org, from its first record on.
    pub(crate) fn whole_org(&self, org: &OrgId) -> Result<Active<Org>, String> {
        let stream = StreamId::of_org(org);
        let records = self.records(&stream, 0)?;
        Active::recovered(&stream, None, &mut records.into_iter()).map_err(|e| e.to_string())
    }

    /// What a partition's relay has to carry out.
    pub(crate) fn pending(&self, partition: u16) -> Result<Vec<Loaded>, String> {
        let mut pending = Vec::new();
        for row in self.index.pending(partition, None, 10_000).map_err(|e| e.to_string())? {
            if !matches!(row.kind, PendingKind::Dispatch | PendingKind::Effect) {
                continue;
            }
            let records = self.records(&row.key.stream, row.key.version)?;
            let (mut found, mut cancelled) = (None, false);
            for record in &records {
                for (key, reaction) in record.keyed_reactions() {
                    match reaction {
                        Reaction::Dispatch(d) if key == row.key => found = Some((Work::Dispatch(d.clone()), Cause::from(&record.header))),
                        Reaction::Perform(p) if key == row.key => found = Some((Work::Perform(p.clone()), Cause::from(&record.header))),
                        Reaction::CancelEffect { name } => cancelled |= matches!(&found, Some((Work::Perform(p), _)) if p.name == *name),
                        _ => {}
                    }
                }
            }
            let (work, cause) = found.ok_or_else(|| format!("{} has no record", row.key))?;
            let attempts = self.index.attempts(&row.key).map_err(|e| e.to_string())?;
            let failed = attempts.failed.as_ref().map_or(0, |f| f.attempt);
            pending.push(Loaded {
                key: row.key,
                work,
                cause,
                attempts: attempts.started.max(failed),
                retried: attempts.retried,
                started: attempts.started > failed,
                retry_at: attempts.failed.map(|f| f.retry_at),
                cancelled,
            });
        }
        Ok(pending)
    }
}

/// Who sends a command, or for whom.
pub(crate) fn actor(envelope: &CommandEnvelope) -> &PrincipalId {
    envelope.on_behalf_of.as_ref().unwrap_or(&envelope.principal)
}

/// What the sender of a command may in an org.
pub(crate) fn authority(envelope: &CommandEnvelope, org: OrgView) -> Authority {
    let kernel = matches!(envelope.body, CommandBody::Kernel(_));
    let dispatched_by = match &envelope.body {
        CommandBody::Given { settles, .. } => settles.as_ref().map(|key| key.stream.clone()),
        CommandBody::Kernel(_) => None,
    };
    Authority {
        platform: kernel || (envelope.principal == PrincipalId::BOOTSTRAP && envelope.on_behalf_of.is_none()),
        role: org.role,
        org_version: org.version,
        org_suspended: org.suspended,
        dispatched_by,
    }
}
