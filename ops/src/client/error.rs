//! What a client meets.

use quipu_schemas::problem::Problem;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The node answered with a problem.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// Nobody answers.
    #[error("no answer from {url}: {detail}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        detail: String,
    },
    /// Somebody answers, but no node of this kind.
    #[error("{url} answered {status} with something that this client does not understand: {detail}")]
    Foreign {
        /// Where.
        url: String,
        /// HTTP status.
        status: u16,
        /// What was wrong.
        detail: String,
    },
    /// The feed does not hold everything: the log is damaged.
    #[error("the feed is incomplete: {0}")]
    Incomplete(String),
    /// The address cannot be used.
    #[error("not an http or https address: `{0}`")]
    BadUrl(String),
    /// The authorities to trust cannot be read.
    #[error("--ca-file: {0}")]
    Authorities(String),
    /// There is no token.
    #[error("no token: set QUIPU_TOKEN, or pass --data with the node's data directory ({0})")]
    NoToken(String),
    /// The client itself could not be made.
    #[error("the HTTP client cannot start: {0}")]
    Start(String),
}

impl ClientError {
    /// The problem that the node answered with, if it did.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            ClientError::Refused(problem) => Some(problem),
            _ => None,
        }
    }
}
