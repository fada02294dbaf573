//! A thin client of the public HTTP API: typed receipts and problems, feeds and live channels as streams.
//!
//! A command is sent again only after a `429` or `503` that may pass by itself, and always under the same command id, so that it is decided once
//! whatever became of the first attempt.

mod error;
mod forms;
pub(crate) mod jobs;
mod lines;
mod paths;
#[cfg(test)]
mod retries;

pub use error::ClientError;
pub use lines::{Feed, FeedLine, Live, LiveMessage};
pub use paths::segment;

use crate::token::Token;
use lines::Lines;
use paths::with_query;
use quipu_events::pause::Pause;
use quipu_schemas::{
    envelope::Receipt,
    ids::{CommandId, EntityId, Kind, OrgId, PrincipalId, StreamId},
    limits,
    problem::Problem,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{path::Path, sync::Once, time::Duration};

/// Whether trying again soon may help. A partition that stopped may only be without an owner for a moment; of a damaged one
/// nodes say that it takes longer than anybody waits here.
fn passes(problem: &Problem) -> bool {
    let is_for_now = || u64::from(problem.retry_after.unwrap_or(0)) * 1_000 <= limits::CLIENT_PAUSE_MAX_MS;
    problem.is_unavailable() && (problem.passes_by_itself() || (problem.code == "partition_stopped" && is_for_now()))
}

/// The token to present: `QUIPU_TOKEN`, or the file `token` of the data directory.
pub fn token(data: &Path) -> Result<String, ClientError> {
    if let Ok(token) = std::env::var("QUIPU_TOKEN")
        && !token.trim().is_empty()
    {
        return Ok(token.trim().to_owned());
    }
    match Token::load(data) {
        Ok(Some(token)) => Ok(token.expose().to_owned()),
        Ok(None) => Err(ClientError::NoToken(format!("there is none in {}", data.display()))),
        Err(e) => Err(ClientError::NoToken(e.to_string())),
    }
}

/// A command to send.
#[derive(Debug, Clone)]
pub struct Command {
    /// Tenant.
    pub org: OrgId,
    /// Kind.
    pub kind: Kind,
    /// The entity; `None` only for `create`.
    pub id: Option<EntityId>,
    /// Command name.
    pub name: String,
    /// Its fields.
    pub body: Value,
    /// Identity; minted where there is none.
    pub command_id: Option<CommandId>,
    /// Version that the stream must be at (0: must not exist).
    pub expected_version: Option<u64>,
    /// For whom.
    pub on_behalf_of: Option<PrincipalId>,
}

impl Command {
    /// A command to one entity.
    pub fn to(stream: &StreamId, name: &str, body: Value) -> Self {
        Self {
            org: stream.org.clone(),
            kind: stream.kind.clone(),
            id: Some(stream.id.clone()),
            name: name.to_owned(),
            body,
            command_id: None,
            expected_version: None,
            on_behalf_of: None,
        }
    }

    /// Under this identity.
    pub fn id(mut self, id: CommandId) -> Self {
        self.command_id = Some(id);
        self
    }

    /// On behalf of this principal.
    pub fn on_behalf_of(mut self, principal: Option<&PrincipalId>) -> Self {
        self.on_behalf_of = principal.cloned();
        self
    }

    fn path(&self) -> String {
        let Self { org, name, .. } = self;
        let kinds = self.kind.plural();
        match (&self.id, name.as_str()) {
            (None, _) => format!("/v1/orgs/{org}/{kinds}"),
            (Some(id), "create") => format!("/v1/orgs/{org}/{kinds}/{id}"),
            (Some(id), _) => format!("/v1/orgs/{org}/{kinds}/{id}/{}", segment(name)),
        }
    }
}

/// A JSON answer with what its headers say.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The body.
    pub body: Value,
    /// `Quipu-Position`.
    pub position: Option<String>,
}

/// Which events of a feed.
#[derive(Debug, Clone, Default)]
pub struct FeedQuery {
    /// `start`, `end` or a cursor; the start where there is none.
    pub from: Option<String>,
    /// Only entities of this kind.
    pub kind: Option<String>,
    /// Only the entity of this id.
    pub id: Option<String>,
    /// Only events of these stored names, separated by commas.
    pub types: Option<String>,
    /// Whether to go on live once caught up.
    pub follow: bool,
}

/// A client of one node. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

