//! Sees the org's feed as any subscriber would, and waits for what must happen.

use crate::client::{Client, Feed, FeedLine, FeedQuery};
use crate::stage::error::StageError;
use quipu_schemas::ids::OrgId;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// The longest that anything in the scene may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A subscriber with a memory.
pub(super) struct Witness {
    org: OrgId,
    feed: Feed,
    cursor: Option<String>,
    ids: BTreeSet<String>,
    /// Every event, once, in the order of arrival.
    pub(super) events: Vec<FeedLine>,
    /// Events that came again after a resume, as at-least-once allows.
    pub(super) repeated: u64,
}

impl Witness {
    /// Follows from the start.
    pub(super) async fn begin(client: &Client, org: &OrgId) -> Result<Self, StageError> {
        let query = FeedQuery {
            follow: true,
            ..FeedQuery::default()
        };
        let feed = client.feed(org, &query).await?;
        Ok(Self {
            org: org.clone(),
            feed,
            cursor: None,
            ids: BTreeSet::new(),
            events: Vec::new(),
            repeated: 0,
        })
    }

    /// Goes on after a crash, from the last cursor that it was given.
    pub(super) async fn resume(&mut self, client: &Client) -> Result<(), StageError> {
        let query = FeedQuery {
            from: self.cursor.clone(),
            follow: true,
            ..FeedQuery::default()
        };
        self.feed = client.feed(&self.org, &query).await?;
        Ok(())
    }

    /// The next new event. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<&FeedLine, StageError> {
        loop {
            let line = self.feed.next().await?.ok_or_else(|| StageError::Scene("the feed ended".into()))?;
            if let Some(cursor) = line.value["cursor"].as_str().filter(|_| line.control().is_some()) {
                self.cursor = Some(cursor.to_owned());
                continue;
            }
            if self.ids.insert(line.value["id"].as_str().unwrap_or_default().to_owned()) {
                self.events.push(line);
                return Ok(&self.events[self.events.len() - 1]);
            }
            self.repeated += 1;
        }
    }

    /// The first event that fits, seen before or yet to come.
    pub(super) async fn wait_for(&mut self, what: &str, fits: impl Fn(&FeedLine) -> bool) -> Result<FeedLine, StageError> {
        if let Some(seen) = self.events.iter().find(|event| fits(event)) {
            return Ok(seen.clone());
        }
        let begun = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(begun.elapsed());
            let event = match tokio::time::timeout(left, self.next()).await {
                Ok(event) => event?,
                Err(_) => return Err(StageError::Scene(format!("{what} did not happen within {PATIENCE:?}"))),
            };
            if fits(event) {
                return Ok(event.clone());
            }
        }
    }

    /// Waits for an event of `name` (without `quipu.` and version) about the entity `id`.
    pub(super) async fn wait_for_event(&mut self, name: &str, id: &str, fits: impl Fn(&Value) -> bool) -> Result<FeedLine, StageError> {
        let stored = format!("quipu.{name}.v1");
        self.wait_for(&format!("{name} of {id}"), |event| {
            event.event() == stored && event.value["subject"] == id && fits(event.data())
        })
        .await
    }

    /// Reads until the node is gone, so that nothing it had sent is missed.
    pub(super) async fn drain(&mut self) {
        while tokio::time::timeout(PATIENCE, self.next()).await.is_ok_and(|next| next.is_ok()) {}
    }

    /// Events of `name` (without `quipu.` and version).
    pub(super) fn count(&self, name: &str) -> usize {
        let stored = format!("quipu.{name}.v1");
        self.events.iter().filter(|event| event.event() == stored).count()
    }
}
