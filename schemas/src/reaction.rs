//! What must follow an event: decided once, stored in the record, settled once.

use crate::{
    chat::{ChatMessage, ChatRole, FunctionCall, ToolCall, ToolRun, ToolSpec},
    context::Millis,
    digest::Digest,
    ids::{CommandId, StreamId},
    json::Json,
    limits,
    mail::MailCall,
    pause::doubled_ms,
    personal::{Opened, Opener, Personal, SealError, SecretValue},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A consequence of one event, made by `react` in the decision and stored beside the event.
// Reactions are made once and written down; a box would only hide their size.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reaction {
    /// Send a command to another entity (or to this one).
    Dispatch(Dispatch),
    /// Act on the world.
    Perform(Perform),
    /// Fire a timer at `due`; a wake of the same name in this stream is replaced.
    WakeAt {
        /// Name within the stream.
        name: String,
        /// When, by record time.
        due: Millis,
    },
    /// Forget the timer of that name, if one is set.
    CancelWake {
        /// Name within the stream.
        name: String,
    },
    /// Abort the named pending or running effect of this stream; its outcome is then `cancelled`.
    CancelEffect {
        /// `Perform::name`.
        name: String,
    },
}

/// A command that an entity sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Dispatch {
    /// The entity that receives the command.
    pub to: StreamId,
    /// `{"<command>": {…}}` in stored form.
    pub command: Json,
    /// Whether the sender waits for the receiver's answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaited: Option<Awaited>,
}

impl Dispatch {
    /// A command whose sender does not ask what becomes of it.
    pub fn new(to: StreamId, command: Json) -> Self {
        Self {
            to,
            command,
            awaited: None,
        }
    }

    /// The sender is told what the receiver answered, under this name.
    pub fn awaiting(self, name: impl Into<String>) -> Self {
        let (name, refusals_only) = (name.into(), false);
        Self {
            awaited: Some(Awaited { name, refusals_only }),
            ..self
        }
    }

    /// The sender is told under this name if the command comes to nothing.
    pub fn heeding_refusal(self, name: impl Into<String>) -> Self {
        let (name, refusals_only) = (name.into(), true);
        Self {
            awaited: Some(Awaited { name, refusals_only }),
            ..self
        }
    }
}

/// What the sender of a command wants to hear of it. It is told by a command of the kernel, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Awaited {
    /// Name within the stream; the answer carries it.
    pub name: String,
    /// Whether it only wants to hear that the command came to nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refusals_only: bool,
}

impl Awaited {
    /// Whether the sender wants to hear of this answer. What was given up waits for a person first.
    pub fn wants(&self, answer: Option<&Settled>) -> bool {
        match answer {
            Some(Settled::Accepted | Settled::Unchanged) => !self.refusals_only,
            Some(Settled::Refused { .. } | Settled::Dropped) => true,
            _ => false,
        }
    }
}

/// An effect with its name (by which its outcome comes back) and its retry policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Perform {
    /// Name within the stream; the outcome carries it.
    pub name: String,
    /// What to do.
    pub effect: Effect,
    /// How often and how soon to try again.
    pub retry: Retry,
}

/// How an effect is repeated when an attempt fails in a way that a repetition may mend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// Growth of the pause between attempts.
    pub backoff: Backoff,
    /// First pause, milliseconds.
    pub initial_ms: u64,
    /// Longest pause, milliseconds.
    pub max_ms: u64,
}

/// Growth of a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// Doubles, with full jitter.
    Exponential,
    /// Grows by the first pause, with full jitter.
    Linear,
    /// No pause.
    None,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: limits::RETRY_ATTEMPTS_DEFAULT,
            backoff: Backoff::Exponential,
            initial_ms: limits::RETRY_BACKOFF_MS,
            max_ms: limits::RETRY_BACKOFF_MAX_MS,
        }
    }
}

impl Retry {
    /// The longest pause before attempt `next` (2 is the first repetition); a jittered pause is drawn from `0..=this`.
    pub fn pause_ms(&self, next: u32) -> u64 {
        let step = next.saturating_sub(2);
        match self.backoff {
            Backoff::None => 0,
            Backoff::Linear => self.initial_ms.saturating_mul(u64::from(step) + 1).min(self.max_ms),
            Backoff::Exponential => doubled_ms((self.initial_ms, self.max_ms), step.saturating_add(1)),
        }
    }
}

