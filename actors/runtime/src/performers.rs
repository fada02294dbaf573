//! Those who act on the world: models, webhooks, HTTP requests, tools.
//!
//! [`Performers::perform`] makes one attempt of one effect. It never fails and never panics: what goes wrong
//! is how the attempt ends. Whether and when another attempt follows is the outbox's decision, except that
//! nothing is worth repeating once an answer has begun to flow, and that a request that must not be repeated
//! and may have arrived ends as [`Outcome::Lost`]. Nothing here is durable.

mod cancel;
mod ending;
mod http;
mod mail;
pub(crate) mod prompt;
mod reach;
mod refresh;
mod sink;
mod tool;
mod webhook;

pub use crate::kernel::attempt::{AttemptEnd, BREAKER_OPEN};
pub use crate::wire::{
    client::ClientError,
    egress::{BadEntry, Egress, Lookup, Refused, Resolver},
};
pub use cancel::{CancelSource, CancelToken, cancel_pair};
pub(crate) use mail::link;
pub use mail::{BadMail, Mail, MailConfig, MailTls, verb as letter_verb};
use parking_lot::Mutex;
pub use prompt::{PromptError, PromptFuture, PromptSource, assemble, open_messages};
pub(crate) use prompt::{Room, tool_answer};

use crate::{
    breaker::{BreakerState, Breakers, Health, Open, Permit},
    kernel::vitals::{Attempted, Ended, Vitals},
    providers::{Clock, Provider, ProviderConfig},
    secrets::SecretSource,
    volatile::Volatile,
    wire::client::Client,
};
use ending::Ending;
use futures::FutureExt;
use quipu_schemas::{
    context::{Keys, Millis},
    ids::OrgId,
    reaction::{BreakerScope, Effect, Facts, LlmInvoke, Outcome, ReactionKey},
};
pub(crate) use reach::Reach;
use sink::Partial;
use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc};
use tokio::time::Instant;

/// One attempt of one effect.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The effect's identity, the same for all its attempts.
    pub key: ReactionKey,
    /// Which attempt, from 1.
    pub number: u32,
    /// What to do.
    pub effect: Effect,
    /// Whose data key seals results: `org/principal`.
    pub subject: String,
    /// The org whose secrets the effect may name.
    pub org: OrgId,
    /// Record time of the event that the effect follows from.
    pub recorded_at: Millis,
    /// The id of the request that it follows from: what is called hears it as `X-Request-Id`.
    pub correlation: Option<String>,
    /// Ends the attempt early.
    pub cancel: CancelToken,
}

/// The code of a model call that was still under way when its node had waited long enough for it to stop.
pub const NODE_STOPPED: &str = "node_stopped";

/// What performers are made of.
pub struct PerformersConfig {
    /// Providers by the name that model configurations use. `scripted` always exists.
    pub providers: BTreeMap<String, ProviderConfig>,
    /// Secrets by name.
    pub secrets: Arc<dyn SecretSource>,
    /// Which addresses may be reached.
    pub egress: Egress,
    /// Opens prompts and seals answers.
    pub keys: Arc<dyn Keys>,
    /// Reads prompts that name a conversation.
    pub prompts: Arc<dyn PromptSource>,
    /// Where deltas go.
    pub volatile: Volatile,
    /// The wall clock.
    pub clock: Clock,
    /// Where letters go, if anywhere.
    pub mail: Option<Mail>,
}

/// Performs effects. Cheap to clone; all clones share connections and breakers.
#[derive(Clone)]
pub struct Performers {
    reach: Arc<Reach>,
    breakers: Arc<Mutex<Breakers>>,
    vitals: Arc<Mutex<Vitals>>,
    /// Model calls end when this is cancelled.
    model_calls: Arc<CancelSource>,
    started: Instant,
}

impl Performers {
    /// Fails only where no HTTP client can be made.
    pub fn new(config: PerformersConfig) -> Result<Self, ClientError> {
        let PerformersConfig {
            mut providers,
            secrets,
            egress,
            keys,
            prompts,
            volatile,
            clock,
            mail,
        } = config;
        providers.entry("scripted".into()).or_insert(ProviderConfig::Scripted);
        let client = Arc::new(Client::new(egress)?);
        let built = providers
            .into_iter()
            .map(|(name, config)| (name, config.build(&client, &secrets, &clock)));
        let reach = Reach {
            providers: built.collect(),
            secrets,
            client,
            keys,
            prompts,
            volatile,
            clock,
            mail,
        };
        Ok(Self {
            reach: Arc::new(reach),
            breakers: Arc::default(),
            vitals: Arc::default(),
            model_calls: Arc::new(cancel_pair().0),
            started: Instant::now(),
        })
    }

