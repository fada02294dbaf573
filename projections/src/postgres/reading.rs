//! What is read: within an org as the role that reads, and of the whole store as its owner.

use super::{
    Layout,
    database::{Request, pipelined},
    lease::Lease,
    storage,
    values::{Held, Param},
};
use crate::{
    error::ViewError,
    families::Families,
    query::{Select, quoted},
    row_digest::{self, RowDigest},
    statement::Value,
    store::{Behind, Checkpoint, DigestOf, Digests, Origin, ParkedStream, Tip},
};
use futures::TryStreamExt;
use quipu_schemas::{
    digest::Digest,
    ids::{OrgId, StreamId},
};
use std::{collections::BTreeMap, pin::pin};
use tokio_postgres::{Row, types::ToSql};

const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

fn said<'c>(client: &'c Lease, sql: &'c str) -> Request<'c, Vec<Row>> {
    Box::pin(async move { client.batch_execute(sql).await.map(|()| Vec::new()) })
}

/// A query that is parsed each time: there are too many combinations of filters to keep them prepared.
fn asked<'c>(client: &'c Lease, sql: &'c str, params: &'c [Param]) -> Request<'c, Vec<Row>> {
    Box::pin(async move {
        let params: Vec<_> = params.iter().map(|value| (value as &(dyn ToSql + Sync), value.ty())).collect();
        client.query_typed(sql, &params).await
    })
}

fn values(row: &Row) -> Result<Vec<Value>, ViewError> {
    (0..row.len())
        .map(|n| row.try_get::<_, Held>(n).map(|held| held.0).map_err(storage))
        .collect()
}

fn text(row: &Row, n: usize) -> Result<String, ViewError> {
    match row.try_get::<_, Held>(n).map_err(storage)?.0 {
        Value::Text(text) => Ok(text),
        _ => Err(ViewError::Storage("a column of text holds none".into())),
    }
}

fn number(row: &Row, n: usize) -> Result<u64, ViewError> {
    Ok(row.try_get::<_, i64>(n).map_err(storage)?.cast_unsigned())
}

fn checkpoints_sql(layout: &Layout) -> String {
    format!(
        "SELECT epoch, next_offset, behind FROM {}.checkpoints ORDER BY partition",
        quoted(&layout.name)
    )
}

fn checkpoints_of(rows: &[Row]) -> Result<Vec<Checkpoint>, ViewError> {
    let read = |row| {
        Ok(Checkpoint {
            epoch: number(row, 0)?,
            next_offset: number(row, 1)?,
            behind: u16::try_from(number(row, 2)?).unwrap_or(u16::MAX),
        })
    };
    rows.iter().map(read).collect()
}

pub(super) async fn checkpoints(client: &Lease, layout: &Layout) -> Result<Vec<Checkpoint>, ViewError> {
    checkpoints_of(&client.query_typed(&checkpoints_sql(layout), &[]).await.map_err(storage)?)
}

/// The families that are behind the others.
pub(super) async fn behind(client: &Lease, layout: &Layout, origin: &Origin) -> Result<Vec<Behind>, ViewError> {
    let sql = format!(
        "SELECT family, partition, epoch, next_offset FROM {}.late_families",
        quoted(&layout.name)
    );
    let rows = client.query_typed(&sql, &[]).await.map_err(storage)?;
    let read = |row| {
        let partition = u16::try_from(number(row, 1)?).map_err(|e| ViewError::Storage(e.to_string()))?;
        let at = Checkpoint {
            epoch: number(row, 2)?,
            next_offset: number(row, 3)?,
            behind: 0,
        };
        Ok((text(row, 0)?, partition, at))
    };
    let rows = rows.iter().map(read).collect::<Result<Vec<_>, ViewError>>()?;
    Ok(Behind::gathered(origin, rows))
}

