//! The form of log lines.

use super::{ConfigError, LogFormat, written::Logging, wrong};

pub(super) fn format_of(logging: &Logging) -> Result<LogFormat, ConfigError> {
    match logging.format.as_str() {
        "auto" => Ok(LogFormat::Auto),
        "json" => Ok(LogFormat::Json),
        "pretty" => Ok(LogFormat::Pretty),
        other => Err(wrong(
            "logging.format",
            format!("unknown format `{other}`; use auto, json or pretty"),
        )),
    }
}
