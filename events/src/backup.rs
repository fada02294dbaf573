//! Online backup of a data directory, and restore under a new generation.
//!
//! A backup is taken at one durable point of the log while the writer goes on: sealed segments whole, the active one up
//! to that point, the heads of that moment, then the blobs (a blob is durable before the record that names it, so
//! blobs copied afterwards are enough). Keys are left out unless asked for. The manifest is written last and names
//! every file with its digest: a directory without one is not a backup. A marker stands in it from before the first file
//! until after the manifest: whoever opens or verifies the directory is told that it is a part of a log.

mod error;

use crate::{
    blobs::{
        self, BLOBS_DIR, Blobs, DirectoryBlobs,
        names::{self},
    },
    disk::{Disk, RealDisk, replace},
    embedded::{
        EmbeddedLog, LOG_DIR, UNFINISHED_BACKUP_FILE, UNFINISHED_FILE,
        recover::{create_segment, segment_numbers},
        segment::{SEGMENT_HEADER, SegmentHeader, segment_path},
    },
    erased::Erased,
    heads::{self, HEADS_FILE, Heads},
    keyring::{ERASED_FILE, FINGERPRINT_FILE},
};
pub use error::BackupError;
use quipu_schemas::{digest::Digest, limits::SEGMENT_BYTES};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Name of the manifest within a backup.
pub const MANIFEST_FILE: &str = "backup.json";
const CHUNK: usize = 1024 * 1024;

/// What goes into a backup besides the log.
#[derive(Debug, Clone, Default)]
pub struct BackupOptions {
    /// Directories and files, by name within the data directory, that are copied where they exist.
    pub include: Vec<String>,
    /// The store of large values.
    pub blobs: Option<BlobSource>,
    /// Names within the data directory that hold keys; empty unless the person asked for them.
    pub keys: Vec<String>,
}

/// A store of blobs that a backup is taken of.
#[derive(Clone)]
pub struct BlobSource(pub Arc<dyn Blobs>);

impl std::fmt::Debug for BlobSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlobSource({})", self.0.place())
    }
}

