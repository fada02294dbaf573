//! What may be read in an org, with the leave to reach it.
//!
//! Every read asks here for its right, `cap:{kind or view}.read`, so that no handler can forget it. What opens personal values is
//! given out here as well: to whoever may not see them it opens nothing.

use super::App;
use crate::{caller::InOrg, problems, rights};
use quipu_events::blobs::Blobs;
use quipu_projections::{
    query::{Counted, Found, Page, Query},
    reading::View,
};
use quipu_runtime::{
    api::{FeedFilter, HistoryPage, StateAt},
    feed::Feed,
    node::{Held, PageFrom},
    volatile::{Instance, Subscription, VolatileEvent},
};
use quipu_schemas::{
    context::{Keys, Millis},
    envelope::Receipt,
    ids::{CommandId, EntityId, Kind, StreamId},
    personal::Withheld,
    position::Cursor,
    problem::Problem,
    retention::RETENTION_SETTING,
    rights::Capability,
};
use serde_json::Value;
use std::sync::Arc;

/// One entity, by kind and id.
pub type On<'a> = Option<(&'a Kind, &'a EntityId)>;

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

    fn ask(&self, right: &Capability, on: On<'_>) -> Result<(), Problem> {
        if self.by.is_unbounded() {
            return Ok(());
        }
        self.by.ask(right, on, self.app.now())
    }

    /// The stream of an entity of the org.
    pub(super) fn stream(&self, kind: Kind, id: EntityId) -> StreamId {
        self.by.stream(kind, id)
    }

    /// Refuses whoever does not hold a right on an entity, or on the whole org.
    pub(super) fn ask_right(&self, right: &Capability, on: On<'_>) -> Result<(), Problem> {
        self.ask(right, on)
    }

    /// A state in its stored form, with its version: for what is made of it, never to be shown as it is.
    pub(super) async fn state_of(&self, stream: &StreamId) -> Result<Option<(u64, Value)>, Problem> {
        self.within(stream)?;
        let held = self.app.node.state_held(stream, None, None).await?;
        Ok(held.map(|held| (held.value.version, held.value.state.0)))
    }

    /// The instances of an entity that are known at present.
    pub(super) fn instances(&self, stream: &StreamId) -> Vec<Instance> {
        self.app.node.volatile().instances(stream)
    }

    /// Refuses whoever may not read an entity, and an entity of another org.
    pub fn ask_entity(&self, stream: &StreamId) -> Result<(), Problem> {
        self.within(stream)?;
        if self.by.is_unbounded() {
            return Ok(());
        }
        self.ask(&rights::of_kind(&stream.kind), Some((&stream.kind, &stream.id)))
    }

    /// The same, by what the entity belongs to now as well.
    pub async fn ask_entity_now(&self, stream: &StreamId) -> Result<(), Problem> {
        let Err(problem) = self.ask_entity(stream) else { return Ok(()) };
        if stream.org != *self.by.org() || !self.may_be_within(stream) {
            return Err(problem);
        }
        let project = self.project_of(stream).await?;
        let right = rights::of_kind(&stream.kind);
        match project {
            Some(project) if self.holds_within(&right, (&stream.kind, &stream.id), &project) => Ok(()),
            _ => Err(problem),
        }
    }

    /// Whether what an entity belongs to could let the caller read it: only entities of the directory belong to anything.
    fn may_be_within(&self, stream: &StreamId) -> bool {
        let right = rights::of_kind(&stream.kind);
        stream.kind == Kind::ENTITY && !self.by.held_on(&right, &stream.kind, self.app.now()).projects.is_empty()
    }

    /// Refuses whoever may read nothing of a kind, or of one entity, whatever it belongs to.
    pub fn ask_some(&self, kind: &Kind, id: Option<&EntityId>) -> Result<(), Problem> {
        let asked = match id {
            Some(id) => self.ask_entity(&self.by.stream(kind.clone(), id.clone())),
            None => self.ask_kind(kind),
        };
        let Err(problem) = asked else { return Ok(()) };
        let held = self.by.held_on(&rights::of_kind(kind), kind, self.app.now());
        match id {
            _ if *kind != Kind::ENTITY => Err(problem),
            Some(_) if held.projects.is_empty() => Err(problem),
            None if held.is_empty() => Err(problem),
            _ => Ok(()),
        }
    }

    /// Refuses whoever may not read the entities of a kind.
    pub fn ask_kind(&self, kind: &Kind) -> Result<(), Problem> {
        self.ask(&rights::of_kind(kind), None)
    }

    /// Whether an entity may be read.
    pub fn may_read(&self, stream: &StreamId) -> bool {
        self.ask_entity(stream).is_ok()
    }

    /// Whether personal values may be seen: of one entity, or of the whole org.
    pub fn may_see(&self, on: On<'_>) -> bool {
        self.by.is_unbounded() || self.by.holds(&rights::PERSONAL, on, self.app.now())
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

    /// A page of a view; `on` is the entity that it is a part of.
    pub async fn list(&self, view: View, on: On<'_>, query: Query) -> Result<Page, Problem> {
        let right = self.app.right_of(view);
        let query = match self.ask(&right, on) {
            Ok(()) => query,
            Err(problem) if view != View::ENTITIES => return Err(problem),
            Err(problem) => {
                let held = self.by.held_on(&right, &Kind::ENTITY, self.app.now());
                if held.is_empty() {
                    return Err(problem);
                }
                let texts = |ids: Vec<EntityId>| ids.iter().map(ToString::to_string).collect();
                query.only(vec![("project", texts(held.projects)), ("id", texts(held.entities))])
            }
        };
        self.app.views.list(view, self.by, query).await
    }

    /// How many rows of a view there are, by what these columns hold.
    pub async fn count(&self, view: View, by: &'static [&'static str]) -> Result<Counted, Problem> {
        self.ask(&rights::STATS, None)?;
        self.app.views.count(view, self.by, by).await
    }

    /// One row of a view; `on` is the entity that it is of.
    pub async fn get(&self, view: View, on: On<'_>, key: Vec<String>) -> Result<Found, Problem> {
        let right = self.app.right_of(view);
        let asked = match self.ask(&right, on) {
            // What belongs to a project is read by a right on the project.
            Err(problem) if view == View::ENTITIES => Err(problem),
            asked => Ok(asked?),
        };
        let found = self.app.views.get(view, self.by, key).await?;
        let project = found.row.as_ref().and_then(|row| EntityId::parse(row["project"].as_str()?).ok());
        match (asked, on, project) {
            (Err(_), Some(on), Some(project)) if self.holds_within(&right, on, &project) => Ok(found),
            (asked, ..) => asked.map(|()| found),
        }
    }

    /// Whether a right is held on an entity that belongs to this project.
    pub(super) fn holds_within(&self, right: &Capability, on: (&Kind, &EntityId), project: &EntityId) -> bool {
        self.by.holds_within(right, on, project, self.app.now())
    }

    /// Whether the log holds anything of an entity. Takes no right of its own: it tells of ids of the caller's own org alone.
    pub async fn exists(&self, stream: &StreamId) -> Result<bool, Problem> {
        self.within(stream)?;
        self.app.node.exists(stream).await
    }

    /// Records of an entity, oldest first.
    pub async fn history(&self, stream: &StreamId, from: PageFrom, limit: usize) -> Result<Held<HistoryPage>, Problem> {
        self.ask_entity_now(stream).await?;
        self.app.node.history_page(stream, from, limit).await
    }

    /// The state of an entity now, at a version, or at a time.
    pub async fn state(&self, stream: &StreamId, version: Option<u64>, at: Option<Millis>) -> Result<Option<Held<StateAt>>, Problem> {
        self.ask_entity_now(stream).await?;
        let keys = self.keys(Some((&stream.kind, &stream.id)));
        self.app.node.state_shown(stream, version, at, keys).await
    }

    /// The receipt of a command.
    pub async fn receipt(&self, stream: &StreamId, command: &CommandId) -> Result<Option<Receipt>, Problem> {
        self.ask_entity_now(stream).await?;
        self.app.node.receipt(stream, command).await
    }

    /// Events from here on; the filter is of this org, whatever it says. What may not be read of them is left out by whoever passes
    /// them on: rights change while a feed is open.
    pub fn feed(&self, from: Cursor, filter: FeedFilter) -> Feed {
        let org = Some(self.by.org().clone());
        self.app.node.feed(from, FeedFilter { org, ..filter })
    }

    /// What is said on the volatile channel of an entity.
    pub async fn listen(&self, stream: &StreamId) -> Result<Subscription, Problem> {
        self.ask_entity_now(stream).await?;
        Ok(self.app.node.volatile().subscribe(stream))
    }

    /// Says something on the volatile channel of an entity; how many heard it.
    pub async fn tell(&self, stream: &StreamId, event: VolatileEvent) -> Result<usize, Problem> {
        self.ask_entity_now(stream).await?;
        Ok(self.app.node.volatile().publish(stream, event))
    }

    /// Where values beside the log are kept, by org; `None` where they are kept nowhere. They are personal, each of them.
    pub fn blobs(&self) -> Result<Option<Arc<dyn Blobs>>, Problem> {
        self.ask(&rights::PERSONAL, None)?;
        Ok(self.app.node.blobs())
    }

    /// Whether the org has its values deleted after a time.
    pub async fn retention(&self) -> Result<bool, Problem> {
        let stream = StreamId::of_org(self.by.org());
        let Some(org) = self.app.node.state_held(&stream, None, None).await? else {
            return Ok(false);
        };
        let mut states = ["active", "suspended/org"].iter();
        Ok(states.any(|state| {
            let setting = format!("/{state}/settings/{RETENTION_SETTING}");
            org.value.state.0.pointer(&setting).is_some()
        }))
    }

    /// Whether anybody's data was erased here.
    pub fn has_erased(&self) -> bool {
        self.app.node.has_erased(self.by.org())
    }

    /// What opens the personal data of an entity, or of the whole org, for whoever may see it; what is sealed by it opens later.
    pub fn keys(&self, on: On<'_>) -> Arc<dyn Keys> {
        let keys = self.app.node.keys();
        if self.may_see(on) { keys } else { Arc::new(Withheld(keys)) }
    }
}
