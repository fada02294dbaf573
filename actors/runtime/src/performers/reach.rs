//! What every performer reaches for: providers, secrets, keys, prompts, the volatile channel.

use super::{
    Attempt,
    ending::Ending,
    http,
    mail::{self, Mail},
    prompt::{PromptError, PromptSource, assemble, compose},
    refresh,
    sink::{Partial, Sink},
    tool, webhook,
};
use crate::{
    breaker::Health,
    off_worker::blocking,
    providers::{Answer, ChatRequest, Clock, Provider},
    secrets::SecretSource,
    volatile::Volatile,
    wire::client::Client,
};
use quipu_rules::secret::is_own_subject;
use quipu_schemas::{
    chat::ChatMessage,
    context::Keys,
    limits::RECORD_MAX_BYTES,
    personal::{Opened, Personal, SealError},
    reaction::{Effect, LlmAnswer, LlmInvoke, Outcome, Prompt, SealText, ShredKey, ToolCallRef},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, sync::Arc};

/// What every performer needs.
pub(crate) struct Reach {
    pub(super) providers: BTreeMap<String, Arc<dyn Provider>>,
    pub(super) secrets: Arc<dyn SecretSource>,
    pub(super) client: Arc<Client>,
    pub(super) keys: Arc<dyn Keys>,
    pub(super) prompts: Arc<dyn PromptSource>,
    pub(super) volatile: Volatile,
    pub(super) clock: Clock,
    pub(super) mail: Option<Mail>,
}

impl Reach {
    pub(super) async fn run(&self, attempt: &Attempt, partial: &Partial) -> Ending {
        match &attempt.effect {
            Effect::LlmInvoke(call) => self.invoke(attempt, call, partial).await,
            Effect::Webhook(call) => webhook::perform(self, attempt, call).await,
            Effect::Http(request) => http::perform(self, attempt, request).await,
            Effect::Tool(call) => tool::perform(self, attempt, call).await,
            Effect::Seal(text) => self.seal_text(attempt, text).await.unwrap_or_else(Ending::from),
            Effect::Refresh(refresh) => refresh::perform(self, attempt, refresh).await,
            Effect::Mail(call) => mail::perform(self, attempt, call).await,
            Effect::Shred(key) => self.shred(attempt, key).await.unwrap_or_else(Ending::from),
        }
    }

    async fn invoke(&self, attempt: &Attempt, call: &LlmInvoke, partial: &Partial) -> Ending {
        let Some(provider) = self.providers.get(&call.model.provider) else {
            let name: String = call.model.provider.chars().take(80).collect();
            return Ending::failed(
                "provider_not_configured",
                format!("no provider is configured under `{name}`"),
                Health::Unknown,
            );
        };
        let messages = match self.messages(&call.prompt).await {
            Ok(messages) => messages,
            Err(ending) => return ending,
        };
        let mut sink = Sink {
            volatile: &self.volatile,
            stream_to: call.stream_to.as_ref(),
            partial,
            next_index: 0,
        };
        let request = ChatRequest {
            id: attempt.key.message_id(),
            org: attempt.org.clone(),
            attempt: attempt.number,
            correlation: attempt.correlation.clone(),
            model: call.model.clone(),
            messages,
            tools: call.tools.clone(),
        };
        let sealed = match provider.chat(&request, &mut sink).await {
            Ok(answer) => self.seal(attempt, answer).await,
            Err(no_answer) => Err(Ending::from(no_answer)),
        };
        sealed.unwrap_or_else(|ending| ending)
    }

