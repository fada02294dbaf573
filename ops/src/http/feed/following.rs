//! Who may follow: asked when a feed begins, and again before each record that it delivers.

use super::{App, Feed};
use crate::{app::reads::On, caller::InOrg};
use quipu_runtime::api::{FeedFilter, FeedItem};
use quipu_schemas::{context::Keys, ids::StreamId, problem::Problem};
use serde_json::json;
use std::sync::Arc;

/// One entity, as rights name it.
pub(super) fn on(stream: &StreamId) -> On<'_> {
    Some((&stream.kind, &stream.id))
}

/// Refuses a feed of kinds that are named, and that the caller may not read; without names, what may be read is what comes.
pub(super) fn may_follow(app: &App, by: &InOrg, filter: &FeedFilter) -> Result<(), Problem> {
    let reads = app.reads(by);
    match (&filter.kind, &filter.id) {
        (Some(kind), Some(id)) => reads.ask_entity(&by.stream(kind.clone(), id.clone()))?,
        (Some(kind), None) => reads.ask_kind(kind)?,
        (None, _) => {}
    }
    let kinds = filter.types.iter().filter_map(|name| app.event_names().get(name));
    match &filter.id {
        Some(id) => kinds
            .into_iter()
            .try_for_each(|kind| reads.ask_entity(&by.stream(kind.clone(), id.clone()))),
        None => kinds.into_iter().try_for_each(|kind| reads.ask_kind(kind)),
    }
}

impl Feed {
    /// Passes on what the caller may read by now.
    pub(super) async fn deliver(&mut self, item: FeedItem, out: &mut String) {
        if self.renew(out).await {
            let values = self.bring(&item).await;
            self.item(item, values, out);
        }
    }

    /// Asks again whether the caller may follow, and what they may read; says so where they may not.
    pub(super) async fn renew(&mut self, out: &mut String) -> bool {
        let problem = match self.app.renewed(&self.by).await {
            Ok(None) => return true,
            Ok(Some(by)) => {
                self.by = by;
                match may_follow(&self.app, &self.by, &self.filter) {
                    Ok(()) => return true,
                    Err(problem) => problem,
                }
            }
            Err(problem) => problem,
        };
        self.refresh();
        if matches!(problem.status, 401 | 403) {
            let fields = serde_json::to_value(problem).unwrap_or_else(|_| json!({}));
            self.framing.control(out, "revoked", &self.cursor_text, fields);
            self.ended = true;
        } else {
            self.end(out, &problem.detail);
        }
        false
    }

    /// What opens an entity's personal values for the caller.
    pub(super) fn keys(&self, stream: &StreamId) -> Arc<dyn Keys> {
        self.app.reads(&self.by).keys(on(stream))
    }

    /// Whether the caller may read an entity.
    pub(super) fn may_read(&self, stream: &StreamId) -> bool {
        self.app.reads(&self.by).may_read(stream)
    }
}
