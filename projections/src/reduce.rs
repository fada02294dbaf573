//! From a record to statements: pure, without effects by type, the same on every machine and in every rebuild.

use crate::{
    activity, agents, conversations, deliveries, orgs, runs,
    statement::{Statement, Statements},
};
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

/// The statements of one record.
///
/// Statements of records of different streams commute, so views are equal whatever the interleaving of streams. An
/// event that does not decode is an error: the projector parks its stream.
pub fn reduce(record: &Record, at: At) -> Result<Vec<Statement>, EventError> {
    let mut out = Statements::default();
    match record.header.stream.kind.as_str() {
        "org" => events(record, &mut out, orgs::reduce)?,
        "agent" => events(record, &mut out, agents::reduce)?,
        "conversation" => events(record, &mut out, conversations::reduce)?,
        "run" => events(record, &mut out, runs::reduce)?,
        // A user's own kinds have no view of their own; their commands, effects and timers are shown all the same.
        _ => {}
    }
    deliveries::reduce(record, &mut out);
    activity::reduce(record, at, &mut out);
    Ok(out.into_inner())
}

fn events<E: DeserializeOwned>(record: &Record, out: &mut Statements, one: fn(Scope<'_>, E, &mut Statements)) -> Result<(), EventError> {
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
