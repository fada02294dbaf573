//! The stores of a database: a table names them and says which is current; a switch is one transaction on it.
//!
//! Each origin has its own current store, so nodes of two releases on one database keep each their own. A store that is
//! being built holds an advisory lock as long as its connection lives: one without it, and not current, is left over from a
//! crash, and the next that opens the shelf clears it away.

use super::{
    PostgresStore,
    database::Database,
    lease::Lease,
    options::PostgresOptions,
    schema::{Locked, lock},
    storage,
};
use crate::{
    error::ViewError,
    query::quoted,
    shelf::{Placed, Shelf},
    store::Origin,
};
use deadpool_postgres::ClientWrapper;
use parking_lot::Mutex;
use quipu_schemas::{
    digest::Digest,
    limits::{VIEW_CONNECT_MS, VIEW_READ_MS},
};
use std::{any::Any, sync::Arc};
use tokio_postgres::types::ToSql;

const OF_ORIGIN: &str = "log_id = $1 AND generation = $2 AND partitions = $3 AND projector = $4 AND per_org = $5";

/// A shelf in a database, which is connected to when it is first needed.
pub struct PostgresShelf {
    options: PostgresOptions,
    database: Mutex<Option<Arc<Database>>>,
}

/// The lock of a store that is being built. It ends with its connection, also where the process crashes.
struct Building {
    database: Arc<Database>,
    client: Option<ClientWrapper>,
}

impl Drop for Building {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            // Without a connection there is no lock either.
            let _ = self.database.wait(Some(VIEW_CONNECT_MS), async move {
                client.batch_execute("SELECT pg_advisory_unlock_all()").await.map_err(storage)
            });
        }
    }
}

/// An origin as the table of stores has it.
#[derive(Clone)]
struct Key {
    log: Vec<u8>,
    numbers: [i64; 2],
    projector: Vec<u8>,
    per_org: bool,
}

impl Key {
    fn params(&self) -> [&(dyn ToSql + Sync); 5] {
        [&self.log, &self.numbers[0], &self.numbers[1], &self.projector, &self.per_org]
    }
}

impl PostgresShelf {
    /// The shelf in the database of these options.
    pub fn new(options: PostgresOptions) -> Self {
        Self {
            options,
            database: Mutex::default(),
        }
    }

    fn database(&self) -> Result<Arc<Database>, ViewError> {
        let mut database = self.database.lock();
        if let Some(connected) = &*database {
            return Ok(connected.clone());
        }
        let connected = Database::connect(&self.options)?;
        Ok(database.insert(connected).clone())
    }

    fn key(&self, origin: &Origin) -> Key {
        Key {
            log: origin.log_id.0.to_vec(),
            numbers: [origin.generation.into(), origin.partitions.into()],
            projector: origin.families.version().0.to_vec(),
            per_org: self.options.schema_per_org,
        }
    }

    fn stores(&self) -> String {
        format!("{}.stores", quoted(&self.options.schema))
    }

    /// Runs `work` in one transaction that holds the shelf's lock.
    fn alone<T: Send + 'static, F: Future<Output = Result<(T, Lease), ViewError>> + Send + 'static>(
        &self,
        work: impl FnOnce(Lease) -> F + Send + 'static,
    ) -> Result<(T, Lease), ViewError> {
        let database = self.database()?;
        let (pool, schema) = (database.writers.clone(), self.options.schema.clone());
        database.wait(None, async move {
            let client = Lease::of(&pool).await?;
            client.batch_execute("BEGIN").await.map_err(storage)?;
            lock(&client, &schema, Locked::Making).await?;
            let (result, client) = work(client).await?;
            client.batch_execute("COMMIT").await.map_err(storage)?;
            Ok((result, client))
        })
    }

    /// Enters a store of this origin under a name that is free. If it is to be current, and there is a current one, gives
    /// that one's name; if not, the connection holds its lock.
    fn enter(&self, origin: &Origin, current: bool) -> Result<(String, Lease), ViewError> {
        let (stores, schema, key) = (self.stores(), self.options.schema.clone(), self.key(origin));
        let version = Digest::of(&[&origin.log_id.0, &origin.generation.to_be_bytes(), &origin.families.version().0]).to_string();
        self.alone(move |client| async move {
            if current {
                let find = format!("SELECT name FROM {stores} WHERE current AND {OF_ORIGIN}");
                if let Some(row) = client.query_opt(&find, &key.params()).await.map_err(storage)? {
                    return Ok((row.get(0), client));
                }
            }
            let names = client.query(&format!("SELECT name FROM {stores}"), &[]).await.map_err(storage)?;
            let names: Vec<String> = names.iter().map(|row| row.get(0)).collect();
            let free = (0u32..).map(|n| format!("{schema}_{}_{n}", &version[..12])).find(|name| !names.contains(name));
            let name = free.ok_or_else(|| ViewError::Storage("no name is free".into()))?;
            let insert = format!(
                "INSERT INTO {stores} (log_id, generation, partitions, projector, per_org, name, current) VALUES ($1, $2, $3, $4, $5, $6, $7)"
            );
            let params = [&key.params()[..], &[&name, &current]].concat();
            client.execute(&insert, &params).await.map_err(storage)?;
            if !current {
                let hold = "SELECT pg_advisory_lock(hashtextextended($1, $2))";
                client.query_one(hold, &[&name, &(Locked::Building as i64)]).await.map_err(storage)?;
            }
            Ok((name, client))
        })
    }

