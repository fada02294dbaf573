//! Blobs in a bucket of an S3-compatible server.
//!
//! Requests are signed here (`rusty-s3`) and sent over the HTTP client that is in the program anyway. Servers sync before
//! they answer, as far as they promise to; nothing more can be asked of them.

use super::{BadPlace, BlobError, Blobs, Listed, Page, checked, names_of};
use crate::pause::Pause;
use quipu_schemas::{
    digest::Digest,
    ids::OrgId,
    limits::{BLOB_MAX_BYTES, BLOB_REQUEST_ATTEMPTS, BLOB_REQUEST_MS, BLOB_REQUEST_PAUSE_MS, CONNECT_TIMEOUT_MS},
};
use reqwest::{Client, Method, Response, StatusCode, Url};
use rusty_s3::{
    Bucket, Credentials, S3Action, UrlStyle,
    actions::{ListObjectsV2, ListObjectsV2Response},
};
use std::{fmt, str::FromStr, sync::mpsc::sync_channel, time::Duration};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::runtime::{Builder, Handle, Runtime};

/// How a bucket is found. The text form is `s3://[key:secret@]bucket[/prefix][?endpoint=URL&region=NAME&style=host]`; a key
/// or secret with characters that an address does not take is percent-encoded.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Options {
    /// The server.
    pub endpoint: Url,
    /// The bucket, which must be there.
    pub bucket: String,
    /// What names within it begin with, without slashes at either end; may be empty.
    pub prefix: String,
    /// The region that requests are signed for.
    pub region: String,
    /// Whether the bucket is part of the host's name, rather than of the path.
    pub in_host: bool,
    /// Access key and secret; requests are not signed without. Never shown.
    pub login: Option<(String, String)>,
}

impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Options({self})")
    }
}

impl fmt::Display for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        let endpoint = self.endpoint.as_str().trim_end_matches('/');
        write!(f, "s3://{}{slash}{}?endpoint={endpoint}", self.bucket, self.prefix)
    }
}

const REGION: &str = "us-east-1";

impl FromStr for S3Options {
    type Err = BadPlace;

