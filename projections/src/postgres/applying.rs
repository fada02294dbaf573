//! Batches as one transaction, in two round trips.

use super::{
    Layout,
    database::{Request, pipelined},
    lease::Lease,
    storage,
    values::Param,
    writing::SqlStatement,
};
use crate::{
    error::ViewError,
    query::quoted,
    statement::Value,
    store::{Checkpoint, Made, Of, ViewBatch},
};
use std::collections::BTreeMap;
use tokio_postgres::types::ToSql;

/// A checkpoint's way.
pub(super) struct Move {
    pub(super) partition: u16,
    of: Of,
    next: Checkpoint,
    expected: Checkpoint,
}

impl Move {
    pub(super) fn of(batch: &ViewBatch) -> Self {
        Self {
            partition: batch.partition,
            of: batch.of,
            next: batch.next,
            expected: batch.expected,
        }
    }

    /// What moves it, each of which must change one row.
    fn sql(&self, store: &str, made: &Made) -> Vec<(String, Vec<Param>)> {
        let number = |n: u64| Param::from(Value::Int(n.cast_signed()));
        let bytes = |bytes: &[u8]| Param::from(Value::Bytes(bytes.to_vec()));
        let (next, was) = (self.next, self.expected);
        let here = number(self.partition.into());
        let was_at = [number(was.epoch), number(was.next_offset), here.clone()];
        match self.of {
            Of::Views => vec![(
                format!(
                    "UPDATE {store}.checkpoints SET epoch = $4, next_offset = $5 WHERE epoch = $1 AND next_offset = $2 \
                     AND partition = $3 AND behind = $6 AND log_id = $7 AND generation = $8 AND projector = $9"
                ),
                [
                    &was_at[..],
                    &[
                        number(next.epoch),
                        number(next.next_offset),
                        number(was.behind.into()),
                        bytes(&made.log_id.0),
                        number(made.generation.into()),
                        bytes(&made.projector.0),
                    ],
                ]
                .concat(),
            )],
            Of::Late(family) => vec![(
                format!(
                    "UPDATE {store}.late_families SET epoch = $4, next_offset = $5 WHERE epoch = $1 AND next_offset = $2 \
                     AND partition = $3 AND family = $6"
                ),
                [
                    &was_at[..],
                    &[number(next.epoch), number(next.next_offset), Value::from(family).into()],
                ]
                .concat(),
            )],
            Of::Joining(family, others) => vec![
                (
                    format!("DELETE FROM {store}.late_families WHERE epoch = $1 AND next_offset = $2 AND partition = $3 AND family = $4"),
                    [&was_at[..], &[Value::from(family).into()]].concat(),
                ),
                (
                    format!(
                        "UPDATE {store}.checkpoints SET behind = behind - 1 WHERE epoch = $1 AND next_offset = $2 \
                         AND partition = $3 AND behind = $4"
                    ),
                    vec![number(others.epoch), number(others.next_offset), here, number(others.behind.into())],
                ),
            ],
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
    origin: &Made,
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
    let store = quoted(&layout.name);
    let mut steps = Vec::new();
    for a_move in moves {
        for (sql, params) in a_move.sql(&store, origin) {
            let statement = client.prepare_cached(&sql).await.map_err(storage)?;
            steps.push((a_move, statement, params));
        }
    }
    let mut requests = vec![said(client, "BEGIN; SET LOCAL synchronous_commit = off")];
    for (_, statement, params) in &steps {
        requests.push(Box::pin(async move { client.execute_raw(statement, params.iter()).await }));
    }
    let moved = pipelined(requests).await?;
    if let Some(((stuck, ..), _)) = steps.iter().zip(&moved[1..]).find(|(_, moved)| **moved != 1) {
        client.batch_execute("ROLLBACK").await.map_err(storage)?;
        return Err(ViewError::Conflict {
            partition: stuck.partition,
            expected: stuck.expected.next_offset,
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
