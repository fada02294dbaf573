//! What model and tools said in a turn so far, read from the stream of its run, backward from the version that a prompt names
//! and only as far as the prompt has room.
//!
//! The stream is the history: a prompt names it by its version, whatever it holds. Sizes are known without opening, so that
//! of hundreds of results only those are fetched that the prompt has room for, newest first.

use crate::performers::{PromptError, tool_answer};
use quipu_kinds::run::RunEvent;
use quipu_schemas::{
    chat::ChatMessage,
    codec,
    personal::{Opened, Opener, Personal, SealError},
    reaction::LlmAnswer,
    record::Record,
};
use std::collections::BTreeMap;

/// Bytes that a message takes in a prompt beside its content.
const AROUND: usize = 256;

/// The messages of a turn up to a version of its run, gathered from its end, in the order of the calls and not of their
/// answers. What does not fit is left out from the beginning; a result that is too large alone is said to be.
pub(super) struct SoFar {
    at_version: u64,
    room: usize,
    newest_first: Vec<ChatMessage>,
    /// Results, by the call's place, of the answer that comes next.
    results: BTreeMap<u32, Personal<ChatMessage>>,
}

impl SoFar {
    pub(super) fn new(at_version: u64, room: usize) -> Self {
        Self {
            at_version,
            room,
            newest_first: Vec::new(),
            results: BTreeMap::new(),
        }
    }

    pub(super) fn into_oldest_first(mut self) -> Vec<ChatMessage> {
        self.newest_first.reverse();
        self.newest_first
    }

    /// Takes the next record back; whether there is room for more.
    pub(super) fn take(&mut self, record: &Record, opener: &dyn Opener) -> Result<bool, PromptError> {
        for (index, stored) in record.events.iter().enumerate().rev() {
            if record.header.first_version + index as u64 > self.at_version {
                continue;
            }
            match codec::decode_event(stored).map_err(|e| PromptError::Gone(e.to_string()))? {
                RunEvent::ModelAnswered { answer, .. } => {
                    let results = std::mem::take(&mut self.results);
                    if !self.exchange(&answer, &results, opener)? {
                        return Ok(false);
                    }
                }
                RunEvent::ToolReturned { name, result, .. } => {
                    // `tool#ITERATION.PLACE`
                    if let Some(place) = name.rsplit('.').next().and_then(|place| place.parse().ok()) {
                        // The last of one place counts, and it came first.
                        self.results.entry(place).or_insert(result);
                    }
                }
                _ => {}
            }
        }
        Ok(true)
    }

    /// One answer of the model with the results of the tools that it called.
    fn exchange(
        &mut self,
        answer: &LlmAnswer,
        results: &BTreeMap<u32, Personal<ChatMessage>>,
        opener: &dyn Opener,
    ) -> Result<bool, SealError> {
        let Some(left) = self.room.checked_sub(answer.said_bytes() + AROUND) else {
            return Ok(false);
        };
        self.room = left;
        // The last result is the one that the model has not seen yet, and most likely the one that it needs.
        for (place, result) in results.iter().rev() {
            let size = result.plain_len() + AROUND;
            if size <= self.room {
                self.room -= size;
                // Nothing of the erased, and nothing that is gone.
                self.newest_first.extend(result.shown(opener)?.value());
            } else if let Some(call) = answer.tool_calls.get(*place as usize) {
                let words = format!("(a result of {} bytes, which the prompt has no room for)", result.plain_len());
                self.room = self.room.saturating_sub(words.len() + AROUND);
                self.newest_first.push(tool_answer(&call.id, &call.name, words));
            }
        }
        self.newest_first.extend(answer.open(opener).map(Opened::value)?);
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
