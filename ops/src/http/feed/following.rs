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
    let of_types = filter.types.iter().filter_map(|name| app.event_names().get(name));
    let mut kinds = filter.kind.iter().chain(of_types);
    kinds.try_for_each(|kind| reads.ask_some(kind, filter.id.as_ref()))
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
        if !self.renew(out).await {
            return;
        }
        let may_read = match &item {
            FeedItem::Record(entry) => self.may_read(&entry.record.header.stream).await,
            FeedItem::Parked { stream, .. } => self.may_read(stream).await,
            FeedItem::CaughtUp(_) | FeedItem::Stopped(_) => Ok(true),
        };
        match may_read {
            Ok(true) => {
                let values = self.bring(&item).await;
                self.item(item, values, out);
            }
            Ok(false) => self.pass_over(&item),
            // Whoever comes again with the last cursor gets it then: what cannot be decided now is neither shown nor left out.
            Err(problem) => self.end(out, &problem.detail),
        }
    }

    fn pass_over(&mut self, item: &FeedItem) {
        match item {
            FeedItem::Record(entry) => self.cursor.advance(entry.position),
            FeedItem::Parked { position, .. } => self.cursor.advance(*position),
            FeedItem::CaughtUp(_) | FeedItem::Stopped(_) => {}
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

    /// Whether the caller may read an entity, by what it belongs to now.
    async fn may_read(&self, stream: &StreamId) -> Result<bool, Problem> {
        match self.app.reads(&self.by).ask_entity_now(stream).await {
            Ok(()) => Ok(true),
            Err(problem) if matches!(problem.status, 403 | 404) => Ok(false),
            Err(problem) => Err(problem),
        }
    }
}
