//! `llm.invoke` without a model: answers that follow from the prompt alone, for demos, tests and first steps.
//!
//! The answer's `model` is `scripted:<model>`, so nobody takes it for more. Lines of the system messages and
//! of the last user message steer it:
//!
//! ```text
//! scripted: reply <text>              the next answer; several lines are used one after the other
//! scripted: tool <name> <json>        a tool call before the answer; several lines, one call each
//! scripted: delay_ms <n> per token    a pause before each token
//! scripted: fail <code> times <n>     attempts 1 to n fail, and may be repeated; without `times`, it fails for good
//! ```
//! In a reply, `{user}` stands for the last user message and `{tool}` for the last tool result.

use super::{Answer, ChatFuture, ChatRequest, Deltas, NoAnswer, Provider};
use crate::breaker::Health;
use quipu_schemas::{
    chat::{ChatMessage, ChatRole, FunctionCall, ToolCall},
    digest::Digest,
    limits::{LLM_ANSWER_MAX_BYTES, SCRIPTED_QUOTE_MAX_CHARS},
};
use std::time::Duration;

/// Equal prompts and attempt numbers get equal answers.
pub(crate) struct Scripted;

impl Provider for Scripted {
    fn chat<'a>(&'a self, request: &'a ChatRequest, deltas: &'a mut dyn Deltas) -> ChatFuture<'a> {
        Box::pin(answer(request, deltas))
    }

    fn is_remote(&self) -> bool {
        false
    }
}

async fn answer(request: &ChatRequest, deltas: &mut dyn Deltas) -> Result<Answer, NoAnswer> {
    let messages = &request.messages[..];
    let script = Script::of(messages);
    match &script.fail {
        Some((code, Some(times))) if request.attempt <= *times => {
            let detail = format!("scripted failure {} of {times}", request.attempt);
            return Err(NoAnswer::again(code.clone(), detail, Health::Unknown));
        }
        Some((code, None)) => return Err(NoAnswer::failed(code.clone(), "scripted failure", Health::Unknown)),
        _ => {}
    }
    let message = script.answer(messages);
    let text = message.content.clone().unwrap_or_default();
    for token in text.split_inclusive(' ') {
        if script.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(script.delay_ms)).await;
        } else {
            // So that a cancellation is heard between tokens.
            tokio::task::yield_now().await;
        }
        deltas.push(token);
    }
    Ok(Answer {
        finish_reason: if message.tool_calls.is_some() { "tool_calls" } else { "stop" }.into(),
        model: format!("scripted:{}", request.model.model),
        prompt_tokens: messages.iter().filter_map(|m| m.content.as_deref()).map(words).sum(),
        completion_tokens: words(&text)
            + message
                .tool_calls
                .iter()
                .flatten()
                .map(|call| words(&call.function.arguments))
                .sum::<u64>(),
        message,
    })
}

fn words(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

fn plain(role: ChatRole, text: &str) -> ChatMessage {
    ChatMessage {
        role,
        content: Some(text.to_owned()),
        tool_calls: None,
        tool_call_id: None,
        name: None,
    }
}

#[derive(Debug, Default)]
struct Script<'a> {
    replies: Vec<&'a str>,
    tools: Vec<(&'a str, &'a str)>,
    delay_ms: u64,
    fail: Option<(String, Option<u32>)>,
}

impl<'a> Script<'a> {
    fn of(messages: &'a [ChatMessage]) -> Self {
        let mut script = Self::default();
        let last_user = messages.iter().rposition(|message| message.role == ChatRole::User);
        let speakers = messages
            .iter()
            .enumerate()
            .filter(|(n, message)| message.role == ChatRole::System || Some(*n) == last_user);
        for line in speakers.filter_map(|(_, message)| message.content.as_deref()).flat_map(str::lines) {
            if let Some(order) = line.trim().strip_prefix("scripted:") {
                script.obey(order.trim());
            }
        }
        script
    }