    fn from_str(text: &str) -> Result<Self, BadPlace> {
        // Without what comes before the bucket: it may hold a secret.
        let shown = || text.rsplit('@').next().unwrap_or_default().to_owned();
        let bad = |why: &str| BadPlace::Address(format!("s3 address `{}`: {why}", shown()));
        let url = Url::parse(text).map_err(|e| bad(&e.to_string()))?;
        let bucket = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| bad("it names no bucket"))?;
        let decoded = |part: &str| percent_decoded(part).ok_or_else(|| bad("its key or secret is not percent-encoded"));
        let login = match (url.username(), url.password()) {
            ("", None) => None,
            (key, Some(secret)) if !key.is_empty() => Some((decoded(key)?, decoded(secret)?)),
            _ => return Err(bad("a login is a key and a password, with a colon between")),
        };
        let (mut endpoint, mut region, mut in_host) = (None, REGION.to_owned(), false);
        for (key, value) in url.query_pairs() {
            match &*key {
                "endpoint" => endpoint = Some(value.parse::<Url>().map_err(|e| bad(&format!("endpoint: {e}")))?),
                "region" => region = value.into_owned(),
                "style" if value == "host" || value == "path" => in_host = value == "host",
                "style" => return Err(bad("`style` is `path` or `host`")),
                _ => return Err(bad("its options are endpoint, region and style")),
            }
        }
        let amazon = || format!("https://s3.{region}.amazonaws.com").parse::<Url>();
        let endpoint = match endpoint {
            Some(endpoint) if matches!(endpoint.scheme(), "http" | "https") => endpoint,
            Some(_) => return Err(bad("`endpoint` begins with http:// or https://")),
            None => amazon().map_err(|e| bad(&e.to_string()))?,
        };
        Ok(Self {
            endpoint,
            bucket: bucket.to_owned(),
            prefix: url.path().trim_matches('/').to_owned(),
            region,
            in_host,
            login,
        })
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        out.push(if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(out).ok()
}

struct Shared {
    client: Client,
    bucket: Bucket,
    credentials: Option<Credentials>,
    prefix: String,
    place: String,
}

/// A store in a bucket, driven by a small runtime of its own.
pub struct S3Blobs {
    shared: std::sync::Arc<Shared>,
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Shared {
    fn lost(&self, detail: impl fmt::Display) -> BlobError {
        BlobError::Unreachable {
            place: self.place.clone(),
            detail: detail.to_string(),
        }
    }

    fn key(&self, org: &OrgId, name: &Digest) -> String {
        format!("{}{org}/{name}", self.prefix)
    }

    /// Sends a signed request, again where the server says that it cannot answer just now: every request here may be repeated.
    /// What went wrong is told without the address: it carries a signature.
    async fn send(&self, method: Method, url: Url, headers: &[(&str, String)], body: Vec<u8>) -> Result<Response, BlobError> {
        let mut request = self.client.request(method, url).body(body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let mut pause = Pause::new(BLOB_REQUEST_PAUSE_MS);
        for _ in 1..BLOB_REQUEST_ATTEMPTS {
            let Some(first) = request.try_clone() else { break };
            let response = first.send().await.map_err(|e| self.lost(e.without_url()))?;
            if !passes(response.status()) {
                return Ok(response);
            }
            tokio::time::sleep(pause.next_wait()).await;
        }
        request.send().await.map_err(|e| self.lost(e.without_url()))
    }

    async fn refused(&self, response: Response) -> BlobError {
        let status = response.status();
        let words = response.text().await.unwrap_or_default();
        let code = words.split("<Code>").nth(1).and_then(|rest| rest.split("</Code>").next());
        self.lost(format!("{status} {}", code.unwrap_or_default()))
    }
}

/// Whether a status speaks of the moment and not of the request.
fn passes(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
}

/// How long a signature is good for: longer than a request may take.
const SIGNED: Duration = Duration::from_secs(5 * 60);
/// Requests under way for one call.
const AT_ONCE: usize = 8;

impl S3Blobs {
    /// Opens a bucket that is there. Blocks until the server has answered.
    pub fn open(options: &S3Options) -> Result<Self, BlobError> {
        let place = options.to_string();
        let lost = |detail: String| BlobError::Unreachable {
            place: place.clone(),
            detail,
        };
        // Fails where a provider is installed already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let style = if options.in_host { UrlStyle::VirtualHost } else { UrlStyle::Path };
        let bucket = Bucket::new(options.endpoint.clone(), style, options.bucket.clone(), options.region.clone());
        let client = Client::builder()
            .connect_timeout(Duration::from_millis(CONNECT_TIMEOUT_MS))
            .timeout(Duration::from_millis(BLOB_REQUEST_MS))
            .redirect(reqwest::redirect::Policy::none())
            .build();
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("quipu-s3")
            .enable_all()
            .build()
            .map_err(|e| lost(e.to_string()))?;
        let shared = Shared {
            client: client.map_err(|e| lost(e.to_string()))?,
            bucket: bucket.map_err(|e| lost(e.to_string()))?,
            credentials: options.login.as_ref().map(|(key, secret)| Credentials::new(key, secret)),
            prefix: if options.prefix.is_empty() {
                String::new()
            } else {
                format!("{}/", options.prefix)
            },
            place,
        };
        let blobs = Self {
            shared: shared.into(),
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        };
        // A bucket that is not there or not ours is told now, not at the first large value.
        blobs.list_page(None, 1)?;
        Ok(blobs)
    }

    /// Waits on this thread for what the store's runtime does.
    fn wait<T: Send + 'static>(&self, work: impl Future<Output = Result<T, BlobError>> + Send + 'static) -> Result<T, BlobError> {
        let (send, receive) = sync_channel(1);
        self.handle.spawn(async move {
            // The receiver waits below.
            let _ = send.send(work.await);
        });
        receive
            .recv()
            .unwrap_or_else(|_| Err(self.shared.lost("the request was cut short")))
    }

    fn list_page(&self, after: Option<&str>, most: usize) -> Result<Page, BlobError> {
        let (shared, after) = (self.shared.clone(), after.map(str::to_owned));
        self.wait(async move {
            let url = {
                let mut list = ListObjectsV2::new(&shared.bucket, shared.credentials.as_ref());
                list.with_prefix(shared.prefix.clone());
                list.with_max_keys(most);
                if let Some(token) = &after {
                    list.with_continuation_token(token.clone());
                }
                list.sign(SIGNED)
            };
            let response = shared.send(Method::GET, url, &[], Vec::new()).await?;
            if !response.status().is_success() {
                return Err(shared.refused(response).await);
            }
            let text = response.text().await.map_err(|e| shared.lost(e.without_url()))?;
            let listed = ListObjectsV2::parse_response(&text).map_err(|e| shared.lost(e))?;
            Ok(page_of(&shared.prefix, listed))
        })
    }
}

fn page_of(prefix: &str, listed: ListObjectsV2Response) -> Page {
    let blob = |key: &str, bytes: Option<u64>, stored_at: Option<&str>| {
        let (org, hex) = key.strip_prefix(prefix)?.split_once('/')?;
        let stored_at = OffsetDateTime::parse(stored_at?, &Rfc3339).ok()?;
        Some(Listed {
            org: OrgId::parse(org).ok()?,
            name: hex.parse().ok()?,
            bytes: bytes.unwrap_or_default(),
            stored_at: u64::try_from(stored_at.unix_timestamp_nanos() / 1_000_000).ok()?,
        })
    };
    let objects = listed.contents.iter();
    Page {
        // What is not one of ours is left alone.
        blobs: objects.filter_map(|o| blob(&o.key, o.size, o.last_modified.as_deref())).collect(),
        next: listed.next_continuation_token,
    }
}

impl Drop for S3Blobs {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Blobs for S3Blobs {
    fn put(&self, org: &OrgId, blobs: &[Vec<u8>]) -> Result<Vec<Digest>, BlobError> {
        let names = names_of(blobs)?;
        let named: Vec<(Digest, Vec<u8>)> = names.iter().copied().zip(blobs.iter().cloned()).collect();
        let (shared, org) = (self.shared.clone(), org.clone());
        self.wait(async move {
            let mut running = tokio::task::JoinSet::new();
            for (name, bytes) in named {
                if running.len() >= AT_ONCE {
                    joined(running.join_next().await, &shared)?;
                }
                let (shared, key) = (shared.clone(), shared.key(&org, &name));
                running.spawn(async move {
                    let url = {
                        // The server checks what came over against what was sent.
                        let mut put = shared.bucket.put_object(shared.credentials.as_ref(), &key);
                        put.headers_mut().insert("x-amz-checksum-sha256", checksum(&name));
                        put.sign(SIGNED)
                    };
                    let headers = [("x-amz-checksum-sha256", checksum(&name))];
                    let response = shared.send(Method::PUT, url, &headers, bytes).await?;
                    if response.status().is_success() {
                        Ok(())
                    } else {
                        Err(shared.refused(response).await)
                    }
                });
            }
            while let Some(done) = running.join_next().await {
                joined(Some(done), &shared)?;
            }
            Ok(())
        })?;
        Ok(names)
    }

