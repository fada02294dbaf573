//! Performers with keys, secrets and prompts for one test.

use crate::fake::Fake;
use quipu_runtime::{
    performers::{
        Attempt, AttemptEnd, CancelToken, Egress, Mail, MailConfig, Performers, PerformersConfig, PromptError, PromptFuture, PromptSource,
    },
    providers::{OpenAiConfig, ProviderConfig},
    secrets::{SecretValues, Secrets},
    volatile::Volatile,
};
use quipu_schemas::{
    chat::{ChatMessage, ChatRole},
    context::Keys,
    ids::{OrgId, PrincipalId, StreamId},
    personal::{DataKey, Opened, Opener, Personal, SealError, Sealer},
    reaction::{Effect, LlmInvoke, ModelConfig, Outcome, Prompt, StreamTo},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, sync::Arc};

/// 2026-01-02T03:04:05Z.
pub(crate) const NOW_MS: u64 = 1_767_323_045_000;
pub(crate) const SUBJECT: &str = "acme/ada";
/// What the codes of letters follow from.
pub(crate) const DIGEST_KEY: [u8; 32] = [9; 32];

/// One key for everybody, until it is destroyed.
pub(crate) struct OneKey;

impl Sealer for OneKey {
    fn sealing_key(&self, _: &str) -> Result<DataKey, SealError> {
        Ok(DataKey([7; 32]))
    }
}
impl Opener for OneKey {
    fn opening_key(&self, subject: &str) -> Result<Option<DataKey>, SealError> {
        Ok((subject != "acme/erased").then_some(DataKey([7; 32])))
    }
    fn may_keep(&self) -> bool {
        false
    }
}

pub(crate) fn seal<T: Serialize + DeserializeOwned>(value: &T) -> Personal<T> {
    Personal::seal(value, SUBJECT, &OneKey).unwrap()
}

pub(crate) fn open<T: Serialize + DeserializeOwned>(sealed: &Personal<T>) -> T {
    assert_eq!(sealed.subject(), SUBJECT);
    match sealed.open(&OneKey).unwrap() {
        Opened::Value(value) => value,
        Opened::Erased => panic!("erased"),
    }
}

/// Answers a conversation's prompt by the conversation's id.
struct Prompts;

impl PromptSource for Prompts {
    fn messages<'a>(&'a self, prompt: &'a Prompt) -> PromptFuture<'a> {
        Box::pin(async move {
            let Prompt::Conversation { conversation, .. } = prompt else {
                return Err(PromptError::Gone("not a conversation".into()));
            };
            match conversation.id.as_str() {
                "gone" => Err(PromptError::Gone("no such directive".into())),
                "unavailable" => Err(PromptError::Unavailable("the log is behind".into())),
                "crash" => panic!("a bug in a prompt source"),
                id => Ok(vec![user(&format!("from {id}"))]),
            }
        })
    }
}

pub(crate) struct Stage {
    pub(crate) performers: Performers,
    pub(crate) volatile: Volatile,
}

/// What differs from test to test.
#[derive(Default)]
pub(crate) struct Props {
    pub(crate) egress: Egress,
    pub(crate) providers: BTreeMap<String, ProviderConfig>,
    pub(crate) secrets: BTreeMap<String, SecretValues>,
    pub(crate) mail: Option<MailConfig>,
}

impl Props {
    /// Lets effects reach these servers.
    pub(crate) fn reaching(fakes: &[&Fake]) -> Self {
        let allow: Vec<String> = fakes.iter().map(|fake| fake.address.to_string()).collect();
        Self {
            egress: Egress::new(&allow).unwrap(),
            ..Self::default()
        }
    }

    pub(crate) fn mail(mut self, config: MailConfig) -> Self {
        self.mail = Some(config);
        self
    }

    pub(crate) fn provider(mut self, config: OpenAiConfig) -> Self {
        self.providers.insert("openai".into(), ProviderConfig::OpenAi(config));
        self
    }

    pub(crate) fn secret(mut self, name: &str, value: impl Into<SecretValues>) -> Self {
        self.secrets.insert(name.into(), value.into());
        self
    }

    pub(crate) fn stage(self) -> Stage {
        let volatile = Volatile::new();
        let keys: Arc<dyn Keys> = Arc::new(OneKey);
        let performers = Performers::new(PerformersConfig {
            providers: self.providers,
            secrets: Arc::new(Secrets::new(self.secrets)),
            egress: self.egress,
            keys,
            prompts: Arc::new(Prompts),
            volatile: volatile.clone(),
            clock: Arc::new(|| NOW_MS),
            mail: self.mail.map(|config| Mail {
                config,
                digest_key: DIGEST_KEY,
            }),
        })
        .unwrap();
        Stage { performers, volatile }
    }
}

impl Stage {
    pub(crate) async fn perform(&self, effect: Effect) -> AttemptEnd {
        self.performers.perform(attempt(effect, 1, CancelToken::never())).await
    }
}

/// The id of the request that each attempt follows from.
pub(crate) const REQUEST_ID: &str = "0198f6f4-5d1e-7a3b-8c2d-1f2e3d4c5b6a";

pub(crate) fn attempt(effect: Effect, number: u32, cancel: CancelToken) -> Attempt {
    Attempt {
        key: "acme/run/run_1@3.0".parse().unwrap(),
        number,
        effect,
        subject: SUBJECT.into(),
        org: OrgId::from_static("acme"),
        recorded_at: NOW_MS - 60_000,
        correlation: Some(REQUEST_ID.into()),
        cancel,
    }
}

pub(crate) fn user(text: &str) -> ChatMessage {
    message(ChatRole::User, text)
}

pub(crate) fn message(role: ChatRole, text: &str) -> ChatMessage {
    ChatMessage {
        role,
        content: Some(text.into()),
        tool_calls: None,
        tool_call_id: None,
        name: None,
    }
}

pub(crate) fn conversation() -> StreamId {
    "acme/conversation/c1".parse().unwrap()
}

/// A model call that streams to [`conversation`].
pub(crate) fn ask(provider: &str, messages: Vec<ChatMessage>) -> LlmInvoke {
    LlmInvoke {
        model: ModelConfig {
            provider: provider.into(),
            model: "tiny".into(),
            temperature: None,
            max_tokens: None,
        },
        prompt: Prompt::Recorded { messages: seal(&messages) },
        tools: Vec::new(),
        stream_to: Some(StreamTo {
            conversation: conversation(),
            turn: "t1".into(),
            agent: PrincipalId::from_static("bot"),
        }),
    }
}

#[track_caller]
pub(crate) fn failed(end: AttemptEnd) -> (String, String) {
    match end {
        AttemptEnd::Done(Outcome::Failed { code, detail }) => (code, detail),
        other => panic!("not failed: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn retryable(end: AttemptEnd) -> (String, String, Option<u64>) {
    match end {
        AttemptEnd::Retryable {
            code,
            detail,
            retry_after_ms,
        } => (code, detail, retry_after_ms),
        other => panic!("not retryable: {other:?}"),
    }
}