/// What every client is built from.
fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .connect_timeout(Duration::from_millis(limits::CONNECT_TIMEOUT_MS))
        // Feeds and live channels send a heartbeat well before this.
        .read_timeout(Duration::from_millis(limits::HEARTBEAT_MS * 3))
        .redirect(reqwest::redirect::Policy::none())
}

fn provider() {
    static ONCE: Once = Once::new();
    // Another part of the process may have installed one already, which serves as well.
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

fn mint() -> Result<CommandId, ClientError> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|e| ClientError::Start(e.to_string()))?;
    CommandId::parse(format!("cli-{}", hex::encode(bytes))).map_err(|e| ClientError::Start(e.to_string()))
}

impl Client {
    /// A client of the node at `url`, such as `http://127.0.0.1:7411`.
    pub fn new(url: &str, token: impl Into<String>) -> Result<Self, ClientError> {
        Self::trusting(url, token, None)
    }

    /// The same; certificates are checked against the authorities in this PEM file, and against nothing else.
    pub fn trusting(url: &str, token: impl Into<String>, authorities: Option<&Path>) -> Result<Self, ClientError> {
        provider();
        let parsed = Url::parse(url).ok().filter(|u| matches!(u.scheme(), "http" | "https"));
        let parsed = parsed.ok_or_else(|| ClientError::BadUrl(url.to_owned()))?;
        let host = parsed.host_str().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let loopback = host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let mut builder = builder();
        if loopback {
            builder = builder.no_proxy();
        }
        if let Some(file) = authorities {
            builder = builder.tls_certs_only(quipu_runtime::cluster::authorities(file).map_err(ClientError::Authorities)?);
        }
        let http = builder.build().map_err(|e| ClientError::Start(e.to_string()))?;
        Ok(Self {
            http,
            base: url.trim_end_matches('/').to_owned(),
            token: token.into(),
        })
    }

    /// Where it talks to.
    pub fn url(&self) -> &str {
        &self.base
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    fn lost(&self, error: &reqwest::Error) -> ClientError {
        let mut detail = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(inner) = source {
            detail = inner.to_string();
            source = inner.source();
        }
        if detail.contains("certificate") {
            detail.push_str("; name the node as its certificate does (--url) and trust its authority (--ca-file)");
        }
        ClientError::Unreachable {
            url: self.base.clone(),
            detail,
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|e| self.lost(&e))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(response).await)
    }

