//! A model's answer put together from the chunks of an OpenAI-compatible stream. Pure.

use quipu_schemas::{
    chat::{ChatMessage, ChatRole, FunctionCall, ToolCall},
    digest::Digest,
    limits::{LLM_ANSWER_MAX_BYTES, LLM_TOOL_CALLS_MAX},
    reaction::ToolCallRef,
};
use serde::Deserialize;
use serde_json::Value;

/// A whole answer, not yet sealed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) message: ChatMessage,
    pub(crate) finish_reason: String,
    pub(crate) model: String,
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
}

impl Answer {
    /// The calls without their arguments.
    pub(crate) fn call_refs(&self) -> Vec<ToolCallRef> {
        self.message.tool_calls.iter().flatten().map(call_ref).collect()
    }
}

fn call_ref(call: &ToolCall) -> ToolCallRef {
    let FunctionCall { name, arguments } = &call.function;
    ToolCallRef {
        id: call.id.clone(),
        name: name.clone(),
        fingerprint: Digest::of(&[name.as_bytes(), arguments.as_bytes()]),
    }
}

/// Why chunks do not make an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChunkError {
    #[error("a chunk of the stream is not a completion chunk")]
    Form,
    #[error("the provider reported an error in its stream{}", .0.as_ref().map(|code| format!(" ({code})")).unwrap_or_default())]
    Provider(Option<String>),
    #[error("the answer is larger than {LLM_ANSWER_MAX_BYTES} bytes")]
    TooLarge,
}

/// What a chunk brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    /// This much text (perhaps none).
    Text(String),
    /// The last text that fits: reading on is pointless.
    Full(String),
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    // A server that does not stream answers with `message`.
    #[serde(default, alias = "message")]
    delta: Option<Delta>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
struct CallDelta {
    #[serde(default)]
    index: Option<u64>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<FunctionDelta>,
}

#[derive(Deserialize)]
struct FunctionDelta {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    arguments: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
}

