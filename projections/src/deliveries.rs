//! Effects and dispatched commands with what became of them; dead letters are the dead among the effects.
//!
//! All that is said of an effect stands in its own stream, in order. A dispatch is settled by its receiver's stream,
//! which may be read before the sender's: both sides put different columns of the row, so either may come first.

use crate::{
    family::{Family, Tie},
    reading::{Computed, Filter, Reading, View, falling, whole},
    statement::{Statements, Value},
    table::{Table, count, index, index_only, int, text, text_or},
    timers,
};
use quipu_schemas::{
    reaction::{Reaction, ReactionKey, Settled, Settlement},
    record::{Header, Record},
};

/// One row an effect; `status` is `pending`, `processing`, `delivered`, `failed`, `cancelled`, `dead` or `dropped`.
pub static DELIVERIES: Table = Table {
    name: "deliveries",
    key: &[text("kind"), text("id"), int("version"), int("ordinal")],
    columns: &[
        text("name"),
        text("effect"),
        text("destination"),
        text("order_key"),
        text_or("status", "'pending'"),
        count("attempts"),
        int("attempts_max"),
        text("last_code"),
        text("last_error"),
        int("next_attempt_at"),
        count("late_notes"),
        int("created_at"),
        int("updated_at"),
        int("settled_at"),
    ],
    indexes: &[
        index("created_at, kind, id, version, ordinal"),
        index_only("status, created_at, kind, id, version, ordinal", "status <> 'delivered'"),
        index_only("settled_at, kind, id, version, ordinal", "status = 'dead'"),
    ],
};

/// One row a dispatched command; `status` is `pending`, `accepted`, `unchanged`, `refused` or `parked`.
pub static DISPATCHES: Table = Table {
    name: "dispatches",
    key: &[text("kind"), text("id"), int("version"), int("ordinal")],
    columns: &[
        text("receiver"),
        text("command"),
        text_or("status", "'pending'"),
        text("code"),
        int("created_at"),
        int("settled_at"),
    ],
    indexes: &[index_only("kind, id, version, ordinal", "status = 'pending'")],
};

const EFFECT_KEY: &[&str] = &["kind", "id", "version", "ordinal"];

static DELIVERIES_READING: Reading = Reading {
    name: "deliveries",
    table: &DELIVERIES,
    only: None,
    order: falling(&["created_at", "kind", "id", "version", "ordinal"]),
    in_stream: Some(falling(&["version", "ordinal"])),
    orders: &[],
    named_by: EFFECT_KEY,
    computed: &[Computed::Key, Computed::Stream],
    filters: &[
        (
            "status",
            Filter::OneOf(&[
                ("pending", "status = 'pending' AND status <> 'delivered'"),
                ("processing", "status = 'processing' AND status <> 'delivered'"),
                ("delivered", "status = 'delivered'"),
                ("failed", "status = 'failed' AND status <> 'delivered'"),
                ("cancelled", "status = 'cancelled' AND status <> 'delivered'"),
                ("dead", "status = 'dead' AND status <> 'delivered'"),
                ("dropped", "status = 'dropped' AND status <> 'delivered'"),
            ]),
        ),
        ("kind", Filter::Is("kind")),
        ("id", Filter::Is("id")),
        ("effect", Filter::Is("effect")),
        ("destination", Filter::Is("destination")),
    ],
};

static DEAD_LETTERS_READING: Reading = Reading {
    name: "dead-letters",
    table: &DELIVERIES,
    only: Some("status = 'dead' AND status <> 'delivered'"),
    order: falling(&["created_at", "kind", "id", "version", "ordinal"]),
    in_stream: Some(falling(&["version", "ordinal"])),
    orders: &[("recent", falling(&["settled_at", "kind", "id", "version", "ordinal"]))],
    named_by: EFFECT_KEY,
    computed: &[Computed::Key, Computed::Stream],
    filters: &[
        ("kind", Filter::Is("kind")),
        ("id", Filter::Is("id")),
        ("effect", Filter::Is("effect")),
        ("destination", Filter::Is("destination")),
    ],
};

