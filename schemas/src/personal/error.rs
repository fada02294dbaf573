//! Why sealing or opening failed, and what a client is told of it.

use super::Subject;
use crate::{
    digest::Digest,
    limits::{NEEDS_MAX_BYTES, VALUE_ENCODED_MAX_BYTES, VALUE_UNSHARED_MAX_BYTES},
    problem::Problem,
};

/// Why sealing or opening failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key store could not be read or written.
    #[error("key store: {0}")]
    Store(String),
    /// The ciphertext does not open under the subject's key, or is not what was stored.
    #[error("sealed value of {0} cannot be opened: wrong key or damaged")]
    Damaged(Subject),
    /// The opened bytes are not of the expected type.
    #[error("sealed value of {0} has an unexpected form: {1}")]
    Form(Subject, String),
    /// The store of values did not answer; asking again may help.
    #[error("{0}")]
    Unreachable(String),
    /// There is no space left in the store of values; nothing was kept.
    #[error("{0}")]
    Full(String),
    /// The value is not kept any more, or never was.
    #[error("value {0} is missing: it was never stored, or its time is over")]
    Missing(Digest),
    /// More than a value may have.
    #[error("a value of {size} bytes is over the limit of {VALUE_ENCODED_MAX_BYTES}")]
    TooLarge {
        /// Its size as JSON text.
        size: usize,
    },
    /// Too large for a record, and there is nowhere else to keep it where all nodes find it.
    #[error("a value of {size} bytes does not fit a record, and the nodes of this log share no blob store")]
    NotShared {
        /// Its size, sealed.
        size: usize,
    },
    /// A decision looks into a value that was not brought for it.
    #[error("value {0} was not brought: one decision may look into {NEEDS_MAX_BYTES} bytes of values")]
    NotBrought(Digest),
    /// The key of the one whose value it is was destroyed.
    #[error("the values of {0} were erased")]
    Erased(Subject),
    /// Whoever reads holds no right to see it.
    #[error("personal values are withheld from whoever does not hold cap:personal.read")]
    Withheld,
}

impl SealError {
    /// Whether asking again gives the same.
    pub fn is_lasting(&self) -> bool {
        match self {
            SealError::Store(_) | SealError::Unreachable(_) | SealError::Full(_) => false,
            SealError::Damaged(_)
            | SealError::Form(..)
            | SealError::Missing(_)
            | SealError::TooLarge { .. }
            | SealError::NotShared { .. }
            | SealError::NotBrought(_)
            | SealError::Erased(_)
            | SealError::Withheld => true,
        }
    }

    /// As a client meets it.
    pub fn problem(&self) -> Problem {
        let detail = self.to_string();
        match self {
            SealError::Store(_) | SealError::Form(..) => Problem::new(500, "sealed_value", detail),
            SealError::Damaged(_) => Problem::new(503, "blob_damaged", detail)
                .fix("restore the value from a backup: `quipu verify` names every damaged one")
                .retry_after(60),
            SealError::Unreachable(_) => Problem::new(503, "blob_unavailable", detail)
                .fix("send it again with the same id when the blob store answers")
                .retry_after(2),
            SealError::Full(_) => Problem::new(507, "storage_full", detail)
                .fix("free space where the blob store keeps its values")
                .retry_after(5),
            SealError::Missing(_) => Problem::new(410, "value_expired", detail).fix("upload the value again"),
            SealError::Erased(_) => Problem::new(410, "value_erased", detail).fix("the value is gone for good: leave it out"),
            SealError::Withheld => Problem::new(403, "missing_right", detail).fix("ask an admin of the org to grant cap:personal.read"),
            SealError::TooLarge { .. } | SealError::NotBrought(_) => {
                Problem::new(422, "value_too_large", detail).fix("send less, or split the value")
            }
            SealError::NotShared { .. } => Problem::new(422, "blobs_not_shared", detail).fix(format!(
                "send at most {VALUE_UNSHARED_MAX_BYTES} bytes, or start every node of this log with `--blobs s3://…`"
            )),
        }
    }
}
