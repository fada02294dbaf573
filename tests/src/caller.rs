//! A client that shows everything an answer has, refusals included: what the tests say and hear over HTTP.

use reqwest::{
    Method, RequestBuilder,
    header::{HeaderMap, HeaderValue},
};
use serde_json::{Value, json};
use std::{
    sync::Once,
    time::{Duration, Instant},
};

/// How long a condition may take to come true: far more than it ever should.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks at a condition.
pub const LOOK_EVERY: Duration = Duration::from_millis(10);

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body as text.
    pub text: String,
    /// Body as JSON; null where it is none.
    pub body: Value,
}

impl Answer {
    /// The code of a problem, or nothing.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// A header as text, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|v: &HeaderValue| v.to_str().ok())
            .unwrap_or_default()
    }

    /// The answer, if the command was taken.
    ///
    /// # Panics
    /// If it was refused.
    #[track_caller]
    pub fn taken(self) -> Self {
        assert!(matches!(self.status, 200..=202), "{}: {}", self.status, self.text);
        self
    }

    /// The answer, if it is a problem of this status and code.
    ///
    /// # Panics
    /// If it is anything else.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.code()), (status, code), "{}", self.text);
        self
    }
}

/// A client of one node, as one principal.
#[derive(Debug, Clone)]
pub struct Caller {
    http: reqwest::Client,
    base: String,
    token: String,
    actor: Option<String>,
}

/// Makes an HTTP client that talks to loopback addresses directly.
pub fn http() -> reqwest::Client {
    http_trusting(None)
}

/// The same, which trusts this authority (PEM) and no other where one is given.
///
/// # Panics
/// If that is no certificate.
pub fn http_trusting(authority: Option<&str>) -> reqwest::Client {
    static ONCE: Once = Once::new();
    // Another part of the process may have installed one already, which serves as well.
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let mut builder = reqwest::Client::builder().no_proxy().timeout(PATIENCE * 2);
    if let Some(pem) = authority {
        let authority = reqwest::Certificate::from_pem(pem.as_bytes()).expect("a certificate");
        builder = builder.tls_certs_only([authority]);
    }
    builder.build().expect("an HTTP client")
}

impl Caller {
    /// A client of the node at `base` with this token, as the platform itself.
    pub fn new(base: &str, token: &str) -> Self {
        Self::over(http(), base, token)
    }

