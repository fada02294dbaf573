//! Values by themselves: uploads before a command names them, and values that are too large to be shown in place.
//!
//! A blob is named by the digest of its sealed bytes, which no client can compute: an upload is answered with the name.
//! Blobs are kept by org, so one org's name leads nowhere under another. Everything is checked before the first byte.

use super::{
    Answer, App, Failure,
    answer::held,
    json,
    params::Params,
    problem::{self, bad_header, clip},
    request::At,
};
use crate::{app::reads::Reads, asked::Labels, caller::InOrg};
use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures::StreamExt;
use quipu_events::blobs::BlobError;
use quipu_runtime::node::{BodyHold, ReadPermit};
use quipu_schemas::{
    context::Keys,
    digest::Digest,
    ids::{OrgId, PrincipalId},
    limits::{BLOB_GRACE_MS, PAGE_MAX_BYTES, VALUE_MAX_BYTES},
    personal::{BlobRef, Opened, Personal, SealError, Within},
    problem::Problem,
    retention::RETENTION_SETTING,
};
use serde_json::Value;
use std::{ops::Range, sync::Arc};

const CONTENT_DIGEST: &str = "content-digest";

/// `PUT /v1/orgs/{org}/blobs`: seals and keeps a value of up to 8 MiB; the answer is its name, which a command takes in place
/// of the value. What no command has named a day later is deleted.
pub async fn put(State(app): State<App>, in_org: InOrg, uri: Uri, request: Request) -> Answer {
    let reads = app.reads(&in_org);
    Params::parse(&uri, &[])?;
    let headers = request.headers().clone();
    let labels = Labels::read(&headers)?;
    let expected = content_digest(&headers)?;
    let form = Form::of(&headers)?;
    reads.check_org().await?;
    if reads.blobs()?.is_none() {
        return Err(SealError::NotShared { size: 0 }.problem().into());
    }
    // Counted until the value is kept, like any other body.
    let mut held = app.hold_body();
    let bytes = read(request.into_body(), &mut held).await?;
    if expected.is_some_and(|expected| expected != Digest::of(&[&bytes])) {
        return Err(
            Problem::new(400, "digest_mismatch", "the body does not have the digest that Content-Digest says")
                .field("Content-Digest")
                .fix("send it again")
                .into(),
        );
    }
    let value = form.value(bytes)?;
    let actor = match labels.on_behalf_of {
        Some(named) => named,
        None => in_org.caller().principal()?.clone(),
    };
    let (org, keys) = (in_org.org().clone(), reads.keys(None));
    let kept = blocking(move || keep(&value, &org, &actor, &*keys)).await?;
    let mut response = json(&kept)?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// Keeps a value however small it is: its uploader asked for a name.
fn keep(value: &Value, org: &OrgId, actor: &PrincipalId, keys: &dyn Keys) -> Result<BlobRef, Problem> {
    let always = Always(keys);
    let kept = Personal::seal(value, &format!("{org}/{actor}"), &always).map_err(|e| e.problem())?;
    kept.blob().ok_or_else(|| problem::internal("the value was not kept"))
}

/// Keeps what it seals, however small.
struct Always<'a>(&'a dyn Keys);

impl quipu_schemas::personal::Sealer for Always<'_> {
    fn sealing_key(&self, subject: &str) -> Result<quipu_schemas::personal::DataKey, SealError> {
        self.0.sealing_key(subject)
    }
    fn nonce(&self) -> Result<[u8; 24], SealError> {
        self.0.nonce()
    }
    fn inline_max(&self) -> usize {
        0
    }
    fn keep(&self, subject: &str, blob: Vec<u8>) -> Result<Digest, SealError> {
        self.0.keep(subject, blob)
    }
}

/// What an upload is.
enum Form {
    Text,
    Json,
}

impl Form {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let kind = headers
            .get(header::CONTENT_TYPE)
            .map_or("text/plain", |v| v.to_str().unwrap_or("?"));
        let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Ok(Self::Json),
            text if text.starts_with("text/") => Ok(Self::Text),
            _ => Err(
                Problem::new(415, "unsupported_media_type", format!("the content type is `{}`", clip(&essence)))
                    .field("Content-Type")
                    .fix("send text/plain, which is kept as a text, or application/json"),
            ),
        }
    }

    fn value(&self, bytes: Vec<u8>) -> Result<Value, Problem> {
        match self {
            Self::Text => String::from_utf8(bytes).map(Value::String).map_err(|e| {
                let detail = format!("the text is not UTF-8 at byte {}", e.utf8_error().valid_up_to());
                Problem::new(400, "malformed_text", detail).field("body").fix("send UTF-8")
            }),
            Self::Json => {
                let value = crate::json::parse(&bytes);
                let value = value.map_err(|e| {
                    Problem::new(400, "malformed_json", clip(&e.to_string()))
                        .field("body")
                        .fix("send JSON in UTF-8")
                })?;
                quipu_schemas::json::check(&value).map_err(|e| Problem::new(422, "invalid_value", e).field("body"))?;
                Ok(value)
            }
        }
    }
}

