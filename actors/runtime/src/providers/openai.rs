//! `llm.invoke` at any server that speaks OpenAI's streaming chat completions.

mod assembly;
mod chunk;
mod sse;
mod strict;

use super::{Answer, ChatFuture, ChatRequest, Clock, Deltas, NoAnswer, Provider};
use crate::{
    breaker::Health,
    secrets::{Secret, SecretError, SecretSource},
    wire::{
        blot::Blot,
        body,
        client::{Client, Outgoing, Redirects, Trouble, correlate, trouble},
        egress::authority,
        status::{health_of, retry_after_ms},
    },
};
use assembly::{Assembly, Progress};
use chunk::{ChunkError, error_word};
use quipu_schemas::{
    chat::ToolSpec,
    ids::OrgId,
    limits::{
        LLM_FIRST_BYTE_TIMEOUT_MS, LLM_IDLE_TIMEOUT_MS, LLM_TOTAL_TIMEOUT_MS, PROMPT_MAX_BYTES, RESPONSE_KEEP_BYTES,
        VALUE_ENCODED_MAX_BYTES,
    },
};
use reqwest::{
    Method, Response, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde::Deserialize;
use serde_json::{Value, json};
use sse::SseParser;
use std::{sync::Arc, time::Duration};
use strict::strict;
use tokio::time::{Instant, timeout_at};

/// An OpenAI-compatible provider, as configured.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAiConfig {
    /// `https://api.openai.com/v1`; a URL without a path gets `/v1`. Local addresses must stand in `egress.allow`.
    pub base_url: String,
    /// Name of the platform's secret that holds the API key; none for servers without one.
    #[serde(default)]
    pub api_key: Option<String>,
    /// Name of a secret by which an org brings a key of its own; where it has none of that name, `api_key` is shown.
    #[serde(default)]
    pub org_api_key: Option<String>,
    /// Longest wait for the first piece of the answer, milliseconds.
    #[serde(default = "first_byte")]
    pub first_byte_timeout_ms: u64,
    /// Longest silence after that, milliseconds.
    #[serde(default = "idle")]
    pub idle_timeout_ms: u64,
    /// Longest answer in all, milliseconds.
    #[serde(default = "total")]
    pub total_timeout_ms: u64,
    /// Name of the field that bounds the answer's tokens: `max_tokens`, or `max_completion_tokens` at servers that want it.
    #[serde(default = "max_tokens")]
    pub max_tokens_field: String,
}

fn first_byte() -> u64 {
    LLM_FIRST_BYTE_TIMEOUT_MS
}
fn idle() -> u64 {
    LLM_IDLE_TIMEOUT_MS
}
fn total() -> u64 {
    LLM_TOTAL_TIMEOUT_MS
}
fn max_tokens() -> String {
    "max_tokens".into()
}

impl OpenAiConfig {
    /// A provider at `base_url`, everything else by default.
    pub fn at(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            api_key: None,
            org_api_key: None,
            first_byte_timeout_ms: first_byte(),
            idle_timeout_ms: idle(),
            total_timeout_ms: total(),
            max_tokens_field: max_tokens(),
        }
    }

    fn completions_url(&self) -> Option<Url> {
        let mut url = Url::parse(&self.base_url).ok()?;
        let base = url.path().trim_end_matches('/');
        let path = if base.is_empty() {
            "/v1/chat/completions".to_owned()
        } else {
            format!("{base}/chat/completions")
        };
        url.set_path(&path);
        Some(url)
    }
}

/// The provider.
pub(crate) struct OpenAi {
    pub(crate) config: OpenAiConfig,
    pub(crate) client: Arc<Client>,
    pub(crate) secrets: Arc<dyn SecretSource>,
    pub(crate) clock: Clock,
}

impl Provider for OpenAi {
    fn chat<'a>(&'a self, request: &'a ChatRequest, deltas: &'a mut dyn Deltas) -> ChatFuture<'a> {
        Box::pin(async move {
            let key = self.key(&request.org)?;
            let blot = Blot::new(key.iter().map(Secret::expose));
            let outgoing = self.outgoing(key.as_ref(), request)?;
            self.exchange(request, outgoing, deltas).await.map_err(|no| no.blotted(&blot))
        })
    }
}

impl OpenAi {
    /// The key that is shown: the org's own, where it may bring one and has; a key of theirs that cannot be had is never replaced by
    /// the platform's, which others pay for.
    fn key(&self, org: &OrgId) -> Result<Option<Secret>, SecretError> {
        let url = self.config.completions_url();
        if let Some(name) = &self.config.org_api_key {
            match self.secrets.of_org(org, name, url.as_ref()) {
                Err(SecretError::NotFound(_)) => {}
                found => return found.map(Some),
            }
        }
        self.config.api_key.as_ref().map(|name| self.secrets.platform(name)).transpose()
    }

