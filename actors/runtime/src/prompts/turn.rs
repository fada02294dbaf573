//! What model and tools said in a turn so far, read from the stream of its run.
//!
//! The stream is the history: a prompt names it by its version, whatever it holds. Sizes are known without opening, so that
//! of hundreds of results only those are fetched that the prompt has room for, newest first.

use crate::performers::{PromptError, tool_answer};
use quipu_kinds::run::RunEvent;
use quipu_schemas::{
    chat::ChatMessage,
    codec,
    limits::PROMPT_MAX_BYTES,
    personal::{Opened, Opener, Personal},
    reaction::ToolCallRef,
    record::Record,
};
use std::collections::BTreeMap;

/// Bytes that a message takes in a prompt beside its content.
const AROUND: usize = 256;

/// One answer of the model, with the results of the tools that it called.
#[derive(Default)]
struct Exchange {
    answer: Option<Personal<ChatMessage>>,
    calls: Vec<ToolCallRef>,
    /// By the call's place.
    results: BTreeMap<u32, Personal<ChatMessage>>,
}

/// The messages of a turn up to a version of its run, oldest first, in the order of the calls and not of their answers. What
/// does not fit is left out from the beginning; a result that is too large alone is said to be.
pub(super) fn so_far(
    records: impl IntoIterator<Item = Record>,
    at_version: u64,
    opener: &dyn Opener,
) -> Result<Vec<ChatMessage>, PromptError> {
    let exchanges = exchanges(records, at_version)?;
    let mut room = PROMPT_MAX_BYTES;
    let mut newest_first: Vec<ChatMessage> = Vec::new();
    for exchange in exchanges.into_iter().rev() {
        let Some(answer) = exchange.answer else { continue };
        let Some(left) = room.checked_sub(answer.plain_len() + AROUND) else {
            break;
        };
        room = left;
        let mut results = Vec::new();
        // The last result is the one that the model has not seen yet, and most likely the one that it needs.
        for (place, result) in exchange.results.iter().rev() {
            let size = result.plain_len() + AROUND;
            if size <= room {
                room -= size;
                results.extend(shown(result, opener)?);
            } else if let Some(call) = exchange.calls.get(*place as usize) {
                let words = format!("(a result of {} bytes, which the prompt has no room for)", result.plain_len());
                room = room.saturating_sub(words.len() + AROUND);
                results.push(tool_answer(&call.id, &call.name, words));
            }
        }
        newest_first.extend(results);
        newest_first.extend(shown(&answer, opener)?);
    }
    newest_first.reverse();
    Ok(newest_first)
}

/// The message, unless its subject was erased or it is gone.
fn shown(sealed: &Personal<ChatMessage>, opener: &dyn Opener) -> Result<Option<ChatMessage>, PromptError> {
    Ok(sealed.shown(opener).map(Opened::value)?)
}

fn exchanges(records: impl IntoIterator<Item = Record>, at_version: u64) -> Result<Vec<Exchange>, PromptError> {
    let mut exchanges: Vec<Exchange> = Vec::new();
    for record in records {
        for (version, stored) in (record.header.first_version..).zip(&record.events) {
            if version > at_version {
                return Ok(exchanges);
            }
            match codec::decode_event(stored).map_err(|e| PromptError::Gone(e.to_string()))? {
                RunEvent::ModelAnswered { answer, .. } => exchanges.push(Exchange {
                    answer: Some(answer.message),
                    calls: answer.tool_calls,
                    results: BTreeMap::new(),
                }),
                RunEvent::ToolReturned { name, result, .. } => {
                    // `tool#ITERATION.PLACE`
                    let place = name.rsplit('.').next().and_then(|place| place.parse().ok());
                    if let (Some(exchange), Some(place)) = (exchanges.last_mut(), place) {
                        exchange.results.insert(place, result);
                    }
                }
                _ => {}
            }
        }
    }
    Ok(exchanges)
}

#[cfg(test)]
mod tests;
