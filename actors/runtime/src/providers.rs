//! Model providers: whoever answers a chat.
//!
//! [`Provider`] is the one thing that performers, and whoever else asks a model, know of them. A provider keeps nothing
//! between calls, makes one attempt, and never repeats one: whoever calls decides that, by what [`NoAnswer`] says.

mod openai;
mod scripted;

pub use openai::OpenAiConfig;

use crate::{
    breaker::Health,
    secrets::{SecretError, SecretSource},
    wire::{
        blot::Blot,
        client::{Client, Reached, Trouble},
        status::{health_of, may_mend},
    },
};
use quipu_schemas::{
    chat::{ChatMessage, ToolSpec},
    context::Millis,
    ids::OrgId,
    reaction::ModelConfig,
};
use reqwest::StatusCode;
use serde::Deserialize;
use std::{future::Future, pin::Pin, sync::Arc};

/// The wall clock, for signatures and `Retry-After` dates.
pub type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// A chat to be answered.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// Names the call, the same for all its attempts. Letters, digits and `_`.
    pub id: String,
    /// The org that asks: its own key may be the one that is shown.
    pub org: OrgId,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The id of the request that the call follows from.
    pub correlation: Option<String>,
    /// Which model, and how.
    pub model: ModelConfig,
    /// The chat, in order.
    pub messages: Vec<ChatMessage>,
    /// Functions that the model may call.
    pub tools: Vec<ToolSpec>,
}

/// Where the text of an answer goes while it comes.
pub trait Deltas: Send {
    /// More text, never empty, in order.
    fn push(&mut self, text: &str);
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What the model said: text, tool calls, or both. Ids of calls are unique in it.
    pub message: ChatMessage,
    /// Why it stopped: `stop`, `length`, `tool_calls`…
    pub finish_reason: String,
    /// The model that answered, as the provider names it.
    pub model: String,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
}

/// Why there is no answer. No text of it holds a secret or a part of the chat.
#[derive(Debug, Clone, PartialEq)]
pub struct NoAnswer {
    /// Stable code.
    pub code: String,
    /// What happened.
    pub detail: String,
    /// Whether another attempt may fare better. Never once a part of an answer was handed on.
    pub again: bool,
    /// How long to wait at least, where the server said so. Milliseconds.
    pub retry_after_ms: Option<u64>,
    /// What it says about the provider.
    pub health: Health,
}

/// An answer under way. Dropping it closes its connection.
pub type ChatFuture<'a> = Pin<Box<dyn Future<Output = Result<Answer, NoAnswer>> + Send + 'a>>;

/// Answers chats.
pub trait Provider: Send + Sync {
    /// Makes one attempt. Text goes to `deltas` as it comes; the answer holds all of it.
    fn chat<'a>(&'a self, request: &'a ChatRequest, deltas: &'a mut dyn Deltas) -> ChatFuture<'a>;

    /// Whether it is a server that can be out of order, and is then left alone for a while.
    fn is_remote(&self) -> bool {
        true
    }
}

/// A configured provider.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ProviderConfig {
    /// No model: scripted answers.
    Scripted,
    /// An OpenAI-compatible server.
    #[serde(rename = "openai")]
    OpenAi(OpenAiConfig),
}

impl ProviderConfig {
    /// The provider. `client` holds the egress rule.
    pub(crate) fn build(self, client: &Arc<Client>, secrets: &Arc<dyn SecretSource>, clock: &Clock) -> Arc<dyn Provider> {
        match self {
            ProviderConfig::Scripted => Arc::new(scripted::Scripted),
            ProviderConfig::OpenAi(config) => Arc::new(openai::OpenAi {
                config,
                client: client.clone(),
                secrets: secrets.clone(),
                clock: clock.clone(),
            }),
        }
    }
}

impl NoAnswer {
    /// For good.
    pub(crate) fn failed(code: impl Into<String>, detail: impl Into<String>, health: Health) -> Self {
        Self {
            code: code.into(),
            detail: detail.into(),
            again: false,
            retry_after_ms: None,
            health,
        }
    }

    /// For now.
    pub(crate) fn again(code: impl Into<String>, detail: impl Into<String>, health: Health) -> Self {
        Self {
            again: true,
            ..Self::failed(code, detail, health)
        }
    }

    pub(crate) fn of_trouble(trouble: Trouble) -> Self {
        match trouble.reached {
            Reached::Never => Self::failed(trouble.code, trouble.detail, Health::Unknown),
            Reached::NotYet | Reached::Perhaps => Self::again(trouble.code, trouble.detail, Health::Down),
        }
    }

    /// A status other than success; `note` is a word of the server's, safe to keep.
    pub(crate) fn of_status(status: StatusCode, peer: &str, note: Option<&str>, retry_after_ms: Option<u64>) -> Self {
        let note = note.map(|note| format!(" ({note})")).unwrap_or_default();
        let detail = format!("{peer} answered {}{note}", status.as_u16());
        let again = may_mend(status, true);
        Self {
            again,
            retry_after_ms: retry_after_ms.filter(|_| again),
            ..Self::failed(format!("status_{}", status.as_u16()), detail, health_of(status))
        }
    }

    /// Without the secrets that its texts may have taken from an answer.
    pub(crate) fn blotted(self, blot: &Blot) -> Self {
        Self {
            code: blot.text(&self.code),
            detail: blot.text(&self.detail),
            ..self
        }
    }
}

impl From<SecretError> for NoAnswer {
    fn from(error: SecretError) -> Self {
        Self {
            again: error.may_pass(),
            ..Self::failed(error.code(), error.to_string(), Health::Unknown)
        }
    }
}
