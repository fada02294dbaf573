//! The views of a node: a shelf of stores, of which one is current.
//!
//! A store is named by the hash of the projector that makes it. A changed projector, a restored log or a rebuild makes
//! a new one beside the current one; when it has caught up, it becomes current at once and readers move over.

use crate::{
    absent::Absent,
    directory::Directory,
    error::ViewError,
    families::Families,
    follower::{Follower, Round},
    progress::Progress,
    query::{Counted, Found, Page, Query},
    reading::View,
    shelf::{InMemory, Placed, Shelf},
    sqlite::SqliteStore,
    store::{Behind, Origin, ViewStore},
    verify::{self, Verdict},
};
use parking_lot::RwLock;
use quipu_events::port::Log;
use quipu_schemas::ids::{OrgId, PrincipalId};
use std::{path::Path, sync::Arc};

/// The views of a node.
pub struct Views {
    families: Families,
    shelf: Box<dyn Shelf>,
    current: RwLock<Placed>,
    progress: Arc<Progress>,
}

impl Views {
    /// Opens the current views in `directory` ([`Shelf::open`] says when they begin anew).
    pub fn open(directory: &Path, origin: Origin) -> Result<Self, ViewError> {
        Self::on(Box::new(Directory::new(directory)?), origin)
    }

    /// Views over a store of the caller's, such as one in memory.
    pub fn of_store(store: Arc<dyn ViewStore>) -> Result<Self, ViewError> {
        let origin = store.origin();
        Self::on(Box::new(InMemory::new(store)), origin)
    }

    /// Opens the current views on a shelf.
    pub fn on(shelf: Box<dyn Shelf>, origin: Origin) -> Result<Self, ViewError> {
        let current = shelf.open(origin)?;
        let progress = Progress::new(current.store.cursor()?);
        progress.set_late(names(&current.store.behind()?));
        Ok(Self::begun(shelf, current, progress))
    }

    /// As [`Views::on`], for a shelf on a server: while that does not answer, reads fail with what it says, and
    /// [`Views::follower`] looks again.
    pub fn on_when_there(shelf: Box<dyn Shelf>, origin: Origin) -> Self {
        let opened = shelf.open(origin).and_then(|placed| {
            let (cursor, late) = (placed.store.cursor()?, names(&placed.store.behind()?));
            Ok((placed, cursor, late))
        });
        let (current, cursor, late) = opened.unwrap_or_else(|why| {
            let absent = Absent { origin, why };
            let cursor = absent.begin();
            let absent = Placed {
                name: String::new(),
                store: Arc::new(absent),
                guard: None,
            };
            (absent, cursor, Vec::new())
        });
        let progress = Progress::new(cursor);
        progress.set_late(late);
        Self::begun(shelf, current, progress)
    }

    fn begun(shelf: Box<dyn Shelf>, current: Placed, progress: Progress) -> Self {
        let families = current.store.origin().families;
        Self {
            families,
            shelf,
            current: RwLock::new(current),
            progress: Arc::new(progress),
        }
    }

    /// The store that answers now.
    pub fn store(&self) -> Arc<dyn ViewStore> {
        self.current.read().store.clone()
    }

    /// The families that make them.
    pub fn families(&self) -> Families {
        self.families
    }

    /// How far the views are; shared with whoever waits.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// A follower of the store that answers now, after a look whether another process made another one current. After
    /// [`Views::rebuild`] another follower is needed: see [`Views::is_current`].
    pub fn follower(&self, log: &dyn Log) -> Result<Follower, ViewError> {
        self.moved_over(&self.store())?;
        let store = self.store();
        self.progress.set_late(names(&store.behind()?));
        self.progress.set(store.cursor()?);
        Follower::new(log, store)
    }

    /// Whether `follower` writes the store that answers now.
    pub fn is_current(&self, follower: &Follower) -> bool {
        Arc::ptr_eq(follower.store(), &self.store())
    }

    /// Moves over to the store that another process made current, if one did; whether another store than `used` answers.
    fn moved_over(&self, used: &Arc<dyn ViewStore>) -> Result<bool, ViewError> {
        let name = {
            let current = self.current.read();
            if !Arc::ptr_eq(used, &current.store) {
                return Ok(true);
            }
            current.name.clone()
        };
        if !self.shelf.has_moved(&name, used.origin())? {
            return Ok(false);
        }
        let newer = self.shelf.open(used.origin())?;
        let cursor = newer.store.cursor()?;
        let mut current = self.current.write();
        // Unless somebody else was faster.
        if Arc::ptr_eq(used, &current.store) {
            self.progress.set_late(names(&newer.store.behind()?));
            *current = newer;
            drop(current);
            self.progress.set(cursor);
        }
        Ok(true)
    }

