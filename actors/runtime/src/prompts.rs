//! Reads prompts from the log: a directive by its digest, a conversation's messages up to a version.

use crate::{
    core::Core,
    performers::{PromptError, PromptFuture, PromptSource, assemble, open_messages},
};
use quipu_schemas::{
    agent::AgentEvent,
    chat::{ChatMessage, ChatRole},
    codec,
    conversation::{ConversationEvent, ParticipantKind},
    digest::Digest,
    ids::{MessageId, PrincipalId, StreamId},
    personal::Opened,
    problem::Problem,
    reaction::Prompt,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, Weak},
};

/// The node's own source of prompts; set once the core exists.
#[derive(Default)]
pub(crate) struct LogPrompts {
    core: OnceLock<Weak<Core>>,
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
            let Prompt::Conversation {
                conversation,
                at_version,
                agent,
                directive,
                transcript,
            } = prompt
            else {
                return Err(PromptError::Gone("only conversations are read from the log".into()));
            };
            let directive = match directive {
                Some(digest) => Some(directive_text(&core, agent, digest)?),
                None => None,
            };
            let speaker = PrincipalId::parse(agent.id.as_str()).map_err(|e| PromptError::Gone(e.to_string()))?;
            let messages = messages(&core, conversation, *at_version, &speaker)?;
            let transcript = open_messages(transcript, &*core.keys)?;
            Ok(assemble(directive.as_deref(), messages, transcript))
        })
    }
}

fn directive_text(core: &Core, agent: &StreamId, digest: &Digest) -> Result<String, PromptError> {
    for record in core.records(agent, 0).map_err(unavailable)? {
        for stored in &record.events {
            if let Ok(AgentEvent::DirectiveAdded { digest: found, text }) = codec::decode_event(stored)
                && found == *digest
            {
                return Ok(text);
            }
        }
    }
    Err(PromptError::Gone(format!("directive {digest} of {agent}")))
}

struct Said {
    at: u64,
    message: ChatMessage,
}

/// The conversation as the speaking agent's model sees it: its own words as `assistant`, everybody else's as `user` with
/// their names. Deleted and erased messages are left out, edits are in.
fn messages(core: &Core, conversation: &StreamId, at_version: u64, speaker: &PrincipalId) -> Result<Vec<ChatMessage>, PromptError> {
    let mut said: BTreeMap<MessageId, Said> = BTreeMap::new();
    for record in core.records(conversation, 0).map_err(unavailable)? {
        for (version, stored) in (record.header.first_version..).zip(&record.events) {
            if version > at_version {
                break;
            }
            let event: ConversationEvent = codec::decode_event(stored).map_err(|e| PromptError::Gone(e.to_string()))?;
            match event {
                ConversationEvent::MessagePosted {
                    message_id,
                    sender,
                    sender_kind,
                    body,
                    ..
                } => {
                    let Opened::Value(text) = body.shown(&*core.keys)? else { continue };
                    let own = sender == *speaker && sender_kind == ParticipantKind::Agent;
                    let message = ChatMessage {
                        role: if own { ChatRole::Assistant } else { ChatRole::User },
                        content: Some(text),
                        tool_calls: None,
                        tool_call_id: None,
                        name: (!own).then(|| sender.to_string()),
                    };
                    said.insert(message_id, Said { at: version, message });
                }
                ConversationEvent::MessageImported {
                    message_id, role, content, ..
                } => {
                    let Opened::Value(content) = content.shown(&*core.keys)? else {
                        continue;
                    };
                    let message = ChatMessage {
                        role,
                        content: content.content,
                        tool_calls: content.tool_calls,
                        tool_call_id: content.tool_call_id,
                        name: content.name,
                    };
                    said.insert(message_id, Said { at: version, message });
                }
                ConversationEvent::MessageEdited { message_id, body } => {
                    if let (Some(said), Opened::Value(text)) = (said.get_mut(&message_id), body.shown(&*core.keys)?) {
                        said.message.content = Some(text);
                    }
                }
                ConversationEvent::MessageDeleted { message_id, .. } => {
                    said.remove(&message_id);
                }
                _ => {}
            }
        }
    }
    let mut ordered: Vec<Said> = said.into_values().collect();
    ordered.sort_by_key(|said| said.at);
    Ok(ordered.into_iter().map(|said| said.message).collect())
}
