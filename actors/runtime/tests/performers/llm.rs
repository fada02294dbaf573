//! `llm.invoke`: streams whole, broken, slow and cancelled.

mod ending;

use crate::{
    fake::{Fake, Step, chunk, last_chunk, response, stream_head},
    stage::{Props, Stage, ask, attempt, conversation, failed, message, open, retryable, user},
};
use quipu_runtime::{
    performers::{AttemptEnd, CancelToken, cancel_pair},
    providers::OpenAiConfig,
    volatile::{Received, Subscription, VolatileEvent},
};
use quipu_schemas::{
    chat::{ChatRole, ToolRun, ToolSpec},
    digest::Digest,
    json::Json,
    personal::Personal,
    reaction::{ComposedMessage, ComposedText, Effect, LlmAnswer, Outcome, Prompt},
};
use serde_json::{Value, json};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

fn text(text: &str) -> String {
    event(
        &json!({"id": "x", "object": "chat.completion.chunk", "model": "tiny-2026", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]}),
    )
}

fn finish(reason: &str) -> String {
    let end = json!({"model": "tiny-2026", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]});
    let usage = json!({"model": "tiny-2026", "choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}});
    format!("{}{}data: [DONE]\n\n", event(&end), event(&usage))
}

/// The wire text in chunks of `size` bytes.
fn streamed(wire: &str, size: usize) -> Vec<Step> {
    let mut steps = vec![Step::Send(stream_head())];
    steps.extend(wire.as_bytes().chunks(size).map(|piece| Step::Send(chunk(piece))));
    steps.push(Step::Send(last_chunk()));
    steps
}

fn stage(fake: &Fake) -> Stage {
    stage_with(fake, |_| {})
}

fn stage_with(fake: &Fake, change: impl FnOnce(&mut OpenAiConfig)) -> Stage {
    let mut config = OpenAiConfig {
        api_key: Some("openai".into()),
        ..OpenAiConfig::at(fake.url("/v1"))
    };
    change(&mut config);
    Props::reaching(&[fake]).provider(config).secret("openai", "sk-test-key").stage()
}

#[track_caller]
fn answered(end: AttemptEnd) -> LlmAnswer {
    match end {
        AttemptEnd::Done(Outcome::Answered(answer)) => answer,
        other => panic!("not answered: {other:?}"),
    }
}

async fn delta(listener: &mut Subscription) -> (u64, String) {
    match listener.next().await {
        Some(Received::Event(VolatileEvent::Delta { turn, agent, index, text })) => {
            assert_eq!((turn.as_str(), agent.as_str()), ("t1", "bot"));
            (index, text)
        }
        other => panic!("not a delta: {other:?}"),
    }
}

#[tokio::test]
async fn an_answer_streams_through_chunks_of_any_size() {
    let wire = format!(
        ": keep-alive\n\n{}{}{}{}",
        text("Grüße"),
        text(", "),
        text("Ada 🌍"),
        finish("stop")
    );
    for size in [1, 7, 4096] {
        let wire = wire.clone();
        let mut fake = Fake::start(move |_, _| streamed(&wire, size)).await;
        let stage = stage(&fake);
        let mut listener = stage.volatile.subscribe(&conversation());
        let mut call = ask("openai", vec![message(ChatRole::System, "Be kind."), user("Hello")]);
        call.model.temperature = Some(0.5);
        call.model.max_tokens = Some(99);
        let parameters = Json(json!({"type": "object"}));
        let run = ToolRun::Http {
            method: "POST".into(),
            url: "https://tools.example/look".into(),
            idempotent: false,
        };
        call.tools = vec![ToolSpec {
            name: "look".into(),
            description: "Looks.".into(),
            parameters,
            run,
        }];
        let answer = answered(stage.perform(Effect::LlmInvoke(call)).await);

        let said = open(&answer.message);
        assert_eq!(
            (said.role, said.content.as_deref(), said.tool_calls),
            (ChatRole::Assistant, Some("Grüße, Ada 🌍"), None)
        );
        assert_eq!(answer.text.as_ref().map(open), Some("Grüße, Ada 🌍".into()));
        assert_eq!(
            (answer.finish_reason.as_str(), answer.model.as_str(), answer.attempt),
            ("stop", "tiny-2026", 1)
        );
        assert_eq!((answer.prompt_tokens, answer.completion_tokens), (11, 3));
        for expected in [(0, "Grüße"), (1, ", "), (2, "Ada 🌍")] {
            assert_eq!(delta(&mut listener).await, (expected.0, expected.1.into()));
        }

        let seen = fake.next().await;
        assert_eq!(seen.line, "POST /v1/chat/completions HTTP/1.1");
        assert_eq!(seen.header("authorization"), "Bearer sk-test-key");
        assert!(seen.header("x-client-request-id").ends_with(".1"));
        assert_eq!(seen.header("x-request-id"), crate::stage::REQUEST_ID);
        assert_eq!(
            seen.json(),
            json!({
                "model": "tiny", "stream": true, "stream_options": {"include_usage": true}, "temperature": 0.5, "max_tokens": 99,
                "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}],
                "tools": [{"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}}],
            })
        );
    }
}

#[tokio::test]
async fn tool_calls_are_put_together_from_their_deltas() {
    let calls = |delta: Value| event(&json!({"choices": [{"index": 0, "delta": {"tool_calls": [delta]}}]}));
    let wire = [
        calls(json!({"index": 0, "id": "call_a", "type": "function", "function": {"name": "look", "arguments": ""}})),
        calls(json!({"index": 0, "function": {"arguments": "{\"city\":"}})),
        calls(json!({"index": 1, "id": "call_b", "type": "function", "function": {"name": "find", "arguments": "{}"}})),
        calls(json!({"index": 0, "function": {"arguments": "\"Ulm\"}"}})),
        finish("tool_calls"),
    ]
    .concat();
    let fake = Fake::start(move |_, _| streamed(&wire, 13)).await;
    let answer = answered(stage(&fake).perform(Effect::LlmInvoke(ask("openai", vec![user("?")]))).await);
    let refs: Vec<(&str, &str)> = answer
        .tool_calls
        .iter()
        .map(|call| (call.id.as_str(), call.name.as_str()))
        .collect();
    assert_eq!(refs, [("call_a", "look"), ("call_b", "find")]);
    assert_eq!(answer.tool_calls[0].fingerprint, Digest::of(&[b"look", b"{\"city\":\"Ulm\"}"]));
    let said = open(&answer.message);
    assert_eq!(said.tool_calls.unwrap()[0].function.arguments, "{\"city\":\"Ulm\"}");
    assert_eq!(
        (said.content, answer.text.is_none(), answer.finish_reason.as_str()),
        (None, true, "tool_calls")
    );
}

#[tokio::test]
async fn odd_chunks_do_not_cost_the_answer() {
    let wire = [
        "data:\n\n",
        &event(&json!({"choices": [{"index": null, "delta": {"content": [{"type": "text", "text": "Hel"}]}, "finish_reason": ""}]})),
        "data\n\n",
        &event(&json!({"choices": [{"index": "0", "delta": {"content": "lo"}, "finish_reason": "stop"}]})),
        &event(&json!({"choices": null, "usage": {"prompt_tokens": 1.0, "completion_tokens": 2}})),
        "data: [done]\n\n",
    ]
    .concat();
    let fake = Fake::start(move |_, _| streamed(&wire, 11)).await;
    let answer = answered(stage(&fake).perform(Effect::LlmInvoke(ask("openai", vec![user("?")]))).await);
    assert_eq!(open(&answer.message).content.as_deref(), Some("Hello"));
    assert_eq!(
        (answer.finish_reason.as_str(), answer.prompt_tokens, answer.completion_tokens),
        ("stop", 1, 2)
    );

    // Without a reason to finish the answer has not ended.
    let half = event(&json!({"choices": [{"index": 0, "delta": {"content": "Hel"}, "finish_reason": ""}]}));
    let fake = Fake::start(move |_, _| streamed(&half, 64)).await;
    let (code, _) = failed(stage(&fake).perform(Effect::LlmInvoke(ask("openai", vec![user("?")]))).await);
    assert_eq!(code, "stream_interrupted");
}

#[tokio::test]
async fn a_prompt_that_strict_servers_refuse_is_mended_on_the_way() {
    let wire = [text("Hi"), finish("stop")].concat();
    let mut fake = Fake::start(move |_, _| streamed(&wire, 4096)).await;
    let mut named = user("hi");
    named.name = Some("Ada Example".into());
    let mut calls = message(ChatRole::Assistant, "x");
    calls.tool_calls = Some(vec![]);
    let prompt = vec![named, calls, message(ChatRole::Assistant, "")];
    answered(stage(&fake).perform(Effect::LlmInvoke(ask("openai", prompt))).await);
    let seen = fake.next().await;
    assert_eq!(
        seen.json()["messages"],
        json!([{"role": "user", "content": "hi", "name": "Ada_Example"}, {"role": "assistant", "content": "x"}])
    );
    assert_eq!(seen.header("accept-encoding"), "identity");
}

#[tokio::test]
async fn what_a_server_says_of_a_failure_never_shows_its_key() {
    let stage_of = |fake: &Fake| {
        let config = OpenAiConfig {
            api_key: Some("openai".into()),
            ..OpenAiConfig::at(fake.url("/v1"))
        };
        Props::reaching(&[fake]).provider(config).secret("openai", "key_0123456789").stage()
    };
    let fake = Fake::answering(response(401, &[], r#"{"error":{"code":"bad.key_0123456789"}}"#)).await;
    let (_, detail) = failed(stage_of(&fake).perform(Effect::LlmInvoke(ask("openai", vec![user("?")]))).await);
    assert!(detail.contains("bad.[secret]"), "{detail}");

    let fake = Fake::answering(response(200, &[("content-encoding", "gzip")], "x")).await;
    let (code, detail) = failed(stage_of(&fake).perform(Effect::LlmInvoke(ask("openai", vec![user("?")]))).await);
    assert!(code == "encoding_unsupported" && detail.contains("gzip"), "{detail}");
}

#[tokio::test]
async fn an_org_that_brings_a_key_asks_with_its_own() {
    for (owner, shown) in [("acme", "Bearer sk-acmes-own"), ("other", "Bearer sk-test-key")] {
        let mut fake = Fake::answering(response(401, &[], "{}")).await;
        let config = OpenAiConfig {
            api_key: Some("openai".into()),
            org_api_key: Some("model".into()),
            ..OpenAiConfig::at(fake.url("/v1"))
        };
        let props = Props::reaching(&[&fake]).provider(config).secret("openai", "sk-test-key");
        let stage = props.secret(&format!("{owner}/model"), "sk-acmes-own").stage();
        failed(stage.perform(Effect::LlmInvoke(ask("openai", vec![user("?")]))).await);
        assert_eq!(fake.next().await.header("authorization"), shown);
    }
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_understood() {
    let body = json!({"model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 2, "completion_tokens": 1}});
    let fake = Fake::answering(response(200, &[("content-type", "application/json")], &body.to_string())).await;
    let answer = answered(stage(&fake).perform(Effect::LlmInvoke(ask("openai", vec![user("?")]))).await);
    assert_eq!((open(&answer.message).content.as_deref(), answer.prompt_tokens), (Some("Hi"), 2));
}

#[tokio::test]
async fn statuses_are_final_or_retryable_and_messages_are_never_kept() {
    let body =
        |word: &str| json!({"error": {"message": "your key sk-test-key and your prompt", "type": "some_error", "code": word}}).to_string();
    for (status, word, retry_after) in [
        (429, "rate_limit_exceeded", Some("2")),
        (500, "boom", None),
        (503, "overloaded", Some("0.25")),
        (408, "slow", None),
    ] {
        let headers: Vec<(&str, &str)> = retry_after.map(|value| ("retry-after", value)).into_iter().collect();
        let fake = Fake::answering(response(status, &headers, &body(word))).await;
        let (code, detail, wait) = retryable(stage(&fake).perform(Effect::LlmInvoke(ask("openai", vec![user("?")]))).await);
        assert_eq!(code, format!("status_{status}"));
        assert_eq!(wait, retry_after.map(|seconds| (seconds.parse::<f64>().unwrap() * 1000.0) as u64));
        assert!(
            detail.contains(word) && !detail.contains("sk-") && !detail.contains("prompt"),
            "{detail}"
        );
    }
    for (status, word, code) in [
        (400, "bad", "status_400"),
        (401, "invalid_api_key", "status_401"),
        (404, "model_not_found", "status_404"),
        (302, "x", "status_302"),
        (429, "insufficient_quota", "insufficient_quota"),
    ] {
        let fake = Fake::answering(response(status, &[("location", "http://127.0.0.1:1/")], &body(word))).await;
        let (got, detail) = failed(stage(&fake).perform(Effect::LlmInvoke(ask("openai", vec![user("?")]))).await);
        assert_eq!(got, code);
        assert!(!detail.contains("sk-") && !detail.contains("prompt"), "{detail}");
    }
}

#[tokio::test]
async fn what_is_not_configured_is_named() {
    let fake = Fake::answering(Vec::new()).await;
    let unknown = stage(&fake).perform(Effect::LlmInvoke(ask("nobody", vec![user("?")]))).await;
    let (code, detail) = failed(unknown);
    assert!(code == "provider_not_configured" && detail.contains("`nobody`"), "{detail}");

    let keyless = stage_with(&fake, |config| config.api_key = Some("absent".into()));
    let (code, detail) = failed(keyless.perform(Effect::LlmInvoke(ask("openai", vec![user("?")]))).await);
    assert!(code == "secret_not_found" && detail.contains("`absent`"), "{detail}");

    let local = Props::default().provider(OpenAiConfig::at(fake.url(""))).stage();
    assert_eq!(
        failed(local.perform(Effect::LlmInvoke(ask("openai", vec![user("?")]))).await).0,
        "egress_refused"
    );
}

#[tokio::test]
async fn prompts_are_recorded_composed_or_read_from_a_conversation() {
    let stage = Props::default().stage();
    let prompted = |prompt: Prompt| {
        let mut call = ask("scripted", vec![]);
        call.prompt = prompt;
        Effect::LlmInvoke(call)
    };
    let named = |id: &str| {
        prompted(Prompt::Conversation {
            conversation: format!("acme/conversation/{id}").parse().unwrap(),
            at_version: 3,
            agent: "acme/agent/bot".parse().unwrap(),
            directive: None,
            transcript: Vec::new(),
            turn: None,
        })
    };
    let text = |end| open(&answered(end).text.unwrap());
    assert!(text(stage.perform(named("c9")).await).contains("from c9"));
    assert_eq!(failed(stage.perform(named("gone")).await).0, "prompt_gone");
    assert_eq!(retryable(stage.perform(named("unavailable")).await).0, "prompt_unavailable");
    assert_eq!(failed(stage.perform(named("crash")).await).0, "performer_crashed");

    let sealed = |subject| ComposedText::Sealed(Personal::seal(&"sealed words".to_owned(), subject, &crate::stage::OneKey).unwrap());
    let composed = |content| {
        prompted(Prompt::Composed {
            messages: vec![ComposedMessage {
                role: ChatRole::User,
                content,
            }],
        })
    };
    assert!(text(stage.perform(composed(ComposedText::Plain("plain words".into()))).await).contains("plain words"));
    assert!(text(stage.perform(composed(sealed("acme/ada"))).await).contains("sealed words"));
    assert_eq!(failed(stage.perform(composed(sealed("acme/erased"))).await).0, "prompt_erased");
}

#[tokio::test]
async fn scripted_provider_streams_fails_and_cancels() {
    let stage = Props::default().stage();
    let mut listener = stage.volatile.subscribe(&conversation());
    let scripted = |lines: &str| Effect::LlmInvoke(ask("scripted", vec![message(ChatRole::System, lines), user("Hi")]));

    let answer = answered(stage.perform(scripted("scripted: reply one two three")).await);
    assert_eq!(
        (answer.model.as_str(), open(&answer.text.unwrap()).as_str()),
        ("scripted:tiny", "one two three")
    );
    for expected in ["one ", "two ", "three"] {
        assert_eq!(delta(&mut listener).await.1, expected);
    }

    let flaky = scripted("scripted: fail status_503 times 1");
    assert_eq!(retryable(stage.perform(flaky.clone()).await).0, "status_503");
    answered(stage.performers.perform(attempt(flaky, 2, CancelToken::never())).await);
    while delta(&mut listener).await.1 != "answers." {}

    let (source, token) = cancel_pair();
    let performers = stage.performers.clone();
    let slow = scripted("scripted: reply word\nscripted: delay_ms 60000 per token");
    let call = tokio::spawn(async move { performers.perform(attempt(slow, 1, token)).await });
    source.cancel();
    assert_eq!(call.await.unwrap(), AttemptEnd::Cancelled(Outcome::Cancelled { partial: None }));
}
