//! What reducers look at: a record, where it is, and one event with its version.

use crate::statement::Statements;
use quipu_schemas::{
    codec::{EventError, decode_event},
    context::Millis,
    ids::OrgId,
    record::{Header, Record},
};
use serde::de::DeserializeOwned;

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// Partition.
    pub partition: u16,
    /// Record offset.
    pub offset: u64,
}

/// What reducers of single events look at besides the event.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// Of the event's record.
    pub header: &'a Header,
    /// Version of the event.
    pub version: u64,
}

impl<'a> Scope<'a> {
    /// Whose the entity is.
    pub fn org(&self) -> &'a OrgId {
        &self.header.stream.org
    }
    /// When the record was made.
    pub fn time(&self) -> Millis {
        self.header.time
    }
}

/// Gives each event of a record to a reducer of single events.
pub fn events<E: DeserializeOwned>(
    record: &Record,
    out: &mut Statements,
    one: fn(Scope<'_>, E, &mut Statements),
) -> Result<(), EventError> {
    for (version, stored) in (record.header.first_version..).zip(&record.events) {
        one(
            Scope {
                header: &record.header,
                version,
            },
            decode_event(stored)?,
            out,
        );
    }
    Ok(())
}
