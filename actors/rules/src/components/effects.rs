//! Components that act on the world. Definitions name secrets and never hold them.

use super::{
    ConfigFlaw, Look, Nature, NodeError, NodeInput, Outputs, Port, PortType, Ports, Registry, Step, Template, TypedComponent, headers,
    only, template::sealed_text, typed, unexpected,
};
use quipu_kinds::run::{NodeWork, RunPost};
use quipu_schemas::{
    chat::ChatRole,
    digest::Digest,
    ids::{EntityId, MessageId},
    json::Json,
    limits::EFFECT_TIMEOUT_MAX_MS,
    personal::{Personal, value::Sealed},
    reaction::{ComposedMessage, ComposedText, Effect, HttpRequest, LlmInvoke, ModelConfig, Outcome, Prompt, WebhookCall},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn register(registry: &mut Registry) {
    registry.register(typed::<HttpRequestNode>());
    registry.register(typed::<WebhookNode>());
    registry.register(typed::<LlmNode>());
    registry.register(typed::<MessageNode>());
}

fn effect(effect: Effect, input: &NodeInput<'_>) -> Step {
    Step::Wait(NodeWork::Effect {
        effect,
        retry: input.retry.clone(),
    })
}

fn response_ports() -> Ports {
    Ports {
        inputs: vec![Port::optional("in", PortType::Any)],
        outputs: vec![Port::one("out", PortType::Object)],
    }
}

/// Redirects that can be followed have been: what is left is an answer that did nothing. 304 answers a condition.
fn is_failure(status: u16) -> bool {
    status >= 300 && status != 304
}

/// What an answered request hands on. Where the body was too large to keep, the output says so.
fn answer(outcome: &Outcome) -> Result<Outputs, NodeError> {
    let Outcome::Responded { status, body, full_bytes } = outcome else {
        return Err(unexpected(outcome));
    };
    let mut out = json!({"status": status, "body": body});
    if let Some(bytes) = full_bytes {
        out["truncated"] = json!(true);
        out["full_bytes"] = json!(bytes);
    }
    Ok(only("out", out))
}

fn check_url(field: &str, url: &Template, flaws: &mut Vec<ConfigFlaw>) {
    url.check(field, flaws);
    match url.literal() {
        Some(text) => {
            if let Err(detail) = good_url(text) {
                flaws.push(ConfigFlaw::new(field, "bad_url", detail));
            }
        }
        None if url.source().is_none() => flaws.push(ConfigFlaw::new(field, "bad_url", "a URL or an expression `=…` is needed")),
        None => {}
    }
}

fn good_url(url: &str) -> Result<(), String> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .ok_or("a URL begins with http:// or https://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err("the URL names no host".to_owned());
    }
    if authority.contains('@') {
        return Err("the URL holds a user or password; name a secret in a header instead".to_owned());
    }
    if url.len() > 2_048 || url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("a URL has at most 2,048 characters, none of them blank".to_owned());
    }
    Ok(())
}

/// A URL, and, where it was computed from sealed values, its beginning and the whole sealed: whom a request goes to is known to
/// the outbox, what it asks for is not.
fn render_url(url: &Template, input: &NodeInput<'_>) -> Result<(String, Option<Personal<String>>), NodeError> {
    let (url, whose) = url.render_text("url", input)?;
    good_url(&url).map_err(|detail| NodeError::new("bad_url", detail))?;
    if whose.is_empty() || input.values.clear {
        return Ok((url, None));
    }
    let authority = url.find("://").map_or(0, |at| at + 3);
    let end = url[authority..].find(['/', '?', '#']).map_or(url.len(), |at| authority + at);
    let begins = format!("{}/", &url[..end]);
    Ok((begins, Some(sealed_text(url, &whose, input)?)))
}

const METHODS: &[&str] = &["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HttpConfig {
    /// Method, in upper case.
    #[serde(default = "get")]
    method: String,
    /// Absolute URL, or an expression (`=…`).
    url: Template,
    /// Header values: a text, in which `{{secret:NAME}}` is put in when it is sent, an expression (`=…`), or a list of both
    /// that is put together. What an expression comes to never names a secret.
    #[serde(default)]
    headers: BTreeMap<String, Template>,
    /// JSON body, with expressions.
    #[serde(default)]
    body: Option<Template>,
    /// Header that carries the effect's key where the receiver honours it: then it may be sent again.
    #[serde(default)]
    idempotency_header: Option<String>,
    /// Milliseconds for one attempt.
    #[serde(default)]
    timeout_ms: Option<u64>,
    /// Whether an answer of 300 and above fails the node (true unless given). 304 does not.
    #[serde(default = "yes")]
    fail_on_status: bool,
}