static DISPATCHES_READING: Reading = Reading {
    computed: &[Computed::Key, Computed::Stream],
    ..whole(
        "dispatches",
        &DISPATCHES,
        EFFECT_KEY,
        &[
            (
                "status",
                Filter::OneOf(&[
                    ("pending", "status = 'pending'"),
                    ("accepted", "status = 'accepted'"),
                    ("unchanged", "status = 'unchanged'"),
                    ("refused", "status = 'refused'"),
                    ("parked", "status = 'parked'"),
                ]),
            ),
            ("kind", Filter::Is("kind")),
            ("id", Filter::Is("id")),
            ("receiver", Filter::Is("receiver")),
        ],
    )
};

impl View {
    /// Effects, newest first.
    pub const DELIVERIES: View = View::of(&DELIVERIES_READING);
    /// Effects that are dead, newest first; `recent`: last to die first (a retry dies again).
    pub const DEAD_LETTERS: View = View::of(&DEAD_LETTERS_READING);
    /// Commands that entities sent to others.
    pub const DISPATCHES: View = View::of(&DISPATCHES_READING);
}

/// What it brings to the read models.
pub(crate) static FAMILY: Family = Family {
    name: "effects",
    kind: None,
    version: 1,
    tables: &[&DELIVERIES, &DISPATCHES, &timers::TIMERS],
    views: &[View::DELIVERIES, View::DEAD_LETTERS, View::DISPATCHES, View::TIMERS],
    parts: &[
        (View::DELIVERIES, Tie::Stream),
        (View::DEAD_LETTERS, Tie::Stream),
        (View::DISPATCHES, Tie::Stream),
        (View::TIMERS, Tie::Stream),
    ],
    counts: &[(View::DEAD_LETTERS, &[])],
    reduce: |record, _, out| {
        reduce(record, out);
        Ok(())
    },
};

pub(crate) fn reduce(record: &Record, out: &mut Statements) {
    let header = &record.header;
    // What a record settles was caused by an earlier one, so it comes before what this record causes.
    if let Some(settlement) = &header.settlement {
        settle(header, settlement, out);
    }
    for stored in &record.reactions {
        let stream = &header.stream;
        let key = || {
            [
                (&stream.kind).into(),
                (&stream.id).into(),
                stored.version.into(),
                stored.ordinal.into(),
            ]
        };
        match &stored.reaction {
            Reaction::Perform(perform) => out.put(
                &DELIVERIES,
                &stream.org,
                key(),
                [
                    ("name", perform.name.as_str().into()),
                    ("effect", perform.effect.facts().name.into()),
                    ("destination", perform.effect.facts().destination.into()),
                    ("order_key", perform.effect.order_key(stream).into()),
                    ("attempts_max", perform.retry.attempts.into()),
                    ("created_at", header.time.into()),
                    ("updated_at", header.time.into()),
                ],
            ),
            Reaction::Dispatch(dispatch) => {
                let command = dispatch.command.0.as_object().and_then(|o| o.keys().next().cloned());
                out.put(
                    &DISPATCHES,
                    &stream.org,
                    key(),
                    [
                        ("receiver", dispatch.to.to_string().into()),
                        ("command", command.into()),
                        ("created_at", header.time.into()),
                    ],
                );
            }
            Reaction::WakeAt { name, due } => timers::set(header, stored.version, stored.ordinal, name, *due, out),
            Reaction::CancelWake { name } => timers::cancel(header, name, out),
            // The effect ends by its settlement, whether the cancellation came in time or not.
            Reaction::CancelEffect { name: _ } => {}
        }
    }
}

