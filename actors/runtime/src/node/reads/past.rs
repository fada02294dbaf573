//! Time travel: the state at a version or a time, from the nearest snapshot before it, else from the first record.

use crate::{
    core::Core,
    kernel::entity::{Base, Entity},
    kinds::KindHandler,
    library::{Cancel, Placed, refold},
    refusals::{index_problem, parked, unknown_kind},
};
use quipu_events::{
    index::{PageFrom, RecordPlace},
    snapshots::Snapshot,
};
use quipu_schemas::{context::Millis, ids::StreamId, problem::Problem, record::Record};

pub(super) fn unknown_version(stream: &StreamId, version: u64) -> Problem {
    Problem::new(404, "unknown_version", format!("{stream} is at version {version}"))
        .field("version")
        .at_version(version)
}

/// Folds a stream up to a version or a time. A snapshot counts only if its record stands where it says.
pub(super) fn fold(
    core: &Core,
    stream: &StreamId,
    version: Option<u64>,
    at: Option<Millis>,
    cancel: &Cancel,
) -> Result<Box<dyn Entity>, Problem> {
    let handler = core
        .kinds
        .get(&stream.kind)
        .ok_or_else(|| unknown_kind(&stream.kind, &core.kinds))?;
    let head = core.index.stream_head(stream).map_err(|e| index_problem(&e))?;
    if let (Some(asked), Some(head)) = (version, head)
        && head.version > 0
        && asked > head.version
    {
        // A damaged partition may have held it.
        core.is_whole(stream)?;
        return Err(unknown_version(stream, head.version));
    }
    let until = Until { version, at };
    if let Some((base, from)) = base(core, stream, &**handler, &until)? {
        match fold_on(core, stream, &**handler, Some(&base), from, &until, cancel)? {
            Ok(entity) => return Ok(entity),
            Err(error) => tracing::warn!(%error, "the snapshot does not match the log; folding from the beginning"),
        }
    }
    fold_on(core, stream, &**handler, None, PageFrom::Version(0), &until, cancel)?.map_err(|e| parked(stream, &e.to_string()))
}

/// The last point that is looked at.
struct Until {
    version: Option<u64>,
    at: Option<Millis>,
}

impl Until {
    /// The record as far as it lies before the point. A version may lie within a record: time travel sees the events up to it,
    /// whole records otherwise.
    fn cut(&self, mut record: Record) -> Option<Record> {
        if self.at.is_some_and(|at| record.header.time > at) {
            return None;
        }
        let first = record.header.first_version;
        match self.version {
            Some(version) if version < first => None,
            Some(version) if version < record.header.last_version() => {
                record.header.events = (version + 1 - first) as u32;
                record.events.truncate(record.header.events as usize);
                Some(record)
            }
            Some(_) | None => Some(record),
        }
    }
}

type Folded = Result<Box<dyn Entity>, crate::kernel::entity::ParkedError>;

fn fold_on(
    core: &Core,
    stream: &StreamId,
    handler: &dyn KindHandler,
    base: Option<&Base>,
    from: PageFrom,
    until: &Until,
    cancel: &Cancel,
) -> Result<Folded, Problem> {
    let mut records = core.read_on(stream, from, cancel)?;
    let mut before = records.by_ref().map_while(|(_, record)| until.cut(record));
    let folded = refold(handler, stream, base, &mut before);
    records.end()?;
    Ok(folded)
}

/// The nearest snapshot before the point, and where the stream goes on behind it.
fn base(core: &Core, stream: &StreamId, handler: &dyn KindHandler, until: &Until) -> Result<Option<(Base, PageFrom)>, Problem> {
    let most = until.version.unwrap_or(u64::MAX);
    let found = core
        .index
        .snapshot_up_to(stream, &handler.shape(), handler.rules_version(), most)
        .map_err(|e| index_problem(&e))?;
    let Some(snapshot) = found else { return Ok(None) };
    let Some((place, last)) = record_at(core, stream, &snapshot)? else {
        return Ok(None);
    };
    if last.hash != snapshot.record || until.at.is_some_and(|at| last.header.time > at) {
        return Ok(None);
    }
    let mut time = last.header.time;
    // A record without events may lie behind the version: its time is not the state's.
    if until.version == Some(snapshot.version) && last.header.first_version > snapshot.version {
        match core.record_of(stream, snapshot.version)? {
            Some(record) => time = record.header.time,
            None => return Ok(None),
        }
    }
    let base = Base {
        version: snapshot.version,
        hash: snapshot.record,
        time,
        bytes: snapshot.bytes,
    };
    Ok(Some((base, PageFrom::After(place.key()))))
}

/// The record that a snapshot was taken behind.
fn record_at(core: &Core, stream: &StreamId, snapshot: &Snapshot) -> Result<Option<(RecordPlace, Record)>, Problem> {
    core.is_whole(stream)?;
    let page = core
        .index
        .places_page(stream, PageFrom::Offset(snapshot.offset), 1)
        .map_err(|e| index_problem(&e))?;
    let Some(place) = page.first().filter(|place| place.offset == snapshot.offset).copied() else {
        return Ok(None);
    };
    let read: Vec<Placed> = core.read_places(stream, &[place])?;
    Ok(read.into_iter().next().map(|(_, record)| (place, record)))
}
