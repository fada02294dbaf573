//! Pages of other origins: which may call, and what they may read. Credentials of a browser (cookies) are never shared with them.

use super::super::{App, problem::clip, surface::Cors};
use axum::http::{HeaderMap, HeaderValue, header};
use quipu_schemas::problem::Problem;

/// Seconds for which a browser may go by the answer to a preflight.
const PREFLIGHT_AGE_S: &str = "600";

/// Refuses a page that is neither of the node's own origin nor of a configured one.
pub(super) fn check(app: &App, headers: &HeaderMap, host: &str) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let text = origin.to_str().unwrap_or_default().to_ascii_lowercase();
    let own = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"))
        .is_some_and(|rest| rest == host);
    if own || is_configured(app, origin) {
        return Ok(());
    }
    Err(Problem::new(
        403,
        "origin_not_allowed",
        format!("origin `{}` may not call this node", clip(&text)),
    )
    .field("Origin")
    .fix("add it to `origins` in the configuration"))
}

fn is_configured(app: &App, origin: &HeaderValue) -> bool {
    let matches = |text: &str| app.access.origins.iter().any(|allowed| allowed.matches(text));
    origin.to_str().is_ok_and(matches)
}

/// Lets the page of a configured origin read the answer. Where there are such origins, every answer says that it depends on who
/// asks.
pub(super) fn share(app: &App, cors: &Cors, headers: &mut HeaderMap, origin: Option<HeaderValue>, preflight: bool) {
    if !app.access.origins.is_empty() {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    let Some(origin) = origin.filter(|origin| is_configured(app, origin)) else {
        return;
    };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let set = |headers: &mut HeaderMap, name, value| headers.insert(name, HeaderValue::from_static(value));
    set(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, cors.exposed);
    if preflight {
        set(headers, header::ACCESS_CONTROL_ALLOW_METHODS, cors.methods);
        set(headers, header::ACCESS_CONTROL_ALLOW_HEADERS, cors.headers);
        set(headers, header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE_S);
    }
}
