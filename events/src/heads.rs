//! The heads file: the end of each partition, kept outside the log so that a truncated log is noticed.
//!
//! Its writer calls [`write`] each second with [`Heads`] of what is durable. The file is replaced whole and synced, so
//! it is the old one or the new one. It also names the **synced mark**: every byte of the log before it was durable
//! when the file was written, so nothing torn can be there.

use crate::{
    disk::{Disk, read_all, replace},
    port::{Log, ReadError},
};
use quipu_schemas::{digest::Digest, position::LogId};
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Name of the heads file within a data directory.
pub const HEADS_FILE: &str = "heads";

/// The end of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadEntry {
    /// Generation of the log when it was noted.
    pub generation: u32,
    /// Partition.
    pub partition: u16,
    /// Next record offset.
    pub offset: u64,
    /// Hash of the last frame.
    pub frame_hash: Digest,
}

/// What a heads file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heads {
    /// The log.
    pub log_id: LogId,
    /// Segment and byte before which everything was durable.
    pub synced: (u64, u64),
    /// One entry a partition; none of a partition that damage cost its end before one was noted.
    pub entries: Vec<HeadEntry>,
}

/// Why a heads file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HeadsError {
    /// It does not decode, or its checksum is wrong.
    #[error("heads file {path} is damaged at byte {byte}: {detail}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        byte: u64,
        /// What is wrong.
        detail: String,
    },
    /// The storage failed.
    #[error("heads file: {0}")]
    Io(#[from] io::Error),
}