/// Whether the store has ever seen the whole log.
pub(super) async fn is_whole(client: &Lease, layout: &Layout) -> Result<bool, ViewError> {
    let sql = format!("SELECT whole FROM {}.origin", quoted(&layout.name));
    let row = client.query_one(&sql, &[]).await.map_err(storage)?;
    row.try_get(0).map_err(storage)
}

/// Remembers that it has.
pub(super) async fn set_whole(client: &Lease, layout: &Layout) -> Result<(), ViewError> {
    let sql = format!("UPDATE {}.origin SET whole = true", quoted(&layout.name));
    client.execute(&sql, &[]).await.map(drop).map_err(storage)
}

/// The schema of an org's rows; `None` where it has no row yet.
async fn schema_of(client: &Lease, layout: &Layout, org: &str) -> Result<Option<String>, ViewError> {
    if let Some(schema) = layout.of(org) {
        return Ok(Some(schema));
    }
    let sql = format!("SELECT schema FROM {}.org_schemas WHERE \"org\" = $1", quoted(&layout.name));
    let found = asked(client, &sql, &[Value::from(org).into()]).await.map_err(storage)?;
    let Some(row) = found.first() else { return Ok(None) };
    let schema = text(row, 0)?;
    layout.learn(org, schema.clone());
    Ok(Some(schema))
}

/// The rows of a query within an org, with the checkpoints of the same moment: one transaction in one round trip, as the
/// role that reads. Role, org and path end with the transaction.
pub(super) async fn rows(
    client: &Lease,
    layout: &Layout,
    org: &OrgId,
    select: &Select,
) -> Result<(Vec<Vec<Value>>, Vec<Checkpoint>), ViewError> {
    // Read before it is known that the org has no rows: it had none at this earlier moment.
    let before = if layout.of(org.as_str()).is_none() {
        checkpoints(client, layout).await?
    } else {
        Vec::new()
    };
    let Some(schema) = schema_of(client, layout, org.as_str()).await? else {
        return Ok((Vec::new(), before));
    };
    let mut begin = format!("{SNAPSHOT}; SET LOCAL search_path = {}", quoted(&schema));
    if let Some(reader) = &layout.reader {
        begin = format!("{begin}; SET LOCAL ROLE {}", quoted(reader));
    }
    // Conditions are constants without question marks.
    let (sql, checkpoints) = (select.sql.replace('?', "$"), checkpoints_sql(layout));
    let params: Vec<Param> = select.params.iter().cloned().map(Param::from).collect();
    let named = [Param::from(Value::from(org))];
    let answers = pipelined(vec![
        said(client, &begin),
        asked(client, "SELECT set_config('quipu.org', $1, true)", &named),
        asked(client, &sql, &params),
        asked(client, &checkpoints, &[]),
        said(client, "COMMIT"),
    ])
    .await?;
    let rows = answers[2].iter().map(values).collect::<Result<_, _>>()?;
    Ok((rows, checkpoints_of(&answers[3])?))
}

/// The schemas that hold rows, by org in the order of its bytes; the org is empty where all share one.
async fn schemas(client: &Lease, layout: &Layout) -> Result<Vec<(String, String)>, ViewError> {
    if layout.orgs.is_none() {
        return Ok(vec![(String::new(), layout.name.clone())]);
    }
    let sql = format!("SELECT \"org\", schema FROM {}.org_schemas ORDER BY \"org\"", quoted(&layout.name));
    let rows = client.query_typed(&sql, &[]).await.map_err(storage)?;
    rows.iter().map(|row| Ok((text(row, 0)?, text(row, 1)?))).collect()
}

