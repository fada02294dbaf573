//! Prompts: where they come from, and the order that models insist on.

use quipu_schemas::{
    chat::{ChatMessage, ChatRole},
    limits::PROMPT_MAX_BYTES,
    personal::{Opened, Opener, Personal, SealError},
    reaction::{ComposedMessage, ComposedText, Prompt},
};
use std::{collections::BTreeSet, future::Future, pin::Pin};

/// Why a prompt cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// It may be had later: the log or the keys did not answer.
    #[error("prompt is unavailable: {0}")]
    Unavailable(String),
    /// It will never be had: what it names does not exist.
    #[error("prompt is gone: {0}")]
    Gone(String),
    /// Its personal data was erased.
    #[error("prompt was erased")]
    Erased,
}

impl From<SealError> for PromptError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Store(detail) | SealError::Unreachable(detail) | SealError::Full(detail) => PromptError::Unavailable(detail),
            error => PromptError::Gone(error.to_string()),
        }
    }
}

/// The messages of a prompt, under way.
pub type PromptFuture<'a> = Pin<Box<dyn Future<Output = Result<Vec<ChatMessage>, PromptError>> + Send + 'a>>;

/// Reads the prompts that name a conversation at a version ([`Prompt::Conversation`]); recorded ones are
/// opened without it. Equal prompts give equal messages, however often they are asked for.
pub trait PromptSource: Send + Sync {
    /// The opened messages, as [`assemble`] orders them.
    fn messages<'a>(&'a self, prompt: &'a Prompt) -> PromptFuture<'a>;
}

/// Opens sealed messages in order; erased ones, and ones whose key was lost, are left out ([`assemble`] mends what that tears).
pub fn open_messages(sealed: &[Personal<ChatMessage>], opener: &dyn Opener) -> Result<Vec<ChatMessage>, SealError> {
    sealed
        .iter()
        .filter_map(|message| message.shown(opener).map(Opened::value).transpose())
        .collect()
}

/// Opens a composed prompt. An erased text makes the whole prompt erased: what is left would be another question.
pub(crate) fn compose(messages: &[ComposedMessage], opener: &dyn Opener) -> Result<Vec<ChatMessage>, PromptError> {
    let open = |message: &ComposedMessage| match &message.content {
        ComposedText::Plain(text) => Ok(plain(message.role, text)),
        ComposedText::Sealed(text) => match text.shown(opener)? {
            Opened::Value(text) => Ok(plain(message.role, &text)),
            Opened::Erased => Err(PromptError::Erased),
        },
    };
    messages.iter().map(open).collect()
}

/// One prompt out of an agent's directive, a conversation's messages, and what its turn added so far.
///
/// Models refuse a tool message without the call that it answers, and a call without its answer: stray
/// answers are left out, and missing ones are said to be missing. Where the whole is larger than
/// [`PROMPT_MAX_BYTES`], the oldest messages of the conversation are left out.
pub fn assemble(directive: Option<&str>, messages: Vec<ChatMessage>, transcript: Vec<ChatMessage>) -> Vec<ChatMessage> {
    let mut room = Room::beside(PROMPT_MAX_BYTES, directive, &transcript);
    let mut kept: Vec<ChatMessage> = messages.into_iter().rev().take_while(|message| room.takes(message)).collect();
    kept.reverse();
    let system = system(directive);
    system.into_iter().chain(pair_calls(kept.into_iter().chain(transcript))).collect()
}

fn system(directive: Option<&str>) -> Option<ChatMessage> {
    directive
        .filter(|text| !text.trim().is_empty())
        .map(|text| plain(ChatRole::System, text))
}

/// What a prompt has room for, beside what it holds in any case. Messages are offered newest first; after the first that does
/// not fit, none does.
pub(crate) struct Room(usize);

impl Room {
    /// In a prompt of at most so many bytes.
    pub(crate) fn beside(most: usize, directive: Option<&str>, transcript: &[ChatMessage]) -> Self {
        let fixed: usize = system(directive).iter().chain(transcript).map(encoded_len).sum();
        Self(most.saturating_sub(fixed))
    }

    /// Whether the next older message fits; if so, its room is taken.
    pub(crate) fn takes(&mut self, message: &ChatMessage) -> bool {
        let len = encoded_len(message);
        let fits = len <= self.0;
        self.0 = if fits { self.0 - len } else { 0 };
        fits
    }
}

