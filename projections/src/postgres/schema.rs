//! What is made in the database: the role that reads, the table of stores, and the tables of one store.

use super::{lease::Lease, options::PostgresOptions, storage, takeover};
use crate::{
    error::ViewError,
    families::Families,
    query::quoted,
    store::{Made, Origin},
    table::Type,
};
use quipu_schemas::{digest::Digest, ids::OrgId, limits::VIEW_NAME_MAX_CHARS, position::LogId};
use std::fmt::Write;
use tokio_postgres::{Row, error::SqlState};

/// Which advisory lock of a name: for making and switching, or held as long as a store is built beside the current one.
#[derive(Clone, Copy)]
pub(super) enum Locked {
    Making = 0,
    Building = 1,
}

/// Waits for the lock of a name until the transaction ends.
pub(super) async fn lock(client: &Lease, name: &str, what: Locked) -> Result<(), ViewError> {
    let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1, $2))";
    client.query_one(sql, &[&name, &(what as i64)]).await.map_err(storage)?;
    Ok(())
}

/// Makes the role that reads and the table of stores.
pub(super) async fn begin(client: &Lease, options: &PostgresOptions) -> Result<(), ViewError> {
    let encoding: String = client.query_one("SHOW server_encoding", &[]).await.map_err(storage)?.get(0);
    if encoding != "UTF8" {
        return Err(ViewError::Storage(format!(
            "the database's encoding is {encoding}: make one with UTF8"
        )));
    }
    if let Some(reader) = &options.reader {
        ensure_reader(client, reader).await?;
    }
    client.batch_execute("BEGIN").await.map_err(storage)?;
    lock(client, &options.schema, Locked::Making).await?;
    let sql = format!(
        "CREATE SCHEMA IF NOT EXISTS {0}; \
         CREATE TABLE IF NOT EXISTS {0}.stores (name text PRIMARY KEY, log_id bytea NOT NULL, generation bigint NOT NULL, \
         partitions bigint NOT NULL, projector bytea NOT NULL, per_org boolean NOT NULL, current boolean NOT NULL, \
         made_at timestamptz NOT NULL DEFAULT now()); \
         CREATE UNIQUE INDEX IF NOT EXISTS stores_current ON {0}.stores (log_id, generation, partitions, projector, per_org) \
         WHERE current; COMMIT",
        quoted(&options.schema)
    );
    client.batch_execute(&sql).await.map_err(storage)
}

/// Makes the role that reads unless it is there, and lets the connecting user take it on.
async fn ensure_reader(client: &Lease, reader: &str) -> Result<(), ViewError> {
    let may = "SELECT pg_has_role(current_user, oid, 'MEMBER'), current_user::text FROM pg_roles WHERE rolname = $1";
    let found = client.query_opt(may, &[&reader]).await.map_err(storage)?;
    let Some(row) = found else {
        let made = client.batch_execute(&format!("CREATE ROLE {} NOLOGIN", quoted(reader))).await;
        match made {
            // Another process may have been faster.
            Err(e) if !matches!(e.code(), Some(&SqlState::DUPLICATE_OBJECT | &SqlState::UNIQUE_VIOLATION)) => {
                return Err(no_reader(reader, "does not exist and the connecting user may not make it", &e));
            }
            _ => {}
        }
        return grant(client, reader).await;
    };
    if row.get::<_, bool>(0) {
        Ok(())
    } else {
        grant(client, reader).await
    }
}

async fn grant(client: &Lease, reader: &str) -> Result<(), ViewError> {
    let granted = client.batch_execute(&format!("GRANT {} TO CURRENT_USER", quoted(reader))).await;
    granted.map_err(|e| no_reader(reader, "was not granted to the connecting user", &e))
}

fn no_reader(reader: &str, what: &str, error: &tokio_postgres::Error) -> ViewError {
    ViewError::Storage(format!(
        "role {reader}, by which row-level security keeps orgs apart, {what} ({}): as an administrator run CREATE ROLE {reader} \
         NOLOGIN; GRANT {reader} TO the user; or name another with reader=, or go without by reader=none",
        super::storage_text(error)
    ))
}

