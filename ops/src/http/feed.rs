//! The feed out: every event of an org as a CloudEvent, in stream order, at least once, resumable.
//!
//! SSE: events are unnamed messages whose `id` is the cursor after them; `caught_up`, `parked`, `stopped` and `end`
//! are named. NDJSON: a line is a CloudEvent, or a control line `{"control": …, "cursor": …}`; control lines come when
//! caught up, at the end, with each heartbeat, and every [`CURSOR_EVERY_EVENTS`] events.
//! Where a partition is damaged, the feed gives what lies before and says `stopped`, a problem with partition and offset:
//! at once where it follows, and otherwise as its last word, in the place of `caught_up`.
//! A cursor that comes with an event never lies behind an event not yet sent: events of one record but the last
//! carry the cursor before the record, so that a resume repeats rather than skips.
//! By a key, entities that may not be read are left out, and each record is asked for as it is delivered: a key that has ended, or
//! lost the right to the kind that was asked for, gets `revoked`, a problem, as the last word.

mod following;
mod framing;

use super::{
    Answer, App, Stage, filter,
    params::Params,
    problem::{self, bad_header, bad_parameter, overloaded},
};
use crate::{caller::InOrg, cloudevents, metrics::HTTP_STREAMS};
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, Uri, header},
    response::Response,
};
use following::{may_follow, on, prepare, shown};
pub(super) use framing::{Framing, sse};
use quipu_runtime::{
    api::{FeedEntry, FeedFilter, FeedItem, Stopped},
    feed,
    values::Values,
};
use quipu_schemas::{
    ids::OrgId,
    limits::{CURSOR_EVERY_EVENTS, HEARTBEAT_MS, RIGHTS_LOOK_MS, STREAMS_MAX},
    personal::Brought,
    position::Cursor,
    problem::Problem,
};
use serde_json::json;
use std::{convert::Infallible, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::Instant,
};

fn line(out: &mut String, json: &str) {
    // Between tokens a line break is only white space, and inside strings it is escaped.
    for part in json.split(['\n', '\r']) {
        out.push_str(part);
    }
    out.push('\n');
}

/// Which events.
fn filter_of(org: OrgId, params: &Params) -> Result<FeedFilter, Problem> {
    let types = params
        .text("type")
        .map(|text| text.split(',').map(str::to_owned).collect())
        .unwrap_or_default();
    Ok(FeedFilter {
        org: Some(org),
        kind: params.get("kind")?,
        id: params.get("id")?,
        types,
    })
}

/// Resolves when the node begins to stop.
pub(super) async fn stopping(stage: &mut watch::Receiver<Stage>) {
    // An error means that the sender is gone, which is a stop as well.
    let _ = stage.wait_for(|stage| *stage == Stage::Stopping).await;
}

