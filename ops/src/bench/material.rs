//! Real records to measure with: made once by a node in memory, then written in any number under other names.

use super::BenchError;
use quipu_events::{
    disk::RealDisk,
    embedded::{EmbeddedOptions, SegmentEngine},
    port::{Batch, Head},
};
use quipu_runtime::{
    api::CommandRequest,
    kinds::Kinds,
    node::{Node, NodeConfig},
};
use quipu_schemas::{
    digest::Digest,
    envelope::DataClass,
    ids::{CommandId, EntityId, Kind, OrgId, PrincipalId, StreamId},
    record::{self, EncodedRecord, Record, StoredEvent},
};
use serde_json::{Value, json, value::RawValue};
use std::{path::Path, sync::Arc, time::Duration};

/// The org of every entity measured.
pub(super) const ORG: &str = "bench";
/// Body of the command that opens a conversation.
pub(super) const CREATE: &str = r#"{"type":"group","auto_turns":false}"#;
/// Records in a frame of a generated log.
const FRAME_RECORDS: usize = 256;

/// Body of the measured command: a message of about 200 bytes, as people write them, sealed at rest.
pub(super) fn post_body() -> String {
    json!({ "body": "I would like to change my flight from Seattle to New York next Tuesday to the same day in the week after, \
                     keep the aisle seat if there is one, and use the travel credit that is left on my account for it." })
    .to_string()
}

/// Records of an org and of one conversation.
pub(super) struct Material {
    pub(super) org: Vec<Record>,
    pub(super) created: Record,
    pub(super) posts: Vec<Record>,
}

/// The stream of a numbered conversation.
pub(super) fn conversation(number: u64) -> Result<StreamId, BenchError> {
    format!("{ORG}/conversation/c{number}")
        .parse()
        .map_err(|e| BenchError::Material(format!("{e}")))
}

pub(super) fn request(kind: Kind, id: &str, command: &str, body: Value, key: String) -> Result<CommandRequest, BenchError> {
    let bad = |e: quipu_schemas::ids::BadId| BenchError::Material(e.to_string());
    Ok(CommandRequest {
        org: OrgId::parse(ORG).map_err(bad)?,
        kind,
        id: Some(EntityId::parse(id).map_err(bad)?),
        command: command.into(),
        body,
        command_id: Some(CommandId::parse(key).map_err(bad)?),
        principal: PrincipalId::BOOTSTRAP,
        on_behalf_of: None,
        credential: None,
        expected_version: None,
        environment: None,
        data_class: DataClass::None,
        correlation: Some("0af7651916cd43dd8448eb211c80319c".into()),
        traceparent: None,
    })
}

/// Fills a node: the org, one conversation, and posts to it.
pub(super) async fn fill(node: &Node, posts: usize) -> Result<(), BenchError> {
    let parse = |text: &str| serde_json::from_str::<Value>(text);
    node.command(request(Kind::ORG, ORG, "create", json!({ "name": "Bench" }), "create-org".into())?)
        .await?;
    node.command(request(Kind::CONVERSATION, "c0", "create", parse(CREATE)?, "create-c0".into())?)
        .await?;
    let body = parse(&post_body())?;
    let mut at_work = tokio::task::JoinSet::new();
    for number in 0..posts {
        let request = request(Kind::CONVERSATION, "c0", "post", body.clone(), format!("post-{number}"))?;
        let node = node.clone();
        at_work.spawn(async move { node.command(request).await });
        if at_work.len() >= 64
            && let Some(done) = at_work.join_next().await
        {
            done.map_err(|e| BenchError::Material(e.to_string()))??;
        }
    }
    while let Some(done) = at_work.join_next().await {
        done.map_err(|e| BenchError::Material(e.to_string()))??;
    }
    Ok(())
}

impl Material {
    /// Makes the records, with so many posts.
    pub(super) async fn make(posts: usize) -> Result<Self, BenchError> {
        let node = Node::start(
            NodeConfig {
                partitions: 1,
                ..NodeConfig::default()
            },
            Kinds::builtin(),
            |_| {},
        )
        .await
        .map_err(|e| BenchError::Material(e.to_string()))?;
        fill(&node, posts).await?;
        let all = |entries: Vec<quipu_runtime::api::HistoryEntry>| entries.into_iter().map(|e| e.record).collect::<Vec<_>>();
        let org = OrgId::parse(ORG).map_err(|e| BenchError::Material(e.to_string()))?;
        let org = all(node.history(&StreamId::of_org(&org), 0, usize::MAX).await?);
        let mut talk = all(node.history(&conversation(0)?, 0, usize::MAX).await?).into_iter();
        let created = talk.next().ok_or_else(|| BenchError::Material("no record".into()))?;
        node.shutdown(Duration::from_secs(5)).await;
        Ok(Self {
            org,
            created,
            posts: talk.collect(),
        })
    }

    /// Bytes of a post as it is stored.
    pub(super) fn post_bytes(&self) -> Result<usize, BenchError> {
        let post = self.posts.first().ok_or_else(|| BenchError::Material("no post".into()))?;
        Ok(encode(post, None, Digest::ZERO)?.bytes.len())
    }

