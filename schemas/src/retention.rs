//! How long large values are kept, by a setting of their org.

use crate::{context::Millis, json::Json, limits::RETENTION_DAYS_MAX};

/// The setting by which large values go so many days after the newest record that names them; unset, they stay.
pub const RETENTION_SETTING: &str = "values.retention_days";

/// The event that changes an org's settings.
pub const SETTINGS_CHANGED: &str = "quipu.org.settings_changed.v1";

/// The age at which large values go, by the value of [`RETENTION_SETTING`]; `None` where it is none.
pub fn retention_ms(value: &Json) -> Option<Millis> {
    let days = value.0.as_u64()?;
    (1..=RETENTION_DAYS_MAX).contains(&days).then_some(days * 24 * 60 * 60 * 1000)
}
