//! Stored reactions on their way, and a world that answers.

use super::super::{
    Rng,
    reading::{Library, Looked},
    sink::Sink,
};
use super::{Running, SimNode, Waiter, mutant::Mutant};
use quipu_events::keyring::Keyring;
use quipu_runtime::kernel::{
    attempt::AttemptEnd,
    cause::Cause,
    relay::{Page, RelayAction},
    stops::{Stop, stop_of},
};
use quipu_schemas::{
    chat::{ChatMessage, ChatRole},
    context::Millis,
    ids::OrgId,
    json::Json,
    personal::Personal,
    reaction::{Effect, LlmAnswer, Outcome},
};

impl SimNode {
    pub(crate) fn relay(&mut self, rng: &mut Rng, now: Millis) {
        if rng.chance(70)
            && let Some((partition, page)) = self.pages.pop_front()
        {
            let page = match rng.chance(10) {
                false => Some(page),
                true if self.mutant == Some(Mutant::ForgetsUnread) => Some(Page { rows: Vec::new(), ..page }),
                true => None,
            };
            self.relays[usize::from(partition)].page(page, now);
        }
        let partition = rng.below(self.relays.len() as u64) as u16;
        let suspended = self.is_suspended();
        let is_blind = self.mutant == Some(Mutant::SendsForStopped);
        let mut looked = Looked {
            library: Library {
                log: &*self.log,
                index: &self.index,
                kinds: &self.kinds,
            },
            known: &mut self.known,
        };
        let mut stops = |cause: &Cause, org: &OrgId| match stop_of(cause, org, now, &mut looked) {
            _ if is_blind => Stop::Goes,
            stop => stop,
        };
        let actions = self.relays[usize::from(partition)].step(now, &|_| suspended, &mut stops, &|_, _| None);
        for action in &actions {
            if let Err(error) = self.check_stopped(action) {
                self.fail("what was stopped", &error);
            }
        }
        self.relay_actions(partition, actions);
    }

    pub(super) fn relay_actions(&mut self, partition: u16, actions: Vec<RelayAction>) {
        for action in actions {
            match action {
                RelayAction::Load { after, most, without } => match self.library().page(partition, after, most, &without) {
                    Ok(page) => self.pages.push_back((partition, page)),
                    Err(error) => self.fail("pending work", &error),
                },
                RelayAction::Submit { key, purpose, envelope } => {
                    let waiter = Waiter::Relay {
                        partition,
                        key,
                        purpose,
                        envelope: envelope.clone(),
                    };
                    self.kernel.push_back((*envelope, waiter));
                }
                RelayAction::Perform {
                    key,
                    attempt,
                    effect,
                    subject,
                    ..
                } => {
                    self.running.push(Running {
                        key,
                        attempt,
                        effect: *effect,
                        subject,
                        cancelled: false,
                    });
                }
                RelayAction::Cancel(key) => {
                    for running in self.running.iter_mut().filter(|r| r.key == key) {
                        running.cancelled = true;
                    }
                }
            }
        }
    }

    /// Ends one attempt under way: it may have arrived or not, succeed, or fail.
    pub(crate) fn perform(&mut self, rng: &mut Rng, now: Millis, sink: &mut Sink, keys: &Keyring) -> Option<String> {
        if self.running.is_empty() {
            return None;
        }
        let at = rng.below(self.running.len() as u64) as usize;
        let running = self.running.swap_remove(at);
        let dropped = self.mutant == Some(Mutant::DropsEffects) && rng.chance(34);
        let fails = rng.chance(25);
        let fresh = self.mutant == Some(Mutant::FreshEffectIds);
        let id = |running: &Running| {
            if fresh {
                format!("{}.{}", running.key.message_id(), running.attempt)
            } else {
                running.key.message_id()
            }
        };
        let end = if running.cancelled {
            AttemptEnd::Cancelled(Outcome::Cancelled { partial: None })
        } else if fails && rng.chance(20) {
            // The receiver takes it and says no.
            sink.arrive(&running.key, id(&running));
            AttemptEnd::Done(Outcome::Failed {
                code: "refused".into(),
                detail: "simulated".into(),
            })
        } else if fails {
            // It may have arrived all the same.
            if rng.chance(50) {
                sink.arrive(&running.key, id(&running));
            }
            AttemptEnd::Retryable {
                code: "timeout".into(),
                detail: "simulated".into(),
                retry_after_ms: None,
            }
        } else {
            if !dropped {
                sink.arrive(&running.key, id(&running));
            }
            match outcome(&running.effect, &running.subject, running.attempt, keys) {
                Ok(outcome) => AttemptEnd::Done(outcome),
                Err(error) => {
                    self.broken.push(error);
                    return None;
                }
            }
        };
        let line = format!("attempt {} of {} ends", running.attempt, running.key);
        let partition = self.partition(&running.key.stream);
        let actions = self.relays[usize::from(partition)].performed(&running.key, end, now);
        self.relay_actions(partition, actions);
        Some(line)
    }
}

/// What a receiver answers to an attempt that it took.
pub(crate) fn outcome(effect: &Effect, subject: &str, attempt: u32, keys: &Keyring) -> Result<Outcome, String> {
    let failed = |e: quipu_schemas::personal::SealError| e.to_string();
    match effect {
        Effect::LlmInvoke(_) => {
            // The second attempt says more than a record should hold.
            let text = "a simulated answer".repeat(if attempt > 1 { 300 } else { 1 });
            let message = ChatMessage {
                role: ChatRole::Assistant,
                content: Some(text.clone()),
                tool_calls: None,
                tool_call_id: None,
                name: None,
            };
            Ok(Outcome::Answered(LlmAnswer {
                message: Personal::seal(&message, subject, keys).map_err(failed)?,
                text: Some(Personal::seal(&text, subject, keys).map_err(failed)?),
                tool_calls: Vec::new(),
                finish_reason: "stop".into(),
                model: "simulated".into(),
                prompt_tokens: 3,
                completion_tokens: 3,
                attempt,
            }))
        }
        Effect::Webhook(_) | Effect::Http(_) => Ok(Outcome::Responded {
            status: 200,
            body: Json(serde_json::json!({"ok": true})),
            full_bytes: None,
        }),
        Effect::Tool(_) => Err("the workload grants no tools".into()),
        // Keys follow from the seed: a run of the simulation that read its log again would find them destroyed.
        Effect::Shred(_) => Ok(Outcome::Shredded { destroyed: true }),
        // A connection that goes on would never let a simulation come to rest: the provider takes its leave back.
        Effect::Refresh(_) => Ok(Outcome::Failed {
            code: "oauth_invalid_grant".into(),
            detail: "simulated".into(),
        }),
        Effect::Mail(_) => Ok(Outcome::Mailed { sent: true }),
        Effect::Seal(seal) => Ok(Outcome::Sealed {
            text: Personal::seal(&seal.text, &seal.subject, keys).map_err(failed)?,
        }),
    }
}
