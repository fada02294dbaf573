//! Small files of keys, each written whole or not at all.

use super::KeyringError;
use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

pub(super) fn io(path: &Path) -> impl Fn(std::io::Error) -> KeyringError {
    let path = path.display().to_string();
    move |error| KeyringError::Io {
        path: path.clone(),
        detail: error.to_string(),
    }
}

/// Writes a new file of mode 0600, whole or not at all; durable on return.
pub(super) fn create(dir: &Path, path: &Path, text: &str) -> Result<(), KeyringError> {
    create_bytes(dir, path, text.as_bytes())
}

pub(super) fn create_bytes(dir: &Path, path: &Path, bytes: &[u8]) -> Result<(), KeyringError> {
    let temporary = path.with_extension("new");
    let write = || {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(io(path))
}
