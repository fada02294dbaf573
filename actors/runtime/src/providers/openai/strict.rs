//! Messages as the strictest servers take them.
//!
//! Histories hold what people and imports put there, and are kept as they are. A server that refuses one message refuses
//! every later prompt of the conversation too, so what it could refuse is mended on the way out, each time in the same way.

use quipu_schemas::{
    chat::{ChatMessage, ChatRole, ToolCall},
    digest::Digest,
    limits::{PROVIDER_CALL_ID_MAX_CHARS, PROVIDER_NAME_MAX_CHARS},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The messages, mended: paired calls stay paired, and order is kept.
pub(crate) fn strict(messages: &[ChatMessage]) -> Vec<ChatMessage> {
    let mut calls = Calls::default();
    let mended: Vec<ChatMessage> = messages.iter().filter_map(|message| calls.mend(message)).collect();
    match messages.last() {
        // A prompt needs a message, if only an empty one.
        Some(last) if mended.is_empty() => vec![ChatMessage {
            role: if last.role == ChatRole::Tool { ChatRole::User } else { last.role },
            content: Some(String::new()),
            tool_calls: None,
            tool_call_id: None,
            name: None,
        }],
        _ => mended,
    }
}

/// Ids of tool calls: those that were used, and what those of the last message became.
#[derive(Default)]
struct Calls {
    used: BTreeSet<String>,
    open: BTreeMap<String, String>,
}

impl Calls {
    fn mend(&mut self, message: &ChatMessage) -> Option<ChatMessage> {
        let name = message.name.as_deref().and_then(speaker);
        if message.role == ChatRole::Tool {
            // The answer to a call; any other is refused.
            let id = self.open.remove(message.tool_call_id.as_ref()?)?;
            return Some(ChatMessage {
                content: Some(message.content.clone().unwrap_or_default()),
                tool_calls: None,
                tool_call_id: Some(id),
                name,
                ..message.clone()
            });
        }
        self.open.clear();
        let calls: Vec<ToolCall> = match message.role {
            ChatRole::Assistant => message.tool_calls.iter().flatten().filter_map(|call| self.call(call)).collect(),
            ChatRole::System | ChatRole::User | ChatRole::Tool => Vec::new(),
        };
        let content = message.content.clone().filter(|text| !text.trim().is_empty());
        (content.is_some() || !calls.is_empty()).then(|| ChatMessage {
            content,
            tool_calls: (!calls.is_empty()).then_some(calls),
            tool_call_id: None,
            name,
            ..message.clone()
        })
    }

    /// `None` for a second call of one id: its answer could not be told apart.
    fn call(&mut self, call: &ToolCall) -> Option<ToolCall> {
        if self.open.contains_key(&call.id) {
            return None;
        }
        let mut mended = call.clone();
        mended.kind = "function".into();
        mended.function.name = function(&call.function.name);
        mended.function.arguments = arguments(&call.function.arguments);
        let mut id = call.id.clone();
        for n in 0u64.. {
            if (1..=PROVIDER_CALL_ID_MAX_CHARS).contains(&id.chars().count()) && self.used.insert(id.clone()) {
                break;
            }
            let hash = Digest::of(&[call.id.as_bytes(), &n.to_be_bytes()]).to_string();
            id = format!("call_{}", &hash[..32]);
        }
        self.open.insert(call.id.clone(), id.clone());
        mended.id = id;
        Some(mended)
    }
}

/// A speaker's name: none of `<|\/>` or blanks. `None` where nothing is left of it.
fn speaker(name: &str) -> Option<String> {
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || "<|\\/>".contains(c);
    let name = name.trim_matches(forbidden);
    let mended: String = name
        .chars()
        .take(PROVIDER_NAME_MAX_CHARS)
        .map(|c| if forbidden(c) { '_' } else { c })
        .collect();
    (!mended.is_empty()).then_some(mended)
}

/// A function's name: letters, digits, `_` and `-`.
fn function(name: &str) -> String {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mended: String = name
        .chars()
        .take(PROVIDER_NAME_MAX_CHARS)
        .map(|c| if good(c) { c } else { '_' })
        .collect();
    if mended.is_empty() { "unnamed".into() } else { mended }
}

/// Arguments are the text of an object, whatever a model wrote.
fn arguments(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(_)) => text.to_owned(),
        _ if text.trim().is_empty() => "{}".into(),
        _ => json!({ "invalid_arguments": text }).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::performers::prompt::{plain, tool_answer};
    use proptest::prelude::*;
    use quipu_schemas::chat::FunctionCall;

    fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
        ToolCall {
            id: id.into(),
            kind: "function".into(),
            function: FunctionCall {
                name: name.into(),
                arguments: arguments.into(),
            },
        }
    }

    fn calling(content: Option<&str>, calls: Vec<ToolCall>) -> ChatMessage {
        ChatMessage {
            content: content.map(str::to_owned),
            tool_calls: Some(calls),
            ..plain(ChatRole::Assistant, "")
        }
    }

    #[test]
    fn good_messages_are_sent_as_they_are() {
        let named = ChatMessage {
            name: Some("ada-1_ü".into()),
            ..plain(ChatRole::User, "hi")
        };
        let messages = [
            plain(ChatRole::System, "Be kind."),
            named,
            calling(None, vec![call("a", "look", "{\"q\": 1}"), call("b", "find", "{}")]),
            tool_answer("b", "find", "".into()),
            tool_answer("a", "look", "1".into()),
            plain(ChatRole::Assistant, "So."),
        ];
        assert_eq!(strict(&messages), messages);
    }

    #[test]
    fn what_strict_servers_refuse_is_mended_or_left_out() {
        let name = |name: &str| ChatMessage {
            name: Some(name.into()),
            ..plain(ChatRole::User, "hi")
        };
        let names: Vec<Option<String>> = strict(&[name("Ada Example"), name("<|/\\> "), name(&"x".repeat(80))])
            .into_iter()
            .map(|m| m.name)
            .collect();
        assert_eq!(names, [Some("Ada_Example".into()), None, Some("x".repeat(64))]);

        assert_eq!(strict(&[calling(Some("x"), vec![])]), [plain(ChatRole::Assistant, "x")]);
        let empty = ChatMessage {
            content: None,
            ..plain(ChatRole::User, "")
        };
        assert_eq!(
            strict(&[
                empty.clone(),
                plain(ChatRole::User, "hi"),
                plain(ChatRole::Assistant, " "),
                calling(None, vec![])
            ]),
            [plain(ChatRole::User, "hi")]
        );
        assert_eq!(strict(&[empty]), [plain(ChatRole::User, "")]);
        assert_eq!(strict(&[]), []);
        assert_eq!(
            strict(&[plain(ChatRole::User, "hi"), tool_answer("a", "look", "1".into())]),
            [plain(ChatRole::User, "hi")]
        );
    }

    #[test]
    fn ids_names_and_arguments_of_calls_are_made_good() {
        let long = "x".repeat(60);
        let messages = strict(&[
            calling(
                None,
                vec![
                    call("a", "look it/up", "{\"q\":"),
                    call("a", "again", "{}"),
                    call(&long, "", ""),
                    call("", "n", "[1]"),
                ],
            ),
            tool_answer(&long, "look", "1".into()),
            tool_answer("a", "look", "2".into()),
            calling(None, vec![call("a", "look", "{}")]),
            tool_answer("a", "look", "3".into()),
        ]);
        let calls = messages[0].tool_calls.clone().unwrap();
        let told: Vec<(&str, &str)> = calls
            .iter()
            .map(|c| (c.function.name.as_str(), c.function.arguments.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("look_it_up", "{\"invalid_arguments\":\"{\\\"q\\\":\"}"),
                ("unnamed", "{}"),
                ("n", "{\"invalid_arguments\":\"[1]\"}")
            ]
        );
        assert_eq!(messages[1].tool_call_id.as_ref(), Some(&calls[1].id));
        assert_eq!(messages[2].tool_call_id.as_deref(), Some("a"));
        let later = &messages[3].tool_calls.as_ref().unwrap()[0].id;
        assert!(later != "a" && messages[4].tool_call_id.as_ref() == Some(later));
        assert!(calls.iter().all(|call| (1..=40).contains(&call.id.len())));
    }

    proptest! {
        /// Whatever the history: ids are unique and short, each answer follows its call, no message is empty.
        #[test]
        fn any_history_is_made_acceptable(shape in prop::collection::vec((0u8..4, "[ab ]{0,2}", prop::collection::vec("[ab]{0,1}", 0..3)), 0..12)) {
            let history: Vec<ChatMessage> = shape.into_iter().map(|(role, text, ids)| match role {
                0 => plain(ChatRole::User, &text),
                1 => ChatMessage { name: Some(text), content: None, ..plain(ChatRole::System, "") },
                2 => calling(Some(&text), ids.iter().map(|id| call(id, &text, &text)).collect()),
                _ => tool_answer(ids.first().map_or("a", String::as_str), &text, text.clone()),
            }).collect();
            let mended = strict(&history);
            prop_assert_eq!(&strict(&mended), &mended, "mending once is enough");
            let (mut used, mut open) = (BTreeSet::new(), BTreeSet::new());
            for message in &mended {
                prop_assert!(message.tool_calls.as_ref().is_none_or(|calls| !calls.is_empty()));
                prop_assert!(message.tool_calls.is_some() || message.content.is_some());
                if message.role == ChatRole::Tool {
                    prop_assert!(open.remove(message.tool_call_id.as_ref().unwrap()));
                } else {
                    open = message.tool_calls.iter().flatten().map(|call| call.id.clone()).collect();
                }
                for call in message.tool_calls.iter().flatten() {
                    prop_assert!(used.insert(call.id.clone()) && !call.id.is_empty());
                }
            }
        }
    }
}