    /// Encoded posts, one after another.
    pub(super) fn encoded_posts(&self) -> Result<Vec<Arc<EncodedRecord>>, BenchError> {
        self.posts
            .iter()
            .map(|post| encode(post, None, post.previous).map(Arc::new))
            .collect()
    }

    /// Writes a log of `conversations`, each with `posts` posts, and gives the number of records.
    pub(super) fn write(&self, data: &Path, conversations: u64, posts: usize) -> Result<u64, BenchError> {
        let mut writer = LogWriter::open(data)?;
        for record in &self.org {
            writer.push(&record.header.stream, encode(record, None, record.previous)?)?;
        }
        for number in 0..conversations {
            let stream = conversation(number)?;
            let mut previous = Digest::ZERO;
            for record in std::iter::once(&self.created).chain(&self.posts[..posts]) {
                let encoded = encode(record, Some(&stream), previous)?;
                previous = encoded.hash;
                writer.push(&stream, encoded)?;
            }
        }
        writer.finish()
    }
}

/// A record's bytes, under another stream's name if one is given.
fn encode(record: &Record, stream: Option<&StreamId>, previous: Digest) -> Result<EncodedRecord, BenchError> {
    let bad = |e: &dyn std::fmt::Display| BenchError::Material(e.to_string());
    let mut header = record.header.clone();
    let mut events = record.events.clone();
    if let Some(stream) = stream {
        let old = record.header.stream.to_string();
        header.stream = stream.clone();
        for event in &mut events {
            if event.data.get().contains(&old) {
                let data = RawValue::from_string(event.data.get().replace(&old, &stream.to_string())).map_err(|e| bad(&e))?;
                *event = StoredEvent {
                    name: event.name.clone(),
                    data,
                };
            }
        }
    }
    record::encode(&header, events, record.reactions.clone(), previous).map_err(|e| bad(&e))
}

/// Writes frames of all partitions straight into a log.
struct LogWriter {
    engine: SegmentEngine,
    heads: Vec<Head>,
    waiting: Vec<Vec<Arc<EncodedRecord>>>,
    records: u64,
}

impl LogWriter {
    fn open(data: &Path) -> Result<Self, BenchError> {
        let options = EmbeddedOptions::default();
        let bad = |e: &dyn std::fmt::Display| BenchError::Material(e.to_string());
        let mut engine = SegmentEngine::open(Arc::new(RealDisk), data, &options).map_err(|e| bad(&e))?;
        let heads = (0..options.partitions)
            .map(|p| engine.claim(p, "bench").map_err(|e| bad(&e)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            engine,
            heads,
            waiting: vec![Vec::new(); options.partitions.into()],
            records: 0,
        })
    }

    fn push(&mut self, stream: &StreamId, record: EncodedRecord) -> Result<(), BenchError> {
        let partition = usize::from(stream.partition(self.heads.len() as u16));
        self.waiting[partition].push(Arc::new(record));
        self.records += 1;
        if self.waiting[partition].len() >= FRAME_RECORDS {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), BenchError> {
        let bad = |e: &dyn std::fmt::Display| BenchError::Material(e.to_string());
        let mut batches = Vec::new();
        for (partition, records) in (0u16..).zip(&mut self.waiting).filter(|(_, records)| !records.is_empty()) {
            let head = self.heads[usize::from(partition)];
            batches.push(Batch {
                partition,
                epoch: head.epoch,
                batch_id: [0; 16],
                first_offset: head.next_offset,
                previous: head.frame_hash,
                records: std::mem::take(records),
            });
        }
        let sizes: Vec<(u16, usize)> = batches.iter().map(|b| (b.partition, b.records.len())).collect();
        for ((partition, count), appended) in sizes.into_iter().zip(self.engine.append_all(batches)) {
            let head = &mut self.heads[usize::from(partition)];
            head.frame_hash = appended.map_err(|e| bad(&e))?.frame_hash;
            head.next_offset += count as u64;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<u64, BenchError> {
        self.flush()?;
        self.engine.write_heads()?;
        Ok(self.records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quipu_events::verify;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_generated_log_is_intact_and_folds() {
        let dir = tempfile::tempdir().unwrap();
        let material = Material::make(4).await.unwrap();
        let records = material.write(dir.path(), 50, 3).unwrap();
        assert_eq!(records, 1 + 50 * 4);
        let report = verify::verify(&RealDisk, dir.path(), |_, _| {}).unwrap();
        assert!(report.is_intact(), "{:?}", report.problems);
        let log = quipu_events::embedded::EmbeddedLog::open(dir.path(), &EmbeddedOptions::default()).unwrap();
        let replayed = quipu_runtime::replay::replay(&log, &Kinds::builtin(), |_| {}).unwrap();
        let conversations: Vec<u64> = replayed
            .iter()
            .filter(|r| r.stream.kind == Kind::CONVERSATION)
            .map(|r| r.version)
            .collect();
        let versions = material.created.header.last_version() + 3;
        assert_eq!(conversations, vec![versions; 50]);
    }
}
