//! What may be read in an org, with the leave to read there.

use super::App;
use crate::{caller::InOrg, problems};
use quipu_events::blobs::Blobs;
use quipu_projections::{
    query::{Counted, Found, Page, Query},
    reading::View,
};
use quipu_runtime::{
    api::{FeedFilter, HistoryPage, StateAt},
    feed::Feed,
    node::{Held, PageFrom},
    volatile::{Subscription, VolatileEvent},
};
use quipu_schemas::{
    context::{Keys, Millis},
    envelope::Receipt,
    ids::{CommandId, StreamId},
    position::Cursor,
    problem::Problem,
};
use std::sync::Arc;

/// Reads in one org.
pub struct Reads<'a> {
    app: &'a App,
    by: &'a InOrg,
}

impl<'a> Reads<'a> {
    pub(super) fn new(app: &'a App, by: &'a InOrg) -> Self {
        Self { app, by }
    }

    /// Refuses what is in another org than the one that the leave is for.
    fn within(&self, stream: &StreamId) -> Result<(), Problem> {
        if stream.org == *self.by.org() {
            Ok(())
        } else {
            Err(problems::not_found(stream))
        }
    }

    /// Refuses an org that the log has never seen. The log, not the views: they may lag behind its creation.
    pub async fn check_org(&self) -> Result<(), Problem> {
        let org = self.by.org();
        if self.app.node.exists(&StreamId::of_org(org)).await? {
            Ok(())
        } else {
            Err(problems::unknown_org(org))
        }
    }

    /// A page of a view.
    pub async fn list(&self, view: View, query: Query) -> Result<Page, Problem> {
        self.app.views.list(view, self.by.org(), query).await
    }

    /// How many rows of a view there are, by what these columns hold.
    pub async fn count(&self, view: View, by: &'static [&'static str]) -> Result<Counted, Problem> {
        self.app.views.count(view, self.by.org(), by).await
    }

    /// One row of a view.
    pub async fn get(&self, view: View, key: Vec<String>) -> Result<Found, Problem> {
        self.app.views.get(view, self.by.org(), key).await
    }

    /// Whether the log holds anything of an entity.
    pub async fn exists(&self, stream: &StreamId) -> Result<bool, Problem> {
        self.within(stream)?;
        self.app.node.exists(stream).await
    }

    /// Records of an entity, oldest first.
    pub async fn history(&self, stream: &StreamId, from: PageFrom, limit: usize) -> Result<Held<HistoryPage>, Problem> {
        self.within(stream)?;
        self.app.node.history_page(stream, from, limit).await
    }

    /// The state of an entity now, at a version, or at a time.
    pub async fn state(&self, stream: &StreamId, version: Option<u64>, at: Option<Millis>) -> Result<Option<Held<StateAt>>, Problem> {
        self.within(stream)?;
        self.app.node.state_held(stream, version, at).await
    }

    /// The receipt of a command.
    pub async fn receipt(&self, stream: &StreamId, command: &CommandId) -> Result<Option<Receipt>, Problem> {
        self.within(stream)?;
        self.app.node.receipt(stream, command).await
    }

    /// Events from here on; the filter is of this org, whatever it says.
    pub fn feed(&self, from: Cursor, filter: FeedFilter) -> Feed {
        let org = Some(self.by.org().clone());
        self.app.node.feed(from, FeedFilter { org, ..filter })
    }

    /// What is said on the volatile channel of an entity.
    pub fn listen(&self, stream: &StreamId) -> Result<Subscription, Problem> {
        self.within(stream)?;
        Ok(self.app.node.volatile().subscribe(stream))
    }

    /// Says something on the volatile channel of an entity; how many heard it.
    pub fn tell(&self, stream: &StreamId, event: VolatileEvent) -> Result<usize, Problem> {
        self.within(stream)?;
        Ok(self.app.node.volatile().publish(stream, event))
    }

    /// Where values beside the log are kept, by org; `None` where they are kept nowhere.
    pub fn blobs(&self) -> Option<Arc<dyn Blobs>> {
        self.app.node.blobs()
    }

    /// Whether anybody's data was erased here.
    pub fn has_erased(&self) -> bool {
        self.app.node.has_erased(self.by.org())
    }

    /// What opens personal data.
    pub fn keys(&self) -> Arc<dyn Keys> {
        self.app.node.keys()
    }
}