    // What is not understood is left out: a typing error must not stop a demo.
    fn obey(&mut self, order: &'a str) {
        let (verb, rest) = order.split_once(' ').map_or((order, ""), |(verb, rest)| (verb, rest.trim()));
        match verb {
            "reply" => self.replies.push(rest),
            "tool" => {
                let (name, arguments) = rest.split_once(' ').unwrap_or((rest, "{}"));
                if !name.is_empty() {
                    self.tools.push((name, arguments.trim()));
                }
            }
            "delay_ms" => self.delay_ms = rest.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0),
            "fail" => {
                let (code, times) = rest
                    .split_once(" times ")
                    .map_or((rest, None), |(code, n)| (code, n.trim().parse().ok()));
                let code: String = code.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect();
                self.fail = (!code.is_empty()).then_some((code, times));
            }
            _ => {}
        }
    }

    fn answer(&self, messages: &[ChatMessage]) -> ChatMessage {
        let since_user = messages.iter().rposition(|m| m.role == ChatRole::User).map_or(0, |n| n + 1);
        let calls_made: usize = messages[since_user..]
            .iter()
            .filter_map(|m| m.tool_calls.as_ref())
            .map(Vec::len)
            .sum();
        if let Some((name, arguments)) = self.tools.get(calls_made) {
            return tool_call(messages, name, arguments);
        }
        let content = |role| messages.iter().rfind(|m| m.role == role).and_then(|m| m.content.as_deref());
        let said: String = content(ChatRole::User)
            .unwrap_or_default()
            .lines()
            .filter(|line| !line.trim().starts_with("scripted:"))
            .collect::<Vec<_>>()
            .join(" ");
        let tool = messages[since_user..].iter().rfind(|m| m.role == ChatRole::Tool);
        let result = tool.and_then(|m| m.content.as_deref()).unwrap_or_default();
        let answered = messages
            .iter()
            .filter(|m| m.role == ChatRole::Assistant && m.tool_calls.is_none())
            .count();
        let text = match (self.replies.get(answered.min(self.replies.len().saturating_sub(1))), tool) {
            (Some(reply), _) => reply.replace("{user}", &quote(&said)).replace("{tool}", &quote(result)),
            (None, Some(tool)) => format!("The tool {} says: {}", tool.name.as_deref().unwrap_or("result"), quote(result)),
            (None, None) if said.trim().is_empty() => "Hello! I am a scripted model. Say something, and I will repeat it.".to_owned(),
            (None, None) => format!(
                "You said: \"{}\". I am a scripted model; configure a provider for real answers.",
                quote(said.trim())
            ),
        };
        let cut = text.floor_char_boundary(LLM_ANSWER_MAX_BYTES);
        plain(ChatRole::Assistant, &text[..cut])
    }
}

fn tool_call(messages: &[ChatMessage], name: &str, arguments: &str) -> ChatMessage {
    let prompt = serde_json::to_vec(messages).unwrap_or_default();
    let id = format!(
        "call_{}",
        &Digest::of(&[&prompt, name.as_bytes(), arguments.as_bytes()]).to_string()[..24]
    );
    let function = FunctionCall {
        name: name.to_owned(),
        arguments: arguments.to_owned(),
    };
    let call = ToolCall {
        id,
        kind: "function".into(),
        function,
    };
    ChatMessage {
        content: None,
        tool_calls: Some(vec![call]),
        ..plain(ChatRole::Assistant, "")
    }
}

fn quote(text: &str) -> String {
    match text.char_indices().nth(SCRIPTED_QUOTE_MAX_CHARS) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::performers::prompt::tool_answer;

    fn answer(messages: &[ChatMessage]) -> ChatMessage {
        Script::of(messages).answer(messages)
    }
    fn system(text: &str) -> ChatMessage {
        plain(ChatRole::System, text)
    }
    fn user(text: &str) -> ChatMessage {
        plain(ChatRole::User, text)
    }

    #[test]
    fn without_a_script_it_repeats_the_user() {
        let reply = answer(&[user("Where is my parcel?")]).content.unwrap();
        assert!(reply.starts_with("You said: \"Where is my parcel?\"."), "{reply}");
        assert_eq!(answer(&[user("x")]), answer(&[user("x")]));
        assert!(answer(&[]).content.unwrap().starts_with("Hello!"));
    }

    #[test]
    fn replies_follow_one_another_and_the_last_stays() {
        let directive = system("Be kind.\nscripted: reply First.\n scripted: reply Then: {user}");
        let mut chat = vec![directive, user("a")];
        for expected in ["First.", "Then: b", "Then: c"] {
            let reply = answer(&chat);
            assert_eq!(reply.content.as_deref(), Some(expected));
            chat.push(reply);
            chat.push(user(if expected == "First." { "b" } else { "c" }));
        }
    }

    #[test]
    fn tools_are_called_one_after_the_other_and_then_told() {
        let mut chat = vec![
            system("scripted: tool look {\"id\": 7}\nscripted: tool find\nscripted: reply Found {tool}"),
            user("go"),
        ];
        for (name, arguments) in [("look", "{\"id\": 7}"), ("find", "{}")] {
            let message = answer(&chat);
            let call = message.tool_calls.clone().unwrap().remove(0);
            assert_eq!((call.function.name.as_str(), call.function.arguments.as_str()), (name, arguments));
            chat.extend([message, tool_answer(&call.id, name, format!("{name} result"))]);
        }
        assert_eq!(answer(&chat).content.as_deref(), Some("Found find result"));
        let again = [chat, vec![plain(ChatRole::Assistant, "Found"), user("again")]].concat();
        assert_eq!(
            answer(&again).tool_calls.unwrap()[0].function.name,
            "look",
            "another turn calls again"
        );
    }

    #[test]
    fn failures_and_pauses_are_read_and_nonsense_is_passed_over() {
        let chat = [
            system("scripted: fail status_503 times 2\nscripted: delay_ms 15 per token\nscripted: dance"),
            user("x"),
        ];
        let script = Script::of(&chat);
        assert_eq!((script.fail, script.delay_ms), (Some(("status_503".into(), Some(2))), 15));
        let chat = [
            user("scripted: fail boom"),
            plain(ChatRole::Assistant, "scripted: reply no"),
            user("scripted: reply mine"),
        ];
        let script = Script::of(&chat);
        assert_eq!(
            (script.fail, script.replies),
            (None, vec!["mine"]),
            "only the last user message counts"
        );
    }
}
