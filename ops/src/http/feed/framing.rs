//! The forms of a feed.

use super::super::accept;
use super::line;
use axum::http::HeaderMap;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// How events are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Server-sent events.
    Sse,
    /// One JSON value a line.
    NdJson,
}

impl Framing {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let (lines, events) = (Self::NdJson, Self::Sse);
        if accept::first_or(headers, lines.media_type(), events.media_type()) == events.media_type() {
            events
        } else {
            lines
        }
    }

    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream",
            Self::NdJson => "application/x-ndjson",
        }
    }

    /// An event with the cursor to resume at.
    pub(crate) fn event(self, out: &mut String, cursor: &str, json: &str) {
        match self {
            Self::Sse => sse(out, None, Some(cursor), json),
            Self::NdJson => line(out, json),
        }
    }

    /// A word of the feed itself.
    pub(crate) fn control(self, out: &mut String, name: &str, cursor: &str, mut fields: Value) {
        if let Some(object) = fields.as_object_mut() {
            object.insert("cursor".into(), cursor.into());
            if self == Self::NdJson {
                object.insert("control".into(), name.into());
            }
        }
        match self {
            Self::Sse => sse(out, Some(name), Some(cursor), &fields.to_string()),
            Self::NdJson => line(out, &fields.to_string()),
        }
    }

    /// A sign of life that also carries the cursor past events that were filtered out.
    pub(crate) fn heartbeat(self, out: &mut String, cursor: &str) {
        match self {
            Self::Sse => {
                let _ = write!(out, ": heartbeat\nid: {cursor}\n\n");
            }
            Self::NdJson => self.control(out, "heartbeat", cursor, json!({})),
        }
    }
}

/// One server-sent event.
pub(crate) fn sse(out: &mut String, name: Option<&str>, id: Option<&str>, data: &str) {
    if let Some(name) = name {
        let _ = writeln!(out, "event: {name}");
    }
    if let Some(id) = id {
        let _ = writeln!(out, "id: {id}");
    }
    for line in data.split('\n') {
        let _ = writeln!(out, "data: {}", line.trim_end_matches('\r'));
    }
    out.push('\n');
}