/// A message of text alone.
pub(crate) fn plain(role: ChatRole, text: &str) -> ChatMessage {
    ChatMessage {
        role,
        content: Some(text.to_owned()),
        tool_calls: None,
        tool_call_id: None,
        name: None,
    }
}

/// The answer to a tool call.
pub(crate) fn tool_answer(call_id: &str, name: &str, text: String) -> ChatMessage {
    ChatMessage {
        role: ChatRole::Tool,
        content: Some(text),
        tool_calls: None,
        tool_call_id: Some(call_id.to_owned()),
        name: Some(name.to_owned()),
    }
}

fn encoded_len(message: &ChatMessage) -> usize {
    serde_json::to_vec(message).map_or(usize::MAX / 4, |bytes| bytes.len() + 1)
}

fn pair_calls(messages: impl Iterator<Item = ChatMessage>) -> Vec<ChatMessage> {
    let mut paired: Vec<ChatMessage> = Vec::new();
    let mut waiting: Vec<(String, String)> = Vec::new();
    let missing = |paired: &mut Vec<ChatMessage>, waiting: &mut Vec<(String, String)>| {
        paired.extend(
            waiting
                .drain(..)
                .map(|(id, name)| tool_answer(&id, &name, "no result was recorded for this call".into())),
        );
    };
    for message in messages {
        if message.role == ChatRole::Tool {
            let place = waiting.iter().position(|(id, _)| Some(id) == message.tool_call_id.as_ref());
            if let Some(place) = place {
                waiting.remove(place);
                paired.push(message);
            }
            continue;
        }
        missing(&mut paired, &mut waiting);
        let mut seen = BTreeSet::new();
        for call in message.tool_calls.iter().flatten() {
            if seen.insert(&call.id) {
                waiting.push((call.id.clone(), call.function.name.clone()));
            }
        }
        paired.push(message);
    }
    missing(&mut paired, &mut waiting);
    paired
}

#[cfg(test)]
mod tests {
    use super::*;
    use quipu_schemas::chat::{FunctionCall, ToolCall};

    fn calls(ids: &[&str]) -> ChatMessage {
        let call = |id: &&str| ToolCall {
            id: (*id).into(),
            kind: "function".into(),
            function: FunctionCall {
                name: "look".into(),
                arguments: "{}".into(),
            },
        };
        ChatMessage {
            content: None,
            tool_calls: Some(ids.iter().map(call).collect()),
            ..plain(ChatRole::Assistant, "")
        }
    }

    fn shape(messages: &[ChatMessage]) -> Vec<String> {
        messages
            .iter()
            .map(|m| {
                format!(
                    "{:?} {}",
                    m.role,
                    m.tool_call_id.clone().or(m.content.clone()).unwrap_or_else(|| "calls".into())
                )
            })
            .collect()
    }

    #[test]
    fn directive_conversation_and_turn_come_in_that_order() {
        let prompt = assemble(
            Some("Be brief."),
            vec![plain(ChatRole::User, "hi")],
            vec![calls(&["a"]), tool_answer("a", "look", "42".into())],
        );
        assert_eq!(shape(&prompt), ["System Be brief.", "User hi", "Assistant calls", "Tool a"]);
        assert_eq!(shape(&assemble(None, vec![], vec![])), Vec::<String>::new());
        assert_eq!(shape(&assemble(Some("  "), vec![plain(ChatRole::User, "hi")], vec![])), ["User hi"]);
    }

    #[test]
    fn calls_and_answers_are_paired() {
        let history = vec![
            tool_answer("stray", "look", "?".into()),
            calls(&["a", "b", "b"]),
            tool_answer("b", "look", "2".into()),
            tool_answer("b", "look", "again".into()),
            plain(ChatRole::User, "and?"),
            calls(&["c"]),
        ];
        let prompt = assemble(None, history, vec![]);
        assert_eq!(
            shape(&prompt),
            ["Assistant calls", "Tool b", "Tool a", "User and?", "Assistant calls", "Tool c"]
        );
        assert_eq!(prompt[2].content.as_deref(), Some("no result was recorded for this call"));
    }

    #[test]
    fn the_oldest_messages_make_room() {
        let big = |n: usize| plain(ChatRole::User, &n.to_string().repeat(PROMPT_MAX_BYTES / 4));
        let prompt = assemble(Some("D"), (0..6).map(big).collect(), vec![plain(ChatRole::Assistant, "T")]);
        let texts: Vec<&str> = prompt.iter().map(|m| &m.content.as_deref().unwrap()[..1]).collect();
        assert_eq!(texts, ["D", "3", "4", "5", "T"]);
    }
}
