//! Why a scene ended early.

use crate::{client::ClientError, failure::Failure};
use std::io;

/// Why the scene ended early.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The node refused or is gone.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The machine.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Something did not happen.
    #[error("{0}")]
    Scene(String),
    /// The voice.
    #[error(transparent)]
    Voice(#[from] Failure),
}

impl From<StageError> for Failure {
    fn from(error: StageError) -> Self {
        match error {
            StageError::Client(e) => e.into(),
            StageError::Voice(failure) => failure,
            other => Failure::Failed(other.to_string()),
        }
    }
}
