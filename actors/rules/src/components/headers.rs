//! Headers of a request: the only place where a definition names secrets.
//!
//! `{{secret:NAME}}` means a secret only where the definition's own text says so. What an expression comes to is data,
//! whatever it looks like, and is sent as it is.

use super::{ConfigFlaw, NodeError, NodeInput, Template, check_source, template::sealed_text};
use quipu_schemas::{
    limits::HEADER_PARTS_MAX,
    reaction::{HeaderPart, SECRET_OPEN},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// Headers that carry credentials: their values must name a secret.
const CREDENTIALS: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "x-auth-token",
];

/// The headers of one request, rendered.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Rendered {
    /// Values without a secret.
    pub(super) plain: BTreeMap<String, String>,
    /// The others, and values that could be taken for the place of a secret.
    pub(super) composed: BTreeMap<String, Vec<HeaderPart>>,
}

pub(super) fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 128 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

pub(super) fn check(headers: &BTreeMap<String, Template>, idempotency_header: Option<&str>, flaws: &mut Vec<ConfigFlaw>) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for (name, value) in headers {
        let field = format!("headers.{name}");
        if !is_header_name(name) {
            flaws.push(ConfigFlaw::new(&field, "bad_config", "not a header name"));
        }
        if let Some(first) = seen.insert(name.to_ascii_lowercase(), name) {
            let detail = format!("`{first}` and `{name}` are the same header: names of headers differ in more than case");
            flaws.push(ConfigFlaw::new(&field, "duplicate_header", detail));
        }
        let secrets = check_value(&field, value, flaws);
        if CREDENTIALS.contains(&name.to_ascii_lowercase().as_str()) && secrets == Some(0) {
            flaws.push(ConfigFlaw::new(
                &field,
                "secret_in_clear",
                "credentials are named, never written: use {{secret:NAME}}",
            ));
        }
    }
    let Some(name) = idempotency_header else { return };
    if !is_header_name(name) {
        flaws.push(ConfigFlaw::new("idempotency_header", "bad_config", "not a header name"));
    } else if seen.contains_key(&name.to_ascii_lowercase()) {
        let detail = format!("`{name}` is set in `headers` too");
        flaws.push(ConfigFlaw::new("idempotency_header", "duplicate_header", detail));
    }
}

/// How many secrets a value names; `None` where it has a flaw.
fn check_value(field: &str, value: &Template, flaws: &mut Vec<ConfigFlaw>) -> Option<usize> {
    let before = flaws.len();
    let Some(texts) = texts(value) else {
        let detail = format!("a text, an expression `=…`, or a list of 1 to {HEADER_PARTS_MAX} of them is needed");
        flaws.push(ConfigFlaw::new(field, "bad_config", detail));
        return None;
    };
    let mut secrets = 0;
    for text in texts {
        match text.strip_prefix('=') {
            Some(source) if source.contains(SECRET_OPEN) => flaws.push(ConfigFlaw::new(
                field,
                "secret_in_expression",
                "an expression cannot name a secret: write a list, such as [\"{{secret:NAME}}\", \"=input.x\"]",
            )),
            Some(source) => check_source(field, source, flaws),
            None => match literal(text) {
                Ok(parts) => secrets += parts.iter().filter(|part| matches!(part, HeaderPart::Secret(_))).count(),
                Err(detail) => flaws.push(ConfigFlaw::new(field, "bad_secret", detail)),
            },
        }
    }
    (flaws.len() == before).then_some(secrets)
}

fn texts(value: &Template) -> Option<Vec<&str>> {
    match &value.0 {
        Value::String(text) => Some(vec![text]),
        Value::Array(items) if (1..=HEADER_PARTS_MAX).contains(&items.len()) => items.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// The parts of a text that stands in a definition.
fn literal(text: &str) -> Result<Vec<HeaderPart>, String> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some((before, after)) = rest.split_once(SECRET_OPEN) {
        let (name, tail) = after.split_once("}}").ok_or("`{{secret:` has no end: write {{secret:NAME}}")?;
        let name = name.trim();
        if !(1..=128).contains(&name.len()) || name.contains('{') {
            return Err("a secret has a name of 1 to 128 characters: write {{secret:NAME}}".into());
        }
        push_text(&mut parts, before);
        parts.push(HeaderPart::Secret(name.to_owned()));
        rest = tail;
    }
    push_text(&mut parts, rest);
    Ok(parts)
}

fn push_text(parts: &mut Vec<HeaderPart>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(HeaderPart::Text(last)) => last.push_str(text),
        _ => parts.push(HeaderPart::Text(text.to_owned())),
    }
}

