//! Effects and dispatches that are not settled, and what a person may do about them.

use super::Node;
use crate::{
    api::OutboxRow,
    kernel::{cause::Cause, relay::person_note},
    mailbox::RelayMsg,
    refusals::index_problem,
};
use quipu_events::index::FinalState;
use quipu_schemas::{
    envelope::{CommandEnvelope, DataClass, Receipt},
    ids::{OrgId, PrincipalId, StreamId},
    limits,
    problem::Problem,
    reaction::{ReactionKey, Settled},
};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

impl Node {
    /// Effects and dispatches that are not settled, of one org or of all.
    pub async fn outbox(&self, org: Option<&OrgId>) -> Vec<OutboxRow> {
        let core = &self.0.core;
        let mut rows = Vec::new();
        for partition in &core.partitions {
            let Some(relay) = partition.relay.lock().clone() else { continue };
            let (sender, receiver) = oneshot::channel();
            if relay.send_message(RelayMsg::Rows(sender)).is_ok()
                && let Ok(found) = receiver.await
            {
                rows.extend(found);
            }
        }
        let dead = (0..core.meta.partitions).flat_map(|p| core.index.dead_letters(p, None, limits::PAGE_MAX_ROWS).unwrap_or_default());
        let mut out: BTreeMap<String, OutboxRow> = rows
            .into_iter()
            .filter(|row| org.is_none_or(|org| row.key.stream.org == *org))
            .map(|row| {
                let last_error = core
                    .index
                    .attempts(&row.key)
                    .ok()
                    .and_then(|a| a.failed)
                    .map(|f| format!("{}: {}", f.code, f.detail));
                let row = OutboxRow {
                    key: row.key.to_string(),
                    effect: row.effect.into(),
                    destination: row.destination,
                    status: row.status.into(),
                    attempts: row.attempts,
                    last_error,
                    next_attempt_at: row.next_attempt_at,
                };
                (row.key.clone(), row)
            })
            .collect();
        // The rest waits in the index: of suspended orgs, and what the memory has no room for.
        let owned = (0u16..)
            .zip(&core.partitions)
            .filter(|(_, partition)| partition.relay.lock().is_some());
        let waiting = owned.flat_map(|(p, _)| core.index.pending(p, None, limits::PAGE_MAX_ROWS).unwrap_or_default());
        for row in waiting.filter(|row| org.is_none_or(|org| row.key.stream.org == *org)) {
            let key = row.key.to_string();
            out.entry(key).or_insert_with(|| self.pending_row(&row.key));
        }
        for letter in dead.filter(|letter| org.is_none_or(|org| letter.key.stream.org == *org)) {
            let row = self.dead_row(&letter.key);
            out.insert(row.key.clone(), row);
        }
        out.into_values().collect()
    }

    /// Of what waits in the index alone.
    fn pending_row(&self, key: &ReactionKey) -> OutboxRow {
        let (effect, destination) = self.describe(key).unwrap_or(("effect".into(), String::new()));
        let attempts = self.0.core.index.attempts(key).unwrap_or_default();
        let failed = attempts.failed.as_ref();
        OutboxRow {
            key: key.to_string(),
            effect,
            destination,
            status: "pending".into(),
            attempts: attempts.started.max(failed.map_or(0, |failed| failed.attempt)),
            last_error: failed.map(|failed| format!("{}: {}", failed.code, failed.detail)),
            next_attempt_at: failed.map(|failed| failed.retry_at),
        }
    }

    /// Of what was given up.
    fn dead_row(&self, key: &ReactionKey) -> OutboxRow {
        let (effect, destination) = self.describe(key).unwrap_or(("effect".into(), String::new()));
        let settled = self.0.core.index.settled(key).ok().flatten().map(|state| state.outcome);
        let (attempts, last_error) = match settled {
            Some(Settled::Dead { attempts, code, detail }) => (attempts, Some(format!("{code}: {detail}"))),
            Some(Settled::Parked { detail }) => (0, Some(detail)),
            _ => (0, None),
        };
        OutboxRow {
            key: key.to_string(),
            effect,
            destination,
            status: "dead".into(),
            attempts,
            last_error,
            next_attempt_at: None,
        }
    }

