//! Stored reactions on their way.

use super::super::{Member, Out, Wake};
use super::{Fate, Origin, RELAY_IDLE_MS, Running};
use crate::sim::reading::{Library, Looked};
use quipu_runtime::kernel::{attempt::AttemptEnd, cause::Cause, relay::RelayAction, stops::stop_of};
use quipu_schemas::{ids::OrgId, reaction::Outcome};
use std::sync::Arc;

impl Member {
    /// One step; the planned one plans the next.
    pub(crate) fn relay_step(&mut self, partition: u16, planned: Option<u64>) {
        let now = self.wall();
        // The workload has one org.
        let suspended = self.is_suspended(&OrgId::from_static("acme"));
        let Some((id, relay)) = &mut self.parts[usize::from(partition)].relay else {
            return;
        };
        if planned.is_some_and(|planned| planned != *id) {
            return;
        }
        let id = *id;
        let mut looked = Looked {
            library: Library {
                log: &*self.log,
                index: &self.index,
                kinds: &self.kinds,
            },
            known: &mut self.known,
        };
        let mut stops = |cause: &Cause, org: &OrgId| stop_of(cause, org, now, &mut looked);
        let actions = relay.step(now, &|_| suspended, &mut stops, &|_, _| None);
        if planned.is_some() {
            let after_ms = relay
                .next_due()
                .map_or(RELAY_IDLE_MS, |due| due.saturating_sub(now).clamp(1, RELAY_IDLE_MS));
            self.later(after_ms, Wake::Relay { partition, relay: id });
        }
        self.relay_actions(partition, actions);
    }

    pub(super) fn relay_actions(&mut self, partition: u16, actions: Vec<RelayAction>) {
        let Some(relay) = self.part(partition).relay.as_ref().map(|(id, _)| *id) else {
            return;
        };
        for action in actions {
            match action {
                RelayAction::Load { after, most, without } => {
                    let page = self.library().page(partition, after, most, &without);
                    if let Err(error) = &page
                        && !error.contains("simulated")
                    {
                        self.broken
                            .push(format!("node {}: pending work of partition {partition}: {error}", self.id));
                    }
                    let now = self.wall();
                    if let Some((_, relay)) = &mut self.part(partition).relay {
                        relay.page(page.ok(), now);
                    }
                    self.relay_step(partition, None);
                }
                RelayAction::Submit { key, purpose, envelope } => {
                    let command = Arc::new((*envelope).clone());
                    self.submit(
                        command,
                        Origin::Relay {
                            partition,
                            relay,
                            key,
                            purpose,
                            envelope,
                        },
                    );
                }
                RelayAction::Perform {
                    key,
                    attempt,
                    effect,
                    subject,
                    ..
                } => {
                    let number = self.next_id();
                    self.outs.push(Out::Attempt {
                        number,
                        key: key.clone(),
                        attempt,
                        effect: (*effect).clone(),
                    });
                    self.running.insert(
                        number,
                        Running {
                            partition,
                            relay,
                            key,
                            attempt,
                            effect: *effect,
                            subject,
                            cancelled: false,
                        },
                    );
                }
                RelayAction::Cancel(key) => {
                    for running in self.running.values_mut().filter(|r| r.relay == relay && r.key == key) {
                        running.cancelled = true;
                    }
                }
            }
        }
    }

    /// An attempt of this node came to its end.
    pub(crate) fn attempt_ended(&mut self, number: u64, fate: Fate) {
        let Some(running) = self.running.remove(&number) else { return };
        let end = match fate {
            _ if running.cancelled => AttemptEnd::Cancelled(Outcome::Cancelled { partial: None }),
            Fate::Refused => AttemptEnd::Done(Outcome::Failed {
                code: "refused".into(),
                detail: "simulated".into(),
            }),
            Fate::Unanswered => AttemptEnd::Retryable {
                code: "timeout".into(),
                detail: "simulated".into(),
                retry_after_ms: None,
            },
            Fate::Taken => match crate::sim::node::outcome(&running.effect, &running.subject, running.attempt, &self.keys) {
                Ok(outcome) => AttemptEnd::Done(outcome),
                Err(error) => return self.broken.push(error),
            },
        };
        let now = self.wall();
        let actions = match &mut self.part(running.partition).relay {
            Some((ours, relay)) if *ours == running.relay => relay.performed(&running.key, end, now),
            _ => return,
        };
        self.relay_actions(running.partition, actions);
        self.relay_step(running.partition, None);
    }
}