    /// The same, through this client.
    pub fn over(http: reqwest::Client, base: &str, token: &str) -> Self {
        Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
            token: token.to_owned(),
            actor: None,
        }
    }

    /// The same client on behalf of a principal.
    pub fn acting_for(&self, principal: &str) -> Self {
        Self {
            actor: Some(principal.to_owned()),
            ..self.clone()
        }
    }

    /// The same client with another token, as whoever that one is.
    pub fn showing(&self, token: &str) -> Self {
        Self {
            token: token.to_owned(),
            actor: None,
            ..self.clone()
        }
    }

    /// Where it talks to.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A request with token and actor, to be completed.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        match &self.actor {
            Some(actor) => request.header("quipu-on-behalf-of", actor),
            None => request,
        }
    }

    /// Sends a request; `Err` where no whole answer came.
    pub async fn exchange(&self, request: RequestBuilder) -> Result<Answer, reqwest::Error> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = String::from_utf8_lossy(&response.bytes().await?).into_owned();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer {
            status,
            headers,
            text,
            body,
        })
    }

    /// `GET path`.
    ///
    /// # Panics
    /// If nobody answers.
    pub async fn get(&self, path: &str) -> Answer {
        self.exchange(self.request(Method::GET, path))
            .await
            .unwrap_or_else(|e| panic!("GET {path}: {e}"))
    }

    /// `POST path` with a JSON body.
    ///
    /// # Panics
    /// If nobody answers.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.exchange(self.request(Method::POST, path).json(&body))
            .await
            .unwrap_or_else(|e| panic!("POST {path}: {e}"))
    }

    /// `POST path` with a command id; `Err` where no whole answer came.
    pub async fn try_command(&self, path: &str, id: &str, body: &Value) -> Result<Answer, reqwest::Error> {
        self.exchange(self.request(Method::POST, path).header("idempotency-key", id).json(body))
            .await
    }

    /// `GET path` of a view that has seen everything durable.
    ///
    /// # Panics
    /// If nobody answers.
    pub async fn fresh(&self, path: &str) -> Answer {
        let end = self.get("/v1/ops/views").await;
        // The log's end is on every history answer and receipt; here it is put together from the views' page.
        let mut parts: Vec<(u64, u64)> = Vec::new();
        for row in end.body["partitions"].as_array().into_iter().flatten() {
            parts.push((
                row["partition"].as_u64().unwrap_or_default(),
                row["end"].as_u64().unwrap_or_default(),
            ));
        }
        wait(&format!("views at the log's end for {path}"), || async {
            let now = self.get("/v1/ops/views").await.body;
            let rows = now["partitions"].as_array().cloned().unwrap_or_default();
            let behind = rows.iter().any(|row| {
                let end = parts
                    .iter()
                    .find(|(p, _)| Some(*p) == row["partition"].as_u64())
                    .map_or(0, |(_, end)| *end);
                row["seen"].as_u64().unwrap_or_default() < end
            });
            (!behind).then_some(())
        })
        .await;
        self.get(path).await
    }

    /// The stored names of a stream's events with their data, oldest first.
    ///
    /// # Panics
    /// If nobody answers.
    pub async fn events(&self, entity: &str) -> Vec<(String, Value)> {
        let records = self.records(entity).await;
        records
            .iter()
            .flat_map(|record| record["events"].as_array().cloned().unwrap_or_default())
            .map(|e| (name_of(&e), e["data"].clone()))
            .collect()
    }

    /// The records of a stream, oldest first; none where there is no such entity.
    ///
    /// # Panics
    /// If nobody answers.
    pub async fn records(&self, entity: &str) -> Vec<Value> {
        let (mut out, mut after) = (Vec::new(), None::<String>);
        loop {
            let more = after.as_ref().map(|after| format!("&after={after}")).unwrap_or_default();
            let page = self.get(&format!("{entity}/history?limit=1000{more}")).await;
            if page.status == 404 {
                return out;
            }
            let mut body = page.taken().body;
            if let Value::Array(items) = body["items"].take() {
                out.extend(items);
            }
            match body["next"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => return out,
            }
        }
    }

    /// Waits for an event whose stored name ends with `name` and whose data fits; its data.
    ///
    /// # Panics
    /// If it does not come.
    pub async fn await_event(&self, entity: &str, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        wait(&format!("{name} of {entity}"), || async {
            self.events(entity)
                .await
                .into_iter()
                .find(|(n, data)| is(n, name) && fits(data))
                .map(|(_, data)| data)
        })
        .await
    }

    /// How many events of a stream have this name and fit.
    ///
    /// # Panics
    /// If nobody answers.
    pub async fn count(&self, entity: &str, name: &str, fits: impl Fn(&Value) -> bool) -> usize {
        self.events(entity)
            .await
            .iter()
            .filter(|(n, data)| is(n, name) && fits(data))
            .count()
    }

    /// The state's digest and version.
    ///
    /// # Panics
    /// If there is none.
    pub async fn digest(&self, entity: &str) -> (u64, String) {
        let state = self.get(&format!("{entity}/state")).await.taken().body;
        (
            state["version"].as_u64().expect("a version"),
            state["digest"].as_str().expect("a digest").to_owned(),
        )
    }

    /// Runs a job on the views to its end.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn views_job(&self, name: &str) -> Value {
        self.post(&format!("/v1/ops/views/{name}"), json!({})).await.taken();
        wait(&format!("{name} of the views"), || async {
            let job = self.get("/v1/ops/views").await.body["job"].take();
            (job["status"] != "running").then_some(job)
        })
        .await
    }
}

fn name_of(event: &Value) -> String {
    event["type"].as_str().unwrap_or_default().to_owned()
}

/// Whether a stored name (`quipu.run.created.v1`) is meant by a short one (`run.created`).
pub fn is(stored: &str, short: &str) -> bool {
    stored.strip_prefix("quipu.").and_then(|rest| rest.strip_suffix(".v1")) == Some(short)
}

/// Looks again and again until something is there.
///
/// # Panics
/// If it is not there in time.
pub async fn wait<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain after {PATIENCE:?}: {what}");
        tokio::time::sleep(LOOK_EVERY).await; // poll
    }
}
