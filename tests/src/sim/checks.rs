//! What must hold at the end of every run.

use super::{
    World,
    log::SimLog,
    quota::check_quotas,
    rights::{check_rights, spoken_for},
    sink::Sink,
};
use quipu_events::{
    blobs::{
        copy, each,
        names::{self, Named},
    },
    disk::SimDisk,
    index::Index,
    keyring::Keyring,
    port::{Log, Place},
    verify,
};
use quipu_runtime::kernel::entity::state_digest;
use quipu_schemas::{
    context::Millis,
    ids::{CommandId, StreamId},
    position::Position,
    reaction::{Reaction, ReactionKey, Settled},
    record::{self, Record},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

impl World {
    pub(crate) fn check(&mut self) {
        let Some(mut node) = self.node.take() else {
            return self.broken.push("no node at the end".into());
        };
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

        match check_values(&**node.log(), &self.keys) {
            Ok((named, unnamed)) => {
                self.counts.values_named += named;
                self.counts.values_unnamed += unnamed;
            }
            Err(error) => broken.push(error),
        }
        check_messages(&records, &mut broken);
        check_effects(&records, &self.sink, &mut broken);
        broken.extend(
            self.sink
                .doubled()
                .map(|key| format!("{key}: an idempotent receiver took it twice")),
        );
        let now = node.at(self.reading());
        check_timers(&records, now, &mut broken);
        check_rights(&records, &mut broken);
        self.counts.spoken_for += spoken_for(&records);
        check_quotas(&records, now, &mut broken);
        match node.knows_its_org() {
            Ok(true) => {}
            Ok(false) => broken.push("what the node keeps of its org differs from the org's stream".into()),
            Err(error) => broken.push(format!("the org cannot be read: {error}")),
        }
        broken.extend(self.feed.check(&records));
        broken.extend(self.history.check());

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
}

/// Every value that a record names is there and whole: it was kept before its record. How many there are, and how many that
/// no record names.
fn check_values(log: &dyn Log, keys: &Keyring) -> Result<(u64, u64), String> {
    let blobs = keys.blobs().ok_or("no store of values")?;
    let names = names::of_log(log).map_err(|e| e.to_string())?;
    let wrong = copy::unreadable(&names, &keys.erased(), &**blobs).map_err(|e| e.to_string())?;
    if let Some((named, error)) = wrong.first() {
        return Err(format!("a record names {}: {error}", named.name));
    }
    let mut unnamed = 0;
    each(&**blobs, |listed| {
        let named = Named {
            org: listed.org,
            name: listed.name,
        };
        unnamed += u64::from(!names.contains(&named));
        Ok(())
    })
    .map_err(|e| e.to_string())?;
    Ok((names.len() as u64, unnamed))
}

/// No timer fires before it is due by record time, and none that is due stays behind.
pub(crate) fn check_timers(records: &[(Position, Record)], now: Millis, broken: &mut Vec<String>) {
    let mut set: BTreeMap<(&StreamId, &str), (ReactionKey, u64)> = BTreeMap::new();
    for (_, record) in records {
        let stream = &record.header.stream;
        if let Some(settlement) = &record.header.settlement
            && settlement.key.stream == *stream
            && let Some((name, due)) = set
                .iter()
                .find(|((of, _), (key, _))| *of == stream && *key == settlement.key)
                .map(|((_, name), (_, due))| (*name, *due))
        {
            if record.header.time < due {
                broken.push(format!(
                    "{}: timer {name} fired {} ms early",
                    settlement.key,
                    due - record.header.time
                ));
            }
            set.remove(&(stream, name));
        }
        for (key, reaction) in record.keyed_reactions() {
            match reaction {
                Reaction::WakeAt { name, due } => drop(set.insert((stream, name), (key, *due))),
                Reaction::CancelWake { name } => drop(set.remove(&(stream, name.as_str()))),
                _ => {}
            }
        }
    }
    for ((stream, name), (_, due)) in set.into_iter().filter(|(_, (_, due))| *due <= now) {
        broken.push(format!("{stream}: timer {name}, due {} ms ago, never fired", now - due));
    }
}

/// No conversation takes a second message of one id, however much was said in between.
fn check_messages(records: &[(Position, Record)], broken: &mut Vec<String>) {
    let mut said = BTreeSet::new();
    for (_, record) in records {
        for event in &record.events {
            let is_new = ["quipu.conversation.message_posted.v1", "quipu.conversation.message_imported.v1"].contains(&event.name.as_str());
            let data: serde_json::Value = serde_json::from_str(event.data.get()).unwrap_or_default();
            let id = data["message_id"].as_str().filter(|_| is_new);
            if let Some(id) = id
                && !said.insert((record.header.stream.clone(), id.to_owned()))
            {
                broken.push(format!("{}: two messages are called {id}", record.header.stream));
            }
        }
    }
}

/// Every effect settled as done reached the sink; nothing is left unsettled but what may wait.
pub(crate) fn check_effects(records: &[(Position, Record)], sink: &Sink, broken: &mut Vec<String>) {
    let mut finals: BTreeMap<ReactionKey, Vec<Settled>> = BTreeMap::new();
    let mut told: BTreeMap<ReactionKey, u32> = BTreeMap::new();
    for (_, record) in records {
        let Some(settlement) = &record.header.settlement else { continue };
        if settlement.outcome.is_final() {
            finals.entry(settlement.key.clone()).or_default().push(settlement.outcome.clone());
        }
        if settlement.outcome == Settled::Told {
            *told.entry(settlement.key.clone()).or_default() += 1;
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
            if let Reaction::Dispatch(dispatch) = reaction {
                let wanted = dispatch.awaited.as_ref().is_some_and(|awaited| awaited.wants(settled.first()));
                let told = told.get(&key).copied().unwrap_or(0);
                if told != u32::from(wanted) {
                    broken.push(format!(
                        "{key}: its sender was told {told} times, its receiver says {:?}",
                        settled.first()
                    ));
                }
            }
            match (reaction, settled.first()) {
                (Reaction::Perform(_) | Reaction::Dispatch(_), None) => broken.push(format!("{key}: never settled")),
                (Reaction::Perform(_), Some(Settled::Accepted | Settled::Unchanged | Settled::Refused { .. }))
                    if !cancelled && sink.count(&key) == 0 =>
                {
                    broken.push(format!("{key}: settled as done, and it never arrived"));
                }
                _ => {}
            }
        }
    }
}

/// The last word of each run: one bit of the log rots. Verification must find it, and a node that starts on it gives
/// nothing but good records, and all of the partitions that are whole.
impl World {
    pub(crate) fn rot(&mut self) {
        let dir = PathBuf::from("/data");
        let open = |disk: &SimDisk| SimLog::open(Arc::new(disk.clone()), &dir, super::PARTITIONS).map_err(|e| e.to_string());
        let (places, whole): (Vec<Place>, Vec<Vec<u8>>) = match open(&self.disk).and_then(|log| {
            log.engine().write_heads().map_err(|e| e.to_string())?;
            Ok((0..super::PARTITIONS).flat_map(|p| readable(&log, p)).unzip())
        }) {
            Ok(records) => records,
            Err(error) => return self.broken.push(format!("the log does not open again: {error}")),
        };
        self.disk.crash();
        if places.is_empty() {
            return;
        }
        let place = places[self.rng.below(places.len() as u64) as usize];
        let path = dir.join("log").join(format!("{:016}.seg", place.unit));
        let bit = u64::from(place.at) * 8 + self.rng.below(u64::from(place.len) * 8);
        self.disk.flip(&path, bit);
        match verify::verify(&self.disk, &dir, |_, _| {}) {
            Ok(report)
                if report
                    .problems
                    .iter()
                    .any(|problem| path.ends_with(&problem.file) || problem.file == path) =>
            {
                self.counts.flips_found += 1
            }
            Ok(report) => {
                return self.broken.push(format!(
                    "bit {bit} of {} is flipped, and verification says {:?}",
                    path.display(),
                    report.problems
                ));
            }
            // A header that cannot be read is found, too.
            Err(_) => self.counts.flips_found += 1,
        }
        if let Ok(log) = open(&self.disk) {
            let left = (0..super::PARTITIONS).flat_map(|p| readable(&log, p));
            if let Some((_, record)) = left.into_iter().find(|(_, record)| !whole.contains(record)) {
                self.broken
                    .push(format!("after a flip a record of {} bytes is served that never was", record.len()));
            }
        }
    }
}

/// Records of a partition up to its end or to damage, as far as their own hashes hold.
fn readable(log: &SimLog, partition: u16) -> Vec<(Place, Vec<u8>)> {
    let (mut out, mut next) = (Vec::new(), 0);
    while let Ok(frames) = log.read(partition, next, 1 << 20) {
        let before = next;
        for frame in frames {
            next = next.max(frame.first_offset + frame.records.len() as u64);
            out.extend(frame.records.into_iter().filter(|(_, bytes)| record::check_hash(bytes).is_ok()));
        }
        if next == before {
            break;
        }
    }
    out
}

pub(crate) fn read_all(log: &dyn Log) -> Result<Vec<(Position, Record)>, String> {
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
                    out.push((
                        Position {
                            partition,
                            offset,
                            index: 0,
                        },
                        record::decode(bytes).map_err(|e| e.to_string())?,
                    ));
                }
            }
            if next >= log.head(partition).map_err(|e| e.to_string())?.next_offset {
                break;
            }
        }
    }
    Ok(out)
}

pub(crate) fn rebuilt(log: &dyn Log, live: &Index) -> Result<bool, String> {
    let fresh = Index::in_memory(&log.meta()).map_err(|e| e.to_string())?;
    fresh.catch_up(log, &mut |_| ()).map_err(|e| e.to_string())?;
    Ok(fresh.content_digest().map_err(|e| e.to_string())? == live.content_digest().map_err(|e| e.to_string())?)
}

pub(crate) fn views_verify(log: &dyn Log, views: &quipu_projections::follower::Follower) -> Result<Option<String>, String> {
    use quipu_projections::{sqlite::SqliteStore, store::Origin, store::ViewStore, verify::verify};
    let side: std::sync::Arc<dyn ViewStore> =
        std::sync::Arc::new(SqliteStore::in_memory(Origin::of(&log.meta())).map_err(|e| e.to_string())?);
    let verdict = verify(log, &**views.store(), &side).map_err(|e| e.to_string())?;
    Ok((!verdict.is_equal()).then(|| format!("{:?}", verdict.differing)))
}
