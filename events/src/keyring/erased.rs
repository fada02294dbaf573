//! Destroyed keys: whose data was erased, and what is left of their lines.
//!
//! ```text
//! subjects.erased  one erased subject a line, as a JSON string; beside `keys.fingerprint`, in the data directory and in every backup
//! subjects.keys    erased:<hex of SHA-256 of the line that stood here> <crc32 hex> <subject as a JSON string>
//! ```
//! The list is written first, durably: a crash in between, and keys that are restored from an older backup, change nothing,
//! because a key that the list names is destroyed whenever the keys are opened. The hash keeps the fingerprint of the keys
//! what it was.

use super::{
    KeyringError,
    file::KeyFile,
    line::{line_for, unwrap},
    whole::{create, io},
};
use crate::erased::Erased;
use quipu_schemas::personal::Subject;
use std::{
    fs::{self, OpenOptions},
    io::ErrorKind,
    path::Path,
};

/// Name of the list of erased subjects within a data directory.
pub const ERASED_FILE: &str = "subjects.erased";
impl Erased {
    /// The list of a data directory or a backup; empty where there is none.
    pub fn read(data_dir: &Path) -> Result<Self, KeyringError> {
        let path = data_dir.join(ERASED_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(io(&path)(error)),
        };
        let damaged = |line: usize| KeyringError::Damaged {
            path: path.display().to_string(),
            line: line + 1,
        };
        let subjects = text
            .lines()
            .enumerate()
            .map(|(at, line)| serde_json::from_str(line).map_err(|_| damaged(at)));
        subjects.collect::<Result<_, _>>().map(Self)
    }

    /// Adds a subject to the list of a data directory; durable on return.
    pub(super) fn add(data_dir: &Path, subject: &str) -> Result<(), KeyringError> {
        let mut erased = Self::read(data_dir)?;
        if !erased.0.insert(subject.to_owned()) {
            return Ok(());
        }
        let line = |subject: &Subject| format!("{}\n", serde_json::Value::from(subject.as_str()));
        let text: String = erased.0.iter().map(line).collect();
        create(data_dir, &data_dir.join(ERASED_FILE), &text)
    }
}

impl KeyFile {
    /// Destroys a subject's key: what is left of its line is its hash. Durable on return; whether there was a key.
    pub(super) fn erase(&mut self, subject: &str) -> Result<bool, KeyringError> {
        let text = fs::read_to_string(&self.path).map_err(io(&self.path))?;
        let is_theirs = |line: &str| unwrap(&self.master, line).is_some_and(|(of, _)| of == subject);
        let mut found = false;
        let mut left = String::with_capacity(text.len());
        for line in text.lines() {
            if is_theirs(line) {
                found = true;
                left.push_str(&line_for(line, subject));
            } else {
                left.push_str(line);
            }
            left.push('\n');
        }
        if !found {
            return Ok(false);
        }
        let dir = self.path.parent().unwrap_or(Path::new("."));
        create(dir, &self.path, &left)?;
        self.file = OpenOptions::new().append(true).open(&self.path).map_err(io(&self.path))?;
        Ok(true)
    }
}
