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
pub(crate) struct Scope<'a> {
    pub(crate) header: &'a Header,
    /// Version of the event.
    pub(crate) version: u64,
}

impl<'a> Scope<'a> {
    pub(crate) fn org(&self) -> &'a OrgId {
        &self.header.stream.org
    }
    pub(crate) fn time(&self) -> Millis {
        self.header.time
    }
}

/// Gives each event of a record to a reducer of single events.
pub(crate) fn events<E: DeserializeOwned>(
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