/// An act on the world. Closed: a performer exists for each variant.
#[expect(
    clippy::large_enum_variant,
    reason = "most that wait are the large one; a box would be one more allocation for each"
)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// Ask a language model. Repeatable; usage is keyed by attempt.
    LlmInvoke(LlmInvoke),
    /// Send a signed Standard Webhook. Repeatable: the message id is the effect's key.
    Webhook(WebhookCall),
    /// Send an HTTP request. Repeatable for GET, PUT, DELETE or when declared idempotent.
    Http(HttpRequest),
    /// Run a tool that a model called. Repeatable as its request is.
    Tool(ToolInvoke),
    /// Seal a text that a run composed. Nothing leaves the node; repeatable.
    Seal(SealText),
    /// Destroy the key of a secret's values. Nothing leaves the node; repeatable.
    Shred(ShredKey),
    /// Ask an OAuth provider for another access token. Repeatable: providers forgive a refresh token that comes again at once.
    Refresh(TokenRefresh),
    /// Send a letter. Repeatable: its Message-ID is the effect's key, and its code is the same.
    Mail(MailCall),
}

/// What holds of an effect whatever it says: what the outbox, breakers, tables and metrics need to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts<'e> {
    /// Short name for tables and metrics.
    pub name: &'static str,
    /// What the effect talks to, for breakers and tables: `host:port`, or the provider.
    pub destination: &'e str,
    /// Whether sending again after a crash is safe at an idempotent receiver. Otherwise the start is made
    /// durable first, and a crash leaves the outcome `lost`.
    pub is_repeatable: bool,
    /// Effects of a stream that share this are sent one after the other; a stuck one holds up only these.
    pub ordered_by: Option<&'e str>,
    /// Whose failures leave its destination alone for a while.
    pub breaker: BreakerScope,
}

/// Who shares a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerScope {
    /// Nobody: nothing leaves the node.
    None,
    /// All orgs: the destination is the platform's.
    Platform,
    /// One org: nobody can make somebody else's destination look broken.
    Org,
}

impl Effect {
    /// What holds of it.
    pub fn facts(&self) -> Facts<'_> {
        match self {
            Effect::LlmInvoke(call) => Facts {
                name: "llm.invoke",
                destination: &call.model.provider,
                is_repeatable: true,
                ordered_by: None,
                breaker: BreakerScope::Platform,
            },
            Effect::Webhook(call) => Facts {
                name: "webhook",
                destination: authority(&call.url),
                is_repeatable: true,
                ordered_by: Some(&call.url),
                breaker: BreakerScope::Org,
            },
            Effect::Http(request) => Facts {
                name: "http",
                destination: authority(&request.url),
                is_repeatable: request.idempotency_header.is_some() || is_idempotent(&request.method),
                ordered_by: None,
                breaker: BreakerScope::Org,
            },
            Effect::Tool(call) => {
                let run = call.spec.as_ref().map(|spec| &spec.run);
                let (destination, is_repeatable, breaker) = match run {
                    Some(ToolRun::Http {
                        url, method, idempotent, ..
                    }) => (authority(url), *idempotent || is_idempotent(method), BreakerScope::Org),
                    None => ("tools", true, BreakerScope::None),
                };
                Facts {
                    name: "tool",
                    destination,
                    is_repeatable,
                    ordered_by: None,
                    breaker,
                }
            }
            Effect::Refresh(refresh) => Facts {
                name: "refresh",
                destination: authority(&refresh.token_url),
                is_repeatable: true,
                ordered_by: None,
                breaker: BreakerScope::Org,
            },
            Effect::Mail(_) => Facts {
                name: "mail",
                destination: "mail",
                is_repeatable: true,
                ordered_by: None,
                breaker: BreakerScope::Platform,
            },
            Effect::Shred(_) => Facts {
                name: "shred",
                destination: "keys",
                is_repeatable: true,
                ordered_by: None,
                breaker: BreakerScope::None,
            },
            Effect::Seal(_) => Facts {
                name: "seal",
                destination: "keys",
                is_repeatable: true,
                ordered_by: None,
                breaker: BreakerScope::None,
            },
        }
    }

    /// Effects that share an order key are sent one after the other; a stuck one holds up only its key.
    pub fn order_key(&self, stream: &StreamId) -> Option<String> {
        self.facts().ordered_by.map(|by| format!("{by} {stream}"))
    }
}

fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS")
}

/// Which model, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// `scripted` or the name of a configured OpenAI-compatible provider (`openai`).
    pub provider: String,
    /// The provider's model name.
    pub model: String,
    /// Sampling temperature, 0 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Most tokens of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
}

