//! What comes back: answers to what was submitted, and ends of attempts.

use super::{
    Relay, Work, commands,
    sending::tell,
    words::{Purpose, RelayAction, Stage, was_not_sent},
};
use crate::kernel::attempt::AttemptEnd;
use quipu_schemas::{
    context::Millis,
    envelope::{CommandBody, CommandEnvelope, KernelCommand, Receipt},
    limits,
    problem::Problem,
    reaction::{Outcome, ReactionKey, Settled},
};

impl Relay {
    /// A submitted kernel command was answered.
    pub fn submitted(
        &mut self,
        key: &ReactionKey,
        purpose: Purpose,
        envelope: Box<CommandEnvelope>,
        answer: Result<Receipt, Problem>,
        now: Millis,
    ) -> Vec<RelayAction> {
        match answer {
            Ok(receipt) => self.stored(key, purpose, &envelope, &receipt, now).into_iter().collect(),
            Err(problem) => self.not_stored(key, purpose, envelope, &problem, now).into_iter().collect(),
        }
    }

    fn stored(
        &mut self,
        key: &ReactionKey,
        purpose: Purpose,
        envelope: &CommandEnvelope,
        receipt: &Receipt,
        now: Millis,
    ) -> Option<RelayAction> {
        let item = self.items.get_mut(key)?;
        item.resends = 0;
        match purpose {
            Purpose::Dispatch => {
                item.answer = Some(answer_of(receipt));
                if item.awaited().is_none_or(|awaited| !awaited.wants(item.answer.as_ref())) {
                    self.remove(key);
                    return None;
                }
                let told = tell(key, item);
                self.release_slot(key);
                told
            }
            // What was given up waits for a person in the index.
            Purpose::Tell | Purpose::Park | Purpose::Settle => {
                self.remove(key);
                None
            }
            Purpose::Start => {
                item.stage = Stage::Running;
                commands::perform(key, item)
            }
            Purpose::AttemptFailed => {
                let at = match &envelope.body {
                    CommandBody::Kernel(KernelCommand::EffectNote {
                        note: Settled::AttemptFailed { retry_at, .. },
                        ..
                    }) => *retry_at,
                    _ => now,
                };
                let stage = if item.cancelled { Stage::Ready } else { Stage::Until(at) };
                self.stand(key, stage);
                None
            }
        }
    }

    fn not_stored(
        &mut self,
        key: &ReactionKey,
        purpose: Purpose,
        envelope: Box<CommandEnvelope>,
        problem: &Problem,
        now: Millis,
    ) -> Option<RelayAction> {
        let item = self.items.get_mut(key)?;
        if problem.code == "command_crashed" {
            item.crashes += 1;
            if item.crashes >= limits::POISON_CRASHES {
                let detail = format!("crashed its receiver {} times: {}", item.crashes, problem.detail);
                let park = CommandEnvelope {
                    command_id: key.command_id(&commands::step("park", item)),
                    body: CommandBody::Kernel(KernelCommand::EffectNote {
                        key: key.clone(),
                        note: Settled::Parked { detail },
                    }),
                    expected_version: None,
                    ..*envelope
                };
                item.stage = Stage::Submitting;
                return Some(commands::submit(key, Purpose::Park, park));
            }
        }
        item.resends += 1;
        let pause = self.jitter.pause_ms(limits::OUTBOX_RESEND_MS, item.resends);
        if purpose == Purpose::Dispatch {
            // It waits for a slot again like all others: a receiver that takes nothing holds up nobody else.
            self.release_slot(key);
        } else {
            item.again = Some((purpose, envelope));
        }
        self.stand(key, Stage::Until(now + pause));
        None
    }

    /// An attempt came to its end.
    pub fn performed(&mut self, key: &ReactionKey, end: AttemptEnd, now: Millis) -> Vec<RelayAction> {
        let draw = self.jitter.draw();
        self.release_slot(key);
        let Some(item) = self.items.get_mut(key) else { return Vec::new() };
        let Work::Perform(perform) = &item.work else { return Vec::new() };
        if was_not_sent(&end) && perform.effect.facts().is_repeatable {
            // Nothing was sent: the attempt does not count.
            item.attempts -= 1;
            let AttemptEnd::Retryable { retry_after_ms, .. } = end else {
                return Vec::new();
            };
            let stage = if item.cancelled {
                Stage::Ready
            } else {
                Stage::Until(now + retry_after_ms.unwrap_or(limits::OUTBOX_RESEND_MS.1).max(1))
            };
            self.stand(key, stage);
            return Vec::new();
        }
        let was_unsent = was_not_sent(&end);
        item.unsent += u32::from(was_unsent);
        let (purpose, envelope) = match end {
            AttemptEnd::Done(outcome) | AttemptEnd::Cancelled(outcome) => (Purpose::Settle, commands::settle(key, item, outcome)),
            AttemptEnd::Retryable {
                code,
                detail,
                retry_after_ms,
            } => {
                // A destination that is left alone never ends an effect: nothing was sent to it.
                let sent = item.attempts.saturating_sub(item.unsent);
                if (sent >= perform.retry.attempts && !was_unsent) || item.cancelled {
                    (Purpose::Settle, commands::settle(key, item, Outcome::Failed { code, detail }))
                } else {
                    let pause = if was_unsent {
                        retry_after_ms.unwrap_or(limits::OUTBOX_RESEND_MS.1).max(1)
                    } else {
                        let longest = perform.retry.pause_ms(sent + 1);
                        retry_after_ms.unwrap_or(0).max(if longest == 0 { 0 } else { draw % (longest + 1) })
                    };
                    let failed = Settled::AttemptFailed {
                        attempt: item.attempts,
                        code,
                        detail,
                        retry_at: now + pause,
                    };
                    (
                        Purpose::AttemptFailed,
                        commands::note(key, item, failed, &commands::step("f", item)),
                    )
                }
            }
        };
        item.stage = Stage::Submitting;
        vec![commands::submit(key, purpose, envelope)]
    }
}

/// What the receiver of a dispatch recorded.
fn answer_of(receipt: &Receipt) -> Settled {
    match &receipt.settled {
        Some(settled) => settled.clone(),
        // An owner of an earlier release does not say.
        None if receipt.unchanged => Settled::Unchanged,
        None => Settled::Accepted,
    }
}