/// A backup's table of contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(rename = "BackupManifest")]
pub struct Manifest {
    /// The log's id, in hex.
    pub log_id: String,
    /// Generation of the log that was copied.
    pub generation: u32,
    /// How many partitions the log has.
    pub partitions: u16,
    /// How many records it holds, of all partitions.
    pub records: u64,
    /// Whether keys are inside.
    pub keys: bool,
    /// How many blobs are inside.
    #[serde(default)]
    pub blobs: u64,
    /// Blobs that records name and that could not be copied, `org/name`: they were missing or damaged already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs_lost: Vec<String>,
    /// Number of the next flush after the copied ones.
    next_flush: u64,
    /// Every file with its length and digest.
    pub files: Vec<CopiedFile>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CopiedFile {
    /// Path within the backup.
    pub path: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub digest: Digest,
}

/// Copies a log that is being written to an empty or new directory; durable on return.
/// `progress` hears bytes copied.
pub fn backup(log: &EmbeddedLog, to: &Path, options: &BackupOptions, mut progress: impl FnMut(u64)) -> Result<Manifest, BackupError> {
    prepare(to)?;
    let unfinished = mark(to, UNFINISHED_BACKUP_FILE)?;
    let catalog = log.catalog();
    // One moment: segments, their durable bytes, heads.
    let (heads, segments, next_flush) = {
        let state = catalog.state();
        let segments: Vec<(u64, u64)> = state
            .sealed
            .iter()
            .map(|s| (s.number, s.bytes))
            .chain([(state.active.number, state.active.end)])
            .collect();
        (catalog.heads_of(&state), segments, state.next_flush)
    };
    let mut copy = Copy {
        from: log.data_dir(),
        to,
        files: Vec::new(),
        done: 0,
        progress: &mut progress,
    };
    create_dir(&to.join(LOG_DIR))?;
    for (number, bytes) in segments {
        copy.file(&segment_path(Path::new(LOG_DIR), number), Some(bytes))?;
    }
    heads::write(&RealDisk, to, &heads)?;
    let written = fs::read(to.join(HEADS_FILE))?;
    copy.files.push(CopiedFile {
        path: HEADS_FILE.into(),
        bytes: written.len() as u64,
        digest: Digest::of(&[&written]),
    });
    let (blobs, blobs_lost) = match &options.blobs {
        Some(source) => copy.blobs(&*source.0, log)?,
        None => (0, Vec::new()),
    };
    // The fingerprint of the keys goes along even where the keys do not, and so does whose keys were destroyed: a restored log
    // knows which keys it needs, and which it must not have.
    for name in options
        .include
        .iter()
        .map(String::as_str)
        .chain([FINGERPRINT_FILE, ERASED_FILE])
        .chain(options.keys.iter().map(String::as_str))
    {
        copy.tree(Path::new(name))?;
    }
    let meta = &catalog.meta;
    let manifest = Manifest {
        log_id: hex::encode(meta.log_id.0),
        generation: meta.generation,
        partitions: meta.partitions,
        records: heads.entries.iter().map(|e| e.offset).sum(),
        keys: !options.keys.is_empty(),
        blobs,
        blobs_lost,
        next_flush,
        files: copy.files,
    };
    let json = serde_json::to_vec_pretty(&manifest).map_err(io::Error::other)?;
    replace(&RealDisk, &to.join(MANIFEST_FILE), &json)?;
    RealDisk.remove(&unfinished)?;
    RealDisk.sync_dir(to)?;
    Ok(manifest)
}

/// Puts a backup into a new data directory under the next generation, after checking every file against the manifest.
/// A directory whose restore did not come to its end is refused by every open, and told by `verify`.
pub fn restore(backup: &Path, to: &Path, mut progress: impl FnMut(u64)) -> Result<Manifest, BackupError> {
    let not = |detail: String| BackupError::NotABackup {
        path: backup.to_owned(),
        detail,
    };
    if backup.join(UNFINISHED_BACKUP_FILE).exists() {
        return Err(BackupError::Unfinished(backup.to_owned()));
    }
    let json = fs::read(backup.join(MANIFEST_FILE)).map_err(|e| not(e.to_string()))?;
    let mut manifest: Manifest = serde_json::from_slice(&json).map_err(|e| not(e.to_string()))?;
    prepare(to)?;
    let unfinished = mark(to, UNFINISHED_FILE)?;
    create_dir(&to.join(LOG_DIR))?;
    let mut copy = Copy {
        from: backup,
        to,
        files: Vec::new(),
        done: 0,
        progress: &mut progress,
    };
    for file in &manifest.files {
        let path = Path::new(&file.path);
        if path.is_absolute() || path.components().any(|c| !matches!(c, std::path::Component::Normal(_))) {
            return Err(not(format!("file name {} leaves the directory", file.path)));
        }
        copy.file(path, None).map_err(|_| BackupError::Damaged(file.path.clone()))?;
        if copy.files.last() != Some(file) {
            return Err(BackupError::Damaged(file.path.clone()));
        }
    }
    let heads = heads::read(&RealDisk, to)
        .ok()
        .flatten()
        .ok_or_else(|| BackupError::Damaged(HEADS_FILE.into()))?;
    let log_dir = to.join(LOG_DIR);
    let last = segment_numbers(&RealDisk, &log_dir)?
        .pop()
        .ok_or_else(|| not("it holds no segment".into()))?;
    manifest.generation += 1;
    // The new generation begins with a segment of its own; what was copied stays as it was.
    let header = SegmentHeader {
        log_id: heads.log_id,
        generation: manifest.generation,
        partitions: manifest.partitions,
        segment: last + 1,
        first_flush: manifest.next_flush,
    };
    create_segment(&RealDisk, &log_dir, &header, SEGMENT_BYTES)?;
    let entries = heads
        .entries
        .iter()
        .map(|e| heads::HeadEntry {
            generation: manifest.generation,
            ..*e
        })
        .collect();
    heads::write(
        &RealDisk,
        to,
        &Heads {
            log_id: heads.log_id,
            synced: (last + 1, SEGMENT_HEADER as u64),
            entries,
        },
    )?;
    RealDisk.remove(&unfinished)?;
    RealDisk.sync_dir(to)?;
    Ok(manifest)
}

/// Puts a marker into a directory; durable on return.
fn mark(dir: &Path, name: &str) -> io::Result<PathBuf> {
    let marker = dir.join(name);
    RealDisk.create(&marker)?.sync_data()?;
    RealDisk.sync_dir(dir)?;
    Ok(marker)
}

fn create_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn prepare(to: &Path) -> Result<(), BackupError> {
    create_dir(to)?;
    if fs::read_dir(to)?.next().is_some() {
        return Err(BackupError::NotEmpty(to.to_owned()));
    }
    Ok(())
}

struct Copy<'a> {
    from: &'a Path,
    to: &'a Path,
    files: Vec<CopiedFile>,
    done: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl Copy<'_> {
    /// Copies a file, or its first `limit` bytes, with who may read it, and syncs it and its name.
    fn file(&mut self, path: &Path, limit: Option<u64>) -> io::Result<()> {
        let source = fs::File::open(self.from.join(path))?;
        let target = self.to.join(path);
        let parent = target.parent().unwrap_or(self.to).to_owned();
        let mut from = io::Read::take(source, limit.unwrap_or(u64::MAX));
        create_dir(&parent)?;
        // For the owner alone, as keys must be and everything else may.
        let mut to = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target)?;
        let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; CHUNK]);
        loop {
            let got = io::Read::read(&mut from, &mut buffer)?;
            if got == 0 {
                break;
            }
            hash.update(&buffer[..got]);
            io::Write::write_all(&mut to, &buffer[..got])?;
            bytes += got as u64;
            self.done += got as u64;
            (self.progress)(self.done);
        }
        if limit.is_some_and(|limit| limit != bytes) {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{} is shorter than its durable bytes", path.display()),
            ));
        }
        to.sync_all()?;
        RealDisk.sync_dir(&parent)?;
        self.files.push(CopiedFile {
            path: path.to_string_lossy().into_owned(),
            bytes,
            digest: Digest(hash.finalize().into()),
        });
        Ok(())
    }

    /// Copies a store of blobs into a directory of blobs, whatever it is itself. A blob is durable before the record that
    /// names it, so one that is copied after the log's end was noted is enough. How many; and those that the log names and
    /// that do not read.
    fn blobs(&mut self, from: &dyn Blobs, log: &EmbeddedLog) -> Result<(u64, Vec<String>), BackupError> {
        let root = self.to.join(BLOBS_DIR);
        let copied = {
            let to = DirectoryBlobs::open(&root)?;
            let done = self.done;
            let copied = blobs::copy::copy(from, &to, |bytes| (self.progress)(done + bytes))?;
            self.done += copied.bytes;
            to.finish()?;
            copied
        };
        let to = DirectoryBlobs::open_to_read(&root)?;
        let (retention, erased) = (names::of_log(log)?, Erased::read(self.from)?);
        let lost = blobs::copy::unreadable(&retention, &erased, &to)?;
        drop(to);
        self.listed(Path::new(BLOBS_DIR))?;
        let lost = lost.into_iter().map(|(named, _)| format!("{}/{}", named.org, named.name));
        Ok((copied.blobs, lost.collect()))
    }

    /// Lists what was written to the target itself, with its digests.
    fn listed(&mut self, path: &Path) -> io::Result<()> {
        let target = self.to.join(path);
        if target.is_dir() {
            let mut names: Vec<_> = fs::read_dir(&target)?
                .map(|e| e.map(|e| e.file_name()))
                .collect::<io::Result<_>>()?;
            names.sort();
            return names.into_iter().try_for_each(|name| self.listed(&path.join(name)));
        }
        let mut file = fs::File::open(&target)?;
        let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; CHUNK]);
        loop {
            let got = io::Read::read(&mut file, &mut buffer)?;
            if got == 0 {
                break;
            }
            hash.update(&buffer[..got]);
            bytes += got as u64;
        }
        file.sync_all()?;
        self.files.push(CopiedFile {
            path: path.to_string_lossy().into_owned(),
            bytes,
            digest: Digest(hash.finalize().into()),
        });
        Ok(())
    }

    /// Copies a file or a directory with everything in it, if it is there.
    fn tree(&mut self, path: &Path) -> io::Result<()> {
        let found = match fs::metadata(self.from.join(path)) {
            Ok(found) => found,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        if found.is_file() {
            return self.file(path, None);
        }
        let mut names: Vec<_> = fs::read_dir(self.from.join(path))?
            .map(|e| e.map(|e| e.file_name()))
            .collect::<io::Result<_>>()?;
        names.sort();
        names.into_iter().try_for_each(|name| self.tree(&path.join(name)))
    }
}
