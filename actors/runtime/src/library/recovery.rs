//! What a stream's records come to: entities, receipts, settlements, causes; and streams that are out of service.

use super::Cancel;
use crate::{
    accounts::addresses::Addresses,
    core::Core,
    kernel::{
        cause::Cause,
        entity::{Active, Base, Entity, ParkedError},
    },
    kinds::KindHandler,
    refusals::{index_problem, parked, read_problem, unknown_kind},
    tasks::panic_text,
};
use quipu_events::index::{PageFrom, Parked};
use quipu_rules::decider::Decider;
use quipu_schemas::{
    ids::{Kind, OrgId, StreamId},
    position::Position,
    problem::Problem,
    reaction::ReactionKey,
    record::{self, Record},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
};

impl Core {
    /// Recovers an entity: snapshot, then the stream's tail. Blocks.
    pub(crate) fn recover(&self, stream: &StreamId) -> Result<Box<dyn Entity>, Problem> {
        self.counters.recovered.fetch_add(1, Ordering::Relaxed);
        let handler = self.handler(stream)?;
        self.recover_by(stream, &**handler, &|base, records| handler.recover(stream, base, records))
    }

    /// Recovers an entity whose rules are known. Blocks.
    pub(crate) fn recover_as<D: Decider>(&self, stream: &StreamId) -> Result<Active<D>, Problem> {
        let handler = self.handler(stream)?;
        self.recover_by(stream, &**handler, &|base, records| Active::recovered(stream, base, records))
    }

    fn handler(&self, stream: &StreamId) -> Result<&Arc<dyn KindHandler>, Problem> {
        self.kinds.get(&stream.kind).ok_or_else(|| unknown_kind(&stream.kind, &self.kinds))
    }

    fn recover_by<T>(&self, stream: &StreamId, handler: &dyn KindHandler, fold: Fold<'_, T>) -> Result<T, Problem> {
        if let Some(found) = self.index.parked(stream).map_err(|e| index_problem(&e))? {
            return Err(parked(stream, &found.detail));
        }
        let snapshot = self
            .index
            .latest_snapshot(stream, &handler.shape(), handler.rules_version())
            .map_err(|e| index_problem(&e))?;
        let head = self.index.stream_head(stream).map_err(|e| index_problem(&e))?;
        if let Some(head) = &head {
            self.clock.met(head.time);
        }
        if let (Some(snapshot), Some(head)) = (snapshot, head) {
            let base = Base {
                version: snapshot.version,
                hash: snapshot.record,
                time: head.time,
                bytes: snapshot.bytes,
            };
            let mut tail = self.read_on(stream, PageFrom::Version(snapshot.version), &Cancel::default())?;
            let mut behind = tail
                .by_ref()
                .filter(|(position, _)| position.offset > snapshot.offset)
                .map(|(_, record)| record);
            let refolded = folded(stream, Some(&base), &mut behind, fold);
            tail.end()?;
            match refolded {
                Ok(entity) => return Ok(entity),
                Err(error) => tracing::warn!(%error, "the snapshot does not match the log; recovering from the beginning"),
            }
        }
        let mut records = self.read_on(stream, PageFrom::Version(0), &Cancel::default())?;
        let refolded = folded(stream, None, &mut records.by_ref().map(|(_, record)| record), fold);
        records.end()?;
        refolded.map_err(|error| {
            tracing::error!(%stream, %error, "stream parked");
            self.park(stream, &error.to_string())
        })
    }

    /// Takes a stream out of service until a person has repaired it.
    pub(crate) fn park(&self, stream: &StreamId, detail: &str) -> Problem {
        let place = self.index.stream_head(stream).ok().flatten().map(|head| head.position);
        let position = place.unwrap_or(Position {
            partition: stream.partition(self.meta.partitions),
            offset: 0,
            index: 0,
        });
        if let Err(error) = self.index.park(&Parked {
            stream: stream.clone(),
            position,
            detail: detail.to_owned(),
        }) {
            tracing::error!(%stream, %error, "could not note the parked stream");
        }
        parked(stream, detail)
    }

    /// The stream's records from the one that holds `from_version` on, in order: all of them in memory.
    pub(crate) fn records(&self, stream: &StreamId, from_version: u64) -> Result<Vec<Record>, Problem> {
        let mut records = self.read_on(stream, PageFrom::Version(from_version), &Cancel::default())?;
        let all = records.by_ref().map(|(_, record)| record).collect();
        records.end()?;
        Ok(all)
    }

    /// Whose addresses are whose, as far as the index has read. Blocks.
    pub(crate) fn addresses<T>(&self, ask: impl FnOnce(&Addresses) -> T) -> Result<T, Problem> {
        self.accounts.book.ask(&*self.keys, &|each| self.each_of_people(each), ask)
    }

    /// Every record of every person, with its offset.
    fn each_of_people(&self, each: &mut dyn FnMut(u64, &Record)) -> Result<(), Problem> {
        const PAGE_STREAMS: usize = 1_000;
        let mut after: Option<StreamId> = None;
        loop {
            let page = self
                .index
                .streams(&Kind::PRINCIPAL, Some(&OrgId::PLATFORM), after.as_ref(), PAGE_STREAMS);
            let page = page.map_err(|e| index_problem(&e))?;
            for stream in &page {
                let mut records = self.read_on(stream, PageFrom::Version(1), &Cancel::default())?;
                records.by_ref().for_each(|(position, record)| each(position.offset, &record));
                records.end()?;
            }
            if page.len() < PAGE_STREAMS {
                return Ok(());
            }
            after = page.last().cloned();
        }
    }

    /// Who caused a reaction: whatever follows from it acts for them.
    pub(crate) fn cause_of(&self, key: &ReactionKey) -> Result<Cause, Problem> {
        let row = self.index.place_of(&key.stream, key.version).map_err(|e| index_problem(&e))?;
        let row = row.ok_or_else(|| Problem::new(404, "unknown_effect", format!("{key} is not in the log")).field("key"))?;
        let bytes = self.log.read_at(&[row.place]).map_err(|e| read_problem(&e))?;
        let header = record::decode_header(&bytes[0]).map_err(|e| parked(&key.stream, &e.to_string()))?;
        Ok(Cause::from(&header))
    }
}

/// Folds a stream's records onto a base.
type Fold<'a, T> = &'a dyn Fn(Option<&Base>, &mut dyn Iterator<Item = Record>) -> Result<T, ParkedError>;

/// Folds a stream by its kind's rules. Rules that panic on a record do not fit it: its stream parks, and nothing else.
pub(crate) fn refold(
    handler: &dyn KindHandler,
    stream: &StreamId,
    base: Option<&Base>,
    records: &mut dyn Iterator<Item = Record>,
) -> Result<Box<dyn Entity>, ParkedError> {
    folded(stream, base, records, &|base, records| handler.recover(stream, base, records))
}

fn folded<T>(
    stream: &StreamId,
    base: Option<&Base>,
    records: &mut dyn Iterator<Item = Record>,
    fold: Fold<'_, T>,
) -> Result<T, ParkedError> {
    let mut version = base.map_or(0, |base| base.version);
    let mut noting = records.inspect(|record| version = record.header.first_version);
    let folded = catch_unwind(AssertUnwindSafe(|| fold(base, &mut noting)));
    folded.unwrap_or_else(|panic| {
        Err(ParkedError {
            stream: stream.clone(),
            version,
            detail: format!("the rules crashed: {}", panic_text(&*panic)),
        })
    })
}
