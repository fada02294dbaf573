//! Stands where a store will be, when its server answers.

use crate::{
    error::ViewError,
    query::{Counted, Found, Page, Query},
    reading::View,
    store::{Behind, Checkpoint, DigestOf, Digests, Origin, ParkedStream, Tip, ViewBatch, ViewStore},
};
use quipu_schemas::{
    ids::{OrgId, PrincipalId, StreamId},
    position::Cursor,
};

/// A store that cannot be reached: every call fails with the reason.
pub(crate) struct Absent {
    pub(crate) origin: Origin,
    pub(crate) why: ViewError,
}

impl Absent {
    /// Before the first record.
    pub(crate) fn begin(&self) -> Cursor {
        Cursor {
            log: self.origin.log_id,
            generation: self.origin.generation,
            next: vec![0; usize::from(self.origin.partitions)],
        }
    }

    fn fails<T>(&self) -> Result<T, ViewError> {
        Err(self.why.clone())
    }
}

impl ViewStore for Absent {
    fn origin(&self) -> Origin {
        self.origin
    }
    fn checkpoints(&self) -> Result<Vec<Checkpoint>, ViewError> {
        self.fails()
    }
    fn behind(&self) -> Result<Vec<Behind>, ViewError> {
        self.fails()
    }
    fn apply(&self, _: &[ViewBatch]) -> Result<(), ViewError> {
        self.fails()
    }
    fn tips(&self, _: &[StreamId]) -> Result<Vec<Option<Tip>>, ViewError> {
        self.fails()
    }
    fn parked(&self) -> Result<Vec<ParkedStream>, ViewError> {
        self.fails()
    }
    fn is_whole(&self) -> Result<bool, ViewError> {
        self.fails()
    }
    fn set_whole(&self) -> Result<(), ViewError> {
        self.fails()
    }
    fn list(&self, _: View, _: &OrgId, _: &Query) -> Result<Page, ViewError> {
        self.fails()
    }
    fn get(&self, _: View, _: &OrgId, _: &[&str]) -> Result<Found, ViewError> {
        self.fails()
    }

    fn count(&self, _: View, _: &OrgId, _: &[&'static str]) -> Result<Counted, ViewError> {
        self.fails()
    }
    fn orgs_of(&self, _: &PrincipalId, _: usize) -> Result<Option<Vec<OrgId>>, ViewError> {
        self.fails()
    }
    fn cursor(&self) -> Result<Cursor, ViewError> {
        self.fails()
    }
    fn digests(&self, _: DigestOf) -> Result<Digests, ViewError> {
        self.fails()
    }
}