/// SHA-256 of `Content-Digest` (RFC 9530); other algorithms in it are passed over.
fn content_digest(headers: &HeaderMap) -> Result<Option<Digest>, Problem> {
    let Some(text) = headers.get(CONTENT_DIGEST) else { return Ok(None) };
    let bad = || {
        bad_header(
            "Content-Digest",
            "Content-Digest has no SHA-256",
            "send sha-256=:<base64>:, or leave it out",
        )
    };
    let text = text.to_str().map_err(|_| bad())?;
    let sha = text
        .split(',')
        .find_map(|part| part.trim().strip_prefix("sha-256=:")?.strip_suffix(':'));
    let bytes = STANDARD.decode(sha.ok_or_else(bad)?).map_err(|_| bad())?;
    Ok(Some(Digest(bytes.try_into().map_err(|_| bad())?)))
}

async fn read(body: Body, held: &mut BodyHold) -> Result<Vec<u8>, Problem> {
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk: Bytes =
            chunk.map_err(|e| Problem::new(400, "bad_body", format!("the body did not arrive whole: {e}")).fix("send it again"))?;
        if bytes.len() + chunk.len() > VALUE_MAX_BYTES {
            let detail = format!("the value is over the limit of {VALUE_MAX_BYTES} bytes (VALUE_MAX_BYTES)");
            return Err(Problem::new(413, "value_too_large", detail).fix("split it"));
        }
        held.grow(chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// `GET /v1/orgs/{org}/blobs/{digest}`: the value, opened; a range of its bytes where one is asked for.
pub async fn get(State(app): State<App>, in_org: InOrg, At((_, digest)): At<(String, String)>, uri: Uri, headers: HeaderMap) -> Answer {
    let reads = app.reads(&in_org);
    let org = in_org.org().clone();
    let blobs = reads.blobs()?;
    Params::parse(&uri, &[])?;
    let bad = |_| {
        Problem::new(400, "bad_id", "a blob is named by 64 hex digits")
            .field("digest")
            .fix("pass `$blob` unchanged")
    };
    let digest: Digest = digest.parse().map_err(bad)?;
    let blobs = blobs.ok_or_else(|| missing(&digest, &org))?;
    let keys = reads.keys(None);
    // As stored and opened; how large it is, the store tells with its bytes.
    let permit = app.reserve_read(2 * VALUE_MAX_BYTES).await?;
    let found = blocking(move || find(&*blobs, &org, &digest, &*keys)).await;
    match found {
        Err(problem) if problem.status == 404 => Err(gone(&reads, in_org.org(), &digest).await?.unwrap_or(problem).into()),
        found => answer(&digest, found?, &headers, permit),
    }
}

/// What became of a value that is not there, where the org has some deleted: a digest alone does not tell whether it was one.
async fn gone(reads: &Reads<'_>, org: &OrgId, digest: &Digest) -> Result<Option<Problem>, Problem> {
    if reads.retention().await? {
        let detail = format!("no such blob in org {org}, or its time was over: {digest}");
        let fix = format!("the org has its values deleted by `{RETENTION_SETTING}`; what is left is the digest");
        return Ok(Some(Problem::new(410, "value_expired", detail).fix(fix)));
    }
    let detail = || format!("no such blob in org {org}, or it was erased with its subject's key: {digest}");
    Ok(reads.has_erased().then(|| Problem::new(410, "value_erased", detail())))
}

fn missing(digest: &Digest, org: &OrgId) -> Problem {
    let hours = BLOB_GRACE_MS / 3_600_000;
    Problem::new(404, "unknown_blob", format!("no such blob in org {org}: {digest}")).fix(format!(
        "check the name; an upload that no command named is deleted after {hours} hours"
    ))
}

fn find(blobs: &dyn quipu_events::blobs::Blobs, org: &OrgId, digest: &Digest, keys: &dyn Keys) -> Result<Value, Problem> {
    let damaged = |subject: &str| SealError::Damaged(subject.to_owned()).problem();
    let stored = blobs.get(org, digest).map_err(|e| match e {
        BlobError::Missing(_) => missing(digest, org),
        BlobError::Damaged(_) | BlobError::TooLarge { .. } => damaged(org.as_str()),
        BlobError::Unreachable { .. } | BlobError::Full { .. } => SealError::Unreachable(e.to_string()).problem(),
    })?;
    let blob = BlobRef::told_by(*digest, &stored).filter(|blob| blob.org().as_ref() == Some(org));
    let blob = blob.ok_or_else(|| missing(digest, org))?;
    match Personal::<Value>::kept(blob).open(&Fetched(keys, stored)) {
        Ok(Opened::Value(value)) => Ok(value),
        Ok(Opened::Erased) => Err(Problem::new(410, "value_erased", "the value was erased with its subject's key")),
        Err(error) => Err(error.problem()),
    }
}

/// Opens what was fetched already.
struct Fetched<'a>(&'a dyn Keys, Vec<u8>);

impl quipu_schemas::personal::Opener for Fetched<'_> {
    fn opening_key(&self, subject: &str) -> Result<Option<quipu_schemas::personal::DataKey>, SealError> {
        self.0.opening_key(subject)
    }
    fn kept(&self, _: &BlobRef) -> Result<Vec<u8>, SealError> {
        Ok(self.1.clone())
    }
}

