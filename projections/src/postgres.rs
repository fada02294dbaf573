//! Views in PostgreSQL: a schema a store, statements pipelined, queries under row-level security.
//!
//! A batch is one transaction: the checkpoints are moved first, then all statements and the commit are sent without
//! waiting for answers in between. A query is one transaction as well, sent at once: it takes on the role that reads, names
//! its org, and reads rows and checkpoints of one moment; both end with the transaction, so a connection carries nothing
//! over to the next. Commits do not wait for the server's disk: a server that crashes may take the last transactions,
//! whole and with their checkpoints, and the projector does them again.
//!
//! The decision record `ops/docs/adr/0011-postgres-views.md` says why, and what was measured.

mod applying;
mod database;
mod lease;
mod options;
mod reading;
mod schema;
mod shelf;
mod takeover;
mod tls;
mod values;
mod writing;

pub use database::Database;
pub use options::{BadOptions, PostgresOptions};
use parking_lot::Mutex;
pub use shelf::PostgresShelf;

use crate::{
    error::ViewError,
    query::{self, Counted, Found, Page, Query, Select},
    reading::View,
    statement::Value,
    store::{Behind, Checkpoint, DigestOf, Digests, Origin, ParkedStream, Tip, ViewBatch, ViewStore},
};
use applying::Move;
use lease::Lease;
use quipu_schemas::{
    ids::{OrgId, PrincipalId, StreamId},
    limits::{VIEW_READ_MS, VIEW_WRITE_MS},
    position::Cursor,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    sync::Arc,
};

/// What the server or the connection says, without anybody's values.
fn storage_text(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{}: {} ({})", db.severity(), db.message(), db.code().code());
    }
    let mut text = error.to_string();
    if let Some(source) = error.source() {
        let source = source.to_string();
        if !text.contains(&source) {
            text = format!("{text}: {source}");
        }
    }
    text
}

fn storage(error: tokio_postgres::Error) -> ViewError {
    ViewError::Storage(storage_text(&error))
}

/// A view store in one schema of a database, or in one schema for each org.
pub struct PostgresStore {
    database: Arc<Database>,
    layout: Arc<Layout>,
    origin: Origin,
}

/// Where a store's tables are.
struct Layout {
    /// The store's own schema.
    name: String,
    /// Schemas of orgs that are known to exist; `None` where all orgs share the store's own.
    orgs: Option<Mutex<BTreeMap<String, String>>>,
    reader: Option<String>,
}

impl Layout {
    /// The schema of an org's rows, if it is known to exist.
    fn of(&self, org: &str) -> Option<String> {
        match &self.orgs {
            None => Some(self.name.clone()),
            Some(orgs) => orgs.lock().get(org).cloned(),
        }
    }

    fn learn(&self, org: &str, schema: String) {
        if let Some(orgs) = &self.orgs {
            let mut orgs = orgs.lock();
            orgs.insert(org.to_owned(), schema);
        }
    }
}

impl PostgresStore {
    /// Opens the store in the schema `name`, making it where there is none, laid out as the database's options say; an
    /// existing one keeps its layout. Refuses one of another origin.
    pub fn open(database: &Arc<Database>, name: &str, origin: Origin) -> Result<Self, ViewError> {
        Self::opened(database, name, origin, false)
    }

    /// As [`PostgresStore::open`]; one that is made may take over what the store of another release holds.
    fn opened(database: &Arc<Database>, name: &str, origin: Origin, takes_over: bool) -> Result<Self, ViewError> {
        let (pool, options, wanted) = (database.writers.clone(), database.options.clone(), name.to_owned());
        let per_org = database.wait(None, async move {
            let client = Lease::of(&pool).await?;
            let per_org = schema::open(&client, &wanted, &origin, &options, takes_over).await?;
            client.keep();
            Ok(per_org)
        })?;
        Ok(Self {
            database: database.clone(),
            layout: Arc::new(Layout {
                name: name.to_owned(),
                orgs: per_org.then(Mutex::default),
                reader: database.options.reader.clone(),
            }),
            origin,
        })
    }

    /// Deletes a store with everything in it. What is not there is no error.
    pub fn remove(database: &Arc<Database>, name: &str) -> Result<(), ViewError> {
        let (pool, name) = (database.writers.clone(), name.to_owned());
        database.wait(None, async move {
            let client = Lease::of(&pool).await?;
            shelf::drop_whole(&client, &name).await?;
            client.keep();
            Ok(())
        })
    }

    /// Runs `read` on a reading connection, within the time of a query.
    fn reading<T: Send + 'static, F: Future<Output = Result<(T, Lease), ViewError>> + Send + 'static>(
        &self,
        within: Option<u64>,
        read: impl FnOnce(Lease, Arc<Layout>) -> F + Send + 'static,
    ) -> Result<T, ViewError> {
        let (pool, layout) = (self.database.readers.clone(), self.layout.clone());
        self.database.wait(within, async move {
            let (result, client) = read(Lease::of(&pool).await?, layout).await?;
            client.keep();
            Ok(result)
        })
    }

    fn cursor_of(&self, checkpoints: &[Checkpoint]) -> Cursor {
        Cursor {
            log: self.origin.log_id,
            generation: self.origin.generation,
            next: checkpoints.iter().map(|c| c.next_offset).collect(),
        }
    }

    /// The rows of a query within an org, and how far the store was at that moment.
    fn rows(&self, org: &OrgId, select: Select) -> Result<(Vec<Vec<Value>>, Cursor), ViewError> {
        let org = org.clone();
        let read = |client: Lease, layout: Arc<Layout>| async move {
            let found = reading::rows(&client, &layout, &org, &select).await?;
            Ok((found, client))
        };
        let (rows, checkpoints) = self.reading(Some(VIEW_READ_MS), read)?;
        Ok((rows, self.cursor_of(&checkpoints)))
    }

