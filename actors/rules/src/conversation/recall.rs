//! Messages that a conversation has forgotten, as they were looked up for a decision.

use super::{kept::Message, rejection::ConversationRejection as Rejection, remembered::brought_by, state::Room};
use crate::decider::Corrupt;
use quipu_kinds::conversation::ConversationEvent as Event;
use quipu_schemas::{context::Context, ids::MessageId};
use serde::Deserialize;
use serde_json::Value;

/// The messages that a command is about and that were forgotten.
pub(super) fn recalls(room: &Room, command: &Value) -> Vec<String> {
    if !room.messages.forgets() {
        return Vec::new();
    }
    let Some((name, body)) = command.as_object().and_then(|command| command.iter().next()) else {
        return Vec::new();
    };
    let paths: &[&str] = match name.as_str() {
        "post" => &["/message_id", "/reply_to"],
        "import_message" | "edit_message" | "delete_message" => &["/message_id"],
        "finish_turn" => &["/outcome/message_id"],
        _ => &[],
    };
    let named = paths.iter().filter_map(|path| body.pointer(path)?.as_str());
    let mut ids: Vec<MessageId> = named.filter_map(|id| MessageId::parse(id).ok()).collect();
    ids.dedup();
    let forgotten = ids.into_iter().filter(|id| room.messages.get(id).is_none());
    forgotten.map(|id| id.to_string()).collect()
}

impl Room {
    /// What is known of a message, looked up if it was forgotten.
    pub(super) fn message(&self, id: &MessageId, context: &Context<'_>) -> Result<Option<Message>, Rejection> {
        if let Some(message) = self.messages.get(id) {
            return Ok(Some(message));
        }
        if !self.messages.forgets() {
            return Ok(None);
        }
        // Not to have looked does not mean that it was never said.
        let recalled = context.recalled.get(id.as_str());
        let recalled = recalled.ok_or_else(|| Rejection::Contradiction(format!("message {id} was not looked up")))?;
        let mut message = None;
        for event in recalled {
            let event = Event::deserialize(event).map_err(|e| Corrupt(format!("message {id}: {e}")))?;
            message = match (message, brought_by(&event), &event) {
                (_, Some(brought), _) => Some(brought),
                (Some(message), None, Event::MessageDeleted { .. }) => Some(Message::Deleted { digest: message.digest() }),
                (message, None, _) => message,
            };
        }
        Ok(message)
    }

    /// Whether a message has this id.
    pub(super) fn knows(&self, id: &MessageId, context: &Context<'_>) -> Result<bool, Rejection> {
        Ok(self.message(id, context)?.is_some())
    }
}
