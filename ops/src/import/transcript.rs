//! One line of a transcript file, checked as a whole before anything of it is sent.

use crate::json::{self, JsonError};
use quipu_kinds::conversation::ImportedContent;
use quipu_schemas::{
    chat::ChatMessage,
    digest::Digest,
    ids::EntityId,
    limits::{MESSAGE_MAX_BYTES, MESSAGES_MAX, NAME_MAX_CHARS},
    text::is_printable_line,
};
use serde_json::{Map, Value, json};

/// A line that is not imported, or not wholly.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct BadLine {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong, with the place inside the line.
    pub reason: String,
}

/// A conversation as it will be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Transcript {
    /// The line's number, from 1.
    pub line: u64,
    /// Id of the conversation.
    pub conversation: EntityId,
    /// The line's `title`, else its own id where that could not be the conversation's.
    pub title: Option<String>,
    /// Bodies of `import_message`, in order.
    pub messages: Vec<Value>,
}

/// Parses a line; the error says what is wrong and where.
pub fn parse(line: u64, text: &[u8]) -> Result<Transcript, String> {
    let value = json::parse(text).map_err(|e| match e {
        JsonError::Syntax(e) => format!("the line is not JSON at column {}: {e}", e.column()),
        JsonError::Repeated { field, column, .. } => format!("the field `{field}` is given twice (column {column})"),
        JsonError::Inexact { field, number, .. } => format!("`{field}`: the number {number} cannot be kept exactly; write it as text"),
    })?;
    let Value::Object(fields) = value else {
        return Err("the line is JSON, but not an object".into());
    };
    let (conversation, own_id) = name(&fields, text)?;
    let title = title(&fields)?.or(own_id);
    let messages = match fields.get("messages") {
        Some(Value::Array(messages)) if messages.len() > MESSAGES_MAX => {
            return Err(format!("`messages` has {} entries; {MESSAGES_MAX} is the most", messages.len()));
        }
        Some(Value::Array(messages)) => messages,
        Some(_) => return Err("`messages` is not a list".into()),
        None => return Err("there is no `messages`".into()),
    };
    let messages = messages
        .iter()
        .enumerate()
        .map(|(at, given)| message(at, given).map_err(|e| format!("messages[{at}]: {e}")));
    Ok(Transcript {
        line,
        conversation,
        title,
        messages: messages.collect::<Result<_, _>>()?,
    })
}

/// The conversation's id: the line's where it is one, else a digest of it, else a digest of the line.
fn name(fields: &Map<String, Value>, text: &[u8]) -> Result<(EntityId, Option<String>), String> {
    let derived = |from: &[u8]| EntityId::parse(format!("import-{}", &Digest::of(&[from]).to_string()[..32])).map_err(|e| e.to_string());
    let own = match fields.get("id") {
        None | Some(Value::Null) => return Ok((derived(text.trim_ascii())?, None)),
        Some(Value::String(own)) => own.clone(),
        Some(Value::Number(own)) => own.to_string(),
        Some(_) => return Err("`id` is neither text nor number".into()),
    };
    match EntityId::parse(own.clone()) {
        Ok(id) if !id.is_reserved() => Ok((id, None)),
        _ => Ok((derived(own.as_bytes())?, Some(own.chars().take(NAME_MAX_CHARS).collect()))),
    }
}

/// The title that the line gives its conversation.
fn title(fields: &Map<String, Value>) -> Result<Option<String>, String> {
    match fields.get("title") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(title)) if title.is_empty() => Ok(None),
        Some(Value::String(title)) if title.chars().count() <= NAME_MAX_CHARS && is_printable_line(title) => Ok(Some(title.clone())),
        Some(Value::String(_)) => Err(format!("`title`: a title has 1 to {NAME_MAX_CHARS} printable characters")),
        Some(_) => Err("`title` is not text".into()),
    }
}

