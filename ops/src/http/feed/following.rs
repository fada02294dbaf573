//! Who may follow: asked when a feed begins, and again before each record that it delivers.

use super::{App, Feed};
use crate::{app::reads::On, caller::InOrg, cloudevents};
use axum::body::Bytes;
use quipu_runtime::{
    api::{FeedEntry, FeedFilter, FeedItem, Shown},
    feed::Prepare,
};
use quipu_schemas::{context::Keys, ids::StreamId, personal::Opener, problem::Problem};
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

/// An event as it is sent.
pub(super) fn shown(entry: &FeedEntry, plural: &str, event: usize, opener: &dyn Opener) -> Shown {
    let event = cloudevents::encode(&entry.record, plural, entry.position, event, Some(opener)).map_err(|e| e.to_string())?;
    Ok(Bytes::from(Box::<str>::from(event).into_string()))
}

/// Makes of records what the caller will be sent, where they are read: many that catch up take no time of the threads that
/// answer others. Only what all see who see personal data; what is kept beside the log is fetched as it is sent.
pub(super) fn prepare(app: &App, by: &InOrg, filter: &FeedFilter) -> Prepare {
    let (app, by, filter) = (app.clone(), by.clone(), filter.clone());
    Arc::new(move |entry: &FeedEntry| {
        let (stream, reads) = (&entry.record.header.stream, app.reads(&by));
        let is_plain = reads.may_read(stream) && reads.may_see(on(stream)) && cloudevents::shown_blobs(&entry.record).is_empty();
        if !is_plain {
            return;
        }
        let (keys, plural) = (reads.keys(on(stream)), app.plural(&stream.kind));
        for (n, event) in entry.record.events.iter().enumerate() {
            if filter.takes_type(&event.name) {
                entry.shown(n, true, || shown(entry, &plural, n, &*keys));
            }
        }
    })
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
