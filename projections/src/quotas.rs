//! Budgets, open reservations and rates of an org.

use crate::{
    family::Family,
    reading::{Computed, Filter, Reading, View, one_of, whole},
    scope::{Scope, events},
    statement::{Statements, Value, json},
    table::{Table, count, int, json as json_column, text},
};
use quipu_kinds::quota::{Hold, QuotaEvent};
use quipu_schemas::quota::{Level, Unit};

/// One row a limit.
pub static QUOTAS: Table = Table {
    name: "quotas",
    key: &[text("level"), text("unit"), text("window")],
    columns: &[
        int("limit"),
        count("used"),
        count("held"),
        int("turns_at"),
        count("noticed_percent"),
        text("set_by"),
        int("set_at"),
    ],
    indexes: &[],
};

static QUOTAS_READING: Reading = Reading {
    computed: &[Computed::Left, Computed::Percent],
    ..whole(
        "quotas",
        &QUOTAS,
        &["level", "unit", "window"],
        &[
            ("level", Filter::Is("level")),
            ("unit", Filter::Is("unit")),
            ("window", Filter::Is("window")),
        ],
    )
};

/// One row a reservation that is open.
pub static RESERVATIONS: Table = Table {
    name: "reservations",
    key: &[text("key")],
    columns: &[json_column("holds"), int("until"), text("reserved_by"), int("reserved_at")],
    indexes: &[],
};

static RESERVATIONS_READING: Reading = whole(
    "reservations",
    &RESERVATIONS,
    &["key"],
    &[
        ("reserved_by", Filter::Is("reserved_by")),
        ("until_before", Filter::Before("until")),
    ],
);

/// One row a rate.
pub static RATES: Table = Table {
    name: "rates",
    key: &[text("by")],
    columns: &[int("requests"), int("per_seconds"), text("set_by"), int("set_at")],
    indexes: &[],
};

static RATES_READING: Reading = whole("rates", &RATES, &["by"], &[("by", one_of!("by": "credential", "principal", "org"))]);

impl View {
    /// Limits, with what is used and held of them.
    pub const QUOTAS: View = View::of(&QUOTAS_READING);
    /// Reservations that are open.
    pub const RESERVATIONS: View = View::of(&RESERVATIONS_READING);
    /// How many requests are let through.
    pub const RATES: View = View::of(&RATES_READING);
}

/// What it brings to the read models.
pub(crate) static FAMILY: Family = Family {
    name: "quota",
    kind: Some("quota"),
    version: 1,
    tables: &[&QUOTAS, &RESERVATIONS, &RATES],
    views: &[View::QUOTAS, View::RESERVATIONS, View::RATES],
    parts: &[],
    counts: &[(View::QUOTAS, &["window"])],
    reduce: |record, _, out| events(record, out, reduce),
};

/// Adds to all limits of a place.
fn add(at: Scope<'_>, (level, unit): (&Level, &Unit), add: &[(&'static str, i64)], out: &mut Statements) {
    let matching = [("level", level.to_string().into()), ("unit", unit.to_string().into())];
    out.change(&QUOTAS, at.org(), matching, [], add);
}

fn amount(of: u64) -> i64 {
    i64::try_from(of).unwrap_or(i64::MAX)
}

fn hold(at: Scope<'_>, holds: &[Hold], sign: i64, out: &mut Statements) {
    for hold in holds {
        for level in &hold.levels {
            add(at, (level, &hold.unit), &[("held", sign * amount(hold.amount))], out);
        }
    }
}

fn by(at: Scope<'_>) -> Value {
    at.header.on_behalf_of.as_ref().unwrap_or(&at.header.principal).into()
}

pub(crate) fn reduce(at: Scope<'_>, event: QuotaEvent, out: &mut Statements) {
    match event {
        QuotaEvent::LimitSet { .. } | QuotaEvent::LimitRemoved { .. } | QuotaEvent::Turned { .. } | QuotaEvent::Noticed { .. } => {
            limits(at, event, out);
        }
        QuotaEvent::Reserved { key, until, holds, .. } => {
            hold(at, &holds, 1, out);
            out.put(
                &RESERVATIONS,
                at.org(),
                [(&key).into()],
                [
                    ("holds", json(&holds)),
                    ("until", until.into()),
                    ("reserved_by", by(at)),
                    ("reserved_at", at.time().into()),
                ],
            );
        }
        QuotaEvent::Settled { key, bookings, .. } => {
            for booking in &bookings {
                for level in &booking.levels {
                    let counts = [("used", amount(booking.used)), ("held", -amount(booking.freed))];
                    add(at, (level, &booking.unit), &counts, out);
                }
            }
            out.delete(&RESERVATIONS, at.org(), [("key", (&key).into())]);
        }
        QuotaEvent::Released { key, holds } => {
            hold(at, &holds, -1, out);
            out.delete(&RESERVATIONS, at.org(), [("key", (&key).into())]);
        }
        QuotaEvent::Lapsed { keys, freed, .. } => {
            for freed in &freed {
                add(at, (&freed.level, &freed.unit), &[("held", -amount(freed.amount))], out);
            }
            for key in &keys {
                out.delete(&RESERVATIONS, at.org(), [("key", key.into())]);
            }
        }
        QuotaEvent::WindowWatched { .. } => {}
        QuotaEvent::RateSet {
            by: of,
            requests,
            per_seconds,
        } => out.put(
            &RATES,
            at.org(),
            [of.name().into()],
            [
                ("requests", requests.into()),
                ("per_seconds", per_seconds.into()),
                ("set_by", by(at)),
                ("set_at", at.time().into()),
            ],
        ),
        QuotaEvent::RateRemoved { by } => out.delete(&RATES, at.org(), [("by", by.name().into())]),
    }
}

fn limits(at: Scope<'_>, event: QuotaEvent, out: &mut Statements) {
    match event {
        QuotaEvent::LimitSet {
            level,
            unit,
            window,
            limit,
            held,
            turns_at,
        } => out.put(
            &QUOTAS,
            at.org(),
            [level.to_string().into(), unit.to_string().into(), window.name().into()],
            [
                ("limit", limit.into()),
                ("held", held.into()),
                ("turns_at", turns_at.into()),
                ("noticed_percent", 0_u64.into()),
                ("set_by", by(at)),
                ("set_at", at.time().into()),
            ],
        ),
        QuotaEvent::LimitRemoved { level, unit, window } => out.delete(
            &QUOTAS,
            at.org(),
            [
                ("level", level.to_string().into()),
                ("unit", unit.to_string().into()),
                ("window", window.name().into()),
            ],
        ),
        QuotaEvent::Turned { window, until, .. } => out.change(
            &QUOTAS,
            at.org(),
            [("window", window.name().into())],
            [
                ("used", 0_u64.into()),
                ("noticed_percent", 0_u64.into()),
                ("turns_at", until.into()),
            ],
            &[],
        ),
        QuotaEvent::Noticed {
            level,
            unit,
            window,
            percent,
            ..
        } => out.change(
            &QUOTAS,
            at.org(),
            [
                ("level", level.to_string().into()),
                ("unit", unit.to_string().into()),
                ("window", window.name().into()),
            ],
            [("noticed_percent", u64::from(percent).into())],
            &[],
        ),
        _ => {}
    }
}
