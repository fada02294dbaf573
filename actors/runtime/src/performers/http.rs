//! `http`: one request to anywhere that egress permits.

use super::{Attempt, Reach, ending::Ending};
use crate::{
    off_worker::blocking,
    secrets::{SecretError, SecretSource},
    wire::{
        blot::Blot,
        body::{self, Body, Kept},
        client::{Outgoing, Redirects, Trouble, trouble},
        egress::authority,
        status::{health_of, may_mend, retry_after_ms},
    },
};
use quipu_schemas::{
    context::Keys,
    ids::OrgId,
    json::Json,
    limits::{EFFECT_TIMEOUT_MAX_MS, EFFECT_TIMEOUT_MS, VALUE_ENCODED_MAX_BYTES},
    personal::{Opened, Personal, SealError, value},
    reaction::{HeaderPart, HttpRequest, Outcome, SECRET_OPEN},
};
use reqwest::{
    Method, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};

/// Headers that belong to the connection, not to the request's author.
const RESERVED: [&str; 8] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "keep-alive",
];

pub(crate) async fn perform(reach: &Reach, attempt: &Attempt, request: &HttpRequest) -> Ending {
    let opened = match opened(reach, request).await {
        Ok(opened) => opened,
        Err(error) => return error.into(),
    };
    let request = &opened;
    match outgoing(reach, attempt, request) {
        Ok((outgoing, blot)) => exchange(reach, attempt, request, outgoing, &blot).await.blotted(&blot),
        Err(ending) => ending,
    }
}

/// The request with all of its values in the clear, as it is sent.
async fn opened(reach: &Reach, request: &HttpRequest) -> Result<HttpRequest, SealError> {
    let mut request = request.clone();
    let is_sealed = |part: &HeaderPart| matches!(part, HeaderPart::Sealed(_));
    let body_holds = request.body.as_ref().is_some_and(|body| value::holds_sealed(&body.0));
    if !body_holds && request.sealed_url.is_none() && !request.composed_headers.values().flatten().any(is_sealed) {
        return Ok(request);
    }
    let keys = reach.keys.clone();
    blocking(move || {
        if let Some(url) = request.sealed_url.take() {
            request.url = open_text(&url, &*keys)?;
        }
        for part in request.composed_headers.values_mut().flatten() {
            if let HeaderPart::Sealed(text) = part {
                *part = HeaderPart::Text(open_text(text, &*keys)?);
            }
        }
        if let Some(body) = &mut request.body {
            open_body(&mut body.0, &*keys)?;
        }
        Ok(request)
    })
    .await?
}

/// A sealed text; an erased one is an error.
pub(crate) fn open_text(text: &Personal<String>, keys: &dyn Keys) -> Result<String, SealError> {
    match text.open(keys)? {
        Opened::Value(text) => Ok(text),
        Opened::Erased => Err(SealError::Erased(text.subject().to_owned())),
    }
}

/// Opens what a request sends, up to the size of one value.
pub(crate) fn open_body(body: &mut Value, keys: &dyn Keys) -> Result<(), SealError> {
    let size = value::size_of(body);
    if size > VALUE_ENCODED_MAX_BYTES as u64 {
        return Err(SealError::TooLarge {
            size: usize::try_from(size).unwrap_or(usize::MAX),
        });
    }
    value::open_whole(body, keys, &mut BTreeSet::new())
}

async fn exchange(reach: &Reach, attempt: &Attempt, request: &HttpRequest, outgoing: Outgoing, blot: &Blot) -> Ending {
    let repeatable = attempt.effect.facts().is_repeatable;
    let peer = authority(&outgoing.url);
    let ms = request.timeout_ms.unwrap_or(EFFECT_TIMEOUT_MS).clamp(1, EFFECT_TIMEOUT_MAX_MS);
    let url = outgoing.url.clone();
    let exchange = async {
        let mut response = reach.client.send(outgoing).await?;
        let body = body::read(&mut response, reach.bounds())
            .await
            .map_err(|error| trouble(&error, &url))?;
        Ok::<_, Trouble>((response, body))
    };
    let (response, body) = match tokio::time::timeout(Duration::from_millis(ms), exchange).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(trouble)) => return Ending::of_trouble(trouble, repeatable),
        Err(_) => return Ending::of_trouble(Trouble::timeout(&format!("answer from {peer}"), ms), repeatable),
    };
    let status = response.status();
    if may_mend(status, repeatable) || status.is_server_error() {
        return Ending::of_status(status, &peer, None, retry_after_ms(response.headers(), (reach.clock)()), repeatable);
    }
    responded(reach, attempt, status, &body, blot, &peer).await
}

