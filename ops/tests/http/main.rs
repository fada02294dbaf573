//! The HTTP face, through the real composition root on a free port.

mod access;
mod accounts;
mod acting;
mod api_keys;
mod approvals;
mod attacks;
mod audit;
mod by_key;
mod by_session;
mod callbacks;
mod certificate;
mod commands;
mod directory;
mod documents;
mod feed;
mod invites;
mod isolation;
mod isolation_bus;
mod mail;
mod oauth;
mod queries;
mod refusals;
mod secrets;
#[path = "../../../actors/runtime/tests/performers/smtp.rs"]
mod smtp;
mod stop;
mod tls;
mod totp;
mod values;
mod values_at_rest;
mod web;

use quipu::{
    config::Config,
    serve::{self, Running},
};
use reqwest::{
    Method, Response, StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A running node with a client that has its token.
struct TestNode {
    running: Running,
    client: reqwest::Client,
    /// Removed with the test.
    data: TempDir,
}

/// An answer, read whole.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name}: {:?}", self.headers))
            .to_str()
            .unwrap()
    }
    #[track_caller]
    fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }
    /// Asserts a problem in full form and returns it.
    #[track_caller]
    fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert!(
            problem["detail"].as_str().is_some_and(|d| !d.is_empty()) && problem["type"].as_str().is_some(),
            "{problem}"
        );
        assert!(matches!(self.header("x-should-retry"), "true" | "false"));
        assert_eq!(problem["request_id"], self.header("x-request-id"), "{problem}");
        assert!(problem["instance"].is_string() && problem["time"].is_string(), "{problem}");
        assert_eq!(problem["docs"], format!("/docs/problems/{code}"), "{problem}");
        problem
    }
}

fn client() -> reqwest::Client {
    // Fails only where another test of this process installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

impl TestNode {
    async fn start() -> Self {
        Self::over(tempfile::tempdir().unwrap()).await
    }

    async fn over(data: TempDir) -> Self {
        let running = serve::start(Config::at(data.path()).unwrap()).await.unwrap();
        Self {
            running,
            client: client(),
            data,
        }
    }

    /// A node with org `acme`.
    async fn with_org() -> Self {
        let node = Self::start().await;
        node.post("/v1/orgs/acme/orgs", json!({ "name": "Acme" })).await.expect(201);
        node
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.running.url()))
            .bearer_auth(self.running.token.expose())
    }

    async fn send(request: reqwest::RequestBuilder) -> Answer {
        let response: Response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Answer {
            status,
            headers,
            text: response.text().await.unwrap(),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        Self::send(self.request(Method::GET, path)).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        Self::send(self.request(Method::POST, path).json(&body)).await
    }

    async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: Value) -> Answer {
        let mut request = self.request(Method::POST, path).json(&body);
        for (name, value) in headers {
            request = request.header(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        Self::send(request).await
    }

    /// A conversation of bootstrap with the given id.
    async fn conversation(&self, id: &str) -> Answer {
        self.post(
            &format!("/v1/orgs/acme/conversations/{id}"),
            json!({ "type": "group", "title": "Talk" }),
        )
        .await
        .expect(201)
    }

    async fn say(&self, conversation: &str, body: &str) -> Answer {
        self.post(&format!("/v1/orgs/acme/conversations/{conversation}/post"), json!({ "body": body }))
            .await
            .expect(202)
    }
}
