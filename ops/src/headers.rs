//! Headers of a request as text: each given once, and labels within their grammar.

use crate::problems::{bad_header, clip};
use axum::http::{HeaderMap, HeaderName};
use quipu_schemas::{limits, problem::Problem};

/// The text of a header; `400` where it is given twice or holds more than visible ASCII.
pub(crate) fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let Ok(key) = HeaderName::from_bytes(name.as_bytes()) else {
        return Ok(None);
    };
    let mut values = headers.get_all(key).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(bad_header(name, format!("duplicate {name}"), "give it once"));
    }
    first
        .to_str()
        .map(Some)
        .map_err(|_| bad_header(name, format!("{name} holds more than visible ASCII"), "use visible ASCII"))
}

fn is_label(text: &str) -> bool {
    (1..=limits::LABEL_MAX_CHARS).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-'))
}

/// A label of a header.
pub fn label(headers: &HeaderMap, name: &str) -> Result<Option<String>, Problem> {
    match one(headers, name)? {
        Some(text) if !is_label(text) => Err(bad_header(
            name,
            format!("not a label: `{}`", clip(text)),
            format!("use 1 to {} of A-Z a-z 0-9 _ . : -", limits::LABEL_MAX_CHARS),
        )),
        other => Ok(other.map(str::to_owned)),
    }
}
