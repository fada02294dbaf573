//! `tool`: a model's call of a function, run as an HTTP request. What goes wrong in a way that the model can
//! mend, or talk about, is told to the model; the rest is an outcome like any other.

use super::{Attempt, Reach, ending::Ending, http, prompt::tool_answer};
use crate::{
    breaker::Health,
    wire::{
        blot::Blot,
        body::{self, Kept},
        client::{Outgoing, Reached, Redirects, Trouble, correlate, trouble},
        egress::authority,
        status::{health_of, may_mend, retry_after_ms},
    },
};
use quipu_schemas::{
    chat::{FunctionCall, ToolRun},
    limits::EFFECT_TIMEOUT_MS,
    personal::Opened,
    reaction::{Outcome, ToolInvoke},
};
use reqwest::{
    Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde_json::Value;
use std::time::Duration;

pub(crate) async fn perform(reach: &Reach, attempt: &Attempt, invoke: &ToolInvoke) -> Ending {
    let message = match reach.opened(&invoke.message).await {
        Ok(Opened::Value(message)) => message,
        Ok(Opened::Erased) => return Ending::failed("value_erased", "the tool call's arguments were erased", Health::Unknown),
        Err(error) => return error.into(),
    };
    let call = message.tool_calls.iter().flatten().find(|call| call.id == invoke.call_id);
    let Some(function) = call.map(|call| &call.function) else {
        return Ending::failed("tool_call_unknown", "the message holds no tool call of that id", Health::Unknown);
    };
    let (said, health) = match run(reach, attempt, invoke, function).await {
        Ok(said) => said,
        Err(ending) => return ending,
    };
    let (text, ok) = match said {
        ToolAnswer::Result(text) => (text, true),
        ToolAnswer::Error(text) => (text, false),
    };
    let answer = tool_answer(&invoke.call_id, &function.name, text);
    match reach.sealed(answer, &attempt.subject).await {
        Ok(result) => Ending::done(Outcome::ToolResult { result, ok }, health),
        Err(error) => error.into(),
    }
}

/// What the model is told of its call.
enum ToolAnswer {
    Result(String),
    Error(String),
}

async fn run(reach: &Reach, attempt: &Attempt, invoke: &ToolInvoke, function: &FunctionCall) -> Result<(ToolAnswer, Health), Ending> {
    let tell = |text: String| Ok((ToolAnswer::Error(text), Health::Unknown));
    let Some(spec) = invoke.spec.as_ref().filter(|spec| spec.name == function.name) else {
        return tell(format!("no such tool: `{}`", function.name.chars().take(80).collect::<String>()));
    };
    let arguments = match parse_arguments(&function.arguments) {
        Ok(arguments) => arguments,
        Err(why) => return tell(why),
    };
    let ToolRun::Http { method, url, .. } = &spec.run;
    let (Some(method), Ok(url)) = (http::method(method), Url::parse(url)) else {
        return tell(format!("tool `{}` is configured with a bad method or URL", function.name));
    };
    let repeatable = attempt.effect.facts().is_repeatable;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let key = HeaderValue::from_str(&attempt.key.message_id()).expect("a message id is a header value");
    headers.insert("idempotency-key", key);
    correlate(&mut headers, attempt.correlation.as_deref());
    let peer = authority(&url);
    let outgoing = Outgoing {
        method,
        url: url.clone(),
        headers,
        confidential: Vec::new(),
        body: Some(arguments.to_string().into()),
        redirects: Redirects::Follow,
    };
    let exchange = async {
        let mut response = reach.client.send(outgoing).await?;
        let body = body::read(&mut response, body::Bounds::VALUE)
            .await
            .map_err(|error| trouble(&error, &url))?;
        Ok::<_, Trouble>((response, body))
    };
    let (response, body) = match tokio::time::timeout(Duration::from_millis(EFFECT_TIMEOUT_MS), exchange).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(trouble)) if trouble.reached == Reached::Never => return tell(format!("the tool cannot be reached: {}", trouble.detail)),
        Ok(Err(trouble)) => return Err(Ending::of_trouble(trouble, repeatable)),
        Err(_) => {
            return Err(Ending::of_trouble(
                Trouble::timeout(&format!("answer from {peer}"), EFFECT_TIMEOUT_MS),
                repeatable,
            ));
        }
    };
    let status = response.status();
    if may_mend(status, repeatable) {
        return Err(Ending::of_status(
            status,
            &peer,
            None,
            retry_after_ms(response.headers(), (reach.clock)()),
            repeatable,
        ));
    }
    let failed = |text: String| Ok((ToolAnswer::Error(text), health_of(status)));
    let text = match body.keep_text(&Blot::default()) {
        Ok(Kept::CutText(text, full)) => format!("{text}\n[cut: the tool answered {full} bytes]"),
        Ok(Kept::Text(text)) => text,
        Ok(Kept::Json(_) | Kept::JsonTooLarge(_)) => String::new(),
        Err(error) => return failed(format!("the tool's answer cannot be read: {error}")),
    };
    if status.is_success() {
        return Ok((ToolAnswer::Result(text), health_of(status)));
    }
    failed(format!("the tool answered {}: {text}", status.as_u16()))
}

/// Models write `""` for no arguments at all.
fn parse_arguments(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Object(Default::default()));
    }
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err("the arguments are not a JSON object".into()),
        Err(error) => Err(format!("the arguments are not valid JSON: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_an_object_or_explained() {
        assert_eq!(parse_arguments(" "), Ok(serde_json::json!({})));
        assert_eq!(parse_arguments(r#"{"a":1}"#), Ok(serde_json::json!({"a": 1})));
        assert!(parse_arguments("[1]").unwrap_err().contains("object"));
        assert!(parse_arguments("{\"a\":").unwrap_err().contains("not valid JSON"));
    }
}