    async fn messages(&self, prompt: &Prompt) -> Result<Vec<ChatMessage>, Ending> {
        let messages = match prompt {
            Prompt::Recorded { messages } => match self.opened(messages).await? {
                Opened::Value(messages) => Ok(assemble(None, messages, Vec::new())),
                Opened::Erased => Err(PromptError::Erased),
            },
            Prompt::Composed { messages } => {
                let (messages, keys) = (messages.clone(), self.keys.clone());
                let composed = blocking(move || compose(&messages, &*keys)).await;
                composed
                    .unwrap_or_else(|crashed| Err(crashed.into()))
                    .map(|messages| assemble(None, messages, Vec::new()))
            }
            Prompt::Conversation { .. } => self.prompts.messages(prompt).await,
        };
        messages.map_err(|error| match error {
            PromptError::Unavailable(_) => Ending::Again {
                code: "prompt_unavailable".into(),
                detail: error.to_string(),
                retry_after_ms: None,
                health: Health::Unknown,
            },
            PromptError::Gone(_) => Ending::failed("prompt_gone", error.to_string(), Health::Unknown),
            PromptError::Erased => Ending::failed("prompt_erased", error.to_string(), Health::Unknown),
        })
    }

    async fn seal_text(&self, attempt: &Attempt, SealText { subject, text }: &SealText) -> Result<Ending, SealError> {
        // A key belongs to one org's subject; no other org's effect may write under it.
        if subject.strip_prefix(attempt.org.as_str()).is_none_or(|rest| !rest.starts_with('/')) {
            return Ok(Ending::failed(
                "subject_refused",
                format!("the subject is not one of org {}", attempt.org),
                Health::Unknown,
            ));
        }
        let text = self.sealed(text.clone(), subject).await?;
        Ok(Ending::done(Outcome::Sealed { text }, Health::Up))
    }

    async fn shred(&self, attempt: &Attempt, ShredKey { subject }: &ShredKey) -> Result<Ending, SealError> {
        // Nothing but a secret ends this way, and no entity ends another's.
        if !is_own_subject(&attempt.key.stream, subject) {
            let detail = format!("the subject is none of {}", attempt.key.stream);
            return Ok(Ending::failed("subject_refused", detail, Health::Unknown));
        }
        let (keys, subject) = (self.keys.clone(), subject.clone());
        let destroyed = blocking(move || keys.shred(&subject)).await??;
        Ok(Ending::done(Outcome::Shredded { destroyed }, Health::Up))
    }

    /// Seals a value. A large one is kept beside the log, durably, before the outcome that names it is submitted.
    pub(super) async fn sealed<T>(&self, value: T, subject: &str) -> Result<Personal<T>, SealError>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        let (keys, subject) = (self.keys.clone(), subject.to_owned());
        blocking(move || Personal::seal(&value, &subject, &*keys)).await?
    }

    pub(super) async fn opened<T>(&self, sealed: &Personal<T>) -> Result<Opened<T>, SealError>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        let (keys, sealed) = (self.keys.clone(), sealed.clone());
        blocking(move || sealed.open(&*keys)).await?
    }

    async fn seal(&self, attempt: &Attempt, answer: Answer) -> Result<Ending, Ending> {
        let mut message = answer.message;
        let tool_calls = message.tool_calls.iter().flatten().map(ToolCallRef::of).collect();
        let text = match &message.content {
            Some(text) => Some(self.sealed(text.clone(), &attempt.subject).await?),
            None => None,
        };
        if text.as_ref().is_some_and(|text| text.blob().is_some()) {
            // It is kept beside the log, and is not stored a second time within the message.
            message.content = None;
        }
        let message = self.sealed(message, &attempt.subject).await?;
        // Text of many control characters grows sixfold in JSON: what could never be recorded is not an answer.
        let sealed = message.sealed_len() + 2 * text.as_ref().map_or(0, Personal::sealed_len);
        if sealed > RECORD_MAX_BYTES - RECORD_MAX_BYTES / 8 {
            return Err(Ending::failed(
                "answer_too_large",
                "the sealed answer does not fit a record",
                Health::Up,
            ));
        }
        let answered = LlmAnswer {
            message,
            text,
            tool_calls,
            finish_reason: answer.finish_reason,
            model: answer.model,
            prompt_tokens: answer.prompt_tokens,
            completion_tokens: answer.completion_tokens,
            attempt: attempt.number,
        };
        Ok(Ending::done(Outcome::Answered(answered), Health::Up))
    }
}
