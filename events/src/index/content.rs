//! The digest of what the index says, for comparing a rebuilt one with the live one.

use super::{Index, IndexError};
use quipu_schemas::digest::Digest;
use rusqlite::types::ValueRef;
use sha2::{Digest as _, Sha256};

/// Everything that follows from the log, with streams by name and in an order that does not depend on how the
/// rows came in.
const CONTENT: [&str; 7] = [
    "SELECT partition, next, last_hash, streams FROM partitions ORDER BY partition",
    "SELECT kind, org, id, records, version, offset, time, hash FROM streams WHERE records > 0 ORDER BY kind, org, id",
    "SELECT kind, org, id, first_version, p.offset, events, unit, at, len FROM places AS p JOIN streams USING(sid) \
     ORDER BY kind, org, id, first_version, p.offset",
    "SELECT kind, org, id, command, digest, principal, behalf, c.version, c.offset, unchanged FROM commands AS c JOIN streams USING(sid) \
     ORDER BY kind, org, id, command",
    "SELECT streams.kind, org, id, r.version, r.ordinal, r.kind, partition, r.offset, unit, at, len, open FROM reactions AS r \
     JOIN streams USING(sid) ORDER BY streams.kind, org, id, r.version, r.ordinal",
    "SELECT kind, org, id, name, w.version, ordinal, due, partition, w.offset FROM wakes AS w JOIN streams USING(sid) \
     ORDER BY kind, org, id, name",
    "SELECT kind, org, id, name, first_version, n.offset FROM names AS n JOIN streams USING(sid) \
     ORDER BY kind, org, id, name, first_version, n.offset",
];
const VERDICTS: &str = "SELECT kind, org, id, v.version, ordinal, partition, verdict FROM verdicts AS v JOIN streams USING(sid) \
     ORDER BY kind, org, id, v.version, ordinal, partition";

impl Index {
    /// SHA-256 over everything that follows from the log (neither snapshots nor parks). Flushes first. Reads every
    /// row: for tests and audits.
    pub fn content_digest(&self) -> Result<Digest, IndexError> {
        self.flush_all()?;
        let mut hasher = Sha256::new();
        self.store.read(|connection| {
            for sql in CONTENT.iter().chain([&VERDICTS]) {
                hasher.update(b"table");
                let mut statement = connection.prepare(sql)?;
                let columns = statement.column_count();
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    for column in 0..columns {
                        feed(&mut hasher, row.get_ref(column)?);
                    }
                }
            }
            Ok(())
        })?;
        Ok(Digest(hasher.finalize().into()))
    }
}

fn feed(hasher: &mut Sha256, value: ValueRef<'_>) {
    let mut bytes = |tag: u8, bytes: &[u8]| {
        hasher.update([tag]);
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    match value {
        ValueRef::Null => bytes(0, &[]),
        ValueRef::Integer(n) => bytes(1, &n.to_le_bytes()),
        ValueRef::Real(n) => bytes(2, &n.to_le_bytes()),
        ValueRef::Text(text) => bytes(3, text),
        ValueRef::Blob(blob) => bytes(4, blob),
    }
}