/// A model call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LlmInvoke {
    /// The model that is asked.
    pub model: ModelConfig,
    /// Where the prompt comes from.
    pub prompt: Prompt,
    /// Tools that the model may call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolSpec>,
    /// Where deltas go while they come (volatile).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_to: Option<StreamTo>,
}

/// Names the listeners of a model's deltas.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamTo {
    /// The conversation that listens.
    pub conversation: StreamId,
    /// The turn that the text is of.
    pub turn: String,
    /// The agent that speaks.
    pub agent: crate::ids::PrincipalId,
}

/// A prompt: recorded, or a conversation at a version.
#[expect(clippy::large_enum_variant, reason = "most prompts are the large one")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Prompt {
    /// Recorded in full.
    Recorded {
        /// The chat so far.
        messages: Personal<Vec<ChatMessage>>,
    },
    /// An agent's directive, a conversation's messages up to a version, and what this turn added so far.
    Conversation {
        /// The conversation whose messages make the prompt.
        conversation: StreamId,
        /// Version up to which messages count.
        at_version: u64,
        /// The speaking agent's stream.
        agent: StreamId,
        /// Digest of the directive in force when the turn was won (`None`: the agent has none).
        directive: Option<Digest>,
        /// Model and tool messages of this turn so far, in order. Empty where `turn` names them: a prompt that repeats them
        /// makes a log that grows with the square of the turn's calls.
        transcript: Vec<Personal<ChatMessage>>,
        /// The stream of the turn's run at the version that asks: what model and tools said before stands in it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        turn: Option<StreamAt>,
    },
    /// Composed by a workflow run from its values.
    Composed {
        /// The chat, in order.
        messages: Vec<ComposedMessage>,
    },
}

/// A stream at a version: a history that is named by its head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamAt {
    /// The stream that is read.
    #[schemars(with = "String")]
    pub stream: StreamId,
    /// The version up to which its events count.
    pub version: u64,
}

/// One message of a composed prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComposedMessage {
    /// In which role the message speaks.
    pub role: ChatRole,
    /// What they say.
    pub content: ComposedText,
}

/// A text inside a run: a value of the run itself, or sealed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ComposedText {
    /// Not personal: written in the definition, or computed from the run's inputs.
    Plain(String),
    /// Sealed: a model's answer, or a text given sealed with the run.
    Sealed(Personal<String>),
}

/// A tool call of a model, to be run. The arguments stay inside the sealed message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolInvoke {
    /// Tool name as the model wrote it.
    pub name: String,
    /// How it runs; `None` where the agent holds no such tool: the performer then answers with an error message,
    /// which goes back to the model.
    pub spec: Option<ToolSpec>,
    /// The provider's call id.
    pub call_id: String,
    /// The assistant's message that holds the call.
    pub message: Personal<ChatMessage>,
}

/// A text to seal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SealText {
    /// Whose key: `org/principal`.
    pub subject: String,
    /// The text to seal.
    pub text: String,
}

/// A key to destroy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShredKey {
    /// Whose: one of the entity's own secrets.
    pub subject: String,
}

/// A request for another access token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenRefresh {
    /// Where the provider gives tokens.
    pub token_url: String,
    /// As which client.
    pub client_id: String,
    /// The client's secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretValue>,
    /// How the client says who it is.
    pub client_auth: ClientAuth,
    /// What was given before.
    pub refresh_token: SecretValue,
    /// What is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Whose key seals what the provider gives: one of the entity's own secrets.
    pub subject: String,
}

/// How an OAuth client says who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// By the header of HTTP Basic.
    #[default]
    Basic,
    /// In the body.
    Post,
}

/// A signed webhook. `secret` names a configured secret; the secret itself is never recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookCall {
    /// Receiver; its beginning, up to the path, where `sealed_url` is the whole.
    pub url: String,
    /// The receiver, where it was computed from sealed values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_url: Option<Personal<String>>,
    /// Event type in the payload.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The event's data.
    pub data: Json,
    /// Name of the signing secret.
    pub secret: String,
}

/// What opens the place of a secret in the text of a definition: `{{secret:NAME}}`.
pub const SECRET_OPEN: &str = "{{secret:";

