//! Words of budgets and rates: on what a limit is, of what, and for which time.

use crate::{
    context::Millis,
    ids::EntityId,
    limits::{QUOTA_LABEL_MAX_CHARS, QUOTA_UNIT_MAX_CHARS},
    rights::as_text,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::{borrow::Cow, fmt, str::FromStr};
use time::{Duration, Month, OffsetDateTime, Time, format_description::well_known::Rfc3339};

/// Why a text names no level or unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadQuota {
    /// The text is outside the grammar of levels.
    #[error("`{0}` is not `org`, `project/ID`, `key/ID`, `agent/ID` or `label/TEXT` (1 to 64 of A-Z a-z 0-9 . _ : -)")]
    Level(String),
    /// The text is outside the grammar of units.
    #[error("`{0}` is not `tokens`, `micro_usd`, `calls` or another name of 1 to 32 of a-z 0-9 _ that begins with a letter")]
    Unit(String),
}

/// On what a limit is: a place in an org's tree of budgets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Everything in the org.
    Org,
    /// A project.
    Project(EntityId),
    /// What is done by one API key.
    Key(EntityId),
    /// What one agent does.
    Agent(EntityId),
    /// What carries a label.
    Label(String),
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Org => f.write_str("org"),
            Self::Project(id) => write!(f, "project/{id}"),
            Self::Key(id) => write!(f, "key/{id}"),
            Self::Agent(id) => write!(f, "agent/{id}"),
            Self::Label(text) => write!(f, "label/{text}"),
        }
    }
}

fn is_label(text: &str) -> bool {
    (1..=QUOTA_LABEL_MAX_CHARS).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-'))
}

impl FromStr for Level {
    type Err = BadQuota;

    fn from_str(text: &str) -> Result<Self, BadQuota> {
        let bad = || BadQuota::Level(text.chars().take(QUOTA_LABEL_MAX_CHARS).collect());
        if text == "org" {
            return Ok(Self::Org);
        }
        let (of, name) = text.split_once('/').ok_or_else(bad)?;
        let id = || EntityId::parse(name).map_err(|_| bad());
        Ok(match of {
            "project" => Self::Project(id()?),
            "key" => Self::Key(id()?),
            "agent" => Self::Agent(id()?),
            "label" if is_label(name) => Self::Label(name.to_owned()),
            _ => return Err(bad()),
        })
    }
}

/// Of what a limit is. Money is counted in millionths of a dollar, or in a unit of one's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unit(String);

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Unit {
    type Err = BadQuota;

    fn from_str(text: &str) -> Result<Self, BadQuota> {
        let is_unit = text.len() <= QUOTA_UNIT_MAX_CHARS
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if is_unit {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadQuota::Unit(text.chars().take(QUOTA_UNIT_MAX_CHARS).collect()))
        }
    }
}

as_text!(
    Level,
    r"^(org|(project|key|agent)/[A-Za-z0-9_-]{1,64}|label/[A-Za-z0-9._:-]{1,64})$",
    "The whole org, a project, an API key, an agent or a label."
);
as_text!(
    Unit,
    r"^[a-z][a-z0-9_]{0,31}$",
    "Tokens, millionths of a dollar, calls or a unit of one's own."
);

/// For which time a limit is: what was used in it counts. Hours, days and months are those of the calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// For good.
    Total,
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A month.
    Month,
}

impl Window {
    /// Those that turn.
    pub const TURNING: [Self; 3] = [Self::Hour, Self::Day, Self::Month];

    /// Its stored name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// The window that a time lies in: its first millisecond, and that of the next one. `None` for what never turns.
    pub fn around(self, at: Millis) -> Option<(Millis, Millis)> {
        let of = i64::try_from(at / 1_000)
            .ok()
            .and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok())?;
        let midnight = of.replace_time(Time::MIDNIGHT);
        let (start, end) = match self {
            Self::Total => return None,
            Self::Hour => {
                let start = midnight + Duration::hours(i64::from(of.hour()));
                (start, start + Duration::hours(1))
            }
            Self::Day => (midnight, midnight + Duration::days(1)),
            Self::Month => {
                let start = midnight.replace_day(1).ok()?;
                let year = start.year() + i32::from(start.month() == Month::December);
                let end = start.replace_year(year).and_then(|start| start.replace_month(start.month().next()));
                (start, end.ok()?)
            }
        };
        let ms = |at: OffsetDateTime| Millis::try_from(at.unix_timestamp()).ok().map(|s| s * 1_000);
        Some((ms(start)?, ms(end)?))
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A time as people read it, to the second: `2026-01-02T03:04:05Z`.
pub fn shown_time(at: Millis) -> String {
    let of = i64::try_from(at / 1_000)
        .ok()
        .and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    of.and_then(|of| of.format(&Rfc3339).ok()).unwrap_or_else(|| format!("{at} ms"))
}

/// By what requests are counted for a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RateBy {
    /// Each credential by itself.
    Credential,
    /// Each principal by itself.
    Principal,
    /// All of the org together.
    Org,
}

impl RateBy {
    /// Its stored name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::Principal => "principal",
            Self::Org => "org",
        }
    }
}

/// How many requests in how long: no interval of that length lets more through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rate {
    /// Requests.
    pub requests: u32,
    /// Seconds.
    pub per_seconds: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_levels_and_units_are_written_back() {
        for text in ["org", "project/p1", "key/k", "agent/bot", "label/team:red.2"] {
            let level: Level = text.parse().unwrap();
            assert_eq!(level.to_string(), text);
            let json = serde_json::to_value(&level).unwrap();
            assert_eq!(serde_json::from_value::<Level>(json).unwrap(), level);
        }
        for text in ["", "orgs", "project/", "label/", "label/a b", "label/ä", "run/r", "/x"] {
            assert!(text.parse::<Level>().is_err(), "{text}");
        }
        assert!(format!("label/{}", "x".repeat(QUOTA_LABEL_MAX_CHARS + 1)).parse::<Level>().is_err());
        for (text, is_unit) in [
            ("tokens", true),
            ("micro_usd", true),
            ("", false),
            ("Tokens", false),
            ("1a", false),
            ("a-b", false),
        ] {
            assert_eq!(text.parse::<Unit>().is_ok(), is_unit, "{text}");
        }
    }

    #[test]
    fn windows_turn_with_the_calendar() {
        let at = |text: &str| Millis::try_from(OffsetDateTime::parse(text, &Rfc3339).unwrap().unix_timestamp()).unwrap() * 1_000;
        for (window, within, start, end) in [
            (Window::Hour, "2026-11-30T17:59:59Z", "2026-11-30T17:00:00Z", "2026-11-30T18:00:00Z"),
            (Window::Day, "2026-11-30T23:59:59Z", "2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z"),
            (
                Window::Month,
                "2028-02-29T12:00:00Z",
                "2028-02-01T00:00:00Z",
                "2028-03-01T00:00:00Z",
            ),
            (
                Window::Month,
                "2026-12-31T23:59:59Z",
                "2026-12-01T00:00:00Z",
                "2027-01-01T00:00:00Z",
            ),
        ] {
            assert_eq!(window.around(at(within) + 999), Some((at(start), at(end))), "{window} {within}");
            assert_eq!(window.around(at(start)), Some((at(start), at(end))));
            assert_eq!(window.around(at(end)).unwrap().0, at(end));
        }
        assert_eq!(Window::Total.around(1), None);
        assert_eq!(Window::Hour.around(u64::MAX), None);
        assert_eq!(shown_time(at("2026-12-01T00:00:00Z")), "2026-12-01T00:00:00Z");
    }
}