/// The DDL of a store: its origin, its checkpoints, and its tables or the list of its orgs' schemas.
pub(super) fn store(name: &str, origin: &Origin, per_org: bool, reader: Option<&str>) -> String {
    let schema = quoted(name);
    let (log, projector) = (hex::encode(origin.log_id.0), hex::encode(origin.families.version().0));
    let mut sql = format!(
        "CREATE SCHEMA IF NOT EXISTS {schema};\n\
         CREATE TABLE {schema}.origin (one integer PRIMARY KEY CHECK (one = 1), log_id bytea NOT NULL, generation bigint NOT NULL, \
         partitions bigint NOT NULL, projector bytea NOT NULL, per_org boolean NOT NULL, whole boolean NOT NULL DEFAULT false);\n\
         CREATE TABLE {schema}.checkpoints (partition bigint PRIMARY KEY, log_id bytea NOT NULL, generation bigint NOT NULL, \
         projector bytea NOT NULL, epoch bigint NOT NULL, next_offset bigint NOT NULL, behind bigint NOT NULL DEFAULT 0) \
         WITH (fillfactor = 50);\n\
         CREATE TABLE {schema}.families (name text PRIMARY KEY, made_by bytea NOT NULL);\n\
         CREATE TABLE {schema}.late_families (family text, partition bigint, epoch bigint NOT NULL, next_offset bigint NOT NULL, \
         PRIMARY KEY (family, partition)) WITH (fillfactor = 50);\n\
         INSERT INTO {schema}.origin VALUES (1, '\\x{log}', {generation}, {partitions}, '\\x{projector}', {per_org}, false);\n\
         INSERT INTO {schema}.checkpoints SELECT n, '\\x{log}', {generation}, '\\x{projector}', 0, 0 \
         FROM generate_series(0, {partitions} - 1) AS n;\n",
        generation = origin.generation,
        partitions = origin.partitions,
    );
    // The store's own line, without a name, tells on what all families hang.
    let bases = std::iter::once(("", origin.families.base()));
    for (name, made_by) in bases.chain(origin.families.iter().map(|family| (family.name, family.made_by()))) {
        let _ = writeln!(
            sql,
            "INSERT INTO {schema}.families VALUES ('{name}', '\\x{}');",
            hex::encode(made_by.0)
        );
    }
    if per_org {
        let _ = writeln!(
            sql,
            "CREATE TABLE {schema}.org_schemas (\"org\" text COLLATE \"C\" PRIMARY KEY, schema text NOT NULL);"
        );
    } else {
        create_tables(origin.families, &schema, &mut sql);
    }
    let protected = if per_org {
        vec!["org_schemas"]
    } else {
        table_names(origin.families)
    };
    protect(&schema, &protected, reader, &mut sql);
    sql
}

fn table_names(families: Families) -> Vec<&'static str> {
    families.tables().map(|table| table.name).collect()
}

/// The DDL of one org's schema of a store.
pub(super) fn org(families: Families, name: &str, reader: Option<&str>) -> String {
    let schema = quoted(name);
    let mut sql = format!("CREATE SCHEMA {schema};\n");
    create_tables(families, &schema, &mut sql);
    protect(&schema, &table_names(families), reader, &mut sql);
    sql
}

/// Text compares by its bytes, as in every other store: pages and digests depend on it.
fn create_tables(families: Families, schema: &str, sql: &mut String) {
    for table in families.tables() {
        let _ = write!(sql, "CREATE TABLE {schema}.{} (\"org\" text COLLATE \"C\" NOT NULL", table.name);
        for column in table.key.iter().chain(table.columns) {
            let ty = match column.ty {
                // JSON is text here: it comes back byte for byte.
                Type::Text | Type::Json => "text COLLATE \"C\"",
                Type::Int | Type::Flag | Type::Place => "bigint",
                Type::Bytes => "bytea",
            };
            let _ = write!(sql, ", {} {ty}", quoted(column.name));
            if let Some(default) = column.default {
                let _ = write!(sql, " NOT NULL DEFAULT {default}");
            } else if table.key.iter().any(|k| k.name == column.name) {
                sql.push_str(" NOT NULL");
            }
        }
        let key: Vec<_> = std::iter::once("org").chain(table.key.iter().map(|c| c.name)).map(quoted).collect();
        let _ = writeln!(sql, ", PRIMARY KEY ({}));", key.join(", "));
        for (_, index) in table.numbered_indexes() {
            let columns: Vec<_> = index.columns.split(", ").map(quoted).collect();
            let _ = write!(sql, "CREATE INDEX ON {schema}.{} (\"org\", {})", table.name, columns.join(", "));
            if let Some(only) = index.only {
                let _ = write!(sql, " WHERE {only}");
            }
            sql.push_str(";\n");
        }
    }
}