    /// What comes of attempts, counted.
    pub fn vitals(&self) -> Arc<Mutex<Vitals>> {
        self.vitals.clone()
    }

    /// Ends the model calls that are under way as failed with [`NODE_STOPPED`], and every later one: an answer that nobody
    /// waits for would be paid for twice.
    pub fn end_model_calls(&self) {
        self.model_calls.cancel();
    }

    /// Makes one attempt. Dropping the future abandons the attempt and closes its connection, as cancelling does.
    pub async fn perform(&self, attempt: Attempt) -> AttemptEnd {
        let begun = Instant::now();
        let end = self.attempt(&attempt).await;
        self.note(&attempt, &end, begun);
        end
    }

    fn note(&self, attempt: &Attempt, end: &AttemptEnd, begun: Instant) {
        let (ended, code, detail) = counted(end);
        // Names that no provider is configured under are an org's words: they are no label.
        let provider = match &attempt.effect {
            Effect::LlmInvoke(call) => Some(self.provider(call).map_or("unknown", |(name, _)| name)),
            Effect::Webhook(_)
            | Effect::Http(_)
            | Effect::Tool(_)
            | Effect::Seal(_)
            | Effect::Shred(_)
            | Effect::Refresh(_)
            | Effect::Mail(_) => None,
        };
        let attempted = Attempted {
            effect: attempt.effect.facts().name,
            provider,
            ended,
            code,
            took_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        self.vitals.lock().attempted(attempted, self.now());
        if let Some(provider) = provider.filter(|_| !matches!(ended, Ended::Done | Ended::Cancelled)) {
            tracing::warn!(effect = %attempt.key, provider, code, detail, "a model call failed");
        }
    }

    fn provider(&self, call: &LlmInvoke) -> Option<(&str, &Arc<dyn Provider>)> {
        let found = self.reach.providers.get_key_value(&call.model.provider);
        found.map(|(name, provider)| (name.as_str(), provider))
    }

    async fn attempt(&self, attempt: &Attempt) -> AttemptEnd {
        let partial = Partial::default();
        if attempt.cancel.is_cancelled() {
            return self.cancelled(attempt, &partial).await;
        }
        let pass = match self.enter(attempt) {
            Ok(pass) => pass,
            Err(Open { retry_after_ms }) => {
                let detail = format!(
                    "{} failed repeatedly and is left alone for a while",
                    attempt.effect.facts().destination
                );
                return AttemptEnd::Retryable {
                    code: BREAKER_OPEN.into(),
                    detail,
                    retry_after_ms: Some(retry_after_ms),
                };
            }
        };
        let is_model_call = matches!(attempt.effect, Effect::LlmInvoke(_));
        if is_model_call {
            self.vitals.lock().call_begins(&attempt.key);
        }
        let model_calls = self.model_calls.token();
        let work = AssertUnwindSafe(self.reach.run(attempt, &partial)).catch_unwind();
        let ending = tokio::select! {
            // First, so that an answer that never pauses cannot outrun its cancellation.
            biased;
            () = attempt.cancel.cancelled() => None,
            () = model_calls.cancelled(), if is_model_call => return AttemptEnd::Done(node_stopped()),
            ended = work => Some(ended),
        };
        match ending {
            None => self.cancelled(attempt, &partial).await,
            Some(Err(_)) => {
                tracing::error!(effect = %attempt.key, "an effect's performer panicked");
                let detail = "the performer crashed; its node's log says more".to_owned();
                AttemptEnd::Done(Outcome::Failed {
                    code: "performer_crashed".into(),
                    detail,
                })
            }
            Some(Ok(Ending::Done(outcome, health))) => {
                pass.settle(health);
                AttemptEnd::Done(*outcome)
            }
            Some(Ok(Ending::Again {
                code,
                detail,
                retry_after_ms,
                health,
            })) => {
                pass.settle(health);
                AttemptEnd::Retryable {
                    code,
                    detail,
                    retry_after_ms,
                }
            }
        }
    }

    /// Where the breaker of an effect's destination stands.
    pub fn breaker_state(&self, effect: &Effect, org: &OrgId) -> BreakerState {
        breaker_key(effect, org).map_or(BreakerState::Closed { failures: 0 }, |key| self.breakers.lock().state(&key))
    }

    /// For how many milliseconds the destination of an effect is left alone yet, where its breaker is open.
    pub(crate) fn closed_for(&self, effect: &Effect, org: &OrgId) -> Option<u64> {
        match self.breaker_state(effect, org) {
            BreakerState::Open { until } => until.checked_sub(self.now()).filter(|ms| *ms > 0),
            BreakerState::HalfOpen { probing: true, .. } => Some(quipu_schemas::limits::BREAKER_PROBE_WAIT_MS),
            BreakerState::Closed { .. } | BreakerState::HalfOpen { .. } => None,
        }
    }

    fn enter(&self, attempt: &Attempt) -> Result<Pass<'_>, Open> {
        let local =
            matches!(&attempt.effect, Effect::LlmInvoke(call) if self.provider(call).is_some_and(|(_, provider)| !provider.is_remote()));
        let key = breaker_key(&attempt.effect, &attempt.org).filter(|_| !local);
        let admitted = key.map(|key| {
            let permit = self.breakers.lock().admit(&key, self.now())?;
            Ok((key, permit))
        });
        Ok(Pass {
            performers: self,
            admitted: admitted.transpose()?,
        })
    }

