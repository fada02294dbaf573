//! Reads prompts from the log: a conversation's messages backward from a version until the prompt is full, and a directive by
//! its digest.

mod directives;
#[cfg(test)]
mod tests;

mod turn;

use crate::{
    core::Core,
    library::Cancel,
    performers::{PromptError, PromptFuture, PromptSource, Room, assemble, open_messages},
};
use directives::Directives;
use quipu_events::index::{PageBefore, RecordKey};
use quipu_kinds::conversation::{ConversationEvent, ParticipantKind};
use quipu_schemas::{
    chat::{ChatMessage, ChatRole},
    codec,
    ids::{MessageId, PrincipalId, StreamId},
    limits::PROMPT_MAX_BYTES,
    personal::{Opened, Opener},
    problem::Problem,
    reaction::Prompt,
    record::Record,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock, Weak},
};
use turn::SoFar;

/// The node's own source of prompts; set once the core exists.
#[derive(Default)]
pub(crate) struct LogPrompts {
    core: OnceLock<Weak<Core>>,
    directives: Arc<Directives>,
}

impl LogPrompts {
    pub(crate) fn set(&self, core: &Arc<Core>) {
        let _ = self.core.set(Arc::downgrade(core));
    }
}

fn unavailable(problem: Problem) -> PromptError {
    PromptError::Unavailable(problem.to_string())
}

impl PromptSource for LogPrompts {
    fn messages<'a>(&'a self, prompt: &'a Prompt) -> PromptFuture<'a> {
        Box::pin(async move {
            let core = self
                .core
                .get()
                .and_then(Weak::upgrade)
                .ok_or_else(|| PromptError::Unavailable("the node is stopping".into()))?;
            let (directives, prompt) = (self.directives.clone(), prompt.clone());
            let cancel = Cancel::default();
            let _gone = cancel.on_drop();
            // The log may be on a disk, or on another machine.
            let read = move || conversation(&core, &directives, &prompt, &cancel);
            tokio::task::spawn_blocking(read)
                .await
                .unwrap_or_else(|_| Err(PromptError::Unavailable("reading the prompt crashed".into())))
        })
    }
}

fn conversation(core: &Core, directives: &Directives, prompt: &Prompt, cancel: &Cancel) -> Result<Vec<ChatMessage>, PromptError> {
    let Prompt::Conversation {
        conversation,
        at_version,
        agent,
        directive,
        transcript,
        turn,
    } = prompt
    else {
        return Err(PromptError::Gone("only conversations are read from the log".into()));
    };
    let directive = match directive {
        Some(digest) => Some(directives.text(core, agent, digest, cancel)?),
        None => None,
    };
    let speaker = PrincipalId::parse(agent.id.as_str()).map_err(|e| PromptError::Gone(e.to_string()))?;
    let mut transcript = open_messages(transcript, &*core.keys)?;
    if let Some(at) = turn {
        let mut so_far = SoFar::new(at.version, PROMPT_MAX_BYTES);
        read(core, &at.stream, at.version, cancel, |record| so_far.take(record, &*core.keys))?;
        transcript.extend(so_far.into_oldest_first());
    }
    let room = Room::beside(PROMPT_MAX_BYTES, directive.as_deref(), &transcript);
    let mut messages = Backward::new(*at_version, speaker, room);
    read(core, conversation, *at_version, cancel, |record| messages.take(record, &*core.keys))?;
    Ok(assemble(directive.as_deref(), messages.into_oldest_first(), transcript))
}

/// Reads a stream backward from a version, page by page, as long as more is taken.
fn read(
    core: &Core,
    stream: &StreamId,
    at_version: u64,
    cancel: &Cancel,
    mut take: impl FnMut(&Record) -> Result<bool, PromptError>,
) -> Result<(), PromptError> {
    let mut before = PageBefore::Version(at_version);
    loop {
        cancel.check().map_err(unavailable)?;
        let page = core.read_back(stream, before).map_err(unavailable)?;
        for (position, record) in &page {
            if !take(record)? {
                return Ok(());
            }
            before = PageBefore::Key(RecordKey {
                first_version: record.header.first_version,
                offset: position.offset,
            });
        }
        if page.is_empty() {
            return Ok(());
        }
    }
}

/// A conversation as the speaking agent's model sees it, gathered from its end: the agent's own words as `assistant`, everybody
/// else's as `user` with their names. Deleted and erased messages are left out, edits are in.
struct Backward {
    at_version: u64,
    speaker: PrincipalId,
    room: Room,
    newest_first: Vec<ChatMessage>,
    /// Bodies that replace those of messages further back.
    edits: BTreeMap<MessageId, String>,
    /// Ids that nothing further back counts for: said again later, or deleted.
    done: BTreeSet<MessageId>,
}

impl Backward {
    fn new(at_version: u64, speaker: PrincipalId, room: Room) -> Self {
        Self {
            at_version,
            speaker,
            room,
            newest_first: Vec::new(),
            edits: BTreeMap::new(),
            done: BTreeSet::new(),
        }
    }

    fn into_oldest_first(mut self) -> Vec<ChatMessage> {
        self.newest_first.reverse();
        self.newest_first
    }

    /// Takes the next record back; whether there is room for more.
    fn take(&mut self, record: &Record, opener: &dyn Opener) -> Result<bool, PromptError> {
        for (index, stored) in record.events.iter().enumerate().rev() {
            let version = record.header.first_version + index as u64;
            if version > self.at_version {
                continue;
            }
            let event: ConversationEvent = codec::decode_event(stored).map_err(|e| PromptError::Gone(e.to_string()))?;
            if !self.event(event, opener)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn event(&mut self, event: ConversationEvent, opener: &dyn Opener) -> Result<bool, PromptError> {
        match event {
            ConversationEvent::MessagePosted {
                message_id,
                sender,
                sender_kind,
                body,
                ..
            } => {
                let Opened::Value(text) = body.shown(opener)? else {
                    return Ok(true);
                };
                let own = sender == self.speaker && sender_kind == ParticipantKind::Agent;
                let message = ChatMessage {
                    role: if own { ChatRole::Assistant } else { ChatRole::User },
                    content: Some(text),
                    tool_calls: None,
                    tool_call_id: None,
                    name: (!own).then(|| sender.to_string()),
                };
                Ok(self.message(message_id, message))
            }
            ConversationEvent::MessageImported {
                message_id, role, content, ..
            } => {
                let Opened::Value(content) = content.shown(opener)? else {
                    return Ok(true);
                };
                let message = ChatMessage {
                    role,
                    content: content.content,
                    tool_calls: content.tool_calls,
                    tool_call_id: content.tool_call_id,
                    name: content.name,
                };
                Ok(self.message(message_id, message))
            }
            ConversationEvent::MessageEdited { message_id, body } => {
                if !self.done.contains(&message_id)
                    && !self.edits.contains_key(&message_id)
                    && let Opened::Value(text) = body.shown(opener)?
                {
                    self.edits.insert(message_id, text);
                }
                Ok(true)
            }
            ConversationEvent::MessageDeleted { message_id, .. } => {
                self.edits.remove(&message_id);
                self.done.insert(message_id);
                Ok(true)
            }
            _ => Ok(true),
        }
    }

    fn message(&mut self, id: MessageId, mut message: ChatMessage) -> bool {
        let edit = self.edits.remove(&id);
        if !self.done.insert(id) {
            return true;
        }
        if let Some(text) = edit {
            message.content = Some(text);
        }
        let fits = self.room.takes(&message);
        if fits {
            self.newest_first.push(message);
        }
        fits
    }
}
