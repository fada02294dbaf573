//! Every command that left a record: its receipt, and who did what on whose behalf. One row a record.

use crate::{
    family::{Family, Tie},
    reading::{Computed, Filter, Reading, View, falling, one_of, rising},
    scope::At,
    statement::{Statements, Value, json},
    table::{Table, bytes, index, index_only, int, json as json_column, place, text, text_or},
};
use quipu_kinds::denial::DenialEvent;
use quipu_schemas::{
    codec::{EventError, decode_event},
    ids::{Home, Kind, OrgId, PrincipalId},
    record::Record,
};

/// One row a record, in the order of time, so that rows are appended; `hash` is the record's, so the last row of a
/// stream is its chain's tip.
pub static COMMANDS: Table = Table {
    name: "commands",
    key: &[int("time"), text("kind"), text("id"), place("offset")],
    columns: &[
        place("partition"),
        text("command_id"),
        int("version"),
        int("event_count"),
        json_column("events"),
        text("principal"),
        text("on_behalf_of"),
        text("credential"),
        text("settles"),
        text("correlation"),
        text("causation"),
        bytes("hash"),
        text_or("outcome", "'done'"),
        text("denied_right"),
        text("denied_kind"),
        text("denied_code"),
        int("refusals"),
    ],
    indexes: &[
        index("kind, id, offset"),
        index("kind, id, command_id"),
        index("principal, time, kind, id, offset"),
        index_only("on_behalf_of, time, kind, id, offset", "on_behalf_of IS NOT NULL"),
        index_only("time, kind, id, offset", "outcome = 'denied'"),
    ],
};

/// What was refused is for the audit alone.
const DONE: &str = "outcome = 'done'";

static RECEIPTS_READING: Reading = Reading {
    name: "receipts",
    table: &COMMANDS,
    only: Some(DONE),
    order: rising(&["kind", "id", "offset"]),
    in_stream: Some(rising(&["offset"])),
    orders: &[],
    named_by: &["kind", "id", "command_id"],
    computed: &[Computed::Position, Computed::Stream, Computed::Unchanged],
    filters: &[
        ("kind", Filter::Is("kind")),
        ("id", Filter::Is("id")),
        ("command_id", Filter::Is("command_id")),
    ],
};

static ACTIVITY_READING: Reading = Reading {
    name: "activity",
    table: &COMMANDS,
    only: Some(DONE),
    order: falling(&["time", "kind", "id", "offset"]),
    in_stream: Some(falling(&["offset"])),
    orders: &[],
    named_by: &["kind", "id", "command_id"],
    computed: &[Computed::Position, Computed::Stream, Computed::Unchanged],
    filters: &[
        ("principal", Filter::Is("principal")),
        ("on_behalf_of", Filter::Is("on_behalf_of")),
        ("kind", Filter::Is("kind")),
        ("id", Filter::Is("id")),
        ("correlation", Filter::Is("correlation")),
        ("from", Filter::From("time")),
        ("before", Filter::Before("time")),
    ],
};

/// The same rows for admins, with what was refused among them: there, principal and credential are those of whoever was refused.
static AUDIT_READING: Reading = Reading {
    name: "audit",
    table: &COMMANDS,
    only: None,
    order: falling(&["time", "kind", "id", "offset"]),
    in_stream: None,
    orders: &[],
    named_by: &["kind", "id", "command_id"],
    computed: &[Computed::Position, Computed::Stream, Computed::Unchanged],
    filters: &[
        ("principal", Filter::Is("principal")),
        ("on_behalf_of", Filter::Is("on_behalf_of")),
        ("credential", Filter::Is("credential")),
        ("kind", Filter::Is("kind")),
        ("id", Filter::Is("id")),
        ("outcome", one_of!("outcome": "done", "denied")),
        ("right", Filter::Is("denied_right")),
        ("denied_kind", Filter::Is("denied_kind")),
        ("from", Filter::From("time")),
        ("before", Filter::Before("time")),
    ],
};

impl View {
    /// What was done and what was refused, newest first.
    pub const AUDIT: View = View::of(&AUDIT_READING);
    /// Receipts of commands, in stream order.
    pub const RECEIPTS: View = View::of(&RECEIPTS_READING);
    /// Who did what on whose behalf, newest first.
    pub const ACTIVITY: View = View::of(&ACTIVITY_READING);
}

/// What it brings to the read models.
pub(crate) static FAMILY: Family = Family {
    name: "activity",
    kind: None,
    version: 2,
    tables: &[&COMMANDS],
    views: &[View::RECEIPTS, View::ACTIVITY, View::AUDIT],
    parts: &[(View::RECEIPTS, Tie::Stream), (View::ACTIVITY, Tie::Stream)],
    counts: &[],
    reduce,
};

/// The text that a principal is found by: of somebody from another org with that org before it, so that nobody is found for their
/// namesake.
fn named(home: Option<&OrgId>, who: &PrincipalId) -> String {
    match home {
        Some(org) if !who.is_person() && !who.is_platform() => Home::of(org, who).to_string(),
        Some(_) | None => who.to_string(),
    }
}

pub(crate) fn reduce(record: &Record, at: At, out: &mut Statements) -> Result<(), EventError> {
    let (header, home) = (&record.header, record.header.home.as_ref());
    let names: Vec<&str> = record.events.iter().map(|e| e.name.as_str()).collect();
    let key = || {
        [
            header.time.into(),
            (&header.stream.kind).into(),
            (&header.stream.id).into(),
            at.offset.into(),
        ]
    };
    out.put(
        &COMMANDS,
        &header.stream.org,
        key(),
        [
            ("partition", at.partition.into()),
            ("command_id", (&header.command_id).into()),
            ("version", header.last_version().into()),
            ("event_count", names.len().into()),
            ("events", json(&names)),
            ("principal", named(home, &header.principal).into()),
            ("on_behalf_of", header.on_behalf_of.as_ref().map(|who| named(home, who)).into()),
            ("credential", header.credential.as_ref().map(ToString::to_string).into()),
            ("settles", header.settlement.as_ref().map(|s| s.key.to_string()).into()),
            ("correlation", header.correlation.as_deref().into()),
            ("causation", header.causation.as_deref().into()),
            ("hash", Value::Bytes(record.hash.0.to_vec())),
        ],
    );
    if header.stream.kind == Kind::DENIAL {
        // The node notes one at a time.
        for stored in &record.events {
            let DenialEvent::Noted { denial } = decode_event(stored)?;
            out.put(
                &COMMANDS,
                &header.stream.org,
                key(),
                [
                    ("outcome", "denied".into()),
                    ("principal", (&denial.principal).into()),
                    ("on_behalf_of", denial.on_behalf_of.as_ref().into()),
                    ("credential", denial.credential.into()),
                    ("denied_right", denial.right.into()),
                    ("denied_kind", denial.kind.into()),
                    ("denied_code", denial.code.into()),
                    ("refusals", denial.count.into()),
                ],
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namesakes_of_two_orgs_are_found_apart() {
        let (beta, bot) = (OrgId::from_static("beta"), PrincipalId::from_static("bot"));
        assert_eq!((named(None, &bot), named(Some(&beta), &bot)), ("bot".into(), "beta/bot".into()));
        for same in ["usr_1", "bootstrap", "_accounts"] {
            let who = PrincipalId::from_static(same);
            assert_eq!(named(Some(&beta), &who), same, "nobody of an org");
        }
    }
}