    fn describe(&self, key: &ReactionKey) -> Option<(String, String)> {
        let record = self.0.core.record_of(&key.stream, key.version).ok()??;
        record
            .keyed_reactions()
            .find(|(at, _)| at == key)
            .map(|(_, reaction)| match reaction {
                quipu_schemas::reaction::Reaction::Perform(perform) => (
                    perform.effect.facts().name.to_owned(),
                    perform.effect.facts().destination.to_owned(),
                ),
                quipu_schemas::reaction::Reaction::Dispatch(dispatch) => ("dispatch".to_owned(), dispatch.to.to_string()),
                _ => ("timer".to_owned(), String::new()),
            })
    }

    /// Sends a dead effect again, from its first attempt.
    pub async fn outbox_retry(&self, key: &ReactionKey, by: &PrincipalId) -> Result<Receipt, Problem> {
        let Some(dead) = self
            .settled(key)?
            .filter(|state| matches!(state.outcome, Settled::Dead { .. } | Settled::Parked { .. }))
        else {
            return Err(Problem::new(409, "not_dead", format!("{key} is not a dead letter"))
                .field("key")
                .fix("see `quipu outbox ls`"));
        };
        // Where it was given up: a dispatch that crashed its receiver is settled there.
        let receipt = self.note(key, &dead.stream, Settled::Retried, "retry", by).await?;
        // The relay may not hold it (after a restart): let it look again.
        self.reload(&key.stream);
        Ok(receipt)
    }

    /// Gives an effect up: it is never sent again.
    pub async fn outbox_drop(&self, key: &ReactionKey, by: &PrincipalId) -> Result<Receipt, Problem> {
        let settled = self.settled(key)?;
        let at = settled.as_ref().map_or(&key.stream, |state| &state.stream);
        match settled.as_ref().map(|state| &state.outcome) {
            None | Some(Settled::Dead { .. } | Settled::Parked { .. }) => {
                let receipt = self.note(key, at, Settled::Dropped, "drop", by).await?;
                // Whoever waits for its answer is to learn of it.
                self.reload(&key.stream);
                Ok(receipt)
            }
            Some(_) => Err(Problem::new(409, "already_settled", format!("{key} is settled")).field("key")),
        }
    }

    fn settled(&self, key: &ReactionKey) -> Result<Option<FinalState>, Problem> {
        if self.describe(key).is_none() {
            return Err(Problem::new(404, "unknown_effect", format!("no such effect: {key}"))
                .field("key")
                .fix("see `quipu outbox ls`"));
        }
        self.0.core.index.settled(key).map_err(|e| index_problem(&e))
    }

    async fn note(&self, key: &ReactionKey, at: &StreamId, settled: Settled, step: &str, by: &PrincipalId) -> Result<Receipt, Problem> {
        let retried = self.0.core.index.attempts(key).map_err(|e| index_problem(&e))?.retried;
        let cause = Cause {
            principal: by.clone(),
            on_behalf_of: None,
            home: None,
            credential: None,
            correlation: None,
            traceparent: None,
            environment: None,
            data_class: DataClass::None,
            time: self.0.core.now(),
        };
        let note = person_note(key, settled, &cause, &format!("{step}{retried}"));
        self.0
            .core
            .submit(CommandEnvelope {
                stream: at.clone(),
                ..note
            })
            .await
    }

    /// Lets a stream's relay look into the index again.
    pub(super) fn reload(&self, stream: &StreamId) {
        let partition = stream.partition(self.0.core.meta.partitions);
        let relay = self.0.core.partition(partition).relay.lock().clone();
        if let Some(relay) = relay {
            let _ = relay.send_message(RelayMsg::Reload);
        }
    }
}