fn controls(name: &str) -> NodeError {
    NodeError::new("bad_header", format!("the header `{name}` came to a text with control characters"))
}

pub(super) fn render(headers: &BTreeMap<String, Template>, input: &NodeInput<'_>) -> Result<Rendered, NodeError> {
    let mut rendered = Rendered::default();
    for (name, value) in headers {
        let mut parts = Vec::new();
        let texts = texts(value).ok_or_else(|| NodeError::new("type_error", format!("`{name}` must be a text or a list of texts")))?;
        for text in texts {
            match text.strip_prefix('=') {
                Some(source) => match input.evaluate(source)? {
                    (Value::String(data), whose) if whose.is_empty() || input.values.clear => push_text(&mut parts, &data),
                    (Value::String(data), _) if data.chars().any(char::is_control) => return Err(controls(name)),
                    (Value::String(data), whose) => parts.push(HeaderPart::Sealed(sealed_text(data, &whose, input)?)),
                    _ => return Err(NodeError::new("type_error", format!("`{name}` must come to a string"))),
                },
                None => literal(text)
                    .map_err(|e| NodeError::new("bad_secret", e))?
                    .into_iter()
                    .for_each(|part| match part {
                        HeaderPart::Text(text) => push_text(&mut parts, &text),
                        secret => parts.push(secret),
                    }),
            }
        }
        if parts
            .iter()
            .any(|part| matches!(part, HeaderPart::Text(text) if text.chars().any(char::is_control)))
        {
            return Err(controls(name));
        }
        match &parts[..] {
            [] => rendered.plain.insert(name.clone(), String::new()),
            [HeaderPart::Text(text)] if !text.contains(SECRET_OPEN) => rendered.plain.insert(name.clone(), text.clone()),
            _ => {
                rendered.composed.insert(name.clone(), parts);
                None
            }
        };
    }
    Ok(rendered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secret(name: &str) -> HeaderPart {
        HeaderPart::Secret(name.into())
    }
    fn text(text: &str) -> HeaderPart {
        HeaderPart::Text(text.into())
    }

    #[test]
    fn literal_text_is_parsed_for_secrets_once() {
        assert_eq!(literal("Bearer {{secret:a}}").unwrap(), [text("Bearer "), secret("a")]);
        assert_eq!(
            literal("{{secret:a}}:{{secret: b }}!").unwrap(),
            [secret("a"), text(":"), secret("b"), text("!")]
        );
        assert_eq!(literal("plain {{x}}").unwrap(), [text("plain {{x}}")]);
        for bad in ["{{secret:a", "{{secret:}}", "{{secret: }}", "{{secret:{{secret:a}}}}"] {
            assert!(literal(bad).is_err(), "{bad}");
        }
    }

    fn rendering(headers: Value, data: &str) -> Result<Rendered, NodeError> {
        let headers: BTreeMap<String, Template> = serde_json::from_value(headers).unwrap();
        super::super::tests::with_input(serde_json::json!(data), |input| render(&headers, input))
    }

    #[test]
    fn data_in_the_form_of_a_secret_stays_data() {
        let rendered = rendering(
            serde_json::json!({"X-Id": "=input", "X-Both": ["{{secret:a}}/", "=input"], "X-Plain": "p"}),
            "{{secret:b}}",
        )
        .unwrap();
        assert_eq!(rendered.composed["X-Id"], [text("{{secret:b}}")]);
        assert_eq!(rendered.composed["X-Both"], [secret("a"), text("/{{secret:b}}")]);
        assert_eq!(rendered.plain, [("X-Plain".to_owned(), "p".to_owned())].into());
        assert_eq!(
            rendering(serde_json::json!({"X": "=input"}), "a\r\nb").unwrap_err().code,
            "bad_header"
        );
    }

    proptest! {
        /// Whatever the data, and however it is cut in two, no secret is named but the definition's.
        #[test]
        fn no_data_names_a_secret(data in "(\\{\\{secret:|a|\\}\\}|\\{| |:|=){0,8}") {
            let headers = serde_json::json!({"A": "=input", "B": ["{{secret:own}}{{sec", "=input", "ret:x}}", "=input"]});
            if let Ok(rendered) = rendering(headers, &data) {
                let secrets: Vec<&HeaderPart> = rendered.composed.values().flatten().filter(|p| matches!(p, HeaderPart::Secret(_))).collect();
                prop_assert_eq!(secrets, [&secret("own")]);
                prop_assert!(rendered.plain.values().all(|value| !value.contains(SECRET_OPEN)));
            }
        }
    }
}