/// Row-level security: whoever reads sees the rows of the org that its transaction names, and no others. The owner's own
/// statements are under it as well (`FORCE`), with a policy that lets them through; only superusers pass by.
fn protect(schema: &str, tables: &[&str], reader: Option<&str>, sql: &mut String) {
    let Some(reader) = reader.map(quoted) else { return };
    for table in tables {
        let table = format!("{schema}.{table}");
        let _ = write!(
            sql,
            "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;\n\
             CREATE POLICY reads_one_org ON {table} FOR SELECT TO {reader} USING (\"org\" = current_setting('quipu.org', true));\n\
             CREATE POLICY projects ON {table} TO CURRENT_USER USING (true) WITH CHECK (true);\n"
        );
    }
    let _ = writeln!(
        sql,
        "GRANT USAGE ON SCHEMA {schema} TO {reader};\nGRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {reader};"
    );
}

/// Opens a store, making it where there is none; refuses one of another origin. Whether it keeps orgs apart by schema.
pub(super) async fn open(
    client: &Lease,
    name: &str,
    origin: &Origin,
    options: &PostgresOptions,
    takes_over: bool,
) -> Result<bool, ViewError> {
    let (per_org, reader) = (options.schema_per_org, options.reader.as_deref());
    client.batch_execute("BEGIN").await.map_err(storage)?;
    lock(client, name, Locked::Making).await?;
    let origin_table = format!("{}.origin", quoted(name));
    let there: bool = client
        .query_one("SELECT to_regclass($1) IS NOT NULL", &[&origin_table])
        .await
        .map_err(storage)?
        .get(0);
    let per_org = if there {
        let sql = format!("SELECT log_id, generation, partitions, projector, per_org FROM {origin_table}");
        let row = client.query_one(&sql, &[]).await.map_err(storage)?;
        origin_of(&row)?.check(&origin.made())?;
        row.get(4)
    } else {
        client.batch_execute(&store(name, origin, per_org, reader)).await.map_err(storage)?;
        if takes_over && !per_org {
            takeover::take_over(client, name, origin, options).await?;
        }
        per_org
    };
    client.batch_execute("COMMIT").await.map_err(storage)?;
    Ok(per_org)
}

/// Name of an org's schema within a store: readable where it fits. Two orgs of one name would share it, and lose nothing:
/// every table has its org column all the same.
fn org_schema(store: &str, org: &OrgId) -> String {
    let name = format!("{store}_org_{org}");
    if name.len() <= VIEW_NAME_MAX_CHARS {
        return name;
    }
    let hash = Digest::of(&[org.as_str().as_bytes()]).to_string();
    format!("{store}_org_{}", &hash[..16])
}

/// Makes the schema of an org of a store, unless it is there; its name.
pub(super) async fn ensure_org(
    client: &Lease,
    families: Families,
    store: &str,
    org: &OrgId,
    reader: Option<&str>,
) -> Result<String, ViewError> {
    let (name, key) = (org_schema(store, org), org.as_str());
    let list = format!("{}.org_schemas", quoted(store));
    client.batch_execute("BEGIN").await.map_err(storage)?;
    lock(client, store, Locked::Making).await?;
    let note = format!("INSERT INTO {list} VALUES ($1, $2) ON CONFLICT DO NOTHING");
    if client.execute(&note, &[&key, &name]).await.map_err(storage)? == 1 {
        let there = "SELECT count(*) FROM pg_namespace WHERE nspname = $1";
        if client.query_one(there, &[&name]).await.map_err(storage)?.get::<_, i64>(0) == 0 {
            client.batch_execute(&self::org(families, &name, reader)).await.map_err(storage)?;
        }
    }
    client.batch_execute("COMMIT").await.map_err(storage)?;
    Ok(name)
}

fn origin_of(row: &Row) -> Result<Made, ViewError> {
    let odd = |what: &str| ViewError::Storage(format!("the store's {what} cannot be decoded"));
    let bytes = |n| row.get::<_, &[u8]>(n);
    Ok(Made {
        log_id: LogId(bytes(0).try_into().map_err(|_| odd("log id"))?),
        generation: row.get::<_, i64>(1).try_into().map_err(|_| odd("generation"))?,
        partitions: row.get::<_, i64>(2).try_into().map_err(|_| odd("partition count"))?,
        projector: Digest(bytes(3).try_into().map_err(|_| odd("projector"))?),
    })
}
