//! Bounds of the texts that people give to every kind.

use quipu_schemas::{
    limits::{NAME_MAX_CHARS, REASON_MAX_CHARS},
    text::is_printable_line,
};

/// Whether a display name has 1 to 200 characters, some of them visible, none that breaks the line or turns it round.
pub(crate) fn is_display_name(text: &str) -> bool {
    text.chars().count() <= NAME_MAX_CHARS && is_printable_line(text)
}

/// Whether a reason has at most 500 characters.
pub(crate) fn is_reason(text: &str) -> bool {
    text.chars().count() <= REASON_MAX_CHARS
}