    fn placed(&self, name: String, origin: Origin, guard: Option<Box<dyn Any + Send + Sync>>) -> Result<Placed, ViewError> {
        // A store that is built beside the current one is made from the log alone.
        let store = Arc::new(PostgresStore::opened(&self.database()?, &name, origin, guard.is_none())?);
        Ok(Placed { name, store, guard })
    }

    /// Drops the stores that are neither current nor being built.
    fn clear(&self) -> Result<(), ViewError> {
        let database = self.database()?;
        let (pool, stores) = (database.writers.clone(), self.stores());
        database.wait(None, async move {
            let client = Lease::of(&pool).await?;
            let left = format!("SELECT name FROM {stores} WHERE NOT current");
            for row in client.query(&left, &[]).await.map_err(storage)? {
                drop_store(&client, &stores, row.get(0)).await?;
            }
            client.keep();
            Ok(())
        })
    }
}

/// Drops a store unless it is being built; schema by schema, for a transaction has room for some thousand locks only.
async fn drop_store(client: &Lease, stores: &str, name: String) -> Result<(), ViewError> {
    let try_lock = "SELECT pg_try_advisory_lock(hashtextextended($1, $2))";
    let building = Locked::Building as i64;
    if !client
        .query_one(try_lock, &[&name, &building])
        .await
        .map_err(storage)?
        .get::<_, bool>(0)
    {
        return Ok(());
    }
    // It may have become current before its lock was let go.
    let left = format!("SELECT 1 FROM {stores} WHERE name = $1 AND NOT current");
    let is_left = client.query_opt(&left, &[&name]).await.map_err(storage)?.is_some();
    if is_left {
        drop_schemas(client, stores, &name).await?;
    }
    let unlock = "SELECT pg_advisory_unlock(hashtextextended($1, $2))";
    client.query_one(unlock, &[&name, &building]).await.map_err(storage)?;
    Ok(())
}

/// Deletes a store's schemas.
pub(super) async fn drop_whole(client: &Lease, name: &str) -> Result<(), ViewError> {
    let there = "SELECT to_regclass($1) IS NOT NULL";
    let list = format!("{}.org_schemas", quoted(name));
    let mut schemas: Vec<String> = Vec::new();
    if client.query_one(there, &[&list]).await.map_err(storage)?.get(0) {
        let rows = client.query(&format!("SELECT schema FROM {list}"), &[]).await.map_err(storage)?;
        schemas.extend(rows.iter().map(|row| row.get::<_, String>(0)));
    }
    schemas.push(name.to_owned());
    // A reader that is slow must not be waited for with all others behind the lock.
    client.batch_execute("SET lock_timeout = '5s'").await.map_err(storage)?;
    for schema in &schemas {
        let sql = format!("DROP SCHEMA IF EXISTS {} CASCADE", quoted(schema));
        client.batch_execute(&sql).await.map_err(storage)?;
    }
    client.batch_execute("RESET lock_timeout").await.map_err(storage)
}

/// Deletes a store that is not current, and its row.
async fn drop_schemas(client: &Lease, stores: &str, name: &str) -> Result<(), ViewError> {
    drop_whole(client, name).await?;
    client
        .execute(&format!("DELETE FROM {stores} WHERE name = $1 AND NOT current"), &[&name])
        .await
        .map_err(storage)?;
    Ok(())
}

impl Shelf for PostgresShelf {
    fn open(&self, origin: Origin) -> Result<Placed, ViewError> {
        let (name, client) = self.enter(&origin, true)?;
        client.keep();
        let placed = self.placed(name, origin, None)?;
        self.sweep(&placed.name);
        Ok(placed)
    }

    fn beside(&self, origin: Origin) -> Result<Placed, ViewError> {
        let (name, client) = self.enter(&origin, false)?;
        let building = Building {
            database: self.database()?,
            client: Some(client.own()),
        };
        self.placed(name, origin, Some(Box::new(building)))
    }

    fn switch(&self, to: &Placed) -> Result<(), ViewError> {
        let (stores, name, key) = (self.stores(), to.name.clone(), self.key(&to.store.origin()));
        self.alone(move |client| async move {
            // The one before, and what other releases and lives of this log left: a rebuild is the time to let go of it.
            let before = format!("UPDATE {stores} SET current = false WHERE log_id = $1");
            client.execute(&before, &[&key.log]).await.map_err(storage)?;
            let now = format!("UPDATE {stores} SET current = true WHERE name = $1");
            if client.execute(&now, &[&name]).await.map_err(storage)? != 1 {
                return Err(ViewError::Storage(format!("{name} was cleared away before it was current")));
            }
            Ok(((), client))
        })
        .map(|((), client)| client.keep())
    }

    fn sweep(&self, _: &str) {
        // What cannot be dropped now is dropped the next time.
        let _ = self.clear();
    }

    fn discard(&self, placed: Placed) {
        drop(placed);
        let _ = self.clear();
    }

    fn has_moved(&self, name: &str, origin: Origin) -> Result<bool, ViewError> {
        let database = self.database()?;
        let (pool, key, name) = (database.readers.clone(), self.key(&origin), name.to_owned());
        let sql = format!("SELECT count(*) FROM {} WHERE current AND {OF_ORIGIN} AND name = $6", self.stores());
        database.wait(Some(VIEW_READ_MS), async move {
            let client = Lease::of(&pool).await?;
            let params = [&key.params()[..], &[&name]].concat();
            let still: i64 = client.query_one(&sql, &params).await.map_err(storage)?.get(0);
            client.keep();
            Ok(still == 0)
        })
    }
}
