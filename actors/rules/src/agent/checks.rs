//! Bounds of an agent's configuration.

use super::AgentRejection;
use crate::text;
use quipu_schemas::{
    chat::{ToolRun, ToolSpec},
    digest::Digest,
    limits::{DIRECTIVE_MAX_BYTES, NAME_MAX_CHARS},
    reaction::ModelConfig,
};

pub(super) fn check_reason(reason: &str) -> Result<(), AgentRejection> {
    if text::is_reason(reason) {
        Ok(())
    } else {
        Err(AgentRejection::BadReason)
    }
}

pub(super) fn check_directive(field: &'static str, text: &str) -> Result<Digest, AgentRejection> {
    if text.is_empty() || text.len() > DIRECTIVE_MAX_BYTES {
        return Err(AgentRejection::BadDirective { field, bytes: text.len() });
    }
    Ok(Digest::of(&[text.as_bytes()]))
}

pub(super) fn check_model(model: &ModelConfig) -> Result<(), AgentRejection> {
    let name = |text: &str, extra: &[u8]| {
        !text.is_empty()
            && text.len() <= NAME_MAX_CHARS
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.') || extra.contains(&b))
    };
    if !name(&model.provider, b"") {
        return Err(AgentRejection::BadModel {
            field: "provider",
            fix: "name a provider, such as `scripted`: letters, digits, _ - .",
        });
    }
    if !name(&model.model, b":/@+") {
        return Err(AgentRejection::BadModel {
            field: "model",
            fix: "name the provider's model: letters, digits, _ - . : / @ +",
        });
    }
    if model.temperature.is_some_and(|t| !(0.0..=2.0).contains(&t)) {
        return Err(AgentRejection::BadModel {
            field: "temperature",
            fix: "use 0 to 2",
        });
    }
    if model.max_tokens == Some(0) {
        return Err(AgentRejection::BadModel {
            field: "max_tokens",
            fix: "use at least 1",
        });
    }
    Ok(())
}

pub(super) fn check_tool(tool: &ToolSpec) -> Result<(), AgentRejection> {
    let named =
        |text: &str| !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if !named(&tool.name) {
        return Err(AgentRejection::BadToolName(tool.name.chars().take(80).collect()));
    }
    if !tool.parameters.0.is_object() && !tool.parameters.0.is_null() {
        return Err(AgentRejection::BadToolParameters(tool.name.clone()));
    }
    let ToolRun::Http { method, url, .. } = &tool.run;
    if !matches!(method.as_str(), "GET" | "POST" | "PUT" | "PATCH" | "DELETE") {
        return Err(AgentRejection::BadToolMethod(tool.name.clone()));
    }
    if !is_absolute_http(url) {
        return Err(AgentRejection::BadToolUrl(tool.name.clone()));
    }
    Ok(())
}

fn is_absolute_http(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    !host.is_empty() && !host.starts_with(':') && url.len() <= 2048 && !url.contains(|c: char| c.is_whitespace() || c.is_control())
}