    /// Makes new views from zero beside the current ones, which go on answering (and being written); `tick` is called
    /// after each round with the records so far, and stops the rebuild by returning false. When the new ones have
    /// caught up they become current and the old ones are deleted. A stopped partition is an error: half of the views
    /// would be worse than old ones.
    pub fn rebuild(&self, log: &dyn Log, tick: &mut dyn FnMut(u64) -> bool) -> Result<Round, ViewError> {
        let mut placed = self.shelf.beside(Origin::by(self.families, &log.meta()))?;
        let made = make(log, &placed.store, tick).and_then(|round| {
            placed.store.set_whole()?;
            self.shelf.switch(&placed)?;
            Ok((round, placed.store.cursor()?))
        });
        let (round, cursor) = match made {
            Ok(made) => made,
            Err(error) => {
                self.shelf.discard(placed);
                return Err(error);
            }
        };
        placed.guard = None;
        let name = placed.name.clone();
        *self.current.write() = placed;
        self.progress.set_late(Vec::new());
        self.progress.set(cursor);
        self.shelf.sweep(&name);
        Ok(round)
    }

    /// Compares the views with a rebuild from zero in memory.
    pub fn verify(&self, log: &dyn Log) -> Result<Verdict, ViewError> {
        let store = self.store();
        let side: Arc<dyn ViewStore> = Arc::new(SqliteStore::in_memory(store.origin())?);
        verify::verify(log, &*store, &side)
    }

    /// A page of a view's rows within an org.
    pub fn list(&self, view: View, org: &OrgId, query: &Query) -> Result<Page, ViewError> {
        self.answers(view)?;
        self.read(|store| store.list(view, org, query))
    }

    /// One row of a view, by [`View::named_by`].
    pub fn get(&self, view: View, org: &OrgId, key: &[&str]) -> Result<Found, ViewError> {
        self.answers(view)?;
        self.read(|store| store.get(view, org, key))
    }

    /// How many rows of a view an org has, by what these columns hold.
    pub fn count(&self, view: View, org: &OrgId, by: &[&'static str]) -> Result<Counted, ViewError> {
        self.answers(view)?;
        self.read(|store| store.count(view, org, by))
    }

    /// Orgs of which somebody is a member, at most this many; `None` where the store cannot tell across orgs.
    pub fn orgs_of(&self, principal: &PrincipalId, most: usize) -> Result<Option<Vec<OrgId>>, ViewError> {
        self.answers(View::MEMBERS)?;
        self.read(|store| store.orgs_of(principal, most))
    }

    /// Refuses a view whose family holds a part of the rows only.
    fn answers(&self, view: View) -> Result<(), ViewError> {
        match self.families.of_view(view) {
            Some(family) if self.progress.is_late(family.name) => Err(ViewError::Late(family.name)),
            Some(_) | None => Ok(()),
        }
    }

    /// Reads once more where the store that was read has been replaced meanwhile.
    fn read<T>(&self, read: impl Fn(&dyn ViewStore) -> Result<T, ViewError>) -> Result<T, ViewError> {
        let store = self.store();
        match read(&*store) {
            Err(ViewError::Storage(_)) if self.moved_over(&store)? => read(&*self.store()),
            result => result,
        }
    }
}

fn names(behind: &[Behind]) -> Vec<&'static str> {
    behind.iter().map(|late| late.family).collect()
}

/// Rounds from zero until a store has caught up with the log.
fn make(log: &dyn Log, store: &Arc<dyn ViewStore>, tick: &mut dyn FnMut(u64) -> bool) -> Result<Round, ViewError> {
    let partitions: Vec<u16> = (0..log.meta().partitions).collect();
    let mut follower = Follower::new(log, store.clone())?;
    let apart = Progress::new(store.cursor()?);
    let mut records = 0;
    loop {
        let round = follower.round(log, &partitions, &apart)?;
        records += round.records;
        if let Some(stop) = round.stopped.first() {
            return Err(ViewError::Stopped {
                partition: stop.partition,
                offset: stop.offset,
                why: stop.why.to_string(),
            });
        }
        if round.caught_up {
            return Ok(Round { records, ..round });
        }
        if !tick(records) {
            return Err(ViewError::Storage("the rebuild was called off".into()));
        }
    }
}
