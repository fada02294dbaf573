//! Filters by kind and by type are checked against what the node can ever store: one that fits nothing would be answered by
//! emptiness, or wait for ever in silence.

use super::{
    App,
    params::Params,
    problem::{bad_parameter, clip},
};
use crate::nearest;
use quipu_schemas::problem::Problem;

/// Refuses a `kind` that this node does not have.
pub fn known_kind(app: &App, params: &Params) -> Result<(), Problem> {
    let Some(kind) = params.text("kind") else { return Ok(()) };
    if app.kinds().any(|known| known.kind.as_str() == kind) {
        return Ok(());
    }
    Err(bad_parameter(
        "kind",
        format!("unknown kind `{}`", clip(kind)),
        nearest::fix(kind, "known", app.kinds().map(|known| known.kind.as_str())),
    ))
}

/// Refuses a list of `type`s with one that no kind of this node stores.
pub fn known_types(app: &App, params: &Params) -> Result<(), Problem> {
    let Some(types) = params.text("type") else { return Ok(()) };
    let known = app.event_names();
    let Some(unknown) = types.split(',').find(|name| !known.contains_key(*name)) else {
        return Ok(());
    };
    Err(bad_parameter(
        "type",
        format!("no event is stored as `{}`", clip(unknown)),
        nearest::fix(unknown, "known", known.keys().map(String::as_str)),
    ))
}