fn get() -> String {
    "GET".to_owned()
}
fn yes() -> bool {
    true
}

struct HttpRequestNode;
impl TypedComponent for HttpRequestNode {
    type Config = HttpConfig;
    const NAME: &'static str = "http.request";
    const ABOUT: &'static str = "Sends an HTTP request; hands on its status and body.";
    const NATURE: Nature = Nature::Effectful;
    fn check(config: &HttpConfig) -> Vec<ConfigFlaw> {
        let mut flaws = Vec::new();
        if !METHODS.contains(&config.method.as_str()) {
            flaws.push(ConfigFlaw::new("method", "bad_config", format!("one of {}", METHODS.join(", "))));
        }
        check_url("url", &config.url, &mut flaws);
        headers::check(&config.headers, config.idempotency_header.as_deref(), &mut flaws);
        if config.timeout_ms.is_some_and(|ms| ms == 0 || ms > EFFECT_TIMEOUT_MAX_MS) {
            flaws.push(ConfigFlaw::new("timeout_ms", "bad_config", format!("1 to {EFFECT_TIMEOUT_MAX_MS}")));
        }
        if let Some(body) = &config.body {
            body.check("body", &mut flaws);
        }
        flaws
    }
    fn looks(config: &HttpConfig) -> Vec<Look<'_>> {
        let mut looks = Vec::new();
        for template in config.headers.values().chain([&config.url]) {
            template.looks(true, &mut looks);
        }
        config.body.iter().for_each(|body| body.looks(false, &mut looks));
        looks
    }
    fn ports(_: &HttpConfig) -> Ports {
        response_ports()
    }
    fn start(config: HttpConfig, input: &NodeInput<'_>) -> Result<Step, NodeError> {
        let headers = headers::render(&config.headers, input)?;
        let (url, sealed_url) = render_url(&config.url, input)?;
        Ok(effect(
            Effect::Http(HttpRequest {
                method: config.method,
                url,
                sealed_url,
                headers: headers.plain,
                composed_headers: headers.composed,
                body: config.body.map(|b| b.render(input)).transpose()?.map(Json),
                idempotency_header: config.idempotency_header,
                timeout_ms: config.timeout_ms,
            }),
            input,
        ))
    }
    fn settle(config: HttpConfig, outcome: &Outcome) -> Result<Outputs, NodeError> {
        match outcome {
            Outcome::Responded { status, .. } if config.fail_on_status && is_failure(*status) => {
                let detail = match status {
                    300..400 => format!("the receiver answered {status}: a redirect that is not followed, so nothing was done"),
                    _ => format!("the receiver answered {status}"),
                };
                Err(NodeError::new(format!("status_{status}"), detail))
            }
            other => answer(other),
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WebhookConfig {
    /// Receiver: absolute URL, or an expression (`=…`).
    url: Template,
    /// Event type in the payload.
    #[serde(rename = "type")]
    event_type: String,
    /// Payload, with expressions; the input unless given.
    #[serde(default)]
    data: Option<Template>,
    /// Name of the signing secret.
    secret: String,
}

struct WebhookNode;
impl TypedComponent for WebhookNode {
    type Config = WebhookConfig;
    const NAME: &'static str = "webhook.call";
    const ABOUT: &'static str = "Sends a signed Standard Webhook; hands on the answer's status and body.";
    const NATURE: Nature = Nature::Effectful;
    fn check(config: &WebhookConfig) -> Vec<ConfigFlaw> {
        let mut flaws = Vec::new();
        check_url("url", &config.url, &mut flaws);
        if config.event_type.is_empty() || config.event_type.len() > 128 {
            flaws.push(ConfigFlaw::new("type", "bad_config", "an event type has 1 to 128 bytes"));
        }
        let named =
            (1..=64).contains(&config.secret.len()) && config.secret.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !named || config.secret.starts_with("whsec_") {
            flaws.push(ConfigFlaw::new(
                "secret",
                "secret_in_clear",
                "the name of a configured secret is needed (1 to 64 of A-Z a-z 0-9 _ . -), not the secret",
            ));
        }
        if let Some(data) = &config.data {
            data.check("data", &mut flaws);
        }
        flaws
    }
    fn looks(config: &WebhookConfig) -> Vec<Look<'_>> {
        let mut looks = Vec::new();
        config.url.looks(true, &mut looks);
        config.data.iter().for_each(|data| data.looks(false, &mut looks));
        looks
    }
    fn ports(_: &WebhookConfig) -> Ports {
        response_ports()
    }
    fn start(config: WebhookConfig, input: &NodeInput<'_>) -> Result<Step, NodeError> {
        let data = match &config.data {
            Some(data) => data.render(input)?,
            None => input.value(),
        };
        let (url, sealed_url) = render_url(&config.url, input)?;
        Ok(effect(
            Effect::Webhook(WebhookCall {
                url,
                sealed_url,
                event_type: config.event_type,
                data: Json(data),
                secret: config.secret,
            }),
            input,
        ))
    }
    fn settle(_: WebhookConfig, outcome: &Outcome) -> Result<Outputs, NodeError> {
        answer(outcome)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LlmConfig {
    /// The model to ask.
    model: ModelConfig,
    /// The messages of the chat, in order.
    messages: Vec<LlmMessage>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LlmMessage {
    /// In which role the message speaks.
    role: ChatRole,
    /// A text, an expression (`=…`), or an expression that comes to a sealed text.
    content: Template,
}

struct LlmNode;
impl TypedComponent for LlmNode {
    type Config = LlmConfig;
    const NAME: &'static str = "llm.invoke";
    const ABOUT: &'static str = "Asks a language model; its answer leaves sealed at `text`.";
    const NATURE: Nature = Nature::Effectful;
    fn check(config: &LlmConfig) -> Vec<ConfigFlaw> {
        let mut flaws = Vec::new();
        let named = |text: &str| (1..=128).contains(&text.len());
        if !named(&config.model.provider) || !named(&config.model.model) {
            flaws.push(ConfigFlaw::new("model", "bad_config", "provider and model have 1 to 128 bytes"));
        }
        if config.model.temperature.is_some_and(|t| !(0.0..=2.0).contains(&t)) {
            flaws.push(ConfigFlaw::new("model.temperature", "bad_config", "0 to 2"));
        }
        if config.messages.is_empty() || config.messages.len() > 64 {
            flaws.push(ConfigFlaw::new("messages", "bad_config", "1 to 64 messages are needed"));
        }
        for (i, message) in config.messages.iter().enumerate() {
            let field = format!("messages[{i}].content");
            message.content.check(&field, &mut flaws);
            if !message.content.0.is_string() {
                flaws.push(ConfigFlaw::new(field, "bad_config", "a text or an expression `=…` is needed"));
            }
        }
        flaws
    }
    fn looks(config: &LlmConfig) -> Vec<Look<'_>> {
        let mut looks = Vec::new();
        config.messages.iter().for_each(|message| message.content.looks(false, &mut looks));
        looks
    }
    fn ports(_: &LlmConfig) -> Ports {
        Ports {
            inputs: vec![Port::optional("in", PortType::Any)],
            outputs: vec![
                Port::one("text", PortType::Object),
                Port::one("usage", PortType::Object),
                Port::one("finish_reason", PortType::String),
            ],
        }
    }
    fn start(config: LlmConfig, input: &NodeInput<'_>) -> Result<Step, NodeError> {
        let messages = config
            .messages
            .iter()
            .map(|m| {
                Ok(ComposedMessage {
                    role: m.role,
                    content: composed("content", m.content.render(input)?, input)?,
                })
            })
            .collect::<Result<_, NodeError>>()?;
        Ok(effect(
            Effect::LlmInvoke(LlmInvoke {
                model: config.model,
                prompt: Prompt::Composed { messages },
                tools: Vec::new(),
                stream_to: None,
            }),
            input,
        ))
    }
    fn settle(_: LlmConfig, outcome: &Outcome) -> Result<Outputs, NodeError> {
        let Outcome::Answered(answer) = outcome else {
            return Err(unexpected(outcome));
        };
        let Some(text) = &answer.text else {
            return Err(NodeError::new("empty_answer", "the model answered without text"));
        };
        let text = serde_json::to_value(text).map_err(|e| NodeError::new("sealed", e.to_string()))?;
        let usage = json!({"model": answer.model, "prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.completion_tokens});
        Ok([
            ("text".to_owned(), Json(text)),
            ("usage".to_owned(), Json(usage)),
            ("finish_reason".to_owned(), Json(Value::String(answer.finish_reason.clone()))),
        ]
        .into())
    }
}

/// A text of the definition, or a sealed one.
fn composed(field: &str, value: Value, input: &NodeInput<'_>) -> Result<ComposedText, NodeError> {
    match value {
        Value::String(text) => Ok(ComposedText::Plain(text)),
        sealed if Sealed::of(&sealed).is_some() && input.values.accepts(PortType::String, &sealed) => {
            Personal::<String>::deserialize(sealed)
                .map(ComposedText::Sealed)
                .map_err(|e| NodeError::new("sealed", e.to_string()))
        }
        _ => Err(NodeError::new(
            "type_error",
            format!("`{field}` must come to a string or a sealed text"),
        )),
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MessageConfig {
    /// Id of a conversation of the same org, or an expression (`=…`).
    conversation: Template,
    /// A text, an expression (`=…`), or an expression that comes to a sealed text.
    body: Template,
    /// Id of the message that it answers, or an expression (`=…`).
    #[serde(default)]
    reply_to: Option<Template>,
}

struct MessageNode;
impl TypedComponent for MessageNode {
    type Config = MessageConfig;
    const NAME: &'static str = "message.send";
    const ABOUT: &'static str = "Posts a message to a conversation, sealed; its id is derived from run and node.";
    const NATURE: Nature = Nature::Effectful;
    fn check(config: &MessageConfig) -> Vec<ConfigFlaw> {
        let mut flaws = Vec::new();
        for (field, template) in [
            ("conversation", Some(&config.conversation)),
            ("body", Some(&config.body)),
            ("reply_to", config.reply_to.as_ref()),
        ] {
            let Some(template) = template else { continue };
            template.check(field, &mut flaws);
            if !template.0.is_string() {
                flaws.push(ConfigFlaw::new(field, "bad_config", "a text or an expression `=…` is needed"));
            }
        }
        if config.conversation.literal().is_some_and(|id| EntityId::parse(id).is_err()) {
            flaws.push(ConfigFlaw::new("conversation", "bad_config", "1 to 64 of A-Z a-z 0-9 _ -"));
        }
        flaws
    }
    fn looks(config: &MessageConfig) -> Vec<Look<'_>> {
        let mut looks = Vec::new();
        for template in config.reply_to.iter().chain([&config.conversation]) {
            template.looks(true, &mut looks);
        }
        config.body.looks(false, &mut looks);
        looks
    }
    fn ports(_: &MessageConfig) -> Ports {
        response_ports()
    }
    fn start(config: MessageConfig, input: &NodeInput<'_>) -> Result<Step, NodeError> {
        let bad_id = |e: quipu_schemas::ids::BadId| NodeError::new("bad_id", e.to_string());
        let place = format!("{}/{}", input.stream, input.node);
        let hash = Digest::of(&[place.as_bytes()]).to_string();
        let post = RunPost {
            conversation: EntityId::parse(config.conversation.render_text("conversation", input)?.0).map_err(bad_id)?,
            message_id: MessageId::parse(format!("msg_{}", &hash[..40])).map_err(bad_id)?,
            reply_to: match &config.reply_to {
                Some(template) => Some(MessageId::parse(template.render_text("reply_to", input)?.0).map_err(bad_id)?),
                None => None,
            },
        };
        let empty = || NodeError::new("empty_body", "`body` came to an empty text");
        let body = match composed("body", config.body.render(input)?, input)? {
            // Of a text, its quotes; or the mark before it.
            ComposedText::Sealed(body) if body.plain_len() <= 2 && body.blob().is_none() => return Err(empty()),
            ComposedText::Sealed(body) => body,
            ComposedText::Plain(text) if text.is_empty() => return Err(empty()),
            ComposedText::Plain(text) => sealed_text(text, &BTreeSet::new(), input)?,
        };
        Ok(Step::Post { post, body })
    }
}
