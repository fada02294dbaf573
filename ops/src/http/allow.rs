//! Which methods a path of the grid allows: the router knows its shape, not what a name in it stands for.

use super::App;
use crate::parts::{is_read_only, view_named};

const READ: &str = "GET, HEAD";
const WRITE: &str = "POST";
const BOTH: &str = "GET, HEAD, POST";

/// The methods that the path allows, where its names decide; elsewhere the router tells them.
pub(super) fn methods(app: &App, path: &str) -> Option<&'static str> {
    let segments: Vec<&str> = path.strip_prefix("/v1/orgs/")?.split('/').collect();
    let (kinds, name) = match segments[..] {
        [_, "events" | "stats" | "blobs" | "resolve"] | [_, "blobs", _] => return None,
        [_, kinds] | [_, kinds, _] => (kinds, None),
        [_, kinds, _, name] => (kinds, Some(name)),
        _ => return None,
    };
    let Ok(kind) = app.kind(kinds) else {
        return view_named(app.families(), kinds).map(|_| READ);
    };
    let Some(name) = name else { return Some(BOTH) };
    match (is_read_only(app.families(), kind.kind.as_str(), name), kind.has_command(name)) {
        (true, true) => Some(BOTH),
        (true, false) => Some(READ),
        (false, true) => Some(WRITE),
        (false, false) => None,
    }
}