pub(super) async fn tips(client: &Lease, layout: &Layout, streams: &[StreamId]) -> Result<Vec<Option<Tip>>, ViewError> {
    let mut by_schema: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (n, stream) in streams.iter().enumerate() {
        if let Some(schema) = schema_of(client, layout, stream.org.as_str()).await? {
            by_schema.entry(schema).or_default().push(n);
        }
    }
    let mut tips = vec![None; streams.len()];
    for (schema, places) in by_schema {
        let sql = format!(
            "SELECT s.n, t.version, t.hash FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS s(org, kind, id, n) \
             CROSS JOIN LATERAL (SELECT c.version, c.hash FROM {}.commands AS c WHERE c.\"org\" = s.org AND c.kind = s.kind \
             AND c.id = s.id ORDER BY c.\"offset\" DESC LIMIT 1) AS t",
            quoted(&schema)
        );
        let part = |of: fn(&StreamId) -> &str| places.iter().map(|n| of(&streams[*n])).collect::<Vec<_>>();
        let (orgs, kinds, ids) = (part(|s| s.org.as_str()), part(|s| s.kind.as_str()), part(|s| s.id.as_str()));
        let params: [&(dyn ToSql + Sync); 3] = [&orgs, &kinds, &ids];
        let statement = client.prepare_cached(&sql).await.map_err(storage)?;
        for row in client.query(&statement, &params).await.map_err(storage)? {
            let place = usize::try_from(number(&row, 0)? - 1).ok().and_then(|n| places.get(n));
            let hash = <[u8; 32]>::try_from(row.try_get::<_, &[u8]>(2).map_err(storage)?).ok();
            let (Some(place), Some(hash)) = (place, hash) else {
                return Err(ViewError::Storage("a chain's end cannot be decoded".into()));
            };
            tips[*place] = Some(Tip {
                version: number(&row, 1)?,
                hash: Digest(hash),
            });
        }
    }
    Ok(tips)
}

pub(super) async fn parked(client: &Lease, layout: &Layout) -> Result<Vec<ParkedStream>, ViewError> {
    let selects: Vec<_> = schemas(client, layout)
        .await?
        .into_iter()
        .map(|(org, schema)| {
            let sql = format!(
                "SELECT \"org\" || '/' || kind || '/' || id, \"partition\", \"offset\", reason FROM {}.parked_streams \
                 WHERE $1 IN ('', \"org\")",
                quoted(&schema)
            );
            (sql, [Param::from(Value::from(org))])
        })
        .collect();
    let answers = pipelined(selects.iter().map(|(sql, org)| asked(client, sql, org)).collect()).await?;
    let mut out = Vec::new();
    for row in answers.iter().flatten() {
        let bad = |e: &dyn std::fmt::Display| ViewError::Storage(format!("a parked stream cannot be decoded: {e}"));
        out.push(ParkedStream {
            stream: text(row, 0)?.parse().map_err(|e: quipu_schemas::ids::BadId| bad(&e))?,
            partition: u16::try_from(number(row, 1)?).map_err(|e| bad(&e))?,
            offset: number(row, 2)?,
            reason: text(row, 3)?,
        });
    }
    out.sort_by_key(|parked| (parked.partition, parked.offset));
    Ok(out)
}

/// Rows are hashed as they come; no table is held in memory.
pub(super) async fn digests(client: &Lease, families: Families, layout: &Layout, of: DigestOf) -> Result<Digests, ViewError> {
    client.batch_execute(SNAPSHOT).await.map_err(storage)?;
    let schemas = schemas(client, layout).await?;
    let mut digests = Digests::new();
    for table in families.tables() {
        let (columns, key) = row_digest::columns(table, of);
        let mut digest = RowDigest::default();
        for (org, schema) in &schemas {
            let sql = format!(
                "SELECT {} FROM {}.{} WHERE $1 IN ('', \"org\") ORDER BY {}",
                columns.join(", "),
                quoted(schema),
                table.name,
                key.join(", ")
            );
            let org = Param::from(Value::from(org.as_str()));
            let mut rows = pin!(client.query_typed_raw(&sql, [(&org, org.ty())]).await.map_err(storage)?);
            while let Some(row) = rows.try_next().await.map_err(storage)? {
                for value in values(&row)? {
                    digest.add(&value);
                }
            }
        }
        digests.insert(table.name, digest.finish());
    }
    client.batch_execute("COMMIT").await.map_err(storage)?;
    Ok(digests)
}
