//! Bounds of the texts that people give to every kind.

use quipu_schemas::limits::{NAME_MAX_CHARS, REASON_MAX_CHARS};

/// Whether a display name has 1 to 200 characters, not all blank, none of them control characters.
pub(crate) fn is_display_name(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= NAME_MAX_CHARS && !text.chars().any(char::is_control)
}

/// Whether a reason has at most 500 characters.
pub(crate) fn is_reason(text: &str) -> bool {
    text.chars().count() <= REASON_MAX_CHARS
}
