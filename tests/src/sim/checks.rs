//! What must hold at the end of every run.

use super::World;
use quipu_events::{index::Index, port::Log};
use quipu_runtime::kernel::entity::state_digest;
use quipu_schemas::{
    ids::{CommandId, StreamId},
    position::Position,
    reaction::{Reaction, ReactionKey, Settled},
    record::{self, Record},
};
use std::collections::BTreeMap;

impl World {
    pub(crate) fn check(&mut self) {
        let Some(mut node) = self.node.take() else { return self.broken.push("no node at the end".into()) };
        let mut broken = Vec::new();
        let records = match read_all(&**node.log()) {
            Ok(records) => records,
            Err(error) => return self.broken.push(format!("the log cannot be read: {error}")),
        };
        self.counts.records = records.len() as u64;

        let mut decided: BTreeMap<(StreamId, CommandId), (u64, Position)> = BTreeMap::new();
        for (position, record) in &records {
            let key = (record.header.stream.clone(), record.header.command_id.clone());
            if decided.insert(key.clone(), (record.header.last_version(), *position)).is_some() {
                broken.push(format!("{} {}: decided twice", key.0, key.1));
            }
        }
        for (key, sent) in &self.sent {
            for receipt in &sent.receipts {
                match decided.get(key) {
                    None => broken.push(format!("{} {}: acknowledged and lost", key.0, key.1)),
                    Some(found) if *found != (receipt.version, receipt.position) => {
                        broken.push(format!("{} {}: the receipt says {receipt:?}, the log {found:?}", key.0, key.1));
                    }
                    Some(_) => {}
                }
            }
        }

        self.check_effects(&records, &mut broken);

        // State in memory = a fold from zero.
        for (stream, entity) in node.entities() {
            match node.recover(stream) {
                Ok(folded) if state_digest(&folded.state()) == state_digest(&entity.state()) => {}
                Ok(_) => broken.push(format!("{stream}: state in memory differs from the fold of its log")),
                Err(error) => broken.push(format!("{stream}: {error}")),
            }
        }
        // A rebuilt index = the live one.
        match rebuilt(&**node.log(), node.index()) {
            Ok(true) => {}
            Ok(false) => broken.push("a rebuilt index differs from the live one".into()),
            Err(error) => broken.push(format!("index rebuild: {error}")),
        }
        // Views = fold of the log.
        let log = node.log().clone();
        let (views, progress) = node.views();
        if let Err(error) = views.catch_up(&*log, progress) {
            broken.push(format!("views: {error}"));
        }
        match views_verify(&*log, views) {
            Ok(None) => {}
            Ok(Some(differing)) => broken.push(format!("views differ from a rebuild: {differing}")),
            Err(error) => broken.push(format!("views: {error}")),
        }
        self.broken.extend(broken);
    }

    /// Every effect settled as done reached the sink; nothing is left unsettled but what may wait.
    fn check_effects(&self, records: &[(Position, Record)], broken: &mut Vec<String>) {
        let mut finals: BTreeMap<ReactionKey, Vec<Settled>> = BTreeMap::new();
        for (_, record) in records {
            if let Some(settlement) = &record.header.settlement
                && settlement.outcome.is_final()
            {
                finals.entry(settlement.key.clone()).or_default().push(settlement.outcome.clone());
            }
        }
        for (_, record) in records {
            for (key, reaction) in record.keyed_reactions() {
                let settled = finals.get(&key).map_or(&[][..], Vec::as_slice);
                if settled.len() > 1 {
                    broken.push(format!("{key}: settled {} times", settled.len()));
                }
                let cancelled = records.iter().any(|(_, r)| {
                    r.header.stream == key.stream
                        && r.keyed_reactions().any(|(_, other)| matches!((reaction, other), (Reaction::Perform(p), Reaction::CancelEffect { name }) if p.name == *name))
                });
                match (reaction, settled.first()) {
                    (Reaction::Perform(_) | Reaction::Dispatch(_), None) => broken.push(format!("{key}: never settled")),
                    (Reaction::Perform(_), Some(Settled::Accepted | Settled::Unchanged | Settled::Refused { .. }))
                        if !cancelled && self.sink.count(&key) == 0 =>
                    {
                        broken.push(format!("{key}: settled as done, and it never arrived"));
                    }
                    _ => {}
                }
            }
        }
    }
}

fn read_all(log: &dyn Log) -> Result<Vec<(Position, Record)>, String> {
    let mut out = Vec::new();
    for partition in 0..log.meta().partitions {
        let mut next = 0;
        loop {
            let frames = log.read(partition, next, 1 << 20).map_err(|e| e.to_string())?;
            if frames.is_empty() {
                break;
            }
            for frame in frames {
                for (offset, (_, bytes)) in (frame.first_offset..).zip(&frame.records) {
                    if offset != next {
                        return Err(format!("partition {partition}: offset {offset} where {next} was due"));
                    }
                    next += 1;
                    out.push((Position { partition, offset, index: 0 }, record::decode(bytes).map_err(|e| e.to_string())?));
                }
            }
            if next >= log.head(partition).map_err(|e| e.to_string())?.next_offset {
                break;
            }
        }
    }
    Ok(out)
}

fn rebuilt(log: &dyn Log, live: &Index) -> Result<bool, String> {
    let fresh = Index::in_memory(&log.meta()).map_err(|e| e.to_string())?;
    fresh.catch_up(log, &mut |_| ()).map_err(|e| e.to_string())?;
    Ok(fresh.content_digest().map_err(|e| e.to_string())? == live.content_digest().map_err(|e| e.to_string())?)
}

fn views_verify(log: &dyn Log, views: &quipu_projections::follower::Follower) -> Result<Option<String>, String> {
    use quipu_projections::{sqlite::SqliteStore, store::Origin, store::ViewStore, verify::verify};
    let side: std::sync::Arc<dyn ViewStore> = std::sync::Arc::new(SqliteStore::in_memory(Origin::of(&log.meta())).map_err(|e| e.to_string())?);
    let verdict = verify(log, &**views.store(), &side).map_err(|e| e.to_string())?;
    Ok((!verdict.is_equal()).then(|| format!("{:?}", verdict.differing)))
}