    async fn exchange(&self, request: &ChatRequest, outgoing: Outgoing, deltas: &mut dyn Deltas) -> Result<Answer, NoAnswer> {
        let config = &self.config;
        let first_by = Instant::now() + Duration::from_millis(config.first_byte_timeout_ms.min(config.total_timeout_ms));
        let end = Instant::now() + Duration::from_millis(config.total_timeout_ms);
        let (url, peer) = (outgoing.url.clone(), authority(&outgoing.url));
        let late = || {
            NoAnswer::of_trouble(Trouble::timeout(
                &format!("first piece of an answer from {peer}"),
                config.first_byte_timeout_ms,
            ))
        };

        let response = timeout_at(first_by, self.client.send(outgoing)).await;
        let mut response = response.map_err(|_| late())?.map_err(NoAnswer::of_trouble)?;
        if !response.status().is_success() {
            let refusal = refusal(&mut response, &peer, (self.clock)());
            return Err(timeout_at(first_by, refusal).await.unwrap_or_else(|_| late()));
        }
        let encoding = body::content_encoding(response.headers());
        if !encoding.is_empty() {
            let error = body::Unreadable::of_encoding(&encoding);
            return Err(NoAnswer::failed(error.code(), format!("{peer}: {error}"), Health::Up));
        }
        let mut reading = Reading::of(&response, &peer);
        loop {
            let patience = match reading.begun {
                true => (Instant::now() + Duration::from_millis(config.idle_timeout_ms)).min(end),
                false => first_by,
            };
            let chunk = match timeout_at(patience, response.chunk()).await {
                Err(_) if !reading.begun => return Err(late()),
                Err(_) => return Err(reading.interrupted("it fell silent")),
                Ok(Err(error)) if !reading.begun => return Err(NoAnswer::of_trouble(trouble(&error, &url))),
                Ok(Err(_)) => return Err(reading.interrupted("the connection broke")),
                Ok(Ok(chunk)) => chunk,
            };
            let ended = match chunk {
                Some(chunk) => reading.take(&chunk, deltas)?,
                None => {
                    reading.end(deltas)?;
                    true
                }
            };
            if ended {
                return Ok(reading.assembly.finish(&request.model.model, &request.id));
            }
        }
    }

    fn outgoing(&self, key: Option<&Secret>, request: &ChatRequest) -> Result<Outgoing, NoAnswer> {
        let provider = &request.model.provider;
        let url = self.config.completions_url().ok_or_else(|| {
            let detail = format!("the base_url of provider `{provider}` is not a URL");
            NoAnswer::failed("provider_not_configured", detail, Health::Unknown)
        })?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(key) = key {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose())).map_err(|_| SecretError::Form {
                name: self.config.api_key.clone().unwrap_or_default(),
                expected: "a header value",
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        // Usage is keyed by attempt, on both sides.
        let id = format!("{}.{}", request.id, request.attempt);
        let id = HeaderValue::from_str(&id)
            .map_err(|_| NoAnswer::failed("request_invalid", "the id of the call is not a header value", Health::Unknown))?;
        headers.insert("x-client-request-id", id);
        correlate(&mut headers, request.correlation.as_deref());
        let body = request_body(&self.config, request).to_string();
        // Room for tools beside the messages, whose size is bounded already.
        if body.len() > 2 * PROMPT_MAX_BYTES {
            let detail = format!("the request is larger than {} bytes", 2 * PROMPT_MAX_BYTES);
            return Err(NoAnswer::failed("prompt_too_large", detail, Health::Unknown));
        }
        Ok(Outgoing {
            method: Method::POST,
            url,
            headers,
            confidential: Vec::new(),
            body: Some(body.into()),
            redirects: Redirects::Answer,
        })
    }
}

/// An answer under way.
struct Reading {
    peer: String,
    assembly: Assembly,
    /// Whether a piece of the answer has come: from then on nothing is repeated.
    begun: bool,
    parser: SseParser,
    /// The body so far, of a server that does not stream.
    whole: Option<Vec<u8>>,
}

impl Reading {
    fn of(response: &Response, peer: &str) -> Self {
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Self {
            peer: peer.to_owned(),
            assembly: Assembly::default(),
            begun: false,
            parser: SseParser::default(),
            whole: kind.is_some_and(|kind| kind.starts_with("application/json")).then(Vec::new),
        }
    }

