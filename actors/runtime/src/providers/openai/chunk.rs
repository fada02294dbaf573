//! One chunk of a completion stream, read as leniently as it can be told what it means.
//!
//! Servers that call themselves compatible send null for lists, texts for numbers, lists for texts, and fields of their own.
//! What is not understood is passed over; only what is not an object, and a reported error, ends an answer.

use quipu_schemas::limits::LLM_ANSWER_MAX_BYTES;
use serde_json::{Map, Value};

/// What a chunk says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Chunk {
    pub(crate) model: Option<String>,
    /// Tokens of prompt and answer.
    pub(crate) usage: Option<(u64, u64)>,
    /// More text, perhaps none.
    pub(crate) text: Option<String>,
    pub(crate) calls: Vec<CallDelta>,
    pub(crate) finish_reason: Option<String>,
}

/// A piece of a tool call.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct CallDelta {
    pub(crate) index: Option<u64>,
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) arguments: Arguments,
}

/// Arguments of a tool call in a piece of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Arguments {
    /// More of their text.
    Piece(String),
    /// All of them.
    Whole(String),
}

impl Default for Arguments {
    fn default() -> Self {
        Arguments::Piece(String::new())
    }
}

impl Chunk {
    pub(crate) fn read(data: &str) -> Result<Self, ChunkError> {
        let Ok(Value::Object(fields)) = serde_json::from_str(data) else {
            return Err(ChunkError::Form);
        };
        if let Some(error) = fields.get("error").filter(|error| says_something(error)) {
            return Err(ChunkError::Provider(error_word(error)));
        }
        let mut chunk = Chunk {
            model: text(fields.get("model")),
            usage: fields.get("usage").and_then(Value::as_object).map(usage),
            ..Self::default()
        };
        for choice in list(fields.get("choices")).iter().filter_map(|choice| choice.as_object()) {
            if number(choice.get("index")).unwrap_or(0) == 0 {
                chunk.choice(choice);
            }
        }
        Ok(chunk)
    }

    fn choice(&mut self, choice: &Map<String, Value>) {
        // A server that does not stream answers with `message`.
        let delta = ["delta", "message"].into_iter().find_map(|name| choice.get(name)?.as_object());
        if let Some(delta) = delta {
            for content in [delta.get("content"), delta.get("refusal")].into_iter().flatten() {
                self.content(content);
            }
            self.calls.extend(list(delta.get("tool_calls")).into_iter().filter_map(call));
            // The form before tool calls: one call, without an id.
            if let Some(function) = delta.get("function_call").filter(|call| call.is_object()) {
                self.calls.push(function_of(function));
            }
        }
        if let Some(reason) = text(choice.get("finish_reason")) {
            self.finish_reason = Some(reason);
        }
    }