    fn get(&self, org: &OrgId, name: &Digest) -> Result<Vec<u8>, BlobError> {
        let (shared, key, name) = (self.shared.clone(), self.shared.key(org, name), *name);
        self.wait(async move {
            let url = shared.bucket.get_object(shared.credentials.as_ref(), &key).sign(SIGNED);
            let mut response = shared.send(Method::GET, url, &[], Vec::new()).await?;
            match response.status() {
                StatusCode::NOT_FOUND => return Err(missing_or_lost(&shared, name, response).await),
                status if !status.is_success() => return Err(shared.refused(response).await),
                _ => {}
            }
            let mut bytes = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|e| shared.lost(e.without_url()))? {
                bytes.extend_from_slice(&chunk);
                // Larger than any blob: not what was stored, and no reason to read on.
                if bytes.len() > BLOB_MAX_BYTES {
                    return Err(BlobError::Damaged(name));
                }
            }
            checked(&name, bytes)
        })
    }

    fn delete(&self, org: &OrgId, names: &[Digest]) -> Result<(), BlobError> {
        for name in names {
            let (shared, key) = (self.shared.clone(), self.shared.key(org, name));
            self.wait(async move {
                let url = shared.bucket.delete_object(shared.credentials.as_ref(), &key).sign(SIGNED);
                let response = shared.send(Method::DELETE, url, &[], Vec::new()).await?;
                if response.status().is_success() || response.status() == StatusCode::NOT_FOUND {
                    Ok(())
                } else {
                    Err(shared.refused(response).await)
                }
            })?;
        }
        Ok(())
    }

    fn list(&self, after: Option<&str>) -> Result<Page, BlobError> {
        self.list_page(after, quipu_schemas::limits::BLOB_PAGE_MAX)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn place(&self) -> String {
        self.shared.place.clone()
    }
}

fn checksum(name: &Digest) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(name.0)
}

fn joined(done: Option<Result<Result<(), BlobError>, tokio::task::JoinError>>, shared: &Shared) -> Result<(), BlobError> {
    match done {
        Some(Ok(stored)) => stored,
        Some(Err(e)) => Err(shared.lost(e)),
        None => Ok(()),
    }
}

/// A bucket that is gone answers 404 too, and has lost everything, not this blob.
async fn missing_or_lost(shared: &Shared, name: Digest, response: Response) -> BlobError {
    let words = response.text().await.unwrap_or_default();
    if words.contains("NoSuchBucket") {
        shared.lost("the bucket does not exist")
    } else {
        BlobError::Missing(name)
    }
}

#[cfg(test)]
mod tests;
