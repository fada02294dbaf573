//! What each operation takes, and who can show it: `x-quipu-right` and `security`.

use super::responses::Reply;
use crate::rights;
use quipu_runtime::api::KindInfo;
use serde_json::{Value, json};

/// The extension that tells it.
pub(crate) const EXTENSION: &str = "x-quipu-right";

/// What an operation takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Opens {
    /// A right in the org; the node's token holds each.
    Right(String),
    /// The node's token.
    Node,
    /// Nothing.
    Anybody,
}

impl Opens {
    /// Tells it in the document.
    pub(super) fn tell(&self, operation: &mut Value) {
        match self {
            Self::Right(right) => operation[EXTENSION] = right.as_str().into(),
            Self::Node => {
                operation[EXTENSION] = "node".into();
                operation["security"] = json!([{ "bearer": [] }]);
            }
            Self::Anybody => {
                operation[EXTENSION] = "none".into();
                operation["security"] = json!([]);
            }
        }
    }
}

/// What a command takes.
pub(super) fn of_command(kind: &str, command: &str) -> Opens {
    Opens::Right(format!("cap:{kind}.{command}"))
}

/// What a read takes, by the sort of its answer; `kind` where it is of one.
pub(super) fn of_read(reply: Reply, kind: &str, kinds: &[KindInfo]) -> Opens {
    match reply {
        Reply::Page(view) | Reply::Row(view) => Opens::Right(rights::of_view_among(view, kinds).to_string()),
        Reply::Stats => Opens::Right(rights::STATS.to_string()),
        // What may be read of the kinds is what comes.
        Reply::Feed => Opens::Right("cap:{kind}.read".into()),
        Reply::State | Reply::History | Reply::Receipt | Reply::Live | Reply::Told | Reply::Resolved => {
            Opens::Right(format!("cap:{kind}.read"))
        }
        Reply::Created | Reply::Decided | Reply::Started(_) | Reply::Json(_) | Reply::Metrics => Opens::Node,
        Reply::Health | Reply::Alive | Reply::Open(_) => Opens::Anybody,
    }
}

/// What can be shown.
pub(super) fn schemes() -> Value {
    json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "The node's own token, which opens all of it: printed on the first start, kept in the data directory.",
        },
        "api_key": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "qpk_{org}.{id}.{secret}",
            "description": format!(
                "A key of an org. It opens that org alone, and there what its principal holds, cut to the key's scopes: the right of each operation is its `{EXTENSION}`."
            ),
        },
    })
}
