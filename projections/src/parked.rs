//! Streams whose records no longer fit: they are left alone from there on, and everything else goes on.

use crate::{
    family::Family,
    reading::{Computed, Filter, Reading, View, whole},
    scope::At,
    statement::Statements,
    table::{Table, count, int, place, text},
};
use quipu_schemas::record::Header;

/// One row a parked stream; `offset` is the record that did not fit, `waiting` counts the stream's records since.
pub static PARKED: Table = Table {
    name: "parked_streams",
    key: &[text("kind"), text("id")],
    columns: &[
        place("partition"),
        place("offset"),
        int("version"),
        text("reason"),
        int("parked_at"),
        count("waiting"),
    ],
    indexes: &[],
};

static PARKED_STREAMS_READING: Reading = Reading {
    computed: &[Computed::Position, Computed::Stream],
    ..whole("parked-streams", &PARKED, &["kind", "id"], &[("kind", Filter::Is("kind"))])
};

impl View {
    /// Streams that parked.
    pub const PARKED_STREAMS: View = View::of(&PARKED_STREAMS_READING);
}

/// What it brings to the read models.
pub(crate) static FAMILY: Family = Family {
    name: "parked",
    kind: None,
    version: 1,
    tables: &[&PARKED],
    views: &[View::PARKED_STREAMS],
    parts: &[],
    counts: &[],
    // The projector says what parks: no record does.
    reduce: |_, _, _| Ok(()),
};

/// The stream parks at this record.
pub(crate) fn park(header: &Header, at: At, reason: &str, out: &mut Statements) {
    let stream = &header.stream;
    out.put_add(
        &PARKED,
        &stream.org,
        [(&stream.kind).into(), (&stream.id).into()],
        [
            ("partition", at.partition.into()),
            ("offset", at.offset.into()),
            ("version", header.first_version.into()),
            ("reason", reason.into()),
            ("parked_at", header.time.into()),
        ],
        [("waiting", 1)],
    );
}

/// Another record of a parked stream went by.
pub(crate) fn wait(header: &Header, out: &mut Statements) {
    let stream = &header.stream;
    out.put_add(
        &PARKED,
        &stream.org,
        [(&stream.kind).into(), (&stream.id).into()],
        [],
        [("waiting", 1)],
    );
}