/// An answer to keep. One that cannot be kept as what it is fails the request, unless its status says already that nothing
/// came of it.
async fn responded(reach: &Reach, attempt: &Attempt, status: StatusCode, body: &Body, blot: &Blot, peer: &str) -> Ending {
    let (value, full_bytes) = match body.keep(blot) {
        Ok(Kept::Json(value)) => (value, None),
        Ok(Kept::Text(text)) => (Value::String(text), None),
        Ok(Kept::CutText(text, full)) => (Value::String(text), Some(full)),
        Ok(Kept::JsonTooLarge(full)) if !status.is_success() => (Value::Null, Some(full)),
        Ok(Kept::JsonTooLarge(full)) => {
            let detail = format!(
                "{peer} answered {} with {full} bytes of JSON; at most {} are kept",
                status.as_u16(),
                reach.bounds().keep
            );
            return Ending::failed("value_too_large", detail, health_of(status));
        }
        Err(error) => {
            return Ending::failed(
                error.code(),
                format!("{peer} answered {}: {error}", status.as_u16()),
                health_of(status),
            );
        }
    };
    reach.answered(attempt, status, value, full_bytes).await
}

impl Reach {
    /// How much of an answer is read and kept: a value's size where there is a place for it.
    pub(super) fn bounds(&self) -> body::Bounds {
        if self.keys.may_keep() {
            body::Bounds::VALUE
        } else {
            body::Bounds::default()
        }
    }

    /// An answer that is kept, sealed.
    pub(super) async fn answered(&self, attempt: &Attempt, status: StatusCode, body: Value, full_bytes: Option<u64>) -> Ending {
        let type_name = value::type_name(&body);
        let body = match body {
            Value::Null => Ok(Value::Null),
            body => self
                .sealed(Json(body), &attempt.subject)
                .await
                .map(|sealed| value::stored(&sealed, type_name)),
        };
        match body {
            Ok(body) => Ending::done(
                Outcome::Responded {
                    status: status.as_u16(),
                    body: Json(body),
                    full_bytes,
                },
                health_of(status),
            ),
            Err(error) => error.into(),
        }
    }
}

