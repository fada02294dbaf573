//! Questions to a node: receipts, histories, states, and the feed.

use super::Node;
use crate::{
    api::{FeedItem, HistoryEntry, StateAt},
    core::{index_problem, lock, partition_stopped, refold},
    feed,
    kernel::entity::state_digest,
    shadow,
};
use quipu_schemas::{
    context::Millis,
    envelope::Receipt,
    ids::{CommandId, StreamId},
    personal,
    position::Cursor,
    problem::Problem,
};
use std::collections::BTreeSet;
use tokio::sync::{mpsc, watch};

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
        }))
    }

    /// Whether the log holds anything of a stream. The index knows, so damage and length are no matter.
    pub async fn exists(&self, stream: &StreamId) -> Result<bool, Problem> {
        let (core, stream) = (self.0.core.clone(), stream.clone());
        blocking(move || {
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

    /// Records of a stream, from the one that holds `from_version` on.
    pub async fn history(&self, stream: &StreamId, from_version: u64, limit: usize) -> Result<Vec<HistoryEntry>, Problem> {
        let (core, stream) = (self.0.core.clone(), stream.clone());
        blocking(move || {
            let records = core.positioned_records(&stream, from_version)?;
            Ok(records
                .into_iter()
                .take(limit)
                .map(|(position, record)| HistoryEntry { position, record })
                .collect())
        })
        .await
    }

    /// The state of an entity now, at a version, or at a time; `None` before its first record.
    pub async fn state(&self, stream: &StreamId, version: Option<u64>, at: Option<Millis>) -> Result<Option<StateAt>, Problem> {
        let (core, stream) = (self.0.core.clone(), stream.clone());
        blocking(move || {
            let entity = if version.is_none() && at.is_none() {
                core.recover(&stream)?
            } else {
                let handler = core
                    .kinds
                    .get(&stream.kind)
                    .ok_or_else(|| Problem::new(404, "unknown_kind", format!("there is no kind {}", stream.kind)))?;
                // A version may lie within a record: time travel sees the events up to it, whole records otherwise.
                let until = core
                    .records(&stream, 0)?
                    .into_iter()
                    .filter(|r| at.is_none_or(|at| r.header.time <= at))
                    .map_while(|mut record| {
                        let first = record.header.first_version;
                        match version {
                            Some(v) if v < first => None,
                            Some(v) if v < record.header.last_version() => {
                                record.header.events = (v + 1 - first) as u32;
                                record.events.truncate(record.header.events as usize);
                                Some(record)
                            }
                            Some(_) | None => Some(record),
                        }
                    });
                refold(&**handler, &stream, None, &mut { until }).map_err(|e| crate::core::parked(&stream, &e.to_string()))?
            };
            if entity.version() == 0 {
                return Ok(None);
            }
            if version.is_some_and(|asked| asked > entity.version()) {
                return Err(
                    Problem::new(404, "unknown_version", format!("{stream} is at version {}", entity.version()))
                        .field("version")
                        .at_version(entity.version()),
                );
            }
            let mut state = entity.state();
            let digest = state_digest(&state).to_string();
            personal::show_all(&mut state.0, &*core.keys).map_err(|e| Problem::new(500, "sealed_value", e.to_string()))?;
            Ok(Some(StateAt {
                version: entity.version(),
                time: entity.time(),
                digest,
                state,
                stream,
            }))
        })
        .await
    }

    /// The durable end of every partition.
    pub fn cursor(&self) -> Cursor {
        lock(&self.0.core.cursor).clone()
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

    /// Every record behind `from`: catches up, says so, and goes on live. Bounded: a slow reader slows its own feed.
    pub fn feed(&self, from: Cursor) -> mpsc::Receiver<FeedItem> {
        feed::start(self.0.core.clone(), from)
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

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Problem::new(500, "internal", "the query crashed")))
}
