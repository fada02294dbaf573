//! The two key files.

use super::{
    KeyringError,
    fingerprint::Used,
    line::{self, Keys, crc, random, unwrap_bytes, wrap},
    whole::{create, create_bytes, io},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use quipu_schemas::{
    digest::Digest,
    personal::{DataKey, Subject},
};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

const MASTER: &str = "quipu-master-key-1";

/// The file, its keys, and what was out of the ordinary about it.
pub(super) type OpenedFile = (KeyFile, Keys, Option<String>);

/// The file of data keys, open for appending, with the master key.
pub(super) struct KeyFile {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) master: DataKey,
    /// Whole lines, each of one key.
    lines: u64,
    /// Their hashes.
    hash: Sha256,
    /// A write or sync failed: whether the line is there is not known, and asking the same handle again proves nothing.
    failed: Option<String>,
}

fn check_mode(path: &Path, forbidden: u32, wanted: u32) -> Result<(), KeyringError> {
    let mode = fs::metadata(path).map_err(io(path))?.permissions().mode() & 0o777;
    if mode & forbidden != 0 {
        return Err(KeyringError::Mode {
            path: path.display().to_string(),
            mode,
            wanted,
        });
    }
    Ok(())
}

fn make_dir(dir: &Path) -> Result<(), KeyringError> {
    if !dir.exists() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io(dir))?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(io(parent))?;
        }
    }
    // Others may list the directory; whoever may write to it could put another master key in place.
    check_mode(dir, 0o022, 0o700)
}

fn master_text(key: &DataKey) -> String {
    let key = URL_SAFE_NO_PAD.encode(key.0);
    format!("{MASTER} {key} {}\n", crc(MASTER, &key))
}

fn read_master(path: &Path) -> Result<DataKey, KeyringError> {
    check_mode(path, 0o077, 0o600)?;
    let text = fs::read_to_string(path).map_err(io(path))?;
    let parse = || {
        let mut fields = text.strip_suffix('\n')?.split(' ');
        let (format, key, sum) = (fields.next()?, fields.next()?, fields.next()?);
        let whole = fields.next().is_none() && format == MASTER && crc(format, key) == sum;
        whole.then(|| URL_SAFE_NO_PAD.decode(key).ok()?.try_into().ok()).flatten()
    };
    parse().map(DataKey).ok_or_else(|| KeyringError::Damaged {
        path: path.display().to_string(),
        line: 1,
    })
}

/// Bytes of whole lines. What follows has no end of line, or zeros where blocks were never written: it was being written when
/// the machine or process stopped, and then it was never acknowledged. Or somebody cut the file: the fingerprint knows.
fn whole_lines(bytes: &[u8]) -> usize {
    let after = |until: usize| bytes[..until].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let end = after(bytes.len());
    let last = after(end.saturating_sub(1));
    if bytes[last..end].contains(&0) { last } else { end }
}

/// Refuses a directory without keys, or with a part of them, instead of making new ones.
pub(super) fn must_be_there(dir: &Path) -> Result<(), KeyringError> {
    let (master, subjects) = (dir.join("master.key"), dir.join("subjects.keys"));
    let missing = match (master.exists(), subjects.exists()) {
        (true, true) => return Ok(()),
        (false, true) => return Err(KeyringError::NoMaster(master.display().to_string())),
        (true, false) => subjects,
        (false, false) => dir.to_owned(),
    };
    Err(KeyringError::Missing(missing.display().to_string()))
}

/// The master key of a directory; made where there is none, if it may be.
pub(super) fn master(dir: &Path, may_make: bool) -> Result<DataKey, KeyringError> {
    make_dir(dir)?;
    let path = dir.join("master.key");
    if !path.exists() {
        if !may_make {
            return Err(KeyringError::CopyMaster(path.display().to_string()));
        }
        create(dir, &path, &master_text(&DataKey(random()?)))?;
    }
    read_master(&path)
}

/// Both files as they were found, before anything of them is used or changed.
pub(super) struct Found {
    dir: PathBuf,
    path: PathBuf,
    master: DataKey,
    bytes: Vec<u8>,
    /// Bytes of whole lines, of which the last may lack only its end of line.
    end: usize,
    /// The last line lacks its end of line, and is whole without it.
    unended: bool,
    keys: Keys,
}

impl Found {
    /// Every data key, that of command digests under the empty subject.
    pub(super) fn keys(&self) -> &BTreeMap<Subject, DataKey> {
        &self.keys.held
    }

    /// Every document, by its name.
    pub(super) fn documents(&self) -> &BTreeMap<Subject, Vec<u8>> {
        &self.keys.documents
    }

    /// The file of data keys.
    pub(super) fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// Whole lines.
    pub(super) fn lines(&self) -> u64 {
        self.whole().split_inclusive(|byte| *byte == b'\n').count() as u64
    }

    fn whole(&self) -> &[u8] {
        &self.bytes[..self.end]
    }

    /// The first so many lines; `None` if there are fewer. `as_stored` hashes them as the second format of fingerprints did.
    pub(super) fn first(&self, lines: u64, as_stored: bool) -> Option<Used> {
        let mut hash = Sha256::new();
        let mut count = 0;
        for line in self.whole().split_inclusive(|byte| *byte == b'\n').take(lines as usize) {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            if as_stored {
                hash.update(line);
                hash.update(b"\n");
            } else {
                hash.update(line::hash_of(line));
            }
            count += 1;
        }
        (count == lines).then(|| Used {
            keys: lines,
            digest: Digest(hash.finalize().into()),
        })
    }

