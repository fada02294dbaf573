//! What scenes and measurements stand on: nodes as child processes, servers of this machine, a voice, and why a scene ends early.

pub(crate) mod child;
pub(crate) mod error;
pub(crate) mod servers;
pub(crate) mod story;

use error::StageError;
use std::{fs, path::Path};

/// The nodes of one log have one token and one master key.
pub(crate) fn share_secrets(from: &Path, to: &Path) -> Result<(), StageError> {
    fs::create_dir(to.join("keys"))?;
    for private in ["keys", "."] {
        #[cfg(unix)]
        fs::set_permissions(to.join(private), std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    }
    for file in ["token", "keys/master.key"] {
        fs::copy(from.join(file), to.join(file))?;
    }
    Ok(())
}

pub(crate) async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T, StageError> + Send + 'static) -> Result<T, StageError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| StageError::Scene(format!("a check crashed: {e}")))?
}
