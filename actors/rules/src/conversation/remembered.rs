//! The messages that a conversation has in mind: the newest ones. What it has forgotten is looked up by its id.

use super::kept::{Kept, Message};
use quipu_kinds::conversation::ConversationEvent as Event;
use quipu_schemas::{ids::MessageId, limits::MESSAGES_REMEMBERED};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// What is known of messages.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Messages {
    /// How many there are, deleted ones among them.
    said: u64,
    /// The newest of those that can be looked up, oldest first.
    recent: VecDeque<Recent>,
    /// Those that cannot be looked up.
    kept: Kept,
}

/// A message that can be looked up once it is forgotten.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Recent {
    message_id: MessageId,
    message: Message,
}

impl Messages {
    /// How many there are.
    pub fn len(&self) -> usize {
        usize::try_from(self.said).unwrap_or(usize::MAX)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.said == 0
    }

    /// What is known of a message without looking it up.
    pub fn get(&self, id: &MessageId) -> Option<Message> {
        match self.recent.iter().find(|recent| recent.message_id == *id) {
            Some(recent) => Some(recent.message.clone()),
            None => self.kept.get(id),
        }
    }

    /// Whether some were forgotten.
    pub fn forgets(&self) -> bool {
        self.recent.len() + self.kept.len() < self.len()
    }

    /// Adds a message; whether its id was there, as far as that is known.
    pub(super) fn add(&mut self, id: MessageId, message: Message, is_indexed: bool) -> bool {
        if self.get(&id).is_some() {
            return true;
        }
        self.said += 1;
        if !is_indexed {
            return self.kept.insert(id, message);
        }
        self.recent.push_back(Recent { message_id: id, message });
        if self.recent.len() > MESSAGES_REMEMBERED {
            self.recent.pop_front();
        }
        false
    }

    /// Remembers that a message is deleted; `false` where that cannot be.
    pub(super) fn delete(&mut self, id: &MessageId) -> bool {
        let (digest, held) = match self.recent.iter_mut().find(|recent| recent.message_id == *id) {
            Some(recent) => (recent.message.digest(), Some(&mut recent.message)),
            None => match self.kept.get(id) {
                Some(message) => (message.digest(), None),
                None => return self.forgets(),
            },
        };
        match held {
            Some(Message::Deleted { .. }) => return false,
            Some(message) => *message = Message::Deleted { digest },
            None if matches!(self.kept.get(id), Some(Message::Deleted { .. })) => return false,
            None => drop(self.kept.insert(id.clone(), Message::Deleted { digest })),
        }
        true
    }

    /// Whether a message may be there that can be edited.
    pub(super) fn may_be_edited(&self, id: &MessageId) -> bool {
        match self.get(id) {
            Some(message) => matches!(message, Message::Posted { .. }),
            None => self.forgets(),
        }
    }
}

/// The message that an event brings, without its body.
pub(super) fn brought_by(event: &Event) -> Option<Message> {
    if let Event::MessagePosted {
        sender,
        content_digest,
        content_type,
        ..
    } = event
    {
        Some(Message::Posted {
            sender: sender.clone(),
            digest: *content_digest,
            content_type: *content_type,
        })
    } else if let Event::MessageImported { content_digest, .. } = event {
        Some(Message::Imported { digest: *content_digest })
    } else {
        None
    }
}