    async fn refusal(&self, response: Response) -> ClientError {
        let status = response.status();
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.parse().ok());
        match response.bytes().await.map(|bytes| serde_json::from_slice::<Problem>(&bytes)) {
            Ok(Ok(mut problem)) => {
                problem.retry_after = problem.retry_after.or(retry_after);
                ClientError::Refused(Box::new(problem))
            }
            Ok(Err(_)) => self.foreign(status, "its body is not a problem document"),
            Err(e) => self.lost(&e),
        }
    }

    fn foreign(&self, status: StatusCode, detail: impl std::fmt::Display) -> ClientError {
        ClientError::Foreign {
            url: self.base.clone(),
            status: status.as_u16(),
            detail: detail.to_string(),
        }
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, ClientError> {
        let status = response.status();
        let bytes = response.bytes().await.map_err(|e| self.lost(&e))?;
        serde_json::from_slice(&bytes).map_err(|e| self.foreign(status, e))
    }

    async fn patient(&self, make: impl Fn() -> RequestBuilder) -> Result<Response, ClientError> {
        let mut attempt = 1;
        let mut pause = Pause::new((limits::CLIENT_PAUSE_MS, limits::CLIENT_PAUSE_MAX_MS));
        loop {
            let refused = match self.send(make()).await {
                Err(ClientError::Refused(problem)) if passes(&problem) && attempt < limits::CLIENT_ATTEMPTS => problem,
                other => return other,
            };
            let asked = refused.retry_after.map_or(0, |seconds| u64::from(seconds) * 1_000);
            tokio::time::sleep(Duration::from_millis(pause.next_ms().max(asked).min(limits::CLIENT_PAUSE_MAX_MS))).await;
            attempt += 1;
        }
    }

    /// Sends a command; the receipt says that it is decided and durable.
    pub async fn command(&self, command: &Command) -> Result<Receipt, ClientError> {
        let id = match &command.command_id {
            Some(id) => id.clone(),
            None => mint()?,
        };
        let path = command.path();
        let make = || {
            let mut request = self
                .request(Method::POST, &path)
                .header("idempotency-key", id.as_str())
                .json(&command.body);
            request = match command.expected_version {
                Some(0) => request.header(header::IF_NONE_MATCH, "*"),
                Some(version) => request.header(header::IF_MATCH, format!("\"{version}\"")),
                None => request,
            };
            if let Some(principal) = &command.on_behalf_of {
                request = request.header("quipu-on-behalf-of", principal.as_str());
            }
            request
        };
        let response = self.patient(make).await?;
        self.read(response).await
    }

    /// `GET path?query`.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, ClientError> {
        let path = with_query(path, query);
        let response = self.patient(|| self.request(Method::GET, &path)).await?;
        let position = response
            .headers()
            .get("quipu-position")
            .and_then(|v| v.to_str().ok())
            .map(str::to_owned);
        Ok(Answer {
            body: self.read(response).await?,
            position,
        })
    }

    /// A value by the name that stands for it in an answer.
    pub async fn blob(&self, org: &OrgId, digest: &str) -> Result<Value, ClientError> {
        let path = format!("/v1/orgs/{org}/blobs/{digest}");
        let response = self.patient(|| self.request(Method::GET, &path)).await?;
        let kind = response.headers().get("content-type").and_then(|v| v.to_str().ok());
        let is_text = kind.is_some_and(|kind| kind.starts_with("text/"));
        if is_text {
            response.text().await.map(Value::String).map_err(|e| self.lost(&e))
        } else {
            self.read(response).await
        }
    }

    /// `GET path` once, whatever its status, with the JSON body: for health pages, which answer 503 in full.
    pub async fn probe(&self, path: &str) -> Result<(u16, Value), ClientError> {
        let response = self.request(Method::GET, path).send().await.map_err(|e| self.lost(&e))?;
        let status = response.status().as_u16();
        Ok((status, self.read(response).await?))
    }

    /// Every item of a paged list, page by page.
    pub async fn all(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<Value>, ClientError> {
        let (mut items, mut after) = (Vec::new(), None::<String>);
        let page = limits::PAGE_MAX_ROWS.to_string();
        loop {
            let mut asked = query.to_vec();
            asked.push(("limit", &page));
            asked.extend(after.as_deref().map(|after| ("after", after)));
            let mut answer = self.get(path, &asked).await?;
            if let Some(Value::Array(rows)) = answer.body.get_mut("items").map(Value::take) {
                items.extend(rows);
            }
            match answer.body.get("next").and_then(Value::as_str) {
                Some(next) => after = Some(next.to_owned()),
                None => return Ok(items),
            }
        }
    }

    /// `POST path` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let response = self.patient(|| self.request(Method::POST, path).json(body)).await?;
        self.read(response).await
    }

    /// The same once, whatever the answer: for what nobody may repeat.
    pub async fn post_once(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let response = self.send(self.request(Method::POST, path).json(body)).await?;
        self.read(response).await
    }

    /// Opens an org's feed as NDJSON.
    pub async fn feed(&self, org: &OrgId, query: &FeedQuery) -> Result<Feed, ClientError> {
        let pairs = [
            ("from", query.from.as_deref()),
            ("kind", query.kind.as_deref()),
            ("id", query.id.as_deref()),
            ("type", query.types.as_deref()),
            ("follow", (!query.follow).then_some("false")),
        ];
        let pairs: Vec<_> = pairs.into_iter().filter_map(|(name, value)| value.map(|v| (name, v))).collect();
        let path = with_query(&format!("/v1/orgs/{org}/events"), &pairs);
        let make = || self.request(Method::GET, &path).header(header::ACCEPT, "application/x-ndjson");
        let response = self.patient(make).await?;
        Ok(Feed::new(Lines::new(response, &self.base)))
    }

    /// Listens to an entity's volatile channel. Once this returns, nothing that is said is missed.
    pub async fn live(&self, stream: &StreamId) -> Result<Live, ClientError> {
        let path = format!("{}/live", stream.path());
        let response = self
            .patient(|| self.request(Method::GET, &path).header(header::ACCEPT, "text/event-stream"))
            .await?;
        Live::begin(Lines::new(response, &self.base)).await
    }
}

#[cfg(test)]
mod tests;