fn answer(digest: &Digest, value: Value, asked: &HeaderMap, mut permit: ReadPermit) -> Answer {
    let (media_type, text) = match value {
        Value::String(text) => ("text/plain; charset=utf-8", text),
        value => ("application/json", value.to_string()),
    };
    let whole = text.len();
    permit.shrink_to(whole);
    let bytes = held(text.into_bytes(), permit);
    let range = asked
        .get(header::RANGE)
        .and_then(|v| v.to_str().ok())
        .and_then(|text| range(text, whole));
    let mut response = match &range {
        Some(Err(())) => {
            let detail = format!("the value has {whole} bytes");
            let problem = Problem::new(416, "range_not_satisfiable", detail).field("Range");
            let mut response = axum::response::IntoResponse::into_response(Failure(problem));
            set(response.headers_mut(), "content-range", &format!("bytes */{whole}"));
            return Ok(response);
        }
        Some(Ok(range)) => {
            let mut response = Response::new(Body::from(bytes.slice(range.clone())));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            set(
                response.headers_mut(),
                "content-range",
                &format!("bytes {}-{}/{whole}", range.start, range.end - 1),
            );
            response
        }
        None => {
            let of_content = STANDARD.encode(Digest::of(&[&bytes]).0);
            let mut response = Response::new(Body::from(bytes));
            set(response.headers_mut(), CONTENT_DIGEST, &format!("sha-256=:{of_content}:"));
            response
        }
    };
    let headers = response.headers_mut();
    set(headers, "content-type", media_type);
    set(headers, "accept-ranges", "bytes");
    set(headers, "etag", &format!("\"{digest}\""));
    // Behind a token, and gone with its subject's key: nobody else keeps it.
    set(headers, "cache-control", "no-store");
    Ok(response)
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The bytes that one range asks for; `None` where the whole is to be answered, as for units and lists that are not taken.
fn range(text: &str, whole: usize) -> Option<Result<Range<usize>, ()>> {
    let (first, last) = text.strip_prefix("bytes=")?.trim().split_once('-')?;
    let number = |text: &str| text.parse::<usize>().ok();
    let range = match (first, last) {
        ("", last) => whole.saturating_sub(number(last)?)..whole,
        (first, "") => number(first)?..whole,
        (first, last) => number(first)?..number(last)?.saturating_add(1).min(whole),
    };
    Some(if range.start < range.end { Ok(range) } else { Err(()) })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    let crashed = |_| Err(problem::internal("the store of values crashed"));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(crashed)
}

/// Opens stored values for whoever reads them, off this thread where that may wait for a disk or for servers.
pub(super) async fn shown(keys: Arc<dyn Keys>, mut values: Vec<Value>) -> Result<Vec<Value>, Problem> {
    let show = move || {
        let within = Within::new(&*keys, PAGE_MAX_BYTES);
        let shown = values
            .iter_mut()
            .try_for_each(|value| quipu_schemas::personal::show_all(value, &within));
        shown.map(|()| values).map_err(|e| e.problem())
    };
    blocking(show).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_refused_or_passed_over() {
        for (text, expected) in [
            ("bytes=0-3", Some(Ok(0..4))),
            ("bytes=4-", Some(Ok(4..10))),
            ("bytes=-3", Some(Ok(7..10))),
            ("bytes=-30", Some(Ok(0..10))),
            ("bytes=8-99", Some(Ok(8..10))),
            ("bytes=10-", Some(Err(()))),
            ("bytes=5-2", Some(Err(()))),
            ("bytes=-0", Some(Err(()))),
            ("bytes=0-1,3-4", None),
            ("lines=0-1", None),
            ("bytes=x-", None),
        ] {
            assert_eq!(range(text, 10), expected, "{text}");
        }
        assert_eq!(range("bytes=0-0", 0), Some(Err(())));
    }

    #[test]
    fn a_content_digest_is_read_or_refused() {
        let read = |text: &str| content_digest(&HeaderMap::from_iter([("content-digest".parse().unwrap(), text.parse().unwrap())]));
        let digest = Digest::of(&[b"x"]);
        let text = format!("md5=:AAAA:, sha-256=:{}:", STANDARD.encode(digest.0));
        assert_eq!(read(&text).unwrap(), Some(digest));
        for bad in ["", "sha-256=x", "sha-256=:AAAA:", "md5=:AAAA:"] {
            assert_eq!(read(bad).unwrap_err().code, "bad_header", "{bad}");
        }
        assert_eq!(content_digest(&HeaderMap::new()).unwrap(), None);
    }
}