/// A log ends before what this node saw of it: acknowledged records are gone.
#[derive(Debug, thiserror::Error)]
pub enum EndsError {
    /// Partitions ended later when this node last looked.
    #[error(
        "partition {partition} of the log ends at offset {found}, and this node saw it durable up to {noted}: its servers lost \
         acknowledged records; restore them, or move {} away to go on with what is left", path.display()
    )]
    Lost {
        /// The partition.
        partition: u16,
        /// Where it ends.
        found: u64,
        /// Where it ended.
        noted: u64,
        /// The file that knows.
        path: PathBuf,
    },
    /// The heads file.
    #[error(transparent)]
    Heads(#[from] HeadsError),
    /// The log does not tell its ends.
    #[error(transparent)]
    Log(#[from] ReadError),
}

/// The heads file of a log outside the data directory, named by its id: a directory may have been another log's before.
fn shared_file(log_id: LogId) -> String {
    format!("{HEADS_FILE}-{}", hex::encode(log_id.0))
}

/// Notes the ends of a log that is outside the data directory, keeping those of partitions that are not among `entries`.
/// Durable on return.
pub fn note_ends(disk: &dyn Disk, data_dir: &Path, log_id: LogId, entries: Vec<HeadEntry>) -> Result<(), HeadsError> {
    let path = data_dir.join(shared_file(log_id));
    let mut all = read_file(disk, &path)?.map_or_else(Vec::new, |heads| heads.entries);
    all.retain(|old| !entries.iter().any(|new| new.partition == old.partition));
    all.extend(entries);
    all.sort_by_key(|entry| entry.partition);
    let heads = Heads {
        log_id,
        synced: (0, 0),
        entries: all,
    };
    Ok(write_file(disk, &path, &heads)?)
}

/// Refuses a log that ends before what [`note_ends`] noted of it.
pub fn check_ends(disk: &dyn Disk, data_dir: &Path, log: &dyn Log) -> Result<(), EndsError> {
    let meta = log.meta();
    let path = data_dir.join(shared_file(meta.log_id));
    for noted in read_file(disk, &path)?.iter().flat_map(|heads| &heads.entries) {
        // Damage is told where the partition is opened.
        let found = match log.head(noted.partition) {
            Ok(head) => head.next_offset,
            Err(ReadError::Damaged { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        if noted.generation == meta.generation && found < noted.offset {
            let (partition, noted) = (noted.partition, noted.offset);
            return Err(EndsError::Lost {
                partition,
                found,
                noted,
                path,
            });
        }
    }
    Ok(())
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    log: String,
    synced: (u64, u64),
    heads: Vec<HeadEntry>,
}

/// Replaces the heads file of a data directory; durable on return.
pub fn write(disk: &dyn Disk, data_dir: &Path, heads: &Heads) -> io::Result<()> {
    write_file(disk, &data_dir.join(HEADS_FILE), heads)
}

fn write_file(disk: &dyn Disk, path: &Path, heads: &Heads) -> io::Result<()> {
    let stored = Stored {
        log: hex::encode(heads.log_id.0),
        synced: heads.synced,
        heads: heads.entries.clone(),
    };
    let json = serde_json::to_string(&stored).map_err(io::Error::other)?;
    replace(disk, path, format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())).as_bytes())
}

/// Reads the heads file of a data directory; `None` if there is none yet.
pub fn read(disk: &dyn Disk, data_dir: &Path) -> Result<Option<Heads>, HeadsError> {
    read_file(disk, &data_dir.join(HEADS_FILE))
}

fn read_file(disk: &dyn Disk, path: &Path) -> Result<Option<Heads>, HeadsError> {
    let bytes = match read_all(disk, path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let damaged = |byte: usize, detail: &str| HeadsError::Damaged {
        path: path.to_owned(),
        byte: byte as u64,
        detail: detail.into(),
    };
    let text = std::str::from_utf8(&bytes).map_err(|e| damaged(e.valid_up_to(), "not text"))?;
    let (crc, json) = text
        .strip_suffix('\n')
        .and_then(|t| t.split_once(' '))
        .ok_or_else(|| damaged(0, "no checksum and content"))?;
    if crc != format!("{:08x}", crc32fast::hash(json.as_bytes())) {
        return Err(damaged(0, "checksum does not match its bytes"));
    }
    let stored: Stored = serde_json::from_str(json).map_err(|e| damaged(crc.len() + e.column(), &e.to_string()))?;
    let mut log = [0; 16];
    hex::decode_to_slice(&stored.log, &mut log).map_err(|_| damaged(crc.len(), "log id is not 32 hex digits"))?;
    Ok(Some(Heads {
        log_id: LogId(log),
        synced: stored.synced,
        entries: stored.heads,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimDisk;

    #[test]
    fn heads_round_trip_and_every_flip_is_detected() {
        let (disk, dir) = (SimDisk::new(1), Path::new("/d"));
        assert!(read(&disk, dir).unwrap().is_none());
        let entry = HeadEntry {
            generation: 1,
            partition: 0,
            offset: 9,
            frame_hash: Digest([3; 32]),
        };
        let heads = Heads {
            log_id: LogId([1; 16]),
            synced: (2, 77),
            entries: vec![entry],
        };
        write(&disk, dir, &heads).unwrap();
        disk.crash();
        assert_eq!(read(&disk, dir).unwrap(), Some(heads));
        let path = dir.join(HEADS_FILE);
        for bit in 0..disk.files()[&path].len() as u64 * 8 {
            disk.flip(&path, bit);
            assert!(matches!(read(&disk, dir), Err(HeadsError::Damaged { .. })), "bit {bit}");
            disk.flip(&path, bit);
        }
    }

    #[test]
    fn content_that_is_not_what_is_written_is_told_at_its_byte() {
        let (disk, dir) = (SimDisk::new(1), Path::new("/d"));
        for (json, byte) in [(r#"{"log":5}"#, 16), (r#"{"log":"ab","synced":[1,2],"heads":[]}"#, 8)] {
            let text = format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()));
            disk.put(&dir.join(HEADS_FILE), text.into_bytes());
            assert!(
                matches!(read(&disk, dir), Err(HeadsError::Damaged { byte: at, .. }) if at == byte),
                "{:?}",
                read(&disk, dir)
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_absent() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(&crate::disk::RealDisk, dir.path()).unwrap().is_none());
        std::fs::create_dir(dir.path().join(HEADS_FILE)).unwrap();
        assert!(matches!(read(&crate::disk::RealDisk, dir.path()), Err(HeadsError::Io(_))));
    }

    /// The ends of a log outside the data directory: each log has its own, kept by partition.
    #[test]
    fn log_that_ends_before_its_noted_heads_is_refused() {
        use crate::{contract::Owner, memory::MemoryLog};
        let (disk, dir) = (SimDisk::new(1), Path::new("/d"));
        let log = MemoryLog::new(LogId([1; 16]), 2);
        let mut owners = [Owner::claim(&log, 0), Owner::claim(&log, 1)];
        owners.iter_mut().for_each(|owner| drop(owner.write(&log, 3)));
        let noted = |generation: u32, partition: u16, offset: u64| HeadEntry {
            generation,
            partition,
            offset,
            frame_hash: Digest([3; 32]),
        };
        let note = |id: u8, entries: Vec<HeadEntry>| note_ends(&disk, dir, LogId([id; 16]), entries).unwrap();
        let check = || check_ends(&disk, dir, &log);
        assert!(check().is_ok(), "nothing noted");
        note(1, vec![noted(1, 0, 3)]);
        note(1, vec![noted(1, 1, 2)]);
        note(2, vec![noted(1, 0, 99)]);
        disk.crash();
        let stored = read_file(&disk, &dir.join(shared_file(LogId([1; 16])))).unwrap().unwrap();
        assert_eq!(stored.entries, [noted(1, 0, 3), noted(1, 1, 2)], "another partition's end stays");
        assert!(check().is_ok(), "at its end, behind it, and another log's: {:?}", check());
        note(1, vec![noted(1, 0, 4)]);
        let Err(EndsError::Lost {
            partition,
            found,
            noted: end,
            ..
        }) = check()
        else {
            panic!("{:?}", check())
        };
        assert_eq!((partition, found, end), (0, 3, 4));
        note(1, vec![noted(2, 0, 4)]);
        assert!(check().is_ok(), "ends of another generation say nothing of this one");
    }
}