    /// Opens the file for new keys. An end that is no whole line goes into a file of its own first, and is told.
    pub(super) fn open(self) -> Result<OpenedFile, KeyringError> {
        let (torn, mut note) = (&self.bytes[self.end..], None);
        let mut whole = self.whole().to_vec();
        if self.unended {
            whole.push(b'\n');
            note = Some(format!(
                "the last line of {} had no end; the key in it is whole and is used",
                self.path()
            ));
        }
        if !torn.is_empty() {
            let aside = set_aside(&self.dir, &self.path, torn)?;
            note = Some(format!(
                "the end of {} was not a whole line, and no record used a key of it: it was moved to {}",
                self.path(),
                aside.display()
            ));
        }
        if whole.len() != self.bytes.len() || self.unended {
            create_bytes(&self.dir, &self.path, &whole)?;
        }
        let file = OpenOptions::new().append(true).open(&self.path).map_err(io(&self.path))?;
        // Also where nothing was changed: lines that a killed process wrote and never synced are used from now on.
        file.sync_all().map_err(io(&self.path))?;
        let mut hash = Sha256::new();
        for line in whole.split_inclusive(|byte| *byte == b'\n') {
            hash.update(line::hash_of(line.strip_suffix(b"\n").unwrap_or(line)));
        }
        let opened = KeyFile {
            lines: self.lines(),
            path: self.path,
            file,
            master: self.master,
            hash,
            failed: None,
        };
        Ok((opened, self.keys, note))
    }
}

/// Puts bytes into a file of their own beside `path`; durable on return.
#[expect(clippy::disallowed_methods, reason = "a name for a file that is kept aside")]
fn set_aside(dir: &Path, path: &Path, bytes: &[u8]) -> Result<PathBuf, KeyringError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let named = |number: u64| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".torn-{number}"));
        PathBuf::from(name)
    };
    let aside = (now..).map(named).find(|aside| !aside.exists()).unwrap_or_else(|| named(now));
    create_bytes(dir, &aside, bytes)?;
    Ok(aside)
}

impl KeyFile {
    /// Reads both files, making them where they are not there.
    pub(super) fn find(dir: &Path) -> Result<Found, KeyringError> {
        make_dir(dir)?;
        let (master_path, path) = (dir.join("master.key"), dir.join("subjects.keys"));
        if !master_path.exists() {
            if path.exists() {
                return Err(KeyringError::NoMaster(master_path.display().to_string()));
            }
            create(dir, &master_path, &master_text(&DataKey(random()?)))?;
        }
        let master = read_master(&master_path)?;
        if !path.exists() {
            create(dir, &path, &wrap(&master, "", &random::<32>()?)?)?;
        }
        check_mode(&path, 0o077, 0o600)?;
        let bytes = fs::read(&path).map_err(io(&path))?;
        let mut end = whole_lines(&bytes);
        let rest = std::str::from_utf8(&bytes[end..]).ok();
        let unended = rest.is_some_and(|line| matches!(unwrap_bytes(&master, line), Some((_, Some(_)))));
        if unended {
            end = bytes.len();
        }
        let keys = parse(&master, &path, &bytes[..end])?;
        Ok(Found {
            dir: dir.to_owned(),
            path,
            master,
            bytes,
            end,
            unended,
            keys,
        })
    }

    /// The file of data keys.
    pub(super) fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// All lines that are durable.
    pub(super) fn used(&self) -> Used {
        Used {
            keys: self.lines,
            digest: Digest(self.hash.clone().finalize().into()),
        }
    }

    /// Makes a subject's key; durable on return.
    pub(super) fn add(&mut self, subject: &str) -> Result<DataKey, KeyringError> {
        let key = DataKey(random()?);
        self.add_line(subject, &key.0)?;
        Ok(key)
    }

    /// Notes a key or a document under its name; durable on return.
    pub(super) fn add_line(&mut self, name: &str, secret: &[u8]) -> Result<(), KeyringError> {
        let line = wrap(&self.master, name, secret)?;
        self.append(&line)
    }

    fn append(&mut self, line: &str) -> Result<(), KeyringError> {
        if let Some(detail) = &self.failed {
            return Err(KeyringError::Io {
                path: self.path.display().to_string(),
                detail: detail.clone(),
            });
        }
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.failed = Some(format!("an earlier write failed ({error}); restart the node to continue"));
            return Err(io(&self.path)(error));
        }
        self.lines += 1;
        self.hash.update(line::hash_of(line.trim_end_matches('\n').as_bytes()));
        Ok(())
    }
}

fn parse(master: &DataKey, path: &Path, bytes: &[u8]) -> Result<Keys, KeyringError> {
    let damaged = |line: usize| KeyringError::Damaged {
        path: path.display().to_string(),
        line,
    };
    let mut keys = Keys::default();
    for (at, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let text = std::str::from_utf8(line)
            .ok()
            .map(|text| text.strip_suffix('\n').unwrap_or(text))
            .ok_or_else(|| damaged(at + 1))?;
        if let Some(subject) = line::subject_of(text) {
            keys.erased.insert(subject);
            continue;
        }
        let (subject, secret) = unwrap_bytes(master, text).ok_or_else(|| damaged(at + 1))?;
        let secret = secret.ok_or_else(|| KeyringError::WrongMaster(path.display().to_string()))?;
        // Should a name ever have two, the first is the one that was used.
        if line::is_document(&subject) {
            keys.documents.entry(subject).or_insert(secret);
        } else {
            let key = secret.try_into().map_err(|_| damaged(at + 1))?;
            keys.held.entry(subject).or_insert(DataKey(key));
        }
    }
    Ok(keys)
}