fn outgoing(reach: &Reach, attempt: &Attempt, request: &HttpRequest) -> Result<(Outgoing, Blot), Ending> {
    let refused = |code, detail: String| Ending::of_trouble(Trouble::refused(code, detail), true);
    let method = method(&request.method).ok_or_else(|| refused("request_invalid", "the method is not an HTTP method".into()))?;
    let url = Url::parse(&request.url).map_err(|_| refused("url_refused", "the URL is not an absolute http or https URL".into()))?;
    let mut filled = fill_headers(request, &*reach.secrets, &attempt.org, &url)?;
    if let Some(name) = &request.idempotency_header {
        insert(&mut filled.headers, name, &attempt.key.message_id()).map_err(|detail| refused("header_refused", detail))?;
    }
    let body = request.body.as_ref().map(|body| bytes::Bytes::from(body.to_text()));
    if body.is_some() && !filled.headers.contains_key(CONTENT_TYPE) {
        filled.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let outgoing = Outgoing {
        method,
        url,
        headers: filled.headers,
        confidential: filled.confidential,
        body,
        redirects: Redirects::Follow,
    };
    Ok((outgoing, Blot::new(filled.secrets)))
}

/// A method of the request kinds that effects send.
pub(crate) fn method(name: &str) -> Option<Method> {
    match name {
        "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS" | "POST" | "PATCH" => name.parse().ok(),
        _ => None,
    }
}

struct Filled {
    headers: HeaderMap,
    confidential: Vec<HeaderName>,
    secrets: Vec<String>,
}

fn fill_headers(request: &HttpRequest, secrets: &dyn SecretSource, org: &OrgId, to: &Url) -> Result<Filled, Ending> {
    let mut filled = Filled {
        headers: HeaderMap::new(),
        confidential: Vec::new(),
        secrets: Vec::new(),
    };
    let refused = |detail| Ending::of_trouble(Trouble::refused("header_refused", detail), true);
    for (name, value) in &request.headers {
        // Stored before secrets and data were kept apart: nobody can tell which of them this is.
        if value.contains(SECRET_OPEN) {
            let shown: String = name.chars().take(80).collect();
            let detail = format!("header `{shown}` was stored by an older version, which did not tell secrets from data; retry its node");
            return Err(Ending::of_trouble(Trouble::refused("secret_ambiguous", detail), true));
        }
        insert(&mut filled.headers, name, value).map_err(refused)?;
    }
    for (name, parts) in &request.composed_headers {
        let (value, used) = fill(parts, secrets, org, to)?;
        let name = insert(&mut filled.headers, name, &value).map_err(refused)?;
        if !used.is_empty() {
            filled.confidential.push(name);
            filled.secrets.extend(used);
        }
    }
    Ok(filled)
}

fn insert(headers: &mut HeaderMap, name: &str, value: &str) -> Result<HeaderName, String> {
    let shown: String = name.chars().take(80).collect();
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{shown}` is not a header name"))?;
    if RESERVED.contains(&name.as_str()) {
        return Err(format!("header `{shown}` is set by the sender"));
    }
    let mut value = HeaderValue::from_str(value).map_err(|_| format!("the value of header `{shown}` is not a header value"))?;
    value.set_sensitive(true);
    headers.insert(name.clone(), value);
    Ok(name)
}

/// Puts a value together; returns which secrets it holds. Texts are never looked into.
fn fill(parts: &[HeaderPart], secrets: &dyn SecretSource, org: &OrgId, to: &Url) -> Result<(String, Vec<String>), SecretError> {
    let (mut value, mut used) = (String::new(), Vec::new());
    for part in parts {
        match part {
            HeaderPart::Text(text) => value.push_str(text),
            HeaderPart::Secret(name) => {
                let secret = secrets.of_org(org, name, Some(to))?;
                value.push_str(secret.expose());
                used.push(secret.expose().to_owned());
            }
            // Opened before; what is not opened is not sent.
            HeaderPart::Sealed(_) => {}
        }
    }
    Ok((value, used))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Secrets;

    #[test]
    fn secrets_are_filled_in_by_name_and_texts_are_left_alone() {
        let secrets = Secrets::from([("acme/a", "{{secret:b}}"), ("acme/b", "B"), ("openai", "platform")]);
        let org = OrgId::from_static("acme");
        let text = |text: &str| HeaderPart::Text(text.into());
        let secret = |name: &str| HeaderPart::Secret(name.into());
        let to = "https://receiver.test".parse().unwrap();
        let fill = |parts: &[HeaderPart]| fill(parts, &secrets, &org, &to);
        assert_eq!(fill(&[text("Bearer "), secret("b")]), Ok(("Bearer B".into(), vec!["B".into()])));
        assert_eq!(fill(&[text("{{secret:b}}")]), Ok(("{{secret:b}}".into(), vec![])));
        assert_eq!(fill(&[secret("a")]).unwrap().0, "{{secret:b}}", "a secret's value is data too");
        assert_eq!(fill(&[secret("openai")]), Err(SecretError::NotFound("acme/openai".into())));
    }

    #[test]
    fn connection_headers_and_line_breaks_are_refused() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("Host", "x"),
            ("transfer-encoding", "chunked"),
            ("bad name", "x"),
            ("x-a", "a\r\nx-b: c"),
        ] {
            let error = insert(&mut headers, name, value).unwrap_err();
            assert!(error.contains(name), "{error}");
        }
        assert!(insert(&mut headers, "X-Ok", "v").is_ok());
        assert_eq!((method("get"), method("CONNECT"), method("TRACE")), (None, None, None));
    }
}