/// Whether a field that we have no place for says nothing: today's APIs give many so.
fn says_nothing(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

fn message(at: usize, given: &Value) -> Result<Value, String> {
    const KEPT: [&str; 5] = ["role", "content", "tool_calls", "tool_call_id", "name"];
    let mut telling = given.clone();
    if let Some(fields) = telling.as_object_mut() {
        fields.retain(|name, value| KEPT.contains(&name.as_str()) || !says_nothing(value));
    }
    let parsed: ChatMessage = serde_json::from_value(telling).map_err(|e| e.to_string())?;
    if let Some(lost) = lost(given, &serde_json::to_value(&parsed).map_err(|e| e.to_string())?) {
        return Err(format!("`{lost}` would be lost: chat messages have no such field"));
    }
    let ChatMessage {
        role,
        content,
        tool_calls,
        tool_call_id,
        name,
    } = parsed;
    let content = ImportedContent {
        content,
        tool_calls,
        tool_call_id,
        name,
    };
    let size = serde_json::to_vec(&content).map_or(usize::MAX, |bytes| bytes.len());
    if size > MESSAGE_MAX_BYTES {
        return Err(format!(
            "the message takes {size} bytes; {MESSAGE_MAX_BYTES} is the most (MESSAGE_MAX_BYTES)"
        ));
    }
    Ok(json!({ "message_id": format!("m{:05}", at + 1), "role": role, "content": content }))
}

/// A field of `given` that says something and is not in `kept`.
fn lost(given: &Value, kept: &Value) -> Option<String> {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => given.iter().find_map(|(name, value)| match kept.get(name) {
            Some(inner) => lost(value, inner).map(|rest| format!("{name}.{rest}")),
            None if says_nothing(value) => None,
            None => Some(name.clone()),
        }),
        (Value::Array(given), Value::Array(kept)) => given
            .iter()
            .zip(kept)
            .enumerate()
            .find_map(|(at, (given, kept))| lost(given, kept).map(|rest| format!("{at}.{rest}"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(message: &str) -> Result<Value, String> {
        parse(1, format!(r#"{{"id":"c-1","messages":[{message}]}}"#).as_bytes()).map(|t| t.messages[0].clone())
    }

    #[test]
    fn null_and_empty_content_stay_apart_and_tool_calls_are_kept() {
        let null = one(
            r#"{"role":"assistant","content":null,"tool_calls":[{"id":"t1","type":"function","function":{"name":"f","arguments":"{}"}}]}"#,
        )
        .unwrap();
        assert_eq!(null["content"]["content"], Value::Null);
        assert_eq!(null["content"]["tool_calls"][0]["function"]["name"], "f");
        assert_eq!(
            (null["message_id"].as_str(), null["role"].as_str()),
            (Some("m00001"), Some("assistant"))
        );
        assert_eq!(
            one(r#"{"role":"tool","content":"","tool_call_id":"t1","name":"f"}"#).unwrap()["content"]["content"],
            ""
        );
        assert!(
            one(r#"{"role":"user","content":"x","name":null}"#).unwrap()["content"]
                .get("name")
                .is_none()
        );
    }

    #[test]
    fn what_cannot_be_kept_is_refused_with_its_place() {
        let long = format!(r#"{{"role":"user","content":"{}"}}"#, "x".repeat(MESSAGE_MAX_BYTES));
        for (message, part) in [
            (r#"{"role":"robot","content":"x"}"#, "unknown variant `robot`"),
            (r#"{"role":"user","content":"x","refusal":"no"}"#, "unknown field `refusal`"),
            (r#"{"role":"user","content":[{"type":"text","text":"x"}]}"#, "expected a string"),
            (r#"{"content":"x"}"#, "missing field `role`"),
            (
                r#"{"role":"assistant","content":null,"tool_calls":[{"id":"t","type":"function","index":0,"function":{"name":"f","arguments":""}}]}"#,
                "`tool_calls.0.index` would be lost",
            ),
            (&long, "MESSAGE_MAX_BYTES"),
        ] {
            let reason = one(message).unwrap_err();
            assert!(reason.starts_with("messages[0]: ") && reason.contains(part), "{reason}");
        }
        for (line, part) in [
            ("[]", "not an object"),
            ("{", "not JSON"),
            (r#"{"messages":1}"#, "not a list"),
            (r#"{"messages":[],"title":7}"#, "`title` is not text"),
            (r#"{"messages":[],"title":"a\u202eb"}"#, "`title`: a title has"),
            (
                r#"{"messages":[{"role":"user","content":"a","content":"b"}]}"#,
                "`messages.0.content` is given twice",
            ),
            (r#"{"messages":[],"messages":[]}"#, "`messages` is given twice"),
            (
                r#"{"id":123456789012345678901234567890,"messages":[]}"#,
                "`id`: the number 1234567890",
            ),
            (r#"{"id":[],"messages":[1]}"#, "neither text"),
        ] {
            assert!(parse(1, line.as_bytes()).unwrap_err().contains(part), "{line}");
        }
    }

    #[test]
    fn what_says_nothing_is_no_loss() {
        let sdk =
            r#"{"role":"assistant","content":"yo","refusal":null,"annotations":[],"audio":null,"function_call":null,"tool_calls":null}"#;
        let kept = one(sdk).unwrap();
        assert_eq!(kept["content"], json!({ "content": "yo" }));
        let call = r#"{"id":"t","type":"function","function":{"name":"f","arguments":"{}","strict":null},"custom":null}"#;
        let kept = one(&format!(r#"{{"role":"assistant","content":null,"tool_calls":[{call}]}}"#)).unwrap();
        assert_eq!(kept["content"]["tool_calls"][0]["id"], "t");
        let reason = one(r#"{"role":"assistant","content":"yo","annotations":[{"type":"url_citation"}]}"#).unwrap_err();
        assert!(reason.contains("`annotations`"), "{reason}");
        let transcript = parse(1, br#"{"id":"e","title":"Lunch","messages":[]}"#).unwrap();
        assert_eq!((transcript.title.as_deref(), transcript.messages.len()), (Some("Lunch"), 0));
        let renamed = parse(1, br#"{"id":"a/b","title":"Lunch","messages":[]}"#).unwrap();
        assert_eq!(renamed.title.as_deref(), Some("Lunch"));
    }

    #[test]
    fn conversations_are_named_by_their_line() {
        let named = |line: &str| parse(1, line.as_bytes()).map(|t| (t.conversation.to_string(), t.title)).unwrap();
        let rest = r#""messages":[{"role":"user","content":"x"}]}"#;
        assert_eq!(named(&format!(r#"{{"id":"airline-000-0",{rest}"#)), ("airline-000-0".into(), None));
        assert_eq!(named(&format!(r#"{{"id":7,{rest}"#)), ("7".into(), None));
        let (odd, title) = named(&format!(r#"{{"id":"a/b",{rest}"#));
        assert!(odd.starts_with("import-") && title.as_deref() == Some("a/b"));
        assert!(named(&format!(r#"{{"id":"_x",{rest}"#)).0.starts_with("import-"));
        let (derived, _) = named(&format!("{{{rest}"));
        assert_eq!(derived, named(&format!("{{{rest}\r\n")).0, "line ends do not name");
    }
}
