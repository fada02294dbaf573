//! The view store port: what every store promises, in numbered sentences; the contract suite has a test for each.
//!
//! 1. A store belongs to one [`Origin`] for life; opening it for another is [`ViewError::OtherOrigin`].
//! 2. [`ViewStore::apply`] executes the statements of all batches, in order, and moves their checkpoints in one
//!    transaction, or does nothing at all.
//! 3. A batch whose expected offset is not the partition's checkpoint is refused with [`ViewError::Conflict`].
//! 4. A read sees all of a transaction or nothing of it, and its cursor is of the same moment as its rows.
//! 5. What is committed survives a crash of the process; a crash of the machine may lose the last transactions, whole
//!    and with their checkpoints, so the projector does them again.
//! 6. Digests depend on the rows alone, not on the order in which they came.
//! 7. Where a store is opened with a family that it does not know, or knows by another version or other tables, that family
//!    begins again, and no other does: until it has seen what the others have, it has a checkpoint of its own
//!    ([`ViewStore::behind`]). A batch of the others is refused where another number of families is behind than it says.
//! 8. A store is whole from the first [`ViewStore::set_whole`] on, for as long as the rows live that were there then.

use crate::{
    error::ViewError,
    families::Families,
    query::{Counted, Found, Page, Query},
    reading::View,
    statement::Statement,
};
use quipu_schemas::{
    digest::Digest,
    ids::{OrgId, PrincipalId, StreamId},
    position::{Cursor, LogId},
};
use std::collections::BTreeMap;

/// What a store's rows are made from, and by.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// The log.
    pub log_id: LogId,
    /// Its generation.
    pub generation: u32,
    /// Its partitions.
    pub partitions: u16,
    /// By which their rows are made.
    pub families: Families,
}

/// An origin as a store keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// The log.
    pub log_id: LogId,
    /// Its generation.
    pub generation: u32,
    /// Its partitions.
    pub partitions: u16,
    /// [`Families::version`] or [`Families::base`] of the maker.
    pub projector: Digest,
}

impl Origin {
    /// The origin of the house's views of a log.
    pub fn of(log: &quipu_events::port::LogMeta) -> Self {
        Self::by(Families::house(), log)
    }

    /// The origin of views that these families make from a log.
    pub fn by(families: Families, log: &quipu_events::port::LogMeta) -> Self {
        Self {
            log_id: log.log_id,
            generation: log.generation,
            partitions: log.partitions,
            families,
        }
    }

    /// As a store keeps it.
    pub fn made(&self) -> Made {
        Made {
            log_id: self.log_id,
            generation: self.generation,
            partitions: self.partitions,
            projector: self.families.version(),
        }
    }

    /// As a store keeps it that can begin single families again.
    pub fn base(&self) -> Made {
        Made {
            projector: self.families.base(),
            ..self.made()
        }
    }
}

impl Made {
    /// Refuses another origin than `expected`, naming the difference.
    pub fn check(&self, expected: &Made) -> Result<(), ViewError> {
        let differ = |what, found: String, expected: String| Err(ViewError::OtherOrigin { what, found, expected });
        if self.log_id != expected.log_id {
            return differ("log", hex::encode(self.log_id.0), hex::encode(expected.log_id.0));
        }
        if self.generation != expected.generation {
            return differ("generation", self.generation.to_string(), expected.generation.to_string());
        }
        if self.partitions != expected.partitions {
            return differ("partition count", self.partitions.to_string(), expected.partitions.to_string());
        }
        if self.projector != expected.projector {
            return differ("projector", self.projector.to_string(), expected.projector.to_string());
        }
        Ok(())
    }
}

/// How far a partition is in the views.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checkpoint {
    /// Highest epoch seen.
    pub epoch: u64,
    /// Next record offset.
    pub next_offset: u64,
    /// How many families are behind it, each with a checkpoint of its own.
    pub behind: u16,
}

/// Whose checkpoint a batch moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// That of all families but those that are behind.
    Views,
    /// That of a family that is behind.
    Late(&'static str),
    /// That of a family which has reached the others, whose checkpoint must be this: it is behind no more.
    Joining(&'static str, Checkpoint),
}

/// A family that is behind the others: its tables are new, or its reducer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// Its name.
    pub family: &'static str,
    /// How far it is, by partition; `None` where it has joined the others.
    pub checkpoints: Vec<Option<Checkpoint>>,
}

