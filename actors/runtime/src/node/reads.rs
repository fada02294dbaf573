//! Questions to a node: receipts, histories, states, and the feed.

mod past;
#[cfg(test)]
mod tests;

use super::Node;
use crate::{
    api::{FeedCounts, FeedFilter, HistoryEntry, HistoryPage, StateAt},
    feed::Feed,
    kernel::entity::state_digest,
    library::{Cancel, Placed, within},
    refusals::{index_problem, partition_stopped},
    shadow,
};
use quipu_schemas::{
    context::{Keys, Millis},
    envelope::Receipt,
    ids::{CommandId, StreamId},
    limits::{PAGE_MAX_BYTES, READ_PAGE_BYTES, READ_PAGE_RECORDS, READ_REQUEST_MAX_BYTES},
    personal::{self, Within},
    position::Cursor,
    problem::Problem,
};
use std::{collections::BTreeSet, sync::Arc};
use tokio::sync::watch;

pub use crate::read_budget::{Held, ReadPermit};
pub use quipu_events::index::{PageFrom, RecordKey};

/// Bytes of memory for a byte of a record: stored, decoded, and encoded for the answer.
const READ_COST: usize = 4;
/// Bytes of a state, folded and as JSON, for a record of its stream.
const STATE_BYTES_A_RECORD: usize = 256;

impl Node {
    /// The receipt of a command that was decided before.
    pub async fn receipt(&self, stream: &StreamId, id: &CommandId) -> Result<Option<Receipt>, Problem> {
        let seen = self.0.core.first_receipt(stream, id)?;
        Ok(seen.map(|seen| Receipt {
            command_id: id.clone(),
            stream: stream.clone(),
            version: seen.version,
            position: seen.position,
            durability: self.0.core.meta.durability,
            unchanged: seen.unchanged,
            duplicate: false,
            settled: None,
            shown: None,
            behind: None,
        }))
    }

    /// Whether the log holds anything of a stream. The index knows, so damage and length are no matter.
    pub async fn exists(&self, stream: &StreamId) -> Result<bool, Problem> {
        let (core, stream) = (self.0.core.clone(), stream.clone());
        blocking(move |_| {
            let known = || Ok(core.index.stream_head(&stream).map_err(|e| index_problem(&e))?.is_some());
            let partition = stream.partition(core.meta.partitions);
            if known()? || !core.is_elsewhere(partition) {
                return known();
            }
            // It may have been made a moment ago, at another node.
            shadow::follow(&core, partition);
            known()
        })
        .await
    }

    /// Records of a stream, from the one that holds `from_version` on. For tools: not bounded in bytes.
    pub async fn history(&self, stream: &StreamId, from_version: u64, limit: usize) -> Result<Vec<HistoryEntry>, Problem> {
        let (core, stream) = (self.0.core.clone(), stream.clone());
        blocking(move |cancel| {
            let mut records = core.read_on(&stream, PageFrom::Version(from_version), cancel)?;
            let entries = records.by_ref().take(limit).map(entry).collect();
            records.end()?;
            Ok(entries)
        })
        .await
    }

    /// A page of a stream's records: as many as were asked for, or fewer where they are large; one at least, if there is one.
    pub async fn history_page(&self, stream: &StreamId, from: PageFrom, limit: usize) -> Result<Held<HistoryPage>, Problem> {
        let (core, of) = (self.0.core.clone(), stream.clone());
        let (places, more) = blocking(move |_| {
            core.is_whole(&of)?;
            let mut places = core.index.places_page(&of, from, limit + 1).map_err(|e| index_problem(&e))?;
            let count = within(places.iter().take(limit), PAGE_MAX_BYTES);
            let more = places.len() > count;
            places.truncate(count);
            Ok((places, more))
        })
        .await?;
        let stored: usize = places.iter().map(|place| place.place.len as usize).sum();
        let permit = self.reserve_read(READ_COST * stored).await?;
        let (core, of) = (self.0.core.clone(), stream.clone());
        let entries = blocking(move |cancel| {
            let mut entries = Vec::with_capacity(places.len());
            for some in places.chunks(READ_PAGE_RECORDS) {
                cancel.check()?;
                entries.extend(core.read_places(&of, some)?.into_iter().map(entry));
            }
            Ok(entries)
        })
        .await?;
        Ok(Held {
            value: HistoryPage { entries, more },
            permit,
        })
    }

    /// The state of an entity now, at a version, or at a time; `None` before its first record.
    pub async fn state(&self, stream: &StreamId, version: Option<u64>, at: Option<Millis>) -> Result<Option<StateAt>, Problem> {
        Ok(self.state_held(stream, version, at).await?.map(|held| held.value))
    }

    /// The same, with what it holds.
    pub async fn state_held(&self, stream: &StreamId, version: Option<u64>, at: Option<Millis>) -> Result<Option<Held<StateAt>>, Problem> {
        self.state_shown(stream, version, at, self.keys()).await
    }

