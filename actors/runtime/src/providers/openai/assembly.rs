//! A model's answer put together from the chunks of an OpenAI-compatible stream. Pure.

use super::chunk::{Arguments, CallDelta, Chunk, ChunkError};
use crate::providers::Answer;
use quipu_schemas::{
    chat::{ChatMessage, ChatRole, FunctionCall, ToolCall},
    digest::Digest,
    limits::{LLM_ANSWER_MAX_BYTES, LLM_TOOL_CALLS_MAX},
};
use std::collections::BTreeSet;

/// What a chunk brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    /// This much text (perhaps none).
    Text(String),
    /// The last text that fits: reading on is pointless.
    Full(String),
}

#[derive(Debug, Default)]
struct PartialCall {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

impl PartialCall {
    fn is_whole(&self) -> bool {
        serde_json::from_str::<serde::de::IgnoredAny>(&self.arguments).is_ok()
    }
}

/// The answer so far.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    text: Option<String>,
    calls: Vec<PartialCall>,
    finish_reason: Option<String>,
    model: Option<String>,
    usage: Option<(u64, u64)>,
    bytes: usize,
}

impl Assembly {
    /// Whether the model said that it is done.
    pub(crate) fn is_finished(&self) -> bool {
        self.finish_reason.is_some()
    }

    /// Characters of text so far, for reports that must not quote it.
    pub(crate) fn chars(&self) -> usize {
        self.text.as_deref().map_or(0, |text| text.chars().count())
    }

    /// Takes one chunk.
    pub(crate) fn push(&mut self, data: &str) -> Result<Progress, ChunkError> {
        let chunk = Chunk::read(data)?;
        if let Some(model) = chunk.model {
            self.model.get_or_insert(model.chars().take(200).collect());
        }
        if let Some(usage) = chunk.usage {
            self.usage = Some(usage);
        }
        for call in chunk.calls {
            self.push_call(call)?;
        }
        if let Some(reason) = chunk.finish_reason {
            self.finish_reason = Some(reason.chars().take(40).collect());
        }
        match chunk.text {
            Some(text) => {
                self.text.get_or_insert_default();
                self.push_text(text)
            }
            None => Ok(Progress::Text(String::new())),
        }
    }

    fn push_text(&mut self, mut fresh: String) -> Result<Progress, ChunkError> {
        let room = LLM_ANSWER_MAX_BYTES.saturating_sub(self.bytes);
        let full = fresh.len() > room;
        if full {
            if !self.calls.is_empty() {
                return Err(ChunkError::TooLarge);
            }
            fresh.truncate(fresh.floor_char_boundary(room));
            self.finish_reason = Some("length".into());
        }
        self.bytes += fresh.len();
        if let Some(text) = &mut self.text {
            text.push_str(&fresh);
        }
        Ok(if full { Progress::Full(fresh) } else { Progress::Text(fresh) })
    }

    fn push_call(&mut self, delta: CallDelta) -> Result<(), ChunkError> {
        let place = self.place_of(&delta).unwrap_or_else(|| {
            self.calls.push(PartialCall {
                index: delta.index,
                ..PartialCall::default()
            });
            self.calls.len() - 1
        });
        let call = &mut self.calls[place];
        if call.id.is_empty() {
            call.id = delta.id.unwrap_or_default();
        }
        if let Some(name) = delta.name {
            call.name = name;
        }
        match delta.arguments {
            Arguments::Piece(more) => {
                self.bytes += more.len();
                call.arguments.push_str(&more);
            }
            Arguments::Whole(arguments) => {
                self.bytes += arguments.len();
                call.arguments = arguments;
            }
        }
        let words = call.id.len() + call.name.len();
        if self.bytes > LLM_ANSWER_MAX_BYTES || self.calls.len() > LLM_TOOL_CALLS_MAX || words > 1_024 {
            return Err(ChunkError::TooLarge);
        }
        Ok(())
    }

    /// The call that a piece goes on with; `None` where it begins one. Servers differ: some leave the index out, some count
    /// every call as 0, some give an id with the first piece alone, with each one the same, or with each one another.
    fn place_of(&self, delta: &CallDelta) -> Option<usize> {
        let same_index = |call: &PartialCall| delta.index.is_none() || call.index == delta.index;
        let by_id = |call: &PartialCall| !call.id.is_empty() && Some(&call.id) == delta.id.as_ref();
        if let Some(place) = self.calls.iter().rposition(|call| by_id(call) && same_index(call)) {
            return Some(place);
        }
        let place = self.calls.iter().rposition(same_index)?;
        let call = &self.calls[place];
        let begins = match (&delta.name, &delta.id) {
            // A piece without a name only goes on.
            (None, _) => false,
            (Some(_), Some(_)) => !call.id.is_empty(),
            (Some(name), None) => !call.name.is_empty() && (call.name != *name || call.is_whole()),
        };
        (!begins).then_some(place)
    }

    /// The answer. Calls without an id, or with another call's, get one from their place and `seed`.
    pub(crate) fn finish(self, asked_model: &str, seed: &str) -> Answer {
        let mut taken = BTreeSet::new();
        let mut id_of = |n: usize, id: String| {
            let id = if id.is_empty() || taken.contains(&id) {
                made_id(seed, n)
            } else {
                id
            };
            taken.insert(id.clone());
            id
        };
        let call = |(n, call): (usize, PartialCall)| ToolCall {
            id: id_of(n, call.id),
            kind: "function".into(),
            function: FunctionCall {
                name: call.name,
                arguments: call.arguments,
            },
        };
        let named = self
            .calls
            .into_iter()
            .filter(|call| !call.name.is_empty() || !call.arguments.is_empty());
        let calls: Vec<ToolCall> = named.enumerate().map(call).collect();
        let default_reason = if calls.is_empty() { "stop" } else { "tool_calls" };
        let content = if calls.is_empty() {
            Some(self.text.unwrap_or_default())
        } else {
            self.text.filter(|text| !text.is_empty())
        };
        let (prompt_tokens, completion_tokens) = self.usage.unwrap_or_default();
        Answer {
            message: ChatMessage {
                role: ChatRole::Assistant,
                content,
                tool_calls: (!calls.is_empty()).then_some(calls),
                tool_call_id: None,
                name: None,
            },
            finish_reason: self.finish_reason.unwrap_or_else(|| default_reason.into()),
            model: self.model.unwrap_or_else(|| asked_model.to_owned()),
            prompt_tokens,
            completion_tokens,
        }
    }
}

/// An id of at most 40 characters, which is what the strictest servers take.
fn made_id(seed: &str, place: usize) -> String {
    let hash = Digest::of(&[seed.as_bytes(), &place.to_be_bytes()]).to_string();
    format!("call_{}", &hash[..32])
}

#[cfg(test)]
#[path = "assembly/tests.rs"]
mod tests;