/// The statements of some records of one partition, and where the checkpoint goes with them.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewBatch {
    /// Partition.
    pub partition: u16,
    /// Whose checkpoint it moves.
    pub of: Of,
    /// Where the checkpoint must be.
    pub expected: Checkpoint,
    /// Where it goes.
    pub next: Checkpoint,
    /// What to do.
    pub statements: Vec<Statement>,
}

/// The end of a stream's chain as the views know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// Last version.
    pub version: u64,
    /// Hash of the last record.
    pub hash: Digest,
}

/// A stream that was left alone because a record did not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedStream {
    /// The stream.
    pub stream: StreamId,
    /// Partition.
    pub partition: u16,
    /// Offset of the record that did not fit.
    pub offset: u64,
    /// Why.
    pub reason: String,
}

impl Behind {
    /// Of rows as a store keeps them.
    pub(crate) fn gathered(origin: &Origin, rows: Vec<(String, u16, Checkpoint)>) -> Vec<Self> {
        let of = |family: &'static str| {
            let mut checkpoints = vec![None; usize::from(origin.partitions)];
            for (_, partition, at) in rows.iter().filter(|(name, ..)| name == family) {
                if let Some(slot) = checkpoints.get_mut(usize::from(*partition)) {
                    *slot = Some(*at);
                }
            }
            Self { family, checkpoints }
        };
        let all = origin.families.iter().map(|family| of(family.name));
        all.filter(|behind| behind.checkpoints.iter().any(Option::is_some)).collect()
    }

    /// How far it is in a partition, if it is behind there.
    pub fn at(&self, partition: u16) -> Option<Checkpoint> {
        self.checkpoints.get(usize::from(partition)).copied().flatten()
    }
}

/// Which columns a digest covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestOf {
    /// All but partitions and offsets: equal for every interleaving of streams and after moving a log.
    Content,
    /// Everything: equal for a rebuild from the same log.
    Everything,
}

/// A digest a table, by table name.
pub type Digests = BTreeMap<&'static str, Digest>;

/// A store of views: see the module's documentation for what it promises.
pub trait ViewStore: Send + Sync {
    /// What its rows are made from.
    fn origin(&self) -> Origin;
    /// How far each partition is.
    fn checkpoints(&self) -> Result<Vec<Checkpoint>, ViewError>;
    /// The families that are behind the others.
    fn behind(&self) -> Result<Vec<Behind>, ViewError>;
    /// Executes batches (at most one a partition) and moves their checkpoints, all at once. Blocks until committed.
    fn apply(&self, batches: &[ViewBatch]) -> Result<(), ViewError>;
    /// The chain ends of these streams, in that order; `None` for a stream without a record.
    fn tips(&self, streams: &[StreamId]) -> Result<Vec<Option<Tip>>, ViewError>;
    /// All parked streams.
    fn parked(&self) -> Result<Vec<ParkedStream>, ViewError>;
    /// A page of a view's rows within an org.
    fn list(&self, view: View, org: &OrgId, query: &Query) -> Result<Page, ViewError>;
    /// One row of a view, by [`View::named_by`].
    fn get(&self, view: View, org: &OrgId, key: &[&str]) -> Result<Found, ViewError>;
    /// How many rows of a view an org has, by what these columns of text, numbers or flags hold.
    fn count(&self, view: View, org: &OrgId, by: &[&'static str]) -> Result<Counted, ViewError>;
    /// Orgs of which somebody is a member, at most this many; `None` where the store cannot tell across orgs.
    fn orgs_of(&self, principal: &PrincipalId, most: usize) -> Result<Option<Vec<OrgId>>, ViewError>;
    /// Whether it has ever seen the whole log; one that has not holds a part of the rows.
    fn is_whole(&self) -> Result<bool, ViewError>;
    /// Remembers durably that it has.
    fn set_whole(&self) -> Result<(), ViewError>;
    /// How far the store is.
    fn cursor(&self) -> Result<Cursor, ViewError>;
    /// A digest of each table.
    fn digests(&self, of: DigestOf) -> Result<Digests, ViewError>;
}