/// Counts an open stream, for the bound and the metric.
pub(super) struct OpenStream(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl OpenStream {
    pub(super) fn open(app: &App) -> Result<Self, Problem> {
        let permit = app
            .streams
            .clone()
            .try_acquire_owned()
            .map_err(|_| overloaded("feeds and live channels", STREAMS_MAX))?;
        metrics::gauge!(HTTP_STREAMS).increment(1.0);
        Ok(Self(permit))
    }
}
impl Drop for OpenStream {
    fn drop(&mut self) {
        metrics::gauge!(HTTP_STREAMS).decrement(1.0);
    }
}

struct Feed {
    items: feed::Feed,
    cursor: Cursor,
    cursor_text: String,
    filter: FeedFilter,
    framing: Framing,
    app: App,
    by: InOrg,
    follow: bool,
    since_cursor: u32,
    /// Partitions that stopped, and are told last.
    stopped: Vec<Stopped>,
    stage: watch::Receiver<Stage>,
    heartbeat: Instant,
    /// When the caller's rights are looked at next, however silent the log is.
    look: Instant,
    ended: bool,
    _open: OpenStream,
}

/// `GET /v1/orgs/{org}/events`.
pub async fn events(State(app): State<App>, in_org: InOrg, uri: Uri, headers: HeaderMap) -> Answer {
    let reads = app.reads(&in_org);
    let params = Params::parse(&uri, &["from", "follow", "kind", "id", "type"])?;
    filter::known_kind(&app, &params)?;
    filter::known_types(&app, &params)?;
    let filter = filter_of(in_org.org().clone(), &params)?;
    may_follow(&app, &in_org, &filter)?;
    reads.check_org().await?;
    let follow = match params.text("follow") {
        None | Some("true") => true,
        Some("false") => false,
        Some(other) => {
            return Err(bad_parameter("follow", format!("not a boolean: `{}`", problem::clip(other)), "use true or false").into());
        }
    };
    let framing = Framing::of(&headers);
    let cursor = begin(&app, &params, &headers)?;
    let open = OpenStream::open(&app)?;
    let feed = Feed {
        items: reads
            .feed(cursor.clone(), filter.clone())
            .preparing(prepare(&app, &in_org, &filter)),
        cursor_text: cursor.to_string(),
        cursor,
        filter,
        framing,
        app: app.clone(),
        by: in_org.clone(),
        follow,
        since_cursor: 0,
        stopped: Vec::new(),
        stage: app.stage.clone(),
        heartbeat: Instant::now() + Duration::from_millis(HEARTBEAT_MS),
        look: Instant::now() + Duration::from_millis(RIGHTS_LOOK_MS),
        ended: false,
        _open: open,
    };
    let start = feed.cursor_text.clone();
    let chunks = futures::stream::unfold(feed, |mut feed| async move {
        feed.chunk().await.map(|chunk| (Ok::<_, Infallible>(chunk), feed))
    });
    let mut response = stream_response(framing, Body::from_stream(chunks));
    if let Ok(value) = HeaderValue::from_str(&start) {
        response.headers_mut().insert(super::answer::POSITION, value);
    }
    Ok(response)
}

/// An endless answer that no proxy should keep.
pub(super) fn stream_response(framing: Framing, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(framing.media_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Where to begin: `Last-Event-ID` of a reconnecting client, else `from`, else the start.
fn begin(app: &App, params: &Params, headers: &HeaderMap) -> Result<Cursor, Problem> {
    let last = headers
        .get("last-event-id")
        .map(|v| v.to_str().unwrap_or("?"))
        .filter(|v| !v.is_empty());
    let cursor: Cursor = match (last, params.text("from")) {
        (Some(text), _) => text.parse().map_err(|e: quipu_schemas::position::BadPosition| {
            bad_header("Last-Event-ID", e.to_string(), "pass the id of the last event that you got")
        })?,
        (None, None | Some("start")) => {
            let now = app.cursor();
            return Ok(Cursor {
                next: vec![0; now.next.len()],
                ..now
            });
        }
        (None, Some("end")) => return Ok(app.cursor()),
        (None, Some(text)) => text.parse().map_err(|e: quipu_schemas::position::BadPosition| {
            bad_parameter("from", e.to_string(), "use start, end, or a cursor that this node gave you")
        })?,
    };
    app.check_cursor(&cursor)?;
    Ok(cursor)
}

impl Feed {
    /// The next bytes to send; `None` ends the answer. No more than these are held for a reader that does not read.
    async fn chunk(&mut self) -> Option<Bytes> {
        const CHUNK_BYTES: usize = 64 * 1024;
        let mut out = String::new();
        while !self.ended {
            while let Some(item) = self.items.ready() {
                self.deliver(item, &mut out).await;
                if self.ended || out.len() >= CHUNK_BYTES {
                    return Some(self.sent(out));
                }
            }
            if !out.is_empty() {
                return Some(self.sent(out));
            }
            tokio::select! {
                item = self.items.next() => match item {
                    Some(item) => self.deliver(item, &mut out).await,
                    None => self.end(&mut out, "the node stopped"),
                },
                () = stopping(&mut self.stage) => self.end(&mut out, "the node is stopping"),
                () = tokio::time::sleep_until(self.look), if !self.by.is_unbounded() => {
                    self.look = Instant::now() + Duration::from_millis(RIGHTS_LOOK_MS);
                    self.renew(&mut out).await;
                }
                () = tokio::time::sleep_until(self.heartbeat) => {
                    // Everything that was ready has been taken: the cursor goes past what was filtered out.
                    self.cursor = self.items.cursor();
                    self.refresh();
                    self.heartbeat = Instant::now() + Duration::from_millis(HEARTBEAT_MS);
                    self.framing.heartbeat(&mut out, &self.cursor_text);
                }
            }
        }
        (!out.is_empty()).then(|| Bytes::from(out))
    }

    fn sent(&mut self, out: String) -> Bytes {
        self.heartbeat = Instant::now() + Duration::from_millis(HEARTBEAT_MS);
        Bytes::from(out)
    }

    fn refresh(&mut self) {
        self.cursor_text = self.cursor.to_string();
    }

    fn end(&mut self, out: &mut String, why: &str) {
        self.refresh();
        self.framing.control(out, "end", &self.cursor_text, json!({ "detail": why }));
        self.ended = true;
    }

    /// Values of a record that are kept beside the log and small enough to be shown: fetching them may wait for servers.
    async fn bring(&self, item: &FeedItem) -> Values {
        let FeedItem::Record(entry) = item else { return Values::new() };
        let named = cloudevents::shown_blobs(&entry.record);
        if named.is_empty() {
            return Values::new();
        }
        let keys = self.keys(&entry.record.header.stream);
        let fetch = move || named.iter().map(|blob| (blob.digest, keys.kept(blob))).collect();
        tokio::task::spawn_blocking(fetch).await.unwrap_or_default()
    }

    fn item(&mut self, item: FeedItem, values: Values, out: &mut String) {
        match item {
            FeedItem::Record(entry) => self.record(&entry, values, out),
            FeedItem::CaughtUp(cursor) => {
                self.cursor = cursor;
                self.refresh();
                self.since_cursor = 0;
                self.ended = !self.follow;
                let stopped = std::mem::take(&mut self.stopped);
                if stopped.is_empty() {
                    self.framing.control(out, "caught_up", &self.cursor_text, json!({}));
                }
                stopped.iter().for_each(|stopped| self.stop(stopped, out));
            }
            FeedItem::Parked { stream, position, detail } => {
                self.refresh();
                let fields = json!({ "stream": stream, "position": position, "detail": detail });
                self.framing.control(out, "parked", &self.cursor_text, fields);
                self.cursor.advance(position);
            }
            FeedItem::Stopped(stopped) => {
                if self.follow {
                    self.refresh();
                    self.stop(&stopped, out);
                } else {
                    self.stopped.push(stopped);
                }
            }
        }
    }

    fn stop(&self, stopped: &Stopped, out: &mut String) {
        let Stopped { partition, offset, detail } = stopped;
        // Whoever has no more than one org's key learns that there is damage, not what of another org it is in.
        let detail = if self.by.is_unbounded() { detail } else { "it is damaged there" };
        let problem = Problem::new(
            503,
            "partition_stopped",
            format!("partition {partition} stops at offset {offset}: {detail}"),
        )
        .fix("run `quipu verify`, and restore the log from a backup");
        let mut fields = serde_json::to_value(problem).unwrap_or_else(|_| json!({ "detail": detail }));
        fields["partition"] = (*partition).into();
        fields["offset"] = (*offset).into();
        self.framing.control(out, "stopped", &self.cursor_text, fields);
    }

    fn record(&mut self, entry: &FeedEntry, values: Values, out: &mut String) {
        let before = std::mem::take(&mut self.cursor_text);
        self.cursor.advance(entry.position);
        let events = &entry.record.events;
        let taken: Vec<usize> = (0..events.len()).filter(|i| self.filter.takes_type(&events[*i].name)).collect();
        self.refresh();
        let stream = &entry.record.header.stream;
        let keys = self.keys(stream);
        let plural = self.app.plural(&stream.kind);
        let is_open = self.app.reads(&self.by).may_see(on(stream));
        let is_silent = values.values().any(|value| value.as_ref().is_err_and(|error| !error.is_lasting()));
        let opener = Brought::new(&*keys, values);
        for (n, index) in taken.iter().enumerate() {
            let cursor = if n + 1 == taken.len() { &self.cursor_text } else { &before };
            let show = || shown(entry, &plural, *index, &opener);
            // Most who follow an org see personal data opened; what is shared among them is that form alone. A store of values that
            // does not answer now is asked again by whoever comes next.
            let alone = (is_silent || !is_open).then(show);
            let shown = alone.as_ref().unwrap_or_else(|| entry.shown(*index, true, show));
            match shown.as_deref().map(std::str::from_utf8) {
                Ok(Ok(event)) => self.framing.event(out, cursor, event),
                Ok(Err(_)) | Err(_) => {
                    // Never skipped in silence: the reader learns that it has not got this event.
                    let error = shown.as_ref().err().map_or("an event is not UTF-8", String::as_str);
                    tracing::error!(%error, stream = %entry.record.header.stream, "could not serve an event");
                    self.framing.control(
                        out,
                        "stopped",
                        &before,
                        json!({ "partition": entry.position.partition, "offset": entry.position.offset, "detail": error }),
                    );
                    self.ended = true;
                    return;
                }
            }
        }
        self.since_cursor += taken.len() as u32;
        if self.framing == Framing::NdJson && self.since_cursor >= CURSOR_EVERY_EVENTS {
            self.framing.control(out, "cursor", &self.cursor_text, json!({}));
            self.since_cursor = 0;
        }
    }
}

#[cfg(test)]
mod tests;
