//! `llm.invoke` at any server that speaks OpenAI's streaming chat completions.

use super::{
    Attempt, Reach,
    answer::{Answer, Assembly, ChunkError, Progress, error_word},
    blot::Blot,
    body,
    client::{Outgoing, Redirects, Trouble, trouble},
    egress::authority,
    ending::{Ending, health_of, retry_after_ms},
    sink::Sink,
    sse::SseParser,
    strict::strict,
};
use crate::{breaker::Health, secrets::Secret};
use quipu_schemas::{
    chat::{ChatMessage, ToolSpec},
    limits::{LLM_FIRST_BYTE_TIMEOUT_MS, LLM_IDLE_TIMEOUT_MS, LLM_TOTAL_TIMEOUT_MS, PROMPT_MAX_BYTES, RESPONSE_KEEP_BYTES},
    reaction::LlmInvoke,
};
use reqwest::{
    Method, Response, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
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

/// Asks the model. `Ok` is a whole answer.
pub(crate) async fn invoke(
    reach: &Reach,
    config: &OpenAiConfig,
    attempt: &Attempt,
    call: &LlmInvoke,
    messages: Vec<ChatMessage>,
    sink: &mut Sink<'_>,
) -> Result<Answer, Ending> {
    let key = config.api_key.as_ref().map(|name| reach.secrets.platform(name)).transpose()?;
    let blot = Blot::new(key.iter().map(Secret::expose));
    let outgoing = outgoing(reach, config, attempt, call, &messages)?;
    exchange(reach, config, attempt, call, outgoing, sink).await.map_err(|ending| ending.blotted(&blot))
}

async fn exchange(
    reach: &Reach,
    config: &OpenAiConfig,
    attempt: &Attempt,
    call: &LlmInvoke,
    outgoing: Outgoing,
    sink: &mut Sink<'_>,
) -> Result<Answer, Ending> {
    let (url, peer) = (outgoing.url.clone(), authority(&outgoing.url));
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let first_by = at(config.first_byte_timeout_ms.min(config.total_timeout_ms));
    let late = || {
        Ending::of_trouble(
            Trouble::timeout(&format!("first piece of an answer from {peer}"), config.first_byte_timeout_ms),
            true,
        )
    };

    let response = timeout_at(first_by, reach.client.send(outgoing)).await;
    let mut response = response.map_err(|_| late())?.map_err(|trouble| Ending::of_trouble(trouble, true))?;
    if !response.status().is_success() {
        let refusal = refusal(&mut response, &peer, (reach.clock)());
        return Err(timeout_at(first_by, refusal).await.unwrap_or_else(|_| late()));
    }
    let encoding = body::content_encoding(response.headers());
    if !encoding.is_empty() {
        let error = body::Unreadable::of_encoding(&encoding);
        return Err(Ending::failed(error.code(), format!("{peer}: {error}"), Health::Up));
    }
    let mut reading = Reading {
        assembly: Assembly::default(),
        begun: false,
    };
    let seed = attempt.key.message_id();
    let streams = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_none_or(|kind| !kind.starts_with("application/json"));
    let mut parser = SseParser::default();
    let mut whole = Vec::new();
    let end = at(config.total_timeout_ms);
    loop {
        let patience = if reading.begun {
            (Instant::now() + Duration::from_millis(config.idle_timeout_ms)).min(end)
        } else {
            first_by
        };
        let chunk = match timeout_at(patience, response.chunk()).await {
            Err(_) if !reading.begun => return Err(late()),
            Err(_) => return Err(reading.interrupted(&peer, "it fell silent")),
            Ok(Err(error)) if !reading.begun => return Err(Ending::of_trouble(trouble(&error, &url), true)),
            Ok(Err(_)) => return Err(reading.interrupted(&peer, "the connection broke")),
            Ok(Ok(chunk)) => chunk,
        };
        let Some(chunk) = chunk else { break };
        if !streams {
            whole.extend_from_slice(&chunk);
            if whole.len() > PROMPT_MAX_BYTES {
                return Err(Ending::failed("answer_too_large", ChunkError::TooLarge.to_string(), Health::Up));
            }
            continue;
        }
        let events = parser
            .push(&chunk)
            .map_err(|error| Ending::failed("answer_too_large", error.to_string(), Health::Up))?;
        for data in events {
            if data.trim().is_empty() {
                continue;
            }
            if data.trim().eq_ignore_ascii_case("[done]") {
                return Ok(reading.assembly.finish(&call.model.model, &seed));
            }
            if reading.take(&data, &peer, sink)? {
                return Ok(reading.assembly.finish(&call.model.model, &seed));
            }
        }
    }
    if !streams {
        reading.take(&String::from_utf8_lossy(&whole), &peer, sink)?;
    }
    match (reading.assembly.is_finished(), reading.begun) {
        // Some servers end without [DONE]; the finish reason is word enough.
        (true, _) => Ok(reading.assembly.finish(&call.model.model, &seed)),
        (false, true) => Err(reading.interrupted(&peer, "it ended without a finish reason")),
        (false, false) => Err(Ending::Again {
            code: "connection_lost".into(),
            detail: format!("{peer} ended its answer before the first piece"),
            retry_after_ms: None,
            health: Health::Down,
        }),
    }
}

struct Reading {
    assembly: Assembly,
    /// Whether a piece of the answer has come: from then on nothing is repeated.
    begun: bool,
}

impl Reading {
    /// Takes one event; `true` ends the answer.
    fn take(&mut self, data: &str, peer: &str, sink: &mut Sink<'_>) -> Result<bool, Ending> {
        let progress = self.assembly.push(data);
        let first = !std::mem::replace(&mut self.begun, true);
        match progress {
            Ok(Progress::Text(text)) => {
                sink.push(&text);
                Ok(false)
            }
            Ok(Progress::Full(text)) => {
                sink.push(&text);
                Ok(true)
            }
            Err(ChunkError::TooLarge) => Err(Ending::failed("answer_too_large", ChunkError::TooLarge.to_string(), Health::Up)),
            // An error in the place of the first piece: no part of an answer has been seen.
            Err(error @ ChunkError::Provider(_)) if first => Err(Ending::Again {
                code: "provider_error".into(),
                detail: format!("{peer}: {error}"),
                retry_after_ms: None,
                health: Health::Down,
            }),
            Err(error) => Err(self.interrupted(peer, &error.to_string())),
        }
    }

    fn interrupted(&self, peer: &str, why: &str) -> Ending {
        let detail = format!("{peer}: {why}, after {} characters of text", self.assembly.chars());
        Ending::failed("stream_interrupted", detail, Health::Down)
    }
}

/// A status that is no answer.
async fn refusal(response: &mut Response, peer: &str, now: u64) -> Ending {
    let status = response.status();
    let body = body::peek(response, RESPONSE_KEEP_BYTES).await.ok();
    let parsed = body.and_then(|body| serde_json::from_slice::<Value>(&body).ok());
    let word = parsed.as_ref().and_then(|value| error_word(value.get("error").unwrap_or(value)));
    // The one 429 that waiting does not cure.
    if word.as_deref() == Some("insufficient_quota") {
        return Ending::failed(
            "insufficient_quota",
            format!("{peer}: the account's quota is used up"),
            health_of(status),
        );
    }
    Ending::of_status(status, peer, word.as_deref(), retry_after_ms(response.headers(), now), true)
}

fn outgoing(
    reach: &Reach,
    config: &OpenAiConfig,
    attempt: &Attempt,
    call: &LlmInvoke,
    messages: &[ChatMessage],
) -> Result<Outgoing, Ending> {
    let url = config.completions_url().ok_or_else(|| {
        Ending::failed(
            "provider_not_configured",
            format!("the base_url of provider `{}` is not a URL", call.model.provider),
            Health::Unknown,
        )
    })?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    if let Some(name) = &config.api_key {
        let key = reach.secrets.platform(name)?;
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose())).map_err(|_| {
            Ending::from(crate::secrets::SecretError::Form {
                name: name.clone(),
                expected: "a header value",
            })
        })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    // Usage is keyed by attempt, on both sides.
    let id = format!("{}.{}", attempt.key.message_id(), attempt.number);
    headers.insert(
        "x-client-request-id",
        HeaderValue::from_str(&id).expect("hex and digits are a header value"),
    );
    let body = request_body(config, call, messages).to_string();
    // Room for tools beside the messages, which `assemble` has bounded already.
    if body.len() > 2 * PROMPT_MAX_BYTES {
        return Err(Ending::failed(
            "prompt_too_large",
            format!("the request is larger than {} bytes", 2 * PROMPT_MAX_BYTES),
            Health::Unknown,
        ));
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

fn request_body(config: &OpenAiConfig, call: &LlmInvoke, messages: &[ChatMessage]) -> Value {
    let mut body = json!({
        "model": call.model.model,
        "messages": strict(messages),
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
