//! Why a command of the CLI ends without success, and the exit code that says so.

use crate::{client::ClientError, profiles::ProfileError};
use quipu_schemas::problem::Problem;
use std::io;

/// Exit codes, as `quipu help` documents them.
pub mod code {
    /// Done.
    pub const OK: u8 = 0;
    /// Failed, or damaged, or not equal.
    pub const FAILED: u8 = 1;
    /// The command line makes no sense.
    pub const USAGE: u8 = 2;
    /// The node refused (4xx).
    pub const REFUSED: u8 = 3;
    /// No node, or it cannot answer now; try again.
    pub const UNAVAILABLE: u8 = 4;
}

/// A failure.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It did not work, and trying the same again will not help.
    #[error("{0}")]
    Failed(String),
    /// What was asked makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The node refused, or could not answer.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// Nobody answers.
    #[error("{0}")]
    Unavailable(String),
    /// The failure was shown already, as the answer.
    #[error("failed")]
    Shown,
    /// Whoever read the output has gone.
    #[error("the reader of the output has gone")]
    ReaderGone,
}

impl Failure {
    /// A failure to write an answer.
    pub fn of_write(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Failure::ReaderGone
        } else {
            Failure::Failed(format!("writing: {error}"))
        }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Failed(_) | Failure::Shown => code::FAILED,
            Failure::Usage(_) => code::USAGE,
            Failure::Problem(problem) if problem.is_unavailable() => code::UNAVAILABLE,
            Failure::Problem(problem) if problem.status >= 500 => code::FAILED,
            Failure::Problem(_) => code::REFUSED,
            Failure::Unavailable(_) => code::UNAVAILABLE,
            Failure::ReaderGone => code::OK,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(problem) => Failure::Problem(problem),
            ClientError::BadUrl(_) | ClientError::NoToken(_) | ClientError::Authorities(_) => Failure::Usage(error.to_string()),
            ClientError::Unreachable { .. } => Failure::Unavailable(format!("{error}; is a node running? start one with `quipu serve`")),
            ClientError::Foreign { .. } => Failure::Unavailable(error.to_string()),
            ClientError::Incomplete(_) | ClientError::Start(_) => Failure::Failed(error.to_string()),
        }
    }
}

impl From<ProfileError> for Failure {
    fn from(error: ProfileError) -> Self {
        match error {
            ProfileError::Client(error) => error.into(),
            ProfileError::Nowhere => Failure::Usage(error.to_string()),
            other => Failure::Failed(other.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_tell_refused_from_unavailable_from_failed() {
        let problem = |status| Failure::Problem(Box::new(Problem::new(status, "x", "y"))).code();
        assert_eq!([400, 409, 412, 422, 429, 503, 500].map(problem), [3, 3, 3, 3, 4, 4, 1]);
        assert_eq!(Failure::from(ClientError::NoToken("x".into())).code(), 2);
        assert_eq!(
            Failure::from(ClientError::Unreachable {
                url: "u".into(),
                detail: "d".into()
            })
            .code(),
            4
        );
        assert_eq!(Failure::of_write(io::ErrorKind::BrokenPipe.into()).code(), 0);
    }
}