    /// The same, with its sealed values as these keys show them.
    pub async fn state_shown(
        &self,
        stream: &StreamId,
        version: Option<u64>,
        at: Option<Millis>,
        keys: Arc<dyn Keys>,
    ) -> Result<Option<Held<StateAt>>, Problem> {
        let (core, of) = (self.0.core.clone(), stream.clone());
        let head = blocking(move |_| core.index.stream_head(&of).map_err(|e| index_problem(&e))).await?;
        // Without knowing it, a state is taken for as large as all that it may have kept.
        let records = head.map_or(0, |head| head.records).min(1 << 32) as usize;
        let cost = READ_COST * READ_PAGE_BYTES + STATE_BYTES_A_RECORD * records;
        let permit = self.reserve_read(cost).await?;
        let (core, stream) = (self.0.core.clone(), stream.clone());
        let value = blocking(move |cancel| {
            let entity = if version.is_none() && at.is_none() {
                core.recover(&stream)?
            } else {
                past::fold(&core, &stream, version, at, cancel)?
            };
            if entity.version() == 0 {
                return Ok(None);
            }
            if version.is_some_and(|asked| asked > entity.version()) {
                return Err(past::unknown_version(&stream, entity.version()));
            }
            let mut state = entity.state();
            let digest = state_digest(&state).to_string();
            personal::show_all(&mut state.0, &Within::new(&*keys, PAGE_MAX_BYTES)).map_err(|e| e.problem())?;
            Ok(Some(StateAt {
                version: entity.version(),
                time: entity.time(),
                digest,
                state,
                stream,
            }))
        })
        .await?;
        Ok(value.map(|value| Held { value, permit }))
    }

    /// Holds so many bytes of the node's budget for reads, and for answers that are not written yet; refused with `503
    /// reads_busy` where others hold too much of it for long.
    pub async fn reserve_read(&self, bytes: usize) -> Result<ReadPermit, Problem> {
        self.0.core.reads.reserve(bytes.min(READ_REQUEST_MAX_BYTES)).await
    }

    /// Bytes that reads and unwritten answers hold.
    pub fn reads_held(&self) -> usize {
        self.0.core.reads.held()
    }

    /// The durable end of every partition.
    pub fn cursor(&self) -> Cursor {
        self.0.core.cursor.lock().clone()
    }

    /// Ticks with every durable frame.
    pub fn durable(&self) -> watch::Receiver<u64> {
        self.0.core.durable.subscribe()
    }

    /// Partitions that this node serves, as that changes: those that it owns, and all of them where no other node could own
    /// one. What is done once for a partition is done by the node that serves it; for a moment two may think so.
    pub fn serving(&self) -> watch::Receiver<BTreeSet<u16>> {
        self.0.core.serving.subscribe()
    }

    /// What is asked for of all records behind `from`: catches up, says so, and goes on live. A slow reader slows its own feed.
    pub fn feed(&self, from: Cursor, filter: FeedFilter) -> Feed {
        Feed::start(self.0.core.clone(), from, filter)
    }

    /// The open feeds.
    pub fn feeds(&self) -> FeedCounts {
        self.0.core.hub.counts()
    }

    /// Refuses a cursor of another log or generation.
    pub fn check_cursor(&self, cursor: &Cursor) -> Result<(), Problem> {
        let meta = &self.0.core.meta;
        if cursor.log != meta.log_id || cursor.generation != meta.generation {
            return Err(Problem::new(
                410,
                "log_generation_changed",
                "the cursor belongs to another log or to its time before a restore",
            )
            .field("from")
            .fix("start again from the beginning (`from=start`)"));
        }
        if cursor.next.len() != usize::from(meta.partitions) {
            return Err(Problem::new(400, "bad_cursor", "the cursor has another number of partitions than the log").field("from"));
        }
        // Nobody was ever given such a cursor, unless the log has lost its end since: passing over what comes next would hide it.
        let end = self.cursor();
        if let Some(partition) = (0..end.next.len()).find(|p| cursor.next[*p] > end.next[*p]) {
            if let Some(stopped) = self.0.core.stopped(partition as u16) {
                return Err(partition_stopped(&stopped).field("from"));
            }
            let detail = format!(
                "the cursor is at {} of partition {partition}, which ends at {}",
                cursor.next[partition], end.next[partition]
            );
            return Err(Problem::new(400, "bad_cursor", detail)
                .field("from")
                .fix("pass a cursor that this node gave you, unchanged"));
        }
        Ok(())
    }
}

fn entry((position, record): Placed) -> HistoryEntry {
    HistoryEntry { position, record }
}

/// Runs where it may block; whoever goes away cancels it.
async fn blocking<T: Send + 'static>(work: impl FnOnce(&Cancel) -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    let cancel = Cancel::default();
    let _gone = cancel.on_drop();
    tokio::task::spawn_blocking(move || {
        // It may have waited for a thread longer than anybody waited for it.
        cancel.check()?;
        work(&cancel)
    })
    .await
    .unwrap_or_else(|_| Err(Problem::new(500, "internal", "the query crashed")))
}
