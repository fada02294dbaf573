//! Giving back the space of blobs that no record names.
//!
//! A blob is durable before its record, so a command that was refused, a node that crashed in between and an upload that
//! nobody used leave blobs behind. They are spared while they are young: their record may be on its way. A name that a
//! record holds stays named for the log's life, and a command that names an old blob stores it again, which makes it young.

use super::{
    BlobError, Blobs, each,
    names::{self, Named, NamesError},
};
use crate::port::Log;
use quipu_schemas::{context::Millis, digest::Digest, ids::OrgId};
use std::collections::BTreeMap;

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Swept {
    /// Blobs that records name.
    pub named: u64,
    /// Blobs that no record names and that are too young to go.
    pub young: u64,
    /// Blobs that went.
    pub deleted: u64,
    /// Bytes that went with them.
    pub bytes: u64,
}

/// Why a sweep ended early. Nothing that a record names was deleted.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The log does not tell what it names, so nothing may go.
    #[error(transparent)]
    Names(#[from] NamesError),
    /// The store.
    #[error(transparent)]
    Blobs(#[from] BlobError),
}

/// Blobs deleted in one call.
const AT_ONCE: usize = 256;

/// Deletes the blobs that no record names and that were stored before `now - grace`. Blocks for as long as it takes to read
/// the log.
pub fn sweep(log: &dyn Log, blobs: &dyn Blobs, now: Millis, grace: Millis) -> Result<Swept, SweepError> {
    let mut swept = Swept::default();
    // What is listed first and named by no record read afterwards is named by none, unless its record is on its way.
    let mut old: BTreeMap<OrgId, Vec<(Digest, u64)>> = BTreeMap::new();
    each(blobs, |listed| {
        if listed.stored_at.saturating_add(grace) > now {
            swept.young += 1;
        } else {
            old.entry(listed.org).or_default().push((listed.name, listed.bytes));
        }
        Ok(())
    })?;
    if old.is_empty() {
        return Ok(swept);
    }
    let names = names::of_log(log)?;
    for (org, listed) in old {
        let (mut names_to_go, mut bytes) = (Vec::new(), 0);
        for (name, size) in listed {
            let named = Named { org: org.clone(), name };
            if names.contains(&named) {
                swept.named += 1;
            } else {
                names_to_go.push(name);
                bytes += size;
            }
        }
        for some in names_to_go.chunks(AT_ONCE) {
            blobs.delete(&org, some)?;
        }
        swept.deleted += names_to_go.len() as u64;
        swept.bytes += bytes;
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        blobs::{MemoryBlobs, contract::org},
        contract as logs,
        memory::MemoryLog,
        port::Batch,
    };
    use quipu_schemas::{
        envelope::{DataClass, Durability},
        ids::{CommandId, PrincipalId},
        personal::BlobRef,
        position::LogId,
        record::{Header, StoredEvent, encode},
    };
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    /// A log with one record whose event names a blob, and whose free text looks like a name.
    fn naming(blob: &BlobRef) -> MemoryLog {
        let log = MemoryLog::new(LogId([7; 16]), 1);
        let header = Header {
            stream: "acme/test/t1".parse().unwrap(),
            first_version: 1,
            events: 1,
            reactions: 0,
            command_id: CommandId::parse("c-1").unwrap(),
            digest: Digest([1; 32]),
            time: 1,
            principal: PrincipalId::BOOTSTRAP,
            on_behalf_of: None,
            acts_as: None,
            environment: None,
            data_class: DataClass::None,
            authority: 1,
            correlation: None,
            causation: None,
            traceparent: None,
            schema: 1,
            settlement: None,
        };
        let data = serde_json::json!({ "list": [{ "body": blob }], "text": r#"{"$blob":"x"}"# });
        let event = StoredEvent {
            name: "quipu.test.happened.v1".into(),
            data: serde_json::value::to_raw_value(&data).unwrap(),
        };
        let record = Arc::new(encode(&header, vec![event], vec![], Digest::ZERO).unwrap());
        let head = log.claim(0, "n").unwrap();
        let batch = Batch {
            partition: 0,
            epoch: head.epoch,
            batch_id: [1; 16],
            first_offset: head.next_offset,
            previous: head.frame_hash,
            records: vec![record],
        };
        logs::append(&log, batch).unwrap();
        assert_eq!(log.meta().durability, Durability::Memory);
        log
    }

    #[test]
    fn old_blobs_that_no_record_names_go_and_others_stay() {
        let clock = Arc::new(AtomicU64::new(1_000));
        let now = clock.clone();
        let blobs = MemoryBlobs::with_clock(move || now.load(Ordering::Relaxed));
        let stored = |bytes: &[u8]| blobs.put(&org("acme"), &[bytes.to_vec()]).unwrap()[0];
        let (named, unnamed) = (stored(b"named"), stored(b"unnamed"));
        let of_another = blobs.put(&org("b"), &[b"named".to_vec()]).unwrap()[0];
        assert_eq!(of_another, named, "the same name, and no record of that org");
        clock.store(5_000, Ordering::Relaxed);
        let young = stored(b"young");
        let log = naming(&BlobRef {
            digest: named,
            size: 5,
            subject: "acme/ada".into(),
        });
        assert_eq!(sweep(&log, &blobs, 5_000, 4_001).unwrap().deleted, 0, "all are young");
        let swept = sweep(&log, &blobs, 5_000, 4_000).unwrap();
        let expected = Swept {
            named: 1,
            young: 1,
            deleted: 2,
            bytes: 12,
        };
        assert_eq!(swept, expected);
        assert!(blobs.get(&org("acme"), &named).is_ok() && blobs.get(&org("acme"), &young).is_ok());
        for (org, gone) in [(org("acme"), unnamed), (org("b"), named)] {
            assert_eq!(blobs.get(&org, &gone), Err(BlobError::Missing(gone)));
        }
    }
}
