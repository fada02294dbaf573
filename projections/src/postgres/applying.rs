//! Batches as one transaction, in two round trips.

use super::{
    Layout,
    database::{Request, pipelined},
    lease::Lease,
    storage,
    writing::SqlStatement,
};
use crate::{
    error::ViewError,
    query::quoted,
    store::{Made, ViewBatch},
};
use std::collections::BTreeMap;
use tokio_postgres::types::ToSql;

/// A checkpoint's way.
pub(super) struct Move {
    pub(super) partition: u16,
    /// Epoch and next offset to be, epoch and next offset as they must be.
    numbers: [i64; 4],
}

impl Move {
    pub(super) fn of(batch: &ViewBatch) -> Self {
        let (next, expected) = (batch.next, batch.expected);
        let numbers = [next.epoch, next.next_offset, expected.epoch, expected.next_offset];
        Self {
            partition: batch.partition,
            numbers: numbers.map(u64::cast_signed),
        }
    }
}

fn said<'c>(client: &'c Lease, sql: &'c str) -> Request<'c, u64> {
    Box::pin(async move { client.batch_execute(sql).await.map(|()| 0) })
}

/// Moves the checkpoints and executes the statements, or does nothing. After an error that is no conflict the connection
/// must be closed.
pub(super) async fn apply(
    client: &Lease,
    layout: &Layout,
    origin: &Origin,
    moves: &[Move],
    statements: &[SqlStatement],
) -> Result<(), ViewError> {
    // What comes again and again is prepared; the tables of single orgs are too many for that.
    let mut prepared = BTreeMap::new();
    for written in statements.iter().filter(|_| layout.orgs.is_none()) {
        if !prepared.contains_key(written.sql.as_str()) {
            let statement = client.prepare_cached(&written.sql).await.map_err(storage)?;
            prepared.insert(written.sql.as_str(), statement);
        }
    }
    let update = format!(
        "UPDATE {}.checkpoints SET epoch = $1, next_offset = $2 WHERE epoch = $3 AND next_offset = $4 AND partition = $5 \
         AND log_id = $6 AND generation = $7 AND projector = $8",
        quoted(&layout.name)
    );
    let update = &client.prepare_cached(&update).await.map_err(storage)?;
    let mut requests = vec![said(client, "BEGIN; SET LOCAL synchronous_commit = off")];
    for a_move in moves {
        requests.push(Box::pin(async move {
            let [epoch, next, was_epoch, was_next] = &a_move.numbers;
            let (partition, generation) = (i64::from(a_move.partition), i64::from(origin.generation));
            let (log, projector) = (&origin.log_id.0[..], &origin.projector.0[..]);
            let params: [&(dyn ToSql + Sync); 8] = [epoch, next, was_epoch, was_next, &partition, &log, &generation, &projector];
            client.execute(update, &params).await
        }));
    }
    let moved = pipelined(requests).await?;
    if let Some((stuck, _)) = moves.iter().zip(&moved[1..]).find(|(_, moved)| **moved != 1) {
        client.batch_execute("ROLLBACK").await.map_err(storage)?;
        return Err(ViewError::Conflict {
            partition: stuck.partition,
            expected: stuck.numbers[3].cast_unsigned(),
        });
    }
    // The commit goes with the statements: after a statement that failed it rolls back.
    let mut requests = Vec::with_capacity(statements.len() + 1);
    requests.extend(
        statements
            .iter()
            .map(|written| executed(client, prepared.get(written.sql.as_str()), written)),
    );
    requests.push(said(client, "COMMIT"));
    pipelined(requests).await?;
    Ok(())
}

fn executed<'c>(client: &'c Lease, prepared: Option<&'c tokio_postgres::Statement>, written: &'c SqlStatement) -> Request<'c, u64> {
    Box::pin(async move {
        match prepared {
            Some(statement) => client.execute_raw(statement, written.params.iter().map(|(value, _)| value)).await,
            None => {
                let params: Vec<_> = written
                    .params
                    .iter()
                    .map(|(value, ty)| (value as &(dyn ToSql + Sync), ty.clone()))
                    .collect();
                client.execute_typed(&written.sql, &params).await
            }
        }
    })
}
