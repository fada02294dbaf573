//! Somebody who talks all the time, through every node in turn, and remembers what was acknowledged.

use crate::client::{Client, ClientError, Command};
use parking_lot::Mutex;
use quipu_schemas::{
    ids::{CommandId, PrincipalId, StreamId},
    limits,
};
use serde_json::json;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// Conversations that are talked in; enough that every partition has some.
pub(super) const CONVERSATIONS: usize = 64;
const TALKERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(10);

/// What happened to the commands since this was last asked.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lately {
    pub(super) acknowledged: u64,
    /// Answers that asked to send the command again.
    pub(super) refused: u64,
    /// Requests without an answer.
    pub(super) unanswered: u64,
    /// Longest time from the first try of a command to its receipt.
    pub(super) waited: Duration,
}

#[derive(Default)]
struct TalkRecord {
    lately: Lately,
    acknowledged: Vec<(StreamId, CommandId)>,
    wrong: Option<String>,
    ends: bool,
}

/// The talkers.
pub(super) struct Load {
    heard: Arc<Mutex<TalkRecord>>,
    talkers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins to talk.
    pub(super) fn begin(clients: &[Client], conversations: &[StreamId], by: &PrincipalId) -> Self {
        let heard = Arc::new(Mutex::new(TalkRecord::default()));
        let talkers =
            (0..TALKERS).map(|number| tokio::spawn(talk(number, clients.to_vec(), conversations.to_vec(), by.clone(), heard.clone())));
        Self {
            talkers: talkers.collect(),
            heard,
        }
    }

    /// What happened since this was last asked.
    pub(super) fn lately(&self) -> Lately {
        std::mem::take(&mut self.heard.lock().lately)
    }

    /// Ends the talk; what was acknowledged, or what went wrong.
    pub(super) async fn end(self) -> Result<Vec<(StreamId, CommandId)>, String> {
        self.heard.lock().ends = true;
        for talker in self.talkers {
            talker.await.map_err(|e| e.to_string())?;
        }
        let mut heard = self.heard.lock();
        match heard.wrong.take() {
            Some(wrong) => Err(wrong),
            None => Ok(std::mem::take(&mut heard.acknowledged)),
        }
    }
}

async fn talk(number: usize, clients: Vec<Client>, conversations: Vec<StreamId>, by: PrincipalId, heard: Arc<Mutex<TalkRecord>>) {
    let mut at = number;
    for step in 0u64.. {
        if heard.lock().ends {
            return;
        }
        at = (at + 7) % conversations.len();
        let stream = &conversations[at];
        let Ok(id) = CommandId::parse(format!("talk-{number}-{step}")) else {
            return;
        };
        let body = json!({ "body": format!("message {step} of talker {number}") });
        let command = Command::to(stream, "post", body).id(id.clone()).on_behalf_of(Some(&by));
        let begun = Instant::now();
        // The same id until there is an answer: at whichever node, it is decided once.
        for client in clients.iter().cycle().skip(at) {
            match client.command(&command).await {
                Ok(_) => {
                    let mut heard = heard.lock();
                    heard.lately.acknowledged += 1;
                    heard.lately.waited = heard.lately.waited.max(begun.elapsed());
                    heard.acknowledged.push((stream.clone(), id.clone()));
                    break;
                }
                Err(error) if is_transient(&error) => {
                    let mut heard = heard.lock();
                    match error.problem() {
                        Some(_) => heard.lately.refused += 1,
                        None => heard.lately.unanswered += 1,
                    }
                }
                Err(error) => {
                    heard.lock().wrong.get_or_insert(format!("{id} to {stream}: {error}"));
                    return;
                }
            }
            if begun.elapsed() > Duration::from_millis(limits::HANDOFF_WAIT_MS) * 6 {
                heard
                    .lock()
                    .wrong
                    .get_or_insert(format!("{id} to {stream} was not answered for good"));
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn is_transient(error: &ClientError) -> bool {
    error.problem().is_none_or(|problem| problem.is_unavailable())
}
