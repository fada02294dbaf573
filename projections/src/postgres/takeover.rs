//! What a new store takes over from the one of another release: the rows of families that both make in the same way. The rest
//! begins again, and is behind until it has seen what the others have.
//!
//! Each release keeps its own store, so that nodes of two releases work on one database: rows are copied, not moved.

use super::{lease::Lease, options::PostgresOptions, storage};
use crate::{error::ViewError, query::quoted, store::Origin};
use std::fmt::Write;

/// Fills the empty store `name` from a current one of the same log, if there is one whose families hang on the same; within the
/// transaction that made it.
pub(super) async fn take_over(client: &Lease, name: &str, origin: &Origin, options: &PostgresOptions) -> Result<(), ViewError> {
    let Some(old) = other(client, name, origin, options).await? else {
        return Ok(());
    };
    // Nobody moves a checkpoint of the old one until this transaction ends: rows and checkpoints are of one moment.
    let lock = format!("LOCK TABLE {0}.checkpoints IN SHARE MODE", quoted(&old));
    client.batch_execute(&lock).await.map_err(storage)?;
    let same = format!(
        "SELECT n.name FROM {0}.families AS n JOIN {1}.families AS o USING (name, made_by) \
         WHERE NOT EXISTS (SELECT FROM {1}.late_families AS l WHERE l.family = n.name)",
        quoted(name),
        quoted(&old)
    );
    let same: Vec<String> = client
        .query(&same, &[])
        .await
        .map_err(storage)?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let (new, old) = (quoted(name), quoted(&old));
    let mut sql = format!(
        "UPDATE {new}.checkpoints AS n SET epoch = o.epoch, next_offset = o.next_offset FROM {old}.checkpoints AS o \
         WHERE o.partition = n.partition;\n\
         UPDATE {new}.origin SET whole = (SELECT whole FROM {old}.origin);\n"
    );
    for family in origin.families.iter() {
        if !same.iter().any(|name| name == family.name) {
            let _ = writeln!(
                sql,
                "INSERT INTO {new}.late_families SELECT '{}', partition, 0, 0 FROM {new}.checkpoints WHERE next_offset > 0; \
                 UPDATE {new}.checkpoints SET behind = behind + 1 WHERE next_offset > 0;",
                family.name
            );
            continue;
        }
        for table in family.tables {
            let columns: Vec<_> = table.all_columns().map(|column| quoted(column.name)).collect();
            let columns = columns.join(", ");
            let _ = writeln!(
                sql,
                "INSERT INTO {new}.{0} ({columns}) SELECT {columns} FROM {old}.{0};",
                table.name
            );
        }
    }
    client.batch_execute(&sql).await.map_err(storage)
}

/// The newest current store of the same log whose families hang on the same.
async fn other(client: &Lease, name: &str, origin: &Origin, options: &PostgresOptions) -> Result<Option<String>, ViewError> {
    let stores = format!("{}.stores", quoted(&options.schema));
    let there: bool = client
        .query_one("SELECT to_regclass($1) IS NOT NULL", &[&stores])
        .await
        .map_err(storage)?
        .get(0);
    if !there {
        return Ok(None);
    }
    let list = format!(
        "SELECT name FROM {stores} WHERE current AND NOT per_org AND log_id = $1 AND generation = $2 AND partitions = $3 \
         AND name <> $4 ORDER BY made_at DESC"
    );
    let (log, generation, partitions) = (&origin.log_id.0[..], i64::from(origin.generation), i64::from(origin.partitions));
    for row in client
        .query(&list, &[&log, &generation, &partitions, &name])
        .await
        .map_err(storage)?
    {
        let old: String = row.get(0);
        let families = format!("{}.families", quoted(&old));
        // A store of an earlier release knows no families.
        let there: bool = client
            .query_one("SELECT to_regclass($1) IS NOT NULL", &[&families])
            .await
            .map_err(storage)?
            .get(0);
        let base = &origin.families.base().0[..];
        let same = format!("SELECT 1 FROM {families} WHERE name = '' AND made_by = $1");
        if there && client.query_opt(&same, &[&base]).await.map_err(storage)?.is_some() {
            return Ok(Some(old));
        }
    }
    Ok(None)
}