/// An HTTP request.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct HttpRequest {
    /// The method, in upper case.
    pub method: String,
    /// Absolute `http` or `https` URL; its beginning, up to the path, where `sealed_url` is the whole.
    pub url: String,
    /// The URL, where it was computed from sealed values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_url: Option<Personal<String>>,
    /// Header names and values, sent as they are. A value that holds [`SECRET_OPEN`] was stored before secrets and data were
    /// kept apart: it is refused, because it may be data.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Headers put together when they are sent: those with a secret, and those whose data looks like the place of one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub composed_headers: BTreeMap<String, Vec<HeaderPart>>,
    /// The body, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Json>,
    /// Header that carries the effect's key when the receiver honours it (`Idempotency-Key`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_header: Option<String>,
    /// Attempt timeout, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// A part of a header's value. Only the text of a definition names secrets; what an expression came to is always text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeaderPart {
    /// Sent as it is.
    Text(String),
    /// The value of the org's secret of that name.
    Secret(String),
    /// A text that was computed from sealed values.
    Sealed(Personal<String>),
}

/// `(stream, version, ordinal)`: names one stored reaction for ever. Text form `org/kind/id@version.ordinal`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReactionKey {
    /// The stream whose record holds the reaction.
    pub stream: StreamId,
    /// Version of the event that caused it.
    pub version: u64,
    /// Its place among that event's reactions, from 0.
    pub ordinal: u32,
}

impl std::fmt::Display for ReactionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}.{}", self.stream, self.version, self.ordinal)
    }
}
impl std::str::FromStr for ReactionKey {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not an effect key: it looks like org/kind/id@version.ordinal");
        let (stream, place) = text.rsplit_once('@').ok_or_else(bad)?;
        let (version, ordinal) = place.split_once('.').ok_or_else(bad)?;
        Ok(Self {
            stream: stream.parse().map_err(|_| bad())?,
            version: version.parse().map_err(|_| bad())?,
            ordinal: ordinal.parse().map_err(|_| bad())?,
        })
    }
}
impl Serialize for ReactionKey {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for ReactionKey {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl ReactionKey {
    /// The id of a command that the kernel sends for this reaction (`step` tells several apart, such as attempts).
    pub fn command_id(&self, step: &str) -> CommandId {
        let digest = Digest::of(&[self.to_string().as_bytes()]).to_string();
        CommandId::parse(format!("rx:{}:{step}", &digest[..40])).expect("hex and a short step are within the grammar")
    }

