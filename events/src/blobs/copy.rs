//! Copying blobs from one store to another: for backups, and when a log moves.

use super::{BlobError, Blobs, Listed, each, names::Named, retention::Retention, wall_clock};
use crate::erased::Erased;
use quipu_schemas::{digest::Digest, ids::OrgId, limits::BLOB_GROUP_BYTES};

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopiedBlobs {
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that are listed and do not read: nothing else can be copied of them.
    pub damaged: Vec<Named>,
}

/// Copies every blob, checked against its name. What was deleted meanwhile is left out. `progress` hears bytes copied.
pub fn copy(from: &dyn Blobs, to: &dyn Blobs, mut progress: impl FnMut(u64)) -> Result<CopiedBlobs, BlobError> {
    let mut copied = CopiedBlobs::default();
    let mut group: Vec<Vec<u8>> = Vec::new();
    let (mut of, mut held): (Option<OrgId>, usize) = (None, 0);
    let flush = |of: &Option<OrgId>, group: &mut Vec<Vec<u8>>| match of {
        Some(org) if !group.is_empty() => to.put(org, &std::mem::take(group)).map(drop),
        _ => Ok(()),
    };
    each(from, |Listed { org, name, .. }| {
        let bytes = match from.get(&org, &name) {
            Ok(bytes) => bytes,
            Err(BlobError::Missing(_)) => return Ok(()),
            Err(BlobError::Damaged(_)) => {
                copied.damaged.push(Named { org, name });
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if of.as_ref() != Some(&org) || held > BLOB_GROUP_BYTES {
            flush(&of, &mut group)?;
            held = 0;
        }
        of = Some(org);
        held += bytes.len();
        copied.blobs += 1;
        copied.bytes += bytes.len() as u64;
        progress(copied.bytes);
        group.push(bytes);
        Ok(())
    })?;
    flush(&of, &mut group)?;
    Ok(copied)
}

/// Which of the blobs that records name do not read from a store although they should, and why. A store that does not answer
/// is an error.
pub fn unreadable(retention: &Retention, erased: &Erased, blobs: &dyn Blobs) -> Result<Vec<(Named, BlobError)>, BlobError> {
    let mut wrong = Vec::new();
    for named in retention.expected(wall_clock(), erased) {
        match blobs.get(&named.org, &named.name) {
            Ok(_) => {}
            Err(error @ BlobError::Unreachable { .. }) => return Err(error),
            Err(error) => wrong.push((named.clone(), error)),
        }
    }
    Ok(wrong)
}

/// What is wrong with a blob that a record names, for people.
pub fn complaint(name: &Digest, error: &BlobError) -> String {
    match error {
        BlobError::Missing(_) => format!("a record names blob {name}, and it is missing: restore it from a backup"),
        _ => format!("a record names blob {name}, and it is damaged: restore it from a backup"),
    }
}