    async fn cancelled(&self, attempt: &Attempt, partial: &Partial) -> AttemptEnd {
        let text = partial.text();
        let sealed = if text.is_empty() {
            Ok(None)
        } else {
            self.reach.sealed(text, &attempt.subject).await.map(Some)
        };
        let partial = sealed.unwrap_or_else(|error| {
            tracing::error!(effect = %attempt.key, %error, "the text before a cancellation could not be sealed");
            None
        });
        AttemptEnd::Cancelled(Outcome::Cancelled { partial })
    }

    // Monotonic: a breaker must not stay open because the wall clock was set back.
    fn now(&self) -> Millis {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn breaker_key(effect: &Effect, org: &OrgId) -> Option<String> {
    let Facts { destination, breaker, .. } = effect.facts();
    match breaker {
        _ if destination.is_empty() => None,
        BreakerScope::None => None,
        BreakerScope::Platform => Some(destination.to_owned()),
        BreakerScope::Org => Some(format!("{org} {destination}")),
    }
}

/// What an attempt's end is counted as, with the code and the words of a failure.
fn counted(end: &AttemptEnd) -> (Ended, &str, &str) {
    match end {
        AttemptEnd::Retryable { code, detail, .. } if code == BREAKER_OPEN => (Ended::NotSent, code, detail),
        AttemptEnd::Retryable { code, detail, .. } => (Ended::Retryable, code, detail),
        AttemptEnd::Cancelled(_) => (Ended::Cancelled, "", ""),
        AttemptEnd::Done(Outcome::Failed { code, detail }) => (Ended::Failed, code, detail),
        AttemptEnd::Done(Outcome::Lost { detail }) => (Ended::Lost, "lost", detail.as_deref().unwrap_or_default()),
        AttemptEnd::Done(Outcome::Cancelled { .. }) => (Ended::Cancelled, "", ""),
        AttemptEnd::Done(
            Outcome::Answered(_)
            | Outcome::Responded { .. }
            | Outcome::ToolResult { .. }
            | Outcome::Sealed { .. }
            | Outcome::Shredded { .. }
            | Outcome::Refreshed { .. }
            | Outcome::Mailed { .. },
        ) => (Ended::Done, "", ""),
    }
}

fn node_stopped() -> Outcome {
    Outcome::Failed {
        code: NODE_STOPPED.into(),
        detail: "the node stopped before the model had answered".into(),
    }
}

/// Leave of a breaker, given back however the attempt ends.
struct Pass<'a> {
    performers: &'a Performers,
    admitted: Option<(String, Permit)>,
}

impl Pass<'_> {
    fn settle(mut self, health: Health) {
        self.give_back(health);
    }

    fn give_back(&mut self, health: Health) {
        if let Some((key, permit)) = self.admitted.take() {
            self.performers.breakers.lock().settle(&key, permit, health, self.performers.now());
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.give_back(Health::Unknown);
    }
}