    /// Takes bytes of the body; `true` ends the answer.
    fn take(&mut self, bytes: &[u8], deltas: &mut dyn Deltas) -> Result<bool, NoAnswer> {
        if let Some(whole) = &mut self.whole {
            if whole.len() + bytes.len() > VALUE_ENCODED_MAX_BYTES {
                return Err(too_large(&ChunkError::TooLarge));
            }
            whole.extend_from_slice(bytes);
            return Ok(false);
        }
        for data in self.parser.push(bytes).map_err(|error| too_large(&error))? {
            let data = data.trim();
            if data.is_empty() {
                continue;
            }
            if data.eq_ignore_ascii_case("[done]") || self.event(data, deltas)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The body has ended.
    fn end(&mut self, deltas: &mut dyn Deltas) -> Result<(), NoAnswer> {
        if let Some(whole) = self.whole.take() {
            self.event(&String::from_utf8_lossy(&whole), deltas)?;
        }
        match (self.assembly.is_finished(), self.begun) {
            // Some servers end without [DONE]; the finish reason is word enough.
            (true, _) => Ok(()),
            (false, true) => Err(self.interrupted("it ended without a finish reason")),
            (false, false) => {
                let detail = format!("{} ended its answer before the first piece", self.peer);
                Err(NoAnswer::again("connection_lost", detail, Health::Down))
            }
        }
    }

    /// Takes one event; `true` ends the answer.
    fn event(&mut self, data: &str, deltas: &mut dyn Deltas) -> Result<bool, NoAnswer> {
        let progress = self.assembly.push(data);
        let first = !std::mem::replace(&mut self.begun, true);
        let (text, full) = match progress {
            Ok(Progress::Text(text)) => (text, false),
            Ok(Progress::Full(text)) => (text, true),
            Err(error @ ChunkError::TooLarge) => return Err(too_large(&error)),
            // An error in the place of the first piece: no part of an answer has been seen.
            Err(error @ ChunkError::Provider(_)) if first => {
                return Err(NoAnswer::again("provider_error", format!("{}: {error}", self.peer), Health::Down));
            }
            Err(error) => return Err(self.interrupted(&error.to_string())),
        };
        if !text.is_empty() {
            deltas.push(&text);
        }
        Ok(full)
    }

    fn interrupted(&self, why: &str) -> NoAnswer {
        let detail = format!("{}: {why}, after {} characters of text", self.peer, self.assembly.chars());
        NoAnswer::failed("stream_interrupted", detail, Health::Down)
    }
}

fn too_large(error: &dyn std::fmt::Display) -> NoAnswer {
    NoAnswer::failed("answer_too_large", error.to_string(), Health::Up)
}

/// A status other than success.
async fn refusal(response: &mut Response, peer: &str, now: u64) -> NoAnswer {
    let status = response.status();
    let body = body::peek(response, RESPONSE_KEEP_BYTES).await.ok();
    let parsed = body.and_then(|body| serde_json::from_slice::<Value>(&body).ok());
    let word = parsed.as_ref().and_then(|value| error_word(value.get("error").unwrap_or(value)));
    // The one 429 that waiting does not cure.
    if word.as_deref() == Some("insufficient_quota") {
        let detail = format!("{peer}: the account's quota is used up");
        return NoAnswer::failed("insufficient_quota", detail, health_of(status));
    }
    NoAnswer::of_status(status, peer, word.as_deref(), retry_after_ms(response.headers(), now))
}

fn request_body(config: &OpenAiConfig, call: &ChatRequest) -> Value {
    let mut body = json!({
        "model": call.model.model,
        "messages": strict(&call.messages),
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    if let Some(temperature) = call.model.temperature {
        body["temperature"] = json!(temperature);
    }
    if let Some(max) = call.model.max_tokens {
        body[config.max_tokens_field.as_str()] = json!(max);
    }
    if !call.tools.is_empty() {
        body["tools"] = call.tools.iter().map(tool).collect();
    }
    body
}

fn tool(spec: &ToolSpec) -> Value {
    let parameters = if spec.parameters.0.is_null() {
        json!({ "type": "object", "properties": {} })
    } else {
        spec.parameters.0.clone()
    };
    json!({ "type": "function", "function": { "name": spec.name, "description": spec.description, "parameters": parameters } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_url_may_end_in_a_path_or_not() {
        for (base, url) in [
            ("https://api.openai.com/v1", "https://api.openai.com/v1/chat/completions"),
            ("https://api.openai.com/v1/", "https://api.openai.com/v1/chat/completions"),
            ("http://localhost:11434", "http://localhost:11434/v1/chat/completions"),
            ("https://gate.example/openai/eu", "https://gate.example/openai/eu/chat/completions"),
        ] {
            assert_eq!(OpenAiConfig::at(base).completions_url().unwrap().as_str(), url);
        }
        assert_eq!(OpenAiConfig::at("nowhere").completions_url(), None);
    }
}
