//! Times as people and programs write them.

use quipu_schemas::context::Millis;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// RFC 3339 with milliseconds, UTC.
pub fn rfc3339(millis: Millis) -> String {
    const FORM: &[time::format_description::FormatItem<'static>] =
        time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000)
        .ok()
        .and_then(|time| time.format(FORM).ok())
        .unwrap_or_else(|| "9999-12-31T23:59:59.999Z".to_owned())
}

/// Milliseconds of a time in RFC 3339; `None` for what is not one, or lies before 1970.
pub fn of_rfc3339(text: &str) -> Option<Millis> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}
