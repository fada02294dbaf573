//! One stream from its log, past every view: history, time travel, receipts.

use super::{
    Answer, App,
    answer::{json_held, position, receipt_answer, version_tag},
    params::Params,
    problem::{self, bad_id, bad_parameter},
    request::{At, entity},
};
use crate::{caller::InOrg, clock::rfc3339, cloudevents};
use axum::{extract::State, http::Uri};
use quipu_runtime::{
    api::HistoryEntry,
    node::{Held, PageFrom, RecordKey},
};
use quipu_schemas::{
    digest::Digest,
    idempotency,
    ids::{CommandId, StreamId},
    limits::PAGE_MAX_BYTES,
    personal::{Opener, Within},
    problem::Problem,
    reaction::Settlement,
    record::StoredReaction,
};
use serde::Serialize;
use serde_json::{Value, value::RawValue};

pub(super) fn stream_of(app: &App, in_org: &InOrg, plural: &str, id: String) -> Result<StreamId, Problem> {
    let kind = app.kind(plural)?.kind.clone();
    Ok(in_org.stream(kind, entity(id)?))
}

/// One record of a stream.
#[derive(Serialize)]
struct HistoryRow<'a> {
    position: String,
    first_version: u64,
    version: u64,
    time: String,
    command_id: &'a CommandId,
    principal: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_behalf_of: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    home: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causation: Option<&'a str>,
    events: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reactions: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settlement: Option<&'a Settlement>,
    previous_hash: Digest,
    hash: Digest,
}

/// Not a `Value`: events keep the bytes that they have in the feed.
#[derive(Serialize)]
struct HistoryPage<'a> {
    items: Vec<HistoryRow<'a>>,
    next: Option<String>,
}

fn history_row<'a>(entry: &'a HistoryEntry, plural: &str, opener: &dyn Opener) -> Result<HistoryRow<'a>, Problem> {
    let (record, header) = (&entry.record, &entry.record.header);
    let sealed = |e: quipu_schemas::personal::SealError| e.problem();
    let reaction = |stored: &StoredReaction| -> Result<Value, Problem> {
        let mut value = serde_json::to_value(stored).map_err(|e| problem::internal(e.to_string()))?;
        quipu_schemas::personal::show_all(&mut value, opener).map_err(sealed)?;
        Ok(value)
    };
    Ok(HistoryRow {
        position: entry.position.to_string(),
        first_version: header.first_version,
        version: header.last_version(),
        time: rfc3339(header.time),
        command_id: &header.command_id,
        principal: header.principal.as_str(),
        on_behalf_of: header.on_behalf_of.as_ref().map(|p| p.as_str()),
        home: header.home.as_ref().map(|org| org.as_str()),
        credential: header.credential.as_ref().map(ToString::to_string),
        correlation: header.correlation.as_deref(),
        causation: header.causation.as_deref(),
        events: (0..record.events.len())
            .map(|index| cloudevents::encode(record, plural, entry.position, index, Some(opener)).map_err(sealed))
            .collect::<Result<_, _>>()?,
        reactions: record.reactions.iter().map(reaction).collect::<Result<_, _>>()?,
        settlement: header.settlement.as_ref(),
        previous_hash: record.previous,
        hash: record.hash,
    })
}

/// Where a page of history begins: behind a record, named by its version and offset, as records without events share their
/// first version with the next one.
fn after(text: Option<&str>) -> Result<PageFrom, Problem> {
    let Some(text) = text else { return Ok(PageFrom::Version(0)) };
    let bad = || {
        bad_parameter(
            "after",
            format!("`{}` is not a place in a history", problem::clip(text)),
            "pass `next` of the page before, unchanged",
        )
    };
    let number = |digits: &str| digits.parse::<u64>().ok().filter(|n| i64::try_from(*n).is_ok()).ok_or_else(bad);
    let (version, offset) = text.split_once('-').ok_or_else(bad)?;
    let key = RecordKey {
        first_version: number(version)?,
        offset: number(offset)?,
    };
    if key.first_version == 0 {
        Err(bad())
    } else {
        Ok(PageFrom::After(key))
    }
}

fn following(last: &HistoryEntry) -> String {
    format!("{}-{}", last.record.header.first_version, last.position.offset)
}

/// `GET …/{id}/history`: records of the stream, oldest first.
pub async fn history(State(app): State<App>, in_org: InOrg, At((_, plural, id)): At<(String, String, String)>, uri: Uri) -> Answer {
    let stream = stream_of(&app, &in_org, &plural, id)?;
    let params = Params::parse(&uri, &["limit", "after"])?;
    let (limit, from) = (params.limit()?, after(params.text("after"))?);
    let cursor = app.cursor();
    let Held { value: page, permit } = app.reads(&in_org).history(&stream, from, limit).await?;
    if page.entries.is_empty() && from == PageFrom::Version(0) {
        return Err(problem::not_found(&stream).into());
    }
    let keys = app.reads(&in_org).keys(Some((&stream.kind, &stream.id)));
    // Values that are kept beside the log may have to be waited for.
    let written = tokio::task::spawn_blocking(move || {
        let within = Within::new(&*keys, PAGE_MAX_BYTES);
        let items = page
            .entries
            .iter()
            .map(|row| history_row(row, &app.plural(&row.record.header.stream.kind), &within))
            .collect::<Result<Vec<_>, _>>()?;
        let next = page.entries.last().filter(|_| page.more).map(following);
        json_held(&HistoryPage { items, next }, permit)
    });
    let mut response = written.await.map_err(|_| problem::internal("the page could not be written"))??;
    position(&mut response, &cursor);
    Ok(response)
}

/// `GET …/{id}/state?version=|at=`: the state now, at a version, or at a time.
pub async fn state(State(app): State<App>, in_org: InOrg, At((_, plural, id)): At<(String, String, String)>, uri: Uri) -> Answer {
    state_of(&app, &in_org, &plural, id, &uri).await
}

/// The same, for who has the parts of the path already.
pub(super) async fn state_of(app: &App, in_org: &InOrg, plural: &str, id: String, uri: &Uri) -> Answer {
    let stream = stream_of(app, in_org, plural, id)?;
    let params = Params::parse(uri, &["version", "at"])?;
    let (version, at) = (params.get::<u64>("version")?, params.time("at")?);
    if version.is_some() && at.is_some() {
        return Err(bad_parameter("at", "`version` and `at` exclude each other", "give one of them").into());
    }
    let cursor = app.cursor();
    let found = app.reads(in_org).state(&stream, version, at).await?;
    let Held { value: found, permit } = found.ok_or_else(|| problem::not_found(format!("state of {stream} at that point")))?;
    let mut response = json_held(&found, permit)?;
    version_tag(&mut response, found.version);
    position(&mut response, &cursor);
    Ok(response)
}

/// `GET …/{id}/commands/{command_id}`: the receipt of a command, for as long as its record is in the log.
pub async fn receipt(
    State(app): State<App>,
    in_org: InOrg,
    At((_, plural, id, command)): At<(String, String, String, String)>,
    uri: Uri,
) -> Answer {
    let stream = stream_of(&app, &in_org, &plural, id)?;
    Params::parse(&uri, &[])?;
    let command = idempotency::command_id(command).map_err(|e| bad_id("command_id", &e))?;
    let found = app.reads(&in_org).receipt(&stream, &command).await?;
    let receipt = found.ok_or_else(|| problem::not_found(format!("command {command} of {stream}")))?;
    receipt_answer(&app, &receipt, axum::http::StatusCode::OK)
}