    /// A stable id for receivers outside (webhook-id, idempotency headers).
    pub fn message_id(&self) -> String {
        format!("msg_{}", &Digest::of(&[self.to_string().as_bytes()]).to_string()[..40])
    }
}

/// How a reaction stands at its receiver, recorded in the record's header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Settlement {
    /// The reaction's key.
    #[schemars(with = "String")]
    pub key: ReactionKey,
    /// What the receiver did with it.
    pub outcome: Settled,
}

/// What a record says about a reaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Settled {
    /// The receiver accepted it: final.
    Accepted,
    /// The receiver had nothing to change: final.
    Unchanged,
    /// The receiver refused it: final.
    Refused {
        /// The refusal's code.
        code: String,
    },
    /// The kernel gave up: the command crashed its receiver repeatedly. Final.
    Parked {
        /// What went wrong, in words.
        detail: String,
    },
    /// All attempts of an effect failed; a person may retry or drop it. The entity was told.
    Dead {
        /// How many attempts were made.
        attempts: u32,
        /// The last failure's code.
        code: String,
        /// The last failure.
        detail: String,
    },
    /// The effect was aborted while it waited or ran; its entity was told what had come of it. Final.
    Cancelled,
    /// An attempt of an at-most-once effect is about to be sent. Not final.
    Started {
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// An attempt failed and another will follow. Not final.
    AttemptFailed {
        /// Which attempt, from 1.
        attempt: u32,
        /// Its failure's code.
        code: String,
        /// What went wrong, in words.
        detail: String,
        /// When the next attempt is due.
        retry_at: Millis,
    },
    /// A person asked for a dead effect to be sent again. Not final.
    Retried,
    /// A person dropped a dead or pending effect. Final.
    Dropped,
    /// A settlement of this key was already recorded; this one is kept as a note.
    Late,
    /// The sender of a dispatch recorded what its receiver had answered. Not a settlement: the receiver's is.
    Told,
}

impl Settled {
    /// Whether the reaction is done with.
    pub fn is_final(&self) -> bool {
        match self {
            Settled::Accepted
            | Settled::Unchanged
            | Settled::Refused { .. }
            | Settled::Parked { .. }
            | Settled::Dead { .. }
            | Settled::Cancelled
            | Settled::Dropped => true,
            Settled::Started { .. } | Settled::AttemptFailed { .. } | Settled::Retried | Settled::Late | Settled::Told => false,
        }
    }
}

/// What an effect came to. Performers never fail: a failure is an outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Outcome {
    /// A model answered.
    Answered(LlmAnswer),
    /// A receiver answered 2xx (webhook) or anything at all below the retryable statuses (HTTP).
    Responded {
        /// The status of the HTTP answer.
        status: u16,
        /// The body: JSON where it is JSON, otherwise its text; sealed.
        body: Json,
        /// Bytes of the whole body, where it was too large to keep: `body` is then the beginning of the text, or null in the place
        /// of JSON.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        full_bytes: Option<u64>,
    },
    /// It failed for good.
    Failed {
        /// Stable code: `timeout`, `connect`, `status_503`, `egress_refused`, `provider_not_configured`…
        code: String,
        /// What happened, without secrets.
        detail: String,
    },
    /// A tool ran, or was refused: either way the model gets this message.
    ToolResult {
        /// The `tool` message.
        result: Personal<ChatMessage>,
        /// Whether the tool succeeded.
        ok: bool,
    },
    /// A text was sealed.
    Sealed {
        /// The sealed text.
        text: Personal<String>,
    },
    /// A key was to be destroyed.
    Shredded {
        /// Whether it was; some stores destroy none.
        destroyed: bool,
    },
    /// A provider gave another access token.
    Refreshed {
        /// The access token.
        access_token: SecretValue,
        /// Another refresh token, where it gave one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refresh_token: Option<SecretValue>,
        /// How long the access token counts.
        expires_in_seconds: u64,
    },
    /// A letter was given to the mail server.
    Mailed {
        /// Whether it was; a node without a mail server sends none.
        sent: bool,
    },
    /// It was cancelled while under way.
    Cancelled {
        /// Text that had been streamed before.
        partial: Option<Personal<String>>,
    },
    /// An at-most-once effect may have arrived, and there is no answer: nobody knows.
    Lost {
        /// What happened, without secrets: the answer was late, the connection broke. Absent where the node stopped in the middle.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
}

impl Outcome {
    /// What a lost effect is told as, with the reason where one was recorded.
    pub fn lost_detail(detail: Option<&str>) -> String {
        match detail {
            Some(detail) => format!("{detail}; the request may have arrived, and it may not be sent twice"),
            None => "the node stopped after it was sent and before its answer; the request may have arrived, and it may not be sent twice"
                .into(),
        }
    }
}

/// A model's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LlmAnswer {
    /// The assistant's message: text, tool calls, or both. A text that is kept beside the log is stored once, as `text`: the
    /// message is then without it.
    pub message: Personal<ChatMessage>,
    /// The message's text alone, sealed for a conversation's body; `None` where the model only called tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Personal<String>>,
    /// Tool calls, by id and name (arguments are personal and stand in the message).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCallRef>,
    /// Why the model stopped: `stop`, `length`, `tool_calls`…
    pub finish_reason: String,
    /// The model that answered, as the provider names it.
    pub model: String,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// Attempt that answered, from 1.
    pub attempt: u32,
}

impl LlmAnswer {
    /// Bytes of what the model said, known without opening it.
    pub fn said_bytes(&self) -> usize {
        let message = self.message.plain_len();
        let text = self
            .text
            .as_ref()
            .filter(|text| text.blob().is_some())
            .map_or(0, Personal::plain_len);
        // A message as large as its text holds it.
        if text > message { message + text } else { message }
    }

    /// The whole message. May block where it is kept beside the log.
    pub fn open(&self, opener: &dyn Opener) -> Result<Opened<ChatMessage>, SealError> {
        let Opened::Value(mut message) = self.message.shown(opener)? else {
            return Ok(Opened::Erased);
        };
        if let (None, Some(text)) = (&message.content, &self.text) {
            message.content = text.shown(opener)?.value();
        }
        Ok(Opened::Value(message))
    }
}

/// A model's tool call without its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolCallRef {
    /// The provider's call id.
    pub id: String,
    /// The name of the tool.
    pub name: String,
    /// SHA-256 over name and arguments, for the runaway guard.
    pub fingerprint: Digest,
}

impl ToolCallRef {
    /// The call without its arguments.
    pub fn of(call: &ToolCall) -> Self {
        let FunctionCall { name, arguments } = &call.function;
        Self {
            id: call.id.clone(),
            name: name.clone(),
            fingerprint: Digest::of(&[name.as_bytes(), arguments.as_bytes()]),
        }
    }
}
