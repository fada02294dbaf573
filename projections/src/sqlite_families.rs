//! Which families a SQLite store holds, what their rows are made by, and which of them are behind the others.

use crate::{
    error::ViewError,
    families::Families,
    family::Family,
    query::quoted,
    sqlite_write::{storage, tables_of},
    store::{Behind, Checkpoint, Origin},
};
use rusqlite::{Connection, Transaction};

/// Notes what a family's rows are made by.
pub(crate) fn note(transaction: &Transaction<'_>, family: &Family) -> Result<(), ViewError> {
    let tables: Vec<_> = family.tables.iter().map(|table| table.name).collect();
    transaction
        .execute(
            "INSERT INTO families VALUES (?1, ?2, ?3)",
            rusqlite::params![family.name, family.made_by().0, tables.join(",")],
        )
        .map(drop)
        .map_err(storage)
}

/// Drops the tables of families that are not there any more or are made otherwise now, and begins those again.
pub(crate) fn renew(transaction: &Transaction<'_>, families: Families) -> Result<(), ViewError> {
    let mut select = transaction.prepare("SELECT name, made_by, tables FROM families").map_err(storage)?;
    let rows = select.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, [u8; 32]>(1)?, row.get::<_, String>(2)?))
    });
    let there: Vec<_> = rows.map_err(storage)?.collect::<Result<_, _>>().map_err(storage)?;
    let is_kept = |family: &Family| {
        there
            .iter()
            .any(|(name, made_by, _)| name == family.name && *made_by == family.made_by().0)
    };
    for (name, _, tables) in &there {
        if families.iter().any(|family| family.name == name && is_kept(family)) {
            continue;
        }
        let drop: String = tables
            .split(',')
            .filter(|table| !table.is_empty())
            .map(|table| format!("DROP TABLE {};", quoted(table)))
            .collect();
        transaction.execute_batch(&drop).map_err(storage)?;
        for sql in [
            "UPDATE checkpoints SET behind = behind - 1 WHERE partition IN (SELECT partition FROM late_families WHERE family = ?1)",
            "DELETE FROM late_families WHERE family = ?1",
            "DELETE FROM families WHERE name = ?1",
        ] {
            transaction.execute(sql, [name]).map_err(storage)?;
        }
    }
    for family in families.iter().filter(|family| !is_kept(family)) {
        transaction.execute_batch(&tables_of(family)).map_err(storage)?;
        note(transaction, family)?;
        let late = "INSERT INTO late_families SELECT ?1, partition, 0, 0 FROM checkpoints WHERE next_offset > 0";
        transaction.execute(late, [family.name]).map_err(storage)?;
        let count = "UPDATE checkpoints SET behind = behind + 1 WHERE next_offset > 0";
        transaction.execute(count, []).map_err(storage)?;
    }
    Ok(())
}

/// The families that are behind the others.
pub(crate) fn behind(connection: &Connection, origin: &Origin) -> Result<Vec<Behind>, ViewError> {
    let mut select = connection
        .prepare_cached("SELECT family, partition, epoch, next_offset FROM late_families")
        .map_err(storage)?;
    let rows = select.query_map([], |row| {
        let at = Checkpoint {
            epoch: row.get::<_, i64>(2)?.cast_unsigned(),
            next_offset: row.get::<_, i64>(3)?.cast_unsigned(),
            behind: 0,
        };
        Ok((row.get::<_, String>(0)?, row.get::<_, u16>(1)?, at))
    });
    let rows: Vec<_> = rows.map_err(storage)?.collect::<Result<_, _>>().map_err(storage)?;
    Ok(Behind::gathered(origin, rows))
}