    fn content(&mut self, content: &Value) {
        match content {
            Value::String(more) => self.text.get_or_insert_default().push_str(more),
            Value::Array(parts) => parts.iter().for_each(|part| self.content(part)),
            // A part of another kind, such as a model's reasoning, is not its answer.
            Value::Object(part) => {
                let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
                let said = part.get("text").or_else(|| part.get("refusal")).and_then(Value::as_str);
                if let (Some(more), "text" | "output_text" | "refusal") = (said, kind) {
                    self.text.get_or_insert_default().push_str(more);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

fn call(value: &Value) -> Option<CallDelta> {
    let fields = value.as_object()?;
    Some(CallDelta {
        index: number(fields.get("index")),
        id: text(fields.get("id")),
        ..fields.get("function").map(function_of).unwrap_or_default()
    })
}

fn function_of(function: &Value) -> CallDelta {
    let arguments = match function.get("arguments") {
        Some(Value::String(piece)) => Arguments::Piece(piece.clone()),
        None | Some(Value::Null) => Arguments::default(),
        Some(whole) => Arguments::Whole(whole.to_string()),
    };
    CallDelta {
        name: text(function.get("name")),
        arguments,
        ..CallDelta::default()
    }
}

fn usage(fields: &Map<String, Value>) -> (u64, u64) {
    let tokens = |name: &str| number(fields.get(name)).unwrap_or(0);
    (tokens("prompt_tokens"), tokens("completion_tokens"))
}

/// One thing or a list of them; nothing for null.
fn list(value: Option<&Value>) -> Vec<&Value> {
    match value {
        Some(Value::Array(items)) => items.iter().collect(),
        Some(one @ Value::Object(_)) => vec![one],
        _ => Vec::new(),
    }
}

/// A text that is not empty.
fn text(value: Option<&Value>) -> Option<String> {
    value?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A whole number in any spelling.
fn number(value: Option<&Value>) -> Option<u64> {
    match value? {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().filter(|n| *n >= 0.0).map(|n| n as u64)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
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

    fn read(value: Value) -> Result<Chunk, ChunkError> {
        Chunk::read(&value.to_string())
    }

    #[test]
    fn odd_chunks_say_what_they_can() {
        let hello = Chunk {
            text: Some("Hello".into()),
            ..Chunk::default()
        };
        for odd in [
            json!({"choices": [{"index": null, "delta": {"content": "Hello"}}]}),
            json!({"choices": [{"index": "0", "delta": {"content": "Hello", "tool_calls": null, "role": 7}}]}),
            json!({"choices": [{"index": 0.0, "delta": {"content": "Hello"}, "finish_reason": ""}], "usage": null, "model": ""}),
            json!({"choices": [{"delta": {"content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]}}]}),
            json!({"choices": [{"delta": {"content": [{"type": "thinking", "text": "hm"}, "Hello"]}}, {"index": 1, "delta": {"content": "x"}}]}),
            json!({"choices": {"delta": null, "message": {"content": "Hello"}}, "error": null}),
            json!({"choices": [null, 7, {"delta": {"content": "Hello"}}], "error": {}}),
        ] {
            assert_eq!(
                read(odd.clone()),
                Ok(Chunk {
                    text: hello.text.clone(),
                    ..Chunk::default()
                }),
                "{odd}"
            );
        }
        for (usage, expected) in [
            (json!({"prompt_tokens": 1.0, "completion_tokens": "2"}), (1, 2)),
            (json!({"prompt_tokens": null, "completion_tokens": -1}), (0, 0)),
        ] {
            assert_eq!(read(json!({"choices": null, "usage": usage})).unwrap().usage, Some(expected));
        }
        for nothing in [
            json!({}),
            json!({"choices": null}),
            json!({"choices": "x"}),
            json!({"choices": [{"delta": null}]}),
        ] {
            assert_eq!(read(nothing), Ok(Chunk::default()));
        }
        assert_eq!(read(json!([1])), Err(ChunkError::Form));
        assert_eq!(Chunk::read("{"), Err(ChunkError::Form));
        assert_eq!(read(json!({"error": "down"})), Err(ChunkError::Provider(None)));
    }

    #[test]
    fn tool_calls_are_read_in_every_form() {
        let one = |call: Value| read(json!({"choices": [{"delta": {"tool_calls": call}}]})).unwrap().calls.remove(0);
        let call = one(json!([{"index": "1", "id": "", "function": {"name": "", "arguments": null}}]));
        assert_eq!(
            call,
            CallDelta {
                index: Some(1),
                ..CallDelta::default()
            }
        );
        let call = one(json!({"id": "a", "function": {"name": "look", "arguments": {"q": 1}}}));
        assert_eq!(
            (call.id.as_deref(), call.arguments),
            (Some("a"), Arguments::Whole("{\"q\":1}".into()))
        );
        let old = read(json!({"choices": [{"delta": {"function_call": {"name": "look", "arguments": "{}"}}}]})).unwrap();
        assert_eq!(old.calls[0].name.as_deref(), Some("look"));
    }
}