fn settle(header: &Header, settlement: &Settlement, out: &mut Statements) {
    let key = &settlement.key;
    let now = || Value::from(header.time);
    let (dispatch, code) = match &settlement.outcome {
        Settled::Accepted => ("accepted", None),
        Settled::Unchanged => ("unchanged", None),
        Settled::Cancelled => ("cancelled", None),
        Settled::Refused { code } => ("refused", Some(code)),
        Settled::Parked { detail } => ("parked", Some(detail)),
        Settled::Dead { attempts, code, detail } => {
            let set = [("status", "dead".into()), ("attempts", (*attempts).into()), ("settled_at", now())];
            return effect(key, header, set, code, detail, out);
        }
        Settled::Started { attempt } => {
            let set = [
                ("status", "processing".into()),
                ("attempts", (*attempt).into()),
                ("next_attempt_at", Value::Null),
                ("updated_at", now()),
            ];
            return out.change(&DELIVERIES, &key.stream.org, matching(key), set, &[]);
        }
        Settled::AttemptFailed {
            attempt,
            code,
            detail,
            retry_at,
        } => {
            let set = [
                ("status", "pending".into()),
                ("attempts", (*attempt).into()),
                ("next_attempt_at", (*retry_at).into()),
            ];
            return effect(key, header, set, code, detail, out);
        }
        Settled::Retried => {
            // A dispatch that was given up is taken up where it was settled.
            let again = [("status", "pending".into()), ("code", Value::Null), ("settled_at", Value::Null)];
            out.change(&DISPATCHES, &key.stream.org, matching(key), again, &[]);
            let set = [
                ("status", "pending".into()),
                ("next_attempt_at", now()),
                ("settled_at", Value::Null),
                ("updated_at", now()),
            ];
            return out.change(&DELIVERIES, &key.stream.org, matching(key), set, &[]);
        }
        Settled::Dropped => {
            let set = [
                ("status", "dropped".into()),
                ("next_attempt_at", Value::Null),
                ("settled_at", now()),
                ("updated_at", now()),
            ];
            return out.change(&DELIVERIES, &key.stream.org, matching(key), set, &[]);
        }
        // The receiver's own settlement says how it stands.
        Settled::Told => return,
        Settled::Late => {
            return out.change(
                &DELIVERIES,
                &key.stream.org,
                matching(key),
                [("updated_at", now())],
                &[("late_notes", 1)],
            );
        }
    };
    let set = [
        ("status", dispatch.into()),
        ("code", code.map(String::as_str).into()),
        ("settled_at", now()),
    ];
    if key.stream != header.stream {
        let row = [
            (&key.stream.kind).into(),
            (&key.stream.id).into(),
            key.version.into(),
            key.ordinal.into(),
        ];
        return out.put(&DISPATCHES, &key.stream.org, row, set);
    }
    // In its own stream a settled key is an effect's, a timer's or a dispatch's to itself: at most one of these matches.
    out.change(&DISPATCHES, &key.stream.org, matching(key), set, &[]);
    timers::fired(header, key.version, key.ordinal, out);
    let status = match &settlement.outcome {
        Settled::Cancelled => "cancelled",
        _ if code.is_some() => "failed",
        _ => "delivered",
    };
    // The attempt that came through was noted beforehand only where the effect is sent at most once.
    for (before, more) in [("processing", 0), ("pending", 1)] {
        let [kind, id, version, ordinal] = matching(key);
        out.change(
            &DELIVERIES,
            &key.stream.org,
            [kind, id, version, ordinal, ("status", before.into())],
            [
                ("status", status.into()),
                ("last_code", code.map(String::as_str).into()),
                ("last_error", Value::Null),
                ("next_attempt_at", Value::Null),
                ("settled_at", now()),
                ("updated_at", now()),
            ],
            if more == 0 { &[] } else { &[("attempts", 1)] },
        );
    }
}

fn matching(key: &ReactionKey) -> [(&'static str, Value); 4] {
    [
        ("kind", (&key.stream.kind).into()),
        ("id", (&key.stream.id).into()),
        ("version", key.version.into()),
        ("ordinal", key.ordinal.into()),
    ]
}

fn effect(key: &ReactionKey, header: &Header, set: [(&'static str, Value); 3], code: &str, detail: &str, out: &mut Statements) {
    let [a, b, c] = set;
    let set = [
        a,
        b,
        c,
        ("last_code", code.into()),
        ("last_error", detail.into()),
        ("updated_at", header.time.into()),
    ];
    out.change(&DELIVERIES, &key.stream.org, matching(key), set, &[]);
}
