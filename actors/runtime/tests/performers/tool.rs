//! `tool` and `seal`: what the model is told, and what it is not.

use crate::{
    fake::{Fake, response},
    stage::{Props, failed, open, retryable, seal},
};
use quipu_runtime::performers::AttemptEnd;
use quipu_schemas::{
    chat::{ChatMessage, ChatRole, FunctionCall, ToolCall, ToolRun, ToolSpec},
    json::Json,
    personal::Personal,
    reaction::{Effect, Outcome, SealText, ToolInvoke},
};
use serde_json::json;

fn calling(name: &str, arguments: &str) -> ChatMessage {
    let call = |id: &str, name: &str, arguments: &str| ToolCall {
        id: id.into(),
        kind: "function".into(),
        function: FunctionCall {
            name: name.into(),
            arguments: arguments.into(),
        },
    };
    let tool_calls = Some(vec![call("other", "x", "{}"), call("call_1", name, arguments)]);
    ChatMessage {
        role: ChatRole::Assistant,
        content: None,
        tool_calls,
        tool_call_id: None,
        name: None,
    }
}

fn invoke(arguments: &str, url: &str, idempotent: bool) -> ToolInvoke {
    let run = ToolRun::Http {
        method: "POST".into(),
        url: url.into(),
        idempotent,
    };
    let spec = ToolSpec {
        name: "look".into(),
        description: String::new(),
        parameters: Json::default(),
        run,
    };
    ToolInvoke {
        name: "look".into(),
        spec: Some(spec),
        call_id: "call_1".into(),
        message: seal(&calling("look", arguments)),
    }
}

#[track_caller]
fn told(end: AttemptEnd) -> (bool, String) {
    let AttemptEnd::Done(Outcome::ToolResult { result, ok }) = end else {
        panic!("not a result: {end:?}")
    };
    let message = open(&result);
    assert_eq!((message.role, message.tool_call_id.as_deref()), (ChatRole::Tool, Some("call_1")));
    (ok, message.content.unwrap())
}

#[tokio::test]
async fn a_tool_gets_the_arguments_and_the_model_its_answer() {
    let mut fake = Fake::answering(response(200, &[], r#"{"sunny":true}"#)).await;
    let stage = Props::reaching(&[&fake]).stage();
    let end = stage
        .perform(Effect::Tool(invoke(r#"{"city":"Ulm"}"#, &fake.url("/look"), false)))
        .await;
    assert_eq!(told(end), (true, r#"{"sunny":true}"#.into()));
    let seen = fake.next().await;
    assert_eq!((seen.line.as_str(), seen.json()), ("POST /look HTTP/1.1", json!({"city": "Ulm"})));
    assert!(seen.header("idempotency-key").starts_with("msg_"));
    told(stage.perform(Effect::Tool(invoke("", &fake.url("/look"), false))).await);
    assert_eq!(fake.next().await.json(), json!({}));
}

#[tokio::test]
async fn what_the_model_can_mend_is_told_to_the_model() {
    let mut fake = Fake::answering(response(200, &[], "")).await;
    let stage = Props::reaching(&[&fake]).stage();
    let (ok, text) = told(stage.perform(Effect::Tool(invoke("{\"city\":", &fake.url("/"), false))).await);
    assert!(!ok && text.contains("not valid JSON"), "{text}");
    let unknown = ToolInvoke {
        spec: None,
        ..invoke("{}", &fake.url("/"), false)
    };
    assert_eq!(
        told(stage.perform(Effect::Tool(unknown)).await),
        (false, "no such tool: `look`".into())
    );
    let (ok, text) = told(stage.perform(Effect::Tool(invoke("{}", "http://127.0.0.1:1/", false))).await);
    assert!(!ok && text.contains("cannot be reached"), "{text}");
    assert!(!fake.was_called());

    let refusing = Fake::answering(response(422, &[], "no such city")).await;
    let end = Props::reaching(&[&refusing])
        .stage()
        .perform(Effect::Tool(invoke("{}", &refusing.url("/"), false)))
        .await;
    assert_eq!(told(end), (false, "the tool answered 422: no such city".into()));
}

/// Nothing is cut silently: the model reads how much there was.
#[tokio::test]
async fn a_result_over_eight_mebibytes_is_cut_and_says_so() {
    use quipu_schemas::limits::TOOL_RESULT_MAX_BYTES;
    let size = TOOL_RESULT_MAX_BYTES + 1;
    let fake = Fake::answering(response(200, &[("content-type", "text/plain")], &"r".repeat(size))).await;
    let stage = Props::reaching(&[&fake]).stage();
    let (ok, text) = told(stage.perform(Effect::Tool(invoke("{}", &fake.url("/"), false))).await);
    let end = format!("\n[cut: the tool answered {size} bytes]");
    let kept = text.strip_suffix(&end).expect("it says so").len();
    assert!(ok && kept <= TOOL_RESULT_MAX_BYTES && kept > TOOL_RESULT_MAX_BYTES / 2, "{kept}");
}

#[tokio::test]
async fn a_failing_tool_is_repeated_only_if_idempotent() {
    let fake = Fake::answering(response(503, &[], "busy")).await;
    let stage = Props::reaching(&[&fake]).stage();
    assert_eq!(
        retryable(stage.perform(Effect::Tool(invoke("{}", &fake.url("/"), true))).await).0,
        "status_503"
    );
    assert_eq!(
        told(stage.perform(Effect::Tool(invoke("{}", &fake.url("/"), false))).await),
        (false, "the tool answered 503: busy".into())
    );

    let dropping = Fake::start(|_, _| vec![]).await;
    let stage = Props::reaching(&[&dropping]).stage();
    assert_eq!(
        retryable(stage.perform(Effect::Tool(invoke("{}", &dropping.url("/"), true))).await).0,
        "connection_lost"
    );
    let end = stage.perform(Effect::Tool(invoke("{}", &dropping.url("/"), false))).await;
    assert!(
        matches!(&end, AttemptEnd::Done(Outcome::Lost { detail: Some(why) }) if why.contains("the connection was closed")),
        "{end:?}"
    );
}

#[tokio::test]
async fn a_call_that_is_not_there_or_erased_fails() {
    let stage = Props::default().stage();
    let absent = ToolInvoke {
        call_id: "call_2".into(),
        ..invoke("{}", "http://x.test/", false)
    };
    assert_eq!(failed(stage.perform(Effect::Tool(absent)).await).0, "tool_call_unknown");
    let message = Personal::seal(&calling("look", "{}"), "acme/erased", &crate::stage::OneKey).unwrap();
    let erased = ToolInvoke {
        message,
        ..invoke("{}", "http://x.test/", false)
    };
    assert_eq!(failed(stage.perform(Effect::Tool(erased)).await).0, "value_erased");
}

#[tokio::test]
async fn a_text_is_sealed_for_a_subject_of_its_own_org() {
    let stage = Props::default().stage();
    let sealing = |subject: &str| {
        Effect::Seal(SealText {
            subject: subject.into(),
            text: "words".into(),
        })
    };
    let AttemptEnd::Done(Outcome::Sealed { text }) = stage.perform(sealing("acme/ada")).await else {
        panic!("not sealed")
    };
    assert_eq!(open(&text), "words");
    for foreign in ["other/ada", "acmeade/x", "acme"] {
        assert_eq!(failed(stage.perform(sealing(foreign)).await).0, "subject_refused");
    }
}
