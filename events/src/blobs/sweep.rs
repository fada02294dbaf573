//! Giving back the space of blobs that no record names.
//!
//! A blob is durable before its record, so a command that was refused, a node that crashed in between and an upload that
//! nobody used leave blobs behind. They are spared while they are young: their record may be on its way. A name that a
//! record holds stays named for the log's life, and a command that names an old blob stores it again, which makes it young.
//!
//! What records name goes where it has to ([`super::retention`]): with its subject, or when its org's rule says so.

use super::{
    BlobError, Blobs, each,
    names::{self, Named, NamesError},
};
use crate::{erased::Erased, port::Log};
use quipu_schemas::{context::Millis, digest::Digest, ids::OrgId, personal::BlobRef};
use std::collections::BTreeMap;

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Swept {
    /// Blobs that records name and that stay.
    pub named: u64,
    /// Blobs that records name and that went: their time was over, or their subject was erased.
    pub over: u64,
    /// Blobs that no record names and that are too young to go.
    pub young: u64,
    /// Blobs that went.
    pub deleted: u64,
    /// Bytes that went with them.
    pub bytes: u64,
}

/// Why a sweep ended early. Nothing was deleted that should stay.
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

/// Deletes the blobs that were stored before `now - grace` and that no record names, or whose time is over. Blocks for as long
/// as it takes to read the log.
pub fn sweep(log: &dyn Log, blobs: &dyn Blobs, now: Millis, grace: Millis, erased: &Erased) -> Result<Swept, SweepError> {
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
            let is_named = names.contains(&named);
            if is_named && !names.is_over(&named, now, erased) {
                swept.named += 1;
                continue;
            }
            swept.over += u64::from(is_named);
            names_to_go.push(name);
            bytes += size;
        }
        for some in names_to_go.chunks(AT_ONCE) {
            blobs.delete(&org, some)?;
        }
        swept.deleted += names_to_go.len() as u64;
        swept.bytes += bytes;
    }
    Ok(swept)
}

/// Deletes every blob of a subject of an org, and of it and others together, at once; how many. What is damaged tells no
/// subject and stays.
pub fn delete_of(blobs: &dyn Blobs, org: &OrgId, erased: &Erased) -> Result<u64, BlobError> {
    let mut found = Vec::new();
    each(blobs, |listed| {
        if listed.org != *org {
            return Ok(());
        }
        match blobs.get(org, &listed.name) {
            Ok(bytes) => {
                let told = BlobRef::told_by(listed.name, &bytes);
                if told.is_some_and(|blob| erased.covers(&blob.subject)) {
                    found.push(listed.name);
                }
                Ok(())
            }
            Err(BlobError::Missing(_) | BlobError::Damaged(_)) => Ok(()),
            Err(error) => Err(error),
        }
    })?;
    for some in found.chunks(AT_ONCE) {
        blobs.delete(org, some)?;
    }
    Ok(found.len() as u64)
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
        let data = serde_json::json!({ "list": [{ "body": blob }], "text": r#"{"$blob":"x"}"# });
        append(&log, "acme/test/t1", (1, Digest::ZERO), 1, "quipu.test.happened.v1", &data);
        assert_eq!(log.meta().durability, Durability::Memory);
        log
    }

    /// The org's rule, from now on.
    fn rule(log: &MemoryLog, days: u64) {
        let data = serde_json::json!({ "settings": { "values.retention_days": days } });
        let before = log.head(0).unwrap().next_offset;
        let stored = log.read(0, 0, usize::MAX).unwrap();
        let last = stored.iter().flat_map(|frame| &frame.records).next_back().unwrap();
        let end = quipu_schemas::record::claimed_hash(&last.1).unwrap();
        let (version, previous) = if before == 1 { (1, Digest::ZERO) } else { (before, end) };
        // Each rule holds for a year and more before the next.
        let year = 400 * 24 * 60 * 60 * 1000;
        append(
            log,
            "acme/org/acme",
            (version, previous),
            before * year,
            "quipu.org.settings_changed.v1",
            &data,
        );
    }

    fn append(log: &MemoryLog, stream: &str, at: (u64, Digest), time: Millis, name: &str, data: &serde_json::Value) {
        let header = Header {
            stream: stream.parse().unwrap(),
            first_version: at.0,
            events: 1,
            reactions: 0,
            command_id: CommandId::parse("c-1").unwrap(),
            digest: Digest([1; 32]),
            time,
            principal: PrincipalId::BOOTSTRAP,
            on_behalf_of: None,
            home: None,
            credential: None,
            acts_as: None,
            environment: None,
            data_class: DataClass::None,
            authority: 1,
            correlation: None,
            causation: None,
            traceparent: None,
            schema: 1,
            settlement: None,
            names: Vec::new(),
        };
        let event = StoredEvent {
            name: name.into(),
            data: serde_json::value::to_raw_value(data).unwrap(),
        };
        let record = Arc::new(encode(&header, vec![event], vec![], at.1).unwrap());
        let head = log.claim(0, "n").unwrap();
        let batch = Batch {
            partition: 0,
            epoch: head.epoch,
            batch_id: [1 + head.next_offset as u8; 16],
            first_offset: head.next_offset,
            previous: head.frame_hash,
            records: vec![record],
        };
        logs::append(log, batch).unwrap();
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
        assert_eq!(
            sweep(&log, &blobs, 5_000, 4_001, &Erased::default()).unwrap().deleted,
            0,
            "all are young"
        );
        let swept = sweep(&log, &blobs, 5_000, 4_000, &Erased::default()).unwrap();
        let expected = Swept {
            named: 1,
            over: 0,
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

    #[test]
    fn what_a_rule_took_is_no_damage() {
        use crate::{blobs::copy::unreadable, verify::verify_log};
        let blob = BlobRef {
            digest: Digest::of(&[b"named"]),
            size: 5,
            subject: "acme/ada,acme/bob".into(),
        };
        let (log, blobs) = (naming(&blob), MemoryBlobs::default());
        let lost = |erased: &Erased| {
            let mut report = verify_log(&log, |_, _| {});
            report.check_blobs(Some(&blobs), erased).unwrap();
            let lost = unreadable(&names::of_log(&log).unwrap(), erased, &blobs).unwrap();
            (lost.len(), report.problems.len(), report.gone)
        };
        assert_eq!(lost(&Erased::default()), (1, 1, 0));
        assert_eq!(lost(&Erased(["acme/eve".to_owned()].into())), (1, 1, 0));
        assert_eq!(lost(&Erased(["acme/bob".to_owned()].into())), (0, 0, 1));
        rule(&log, 1);
        assert_eq!(lost(&Erased::default()), (0, 0, 1), "its record is older than a day");
        rule(&log, 36_500);
        assert_eq!(lost(&Erased::default()), (0, 0, 1), "the rule of a day held for long enough");
    }
}