#[derive(Debug, Default)]
struct PartialCall {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
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
        let chunk: Chunk = serde_json::from_str(data).map_err(|_| ChunkError::Form)?;
        if let Some(error) = &chunk.error {
            return Err(ChunkError::Provider(error_word(error)));
        }
        if let Some(model) = chunk.model.filter(|model| !model.is_empty()) {
            self.model.get_or_insert(model.chars().take(200).collect());
        }
        if let Some(usage) = chunk.usage {
            self.usage = Some((usage.prompt_tokens.unwrap_or(0), usage.completion_tokens.unwrap_or(0)));
        }
        let mut fresh = String::new();
        for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
            if let Some(delta) = choice.delta {
                for text in [delta.content, delta.refusal].into_iter().flatten() {
                    fresh.push_str(&text);
                    self.text.get_or_insert_default();
                }
                for call in delta.tool_calls.into_iter().flatten() {
                    self.push_call(call)?;
                }
            }
            if let Some(reason) = choice.finish_reason {
                self.finish_reason = Some(reason.chars().take(40).collect());
            }
        }
        self.push_text(fresh)
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
        // Some servers leave `index` out: a new id then begins a new call.
        let known = self.calls.iter().rposition(|call| match (delta.index, &delta.id) {
            (Some(index), _) => call.index == Some(index),
            (None, Some(id)) => call.id == *id,
            (None, None) => true,
        });
        let place = known.unwrap_or_else(|| {
            self.calls.push(PartialCall {
                index: delta.index,
                ..PartialCall::default()
            });
            self.calls.len() - 1
        });
        let call = &mut self.calls[place];
        if let Some(id) = delta.id.filter(|id| !id.is_empty()) {
            call.id = id;
        }
        if let Some(function) = delta.function {
            if let Some(name) = function.name.filter(|name| !name.is_empty()) {
                call.name = name;
            }
            let arguments = function.arguments.unwrap_or_default();
            self.bytes += arguments.len();
            call.arguments.push_str(&arguments);
        }
        let words = call.id.len() + call.name.len();
        if self.bytes > LLM_ANSWER_MAX_BYTES || self.calls.len() > LLM_TOOL_CALLS_MAX || words > 1_024 {
            return Err(ChunkError::TooLarge);
        }
        Ok(())
    }

    /// The answer. Calls without an id get one from their place and `seed`.
    pub(crate) fn finish(self, asked_model: &str, seed: &str) -> Answer {
        let call = |(n, call): (usize, PartialCall)| ToolCall {
            id: if call.id.is_empty() { format!("call_{seed}_{n}") } else { call.id },
            kind: "function".into(),
            function: FunctionCall {
                name: call.name,
                arguments: call.arguments,
            },
        };
        let calls: Vec<ToolCall> = self.calls.into_iter().enumerate().map(call).collect();
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

/// The code or type of a provider's error object, where it is a plain word: its message may quote the
/// prompt or a key, and is never kept.
pub(crate) fn error_word(error: &Value) -> Option<String> {
    let word = |field: &str| {
        let text = error.get(field)?.as_str()?;
        let plain = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'.');
        plain.then(|| text.to_owned())
    };
    word("code").or_else(|| word("type"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn assemble(chunks: &[Value]) -> Result<Answer, ChunkError> {
        let mut assembly = Assembly::default();
        for chunk in chunks {
            assembly.push(&chunk.to_string())?;
        }
        Ok(assembly.finish("asked", "s"))
    }

    fn delta(delta: Value) -> Value {
        json!({"model": "m-1", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
    }

    #[test]
    fn parallel_calls_are_assembled_with_and_without_indices() {
        let indexed = [
            delta(json!({"role": "assistant", "content": null})),
            delta(json!({"tool_calls": [{"index": 0, "id": "c0", "type": "function", "function": {"name": "look", "arguments": ""}}]})),
            delta(json!({"tool_calls": [{"index": 1, "id": "c1", "function": {"name": "find", "arguments": "{\"q\":"}}]})),
            delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}, {"index": 1, "function": {"arguments": "1}"}}]})),
            json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}),
            json!({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7}}),
        ];
        let answer = assemble(&indexed).unwrap();
        let refs = answer.call_refs();
        assert_eq!(
            refs.iter().map(|r| (r.id.as_str(), r.name.as_str())).collect::<Vec<_>>(),
            [("c0", "look"), ("c1", "find")]
        );
        assert_eq!(refs[1].fingerprint, Digest::of(&[b"find", b"{\"q\":1}"]));
        assert_eq!(
            (answer.message.content, answer.finish_reason.as_str(), answer.prompt_tokens),
            (None, "tool_calls", 5)
        );

        let bare = assemble(&[
            delta(json!({"tool_calls": [{"id": "a", "function": {"name": "x", "arguments": "{}"}}]})),
            delta(json!({"tool_calls": [{"id": "b", "function": {"name": "y", "arguments": "{"}}]})),
            delta(json!({"tool_calls": [{"function": {"arguments": "}"}}]})),
        ]);
        let calls = bare.unwrap().message.tool_calls.unwrap();
        assert_eq!(
            calls
                .iter()
                .map(|c| (c.id.as_str(), c.function.arguments.as_str()))
                .collect::<Vec<_>>(),
            [("a", "{}"), ("b", "{}")]
        );
    }

    #[test]
    fn an_answer_in_one_piece_an_empty_one_and_a_refusal_are_answers() {
        let whole =
            assemble(&[json!({"model": "m", "choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]})]);
        assert_eq!(whole.unwrap().message.content.as_deref(), Some("Hi"));
        let empty = assemble(&[]).unwrap();
        assert_eq!(
            (empty.message.content.as_deref(), empty.model.as_str(), empty.finish_reason.as_str()),
            (Some(""), "asked", "stop")
        );
        assert_eq!(
            assemble(&[delta(json!({"refusal": "No."}))]).unwrap().message.content.as_deref(),
            Some("No.")
        );
    }

    #[test]
    fn size_is_bounded_text_by_cutting_and_calls_by_refusal() {
        let mut assembly = Assembly::default();
        let long = "ä".repeat(LLM_ANSWER_MAX_BYTES);
        let Ok(Progress::Full(text)) = assembly.push(&delta(json!({"content": long})).to_string()) else {
            panic!("not cut")
        };
        assert!(text.len() <= LLM_ANSWER_MAX_BYTES && text.len() > LLM_ANSWER_MAX_BYTES - 2);
        assert_eq!(assembly.finish("m", "s").finish_reason, "length");

        let call =
            |arguments: &str| delta(json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "x", "arguments": arguments}}]}));
        assert_eq!(assemble(&[call(&long)]), Err(ChunkError::TooLarge));
        assert_eq!(assemble(&[call("{}"), delta(json!({"content": long}))]), Err(ChunkError::TooLarge));
        let many: Vec<Value> = (0..=LLM_TOOL_CALLS_MAX)
            .map(|n| delta(json!({"tool_calls": [{"index": n}]})))
            .collect();
        assert_eq!(assemble(&many), Err(ChunkError::TooLarge));
    }

    #[test]
    fn errors_are_named_by_word_only() {
        let error = json!({"error": {"message": "prompt was: secret", "type": "server_error", "code": null}});
        let said = assemble(&[error]).unwrap_err().to_string();
        assert!(said.contains("server_error") && !said.contains("secret"), "{said}");
        assert_eq!(error_word(&json!({"code": "Key sk-123"})), None);
        assert_eq!(assemble(&[json!([1])]), Err(ChunkError::Form));
    }
}