    /// Makes the schemas of orgs that come up for the first time.
    fn ensure_orgs(&self, batches: &[ViewBatch]) -> Result<(), ViewError> {
        let mut new = BTreeSet::new();
        for statement in batches.iter().flat_map(|batch| &batch.statements) {
            let org = writing::org_of(statement)?;
            if self.layout.of(org).is_none() {
                new.insert(OrgId::parse(org).map_err(|e| ViewError::Storage(e.to_string()))?);
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let (pool, layout, families) = (self.database.writers.clone(), self.layout.clone(), self.origin.families);
        self.database.wait(None, async move {
            let client = Lease::of(&pool).await?;
            for org in new {
                let schema = schema::ensure_org(&client, families, &layout.name, &org, layout.reader.as_deref()).await?;
                layout.learn(org.as_str(), schema);
            }
            client.keep();
            Ok(())
        })
    }
}

impl ViewStore for PostgresStore {
    fn origin(&self) -> Origin {
        self.origin
    }

    fn checkpoints(&self) -> Result<Vec<Checkpoint>, ViewError> {
        self.reading(Some(VIEW_READ_MS), |client, layout| async move {
            Ok((reading::checkpoints(&client, &layout).await?, client))
        })
    }

    fn behind(&self) -> Result<Vec<Behind>, ViewError> {
        let origin = self.origin;
        self.reading(Some(VIEW_READ_MS), move |client, layout| async move {
            Ok((reading::behind(&client, &layout, &origin).await?, client))
        })
    }

    fn apply(&self, batches: &[ViewBatch]) -> Result<(), ViewError> {
        self.ensure_orgs(batches)?;
        let mut statements = Vec::new();
        for statement in batches.iter().flat_map(|batch| &batch.statements) {
            let schema = self.layout.of(writing::org_of(statement)?);
            let schema = schema.ok_or_else(|| ViewError::Storage("an org has no schema".into()))?;
            statements.push(writing::write(statement, &query::quoted(&schema))?);
        }
        let mut moves: Vec<_> = batches.iter().map(Move::of).collect();
        // In one order everywhere: two projectors that meet wait for each other once, not for ever.
        moves.sort_by_key(|a_move| a_move.partition);
        let (pool, layout, origin) = (self.database.writers.clone(), self.layout.clone(), self.origin.made());
        self.database.wait(Some(VIEW_WRITE_MS), async move {
            let client = Lease::of(&pool).await?;
            let result = applying::apply(&client, &layout, &origin, &moves, &statements).await;
            if matches!(result, Ok(()) | Err(ViewError::Conflict { .. })) {
                client.keep();
            }
            result
        })
    }

    fn tips(&self, streams: &[StreamId]) -> Result<Vec<Option<Tip>>, ViewError> {
        let streams = streams.to_vec();
        self.reading(Some(VIEW_READ_MS), |client, layout| async move {
            Ok((reading::tips(&client, &layout, &streams).await?, client))
        })
    }

    fn parked(&self) -> Result<Vec<ParkedStream>, ViewError> {
        self.reading(Some(VIEW_READ_MS), |client, layout| async move {
            Ok((reading::parked(&client, &layout).await?, client))
        })
    }

    fn list(&self, view: View, org: &OrgId, query: &Query) -> Result<Page, ViewError> {
        let (select, paging) = query::list(view, org, query)?;
        let (rows, cursor) = self.rows(org, select)?;
        query::page(view, &paging, rows, cursor)
    }

    fn get(&self, view: View, org: &OrgId, key: &[&str]) -> Result<Found, ViewError> {
        let Some(select) = query::get(view, org, key)? else {
            return Ok(Found {
                row: None,
                cursor: self.cursor()?,
            });
        };
        let (mut rows, cursor) = self.rows(org, select)?;
        let row = rows.pop().map(|row| query::show(view, row)).transpose()?;
        Ok(Found { row, cursor })
    }

    fn count(&self, view: View, org: &OrgId, by: &[&'static str]) -> Result<Counted, ViewError> {
        let (rows, cursor) = self.rows(org, query::count(view, org, by))?;
        query::counted(rows, cursor)
    }

    /// Each org has a schema of its own there: nothing reads them all for one request.
    fn orgs_of(&self, _: &PrincipalId, _: usize) -> Result<Option<Vec<OrgId>>, ViewError> {
        Ok(None)
    }

    fn is_whole(&self) -> Result<bool, ViewError> {
        self.reading(Some(VIEW_READ_MS), |client, layout| async move {
            Ok((reading::is_whole(&client, &layout).await?, client))
        })
    }

    fn set_whole(&self) -> Result<(), ViewError> {
        let (pool, layout) = (self.database.writers.clone(), self.layout.clone());
        self.database.wait(Some(VIEW_WRITE_MS), async move {
            let client = Lease::of(&pool).await?;
            reading::set_whole(&client, &layout).await?;
            client.keep();
            Ok(())
        })
    }

    fn cursor(&self) -> Result<Cursor, ViewError> {
        Ok(self.cursor_of(&self.checkpoints()?))
    }

    /// Takes as long as reading every row takes.
    fn digests(&self, of: DigestOf) -> Result<Digests, ViewError> {
        let families = self.origin.families;
        self.reading(None, move |client, layout| async move {
            Ok((reading::digests(&client, families, &layout, of).await?, client))
        })
    }
}
