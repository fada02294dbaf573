//! Values that are too large for a record, kept beside the log: the port, its errors, and its stores.
//!
//! A record names a blob by the SHA-256 of the stored bytes, so that a name can never mean anything else. What is
//! stored is sealed already ([`quipu_schemas::personal`]); a store sees ciphertext.
//!
//! **What every store promises** (each sentence has a test in [`contract`], run on all of them):
//!
//! 1. [`Blobs::put`] returns when every blob is durable, to the class of the store; a record that names one is appended
//!    afterwards. It outlives the process, where the store does.
//! 2. A blob's name is the SHA-256 of its bytes. Storing the same bytes again succeeds, gives the same name, mends a
//!    damaged blob and makes it as young as a new one.
//! 3. [`Blobs::get`] gives the bytes that were stored, checked against their name as a whole, or an error: never a
//!    part of them, never others.
//! 4. What is not there ([`BlobError::Missing`]), what is there and is not what was stored ([`BlobError::Damaged`]) and
//!    a store that does not answer ([`BlobError::Unreachable`]) are told apart: whoever hears the last may ask again.
//! 5. Orgs are apart: a name that one org stored is not found under another.
//! 6. [`Blobs::delete`] makes blobs missing and gives their space back; deleting a missing one succeeds.
//! 7. [`Blobs::list`] names every blob that was there before the first page was asked for and was not deleted since,
//!    once, with the time that it was last stored, so that a sweep can spare young ones.
//! 8. A blob over [`limits::BLOB_MAX_BYTES`] is refused and nothing of its call is stored; an empty one is a blob.
//! 9. All methods may be called at once, from any thread. They block.
//!
//! Blobs are read whole: a value is sealed as a whole, so no part of it can be checked or opened alone. Ranges are cut
//! where a value is handed to a client.

pub mod contract;
pub mod copy;
mod directory;
#[cfg(feature = "jetstream")]
mod jetstream;
mod memory;
pub mod names;
mod place;
pub mod retention;
#[cfg(feature = "s3")]
mod s3;
pub mod sweep;

pub use directory::DirectoryBlobs;
#[cfg(feature = "jetstream")]
pub use jetstream::JetStreamBlobs;
pub use memory::MemoryBlobs;
pub use place::{BadPlace, BlobsAt};
#[cfg(feature = "s3")]
pub use s3::{S3Blobs, S3Options};

use quipu_schemas::{context::Millis, digest::Digest, ids::OrgId, limits};
use std::time::{SystemTime, UNIX_EPOCH};

/// Name of the directory of blobs within a data directory.
pub const BLOBS_DIR: &str = "blobs";

/// Why a blob was not stored, read or deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// Larger than a blob may be.
    #[error("blob of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// [`limits::BLOB_MAX_BYTES`].
        limit: usize,
    },
    /// There is no such blob in this org: it was never stored, or it was deleted since.
    #[error("blob {0} is missing")]
    Missing(Digest),
    /// The bytes under this name are not the ones that were stored: restore it from a backup.
    #[error("blob {0} is damaged: its bytes do not match its name")]
    Damaged(Digest),
    /// There is no space left where blobs are kept. None of them counts as stored; there may be room later.
    #[error("no space left for values in {place}")]
    Full {
        /// Which store.
        place: String,
    },
    /// The store did not answer, or refused. Whether blobs were stored is not known; storing them again is safe.
    #[error("blob store {place}: {detail}")]
    Unreachable {
        /// Which store.
        place: String,
        /// What happened.
        detail: String,
    },
}

/// A blob as [`Blobs::list`] shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Whose.
    pub org: OrgId,
    /// Its name.
    pub name: Digest,
    /// Bytes stored.
    pub bytes: u64,
    /// When it was last stored, by the store's clock.
    pub stored_at: Millis,
}

/// One page of [`Blobs::list`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The blobs.
    pub blobs: Vec<Listed>,
    /// Where the next page begins; `None` after the last. Means something to the store alone.
    pub next: Option<String>,
}

/// A content-addressed store; the module's documentation says what it promises.
pub trait Blobs: Send + Sync {
    /// Stores blobs of one org, together; their names, in order.
    fn put(&self, org: &OrgId, blobs: &[Vec<u8>]) -> Result<Vec<Digest>, BlobError>;
    /// The bytes of a blob.
    fn get(&self, org: &OrgId, name: &Digest) -> Result<Vec<u8>, BlobError>;
    /// Deletes blobs of one org.
    fn delete(&self, org: &OrgId, names: &[Digest]) -> Result<(), BlobError>;
    /// A page of all blobs of all orgs, `after` the one before it.
    fn list(&self, after: Option<&str>) -> Result<Page, BlobError>;
    /// Whether nodes on other machines read what this one stores.
    fn is_shared(&self) -> bool;
    /// Where it is, for people; without passwords.
    fn place(&self) -> String;
}

/// The names of blobs, where none of them is too large.
fn names_of(blobs: &[Vec<u8>]) -> Result<Vec<Digest>, BlobError> {
    let limit = limits::BLOB_MAX_BYTES;
    match blobs.iter().find(|bytes| bytes.len() > limit) {
        Some(bytes) => Err(BlobError::TooLarge { size: bytes.len(), limit }),
        None => Ok(blobs.iter().map(|bytes| Digest::of(&[bytes])).collect()),
    }
}

/// Bytes that were found under a name, if they are what was stored.
fn checked(name: &Digest, bytes: Vec<u8>) -> Result<Vec<u8>, BlobError> {
    if Digest::of(&[&bytes]) == *name {
        Ok(bytes)
    } else {
        Err(BlobError::Damaged(*name))
    }
}

/// Visits every blob of a store.
pub fn each(blobs: &dyn Blobs, mut visit: impl FnMut(Listed) -> Result<(), BlobError>) -> Result<(), BlobError> {
    let mut after = None;
    loop {
        let page = blobs.list(after.as_deref())?;
        page.blobs.into_iter().try_for_each(&mut visit)?;
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the age of blobs is told by the store")]
pub(crate) fn wall_clock() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}
