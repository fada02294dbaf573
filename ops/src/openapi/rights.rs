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
    /// The node's token, or a session of an operator.
    Node,
    /// A session.
    Account,
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
                operation["security"] = json!([{ "bearer": [] }, { "access_token": [] }, { "cookie": [] }]);
            }
            Self::Account => {
                operation[EXTENSION] = "account".into();
                operation["security"] = json!([{ "access_token": [] }, { "cookie": [] }]);
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
        "access_token": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": format!(
                "An access token of a session (RFC 9068), from `POST /v1/auth/login` or `/oauth/token`. It opens each org that knows its principal, and there what they hold, cut to the session's scope: the right of each operation is its `{EXTENSION}`, and `account` is what is a principal's own. A session of an operator that is not cut opens what is the node's."
            ),
        },
        "cookie": {
            "type": "apiKey",
            "in": "cookie",
            "name": "__Host-quipu",
            "description": "The same in a cookie, where `POST /v1/auth/login` was asked for one. What changes something then needs an `Origin` that this node serves.",
        },
    })
}
