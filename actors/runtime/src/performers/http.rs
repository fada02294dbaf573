//! `http`: one request to anywhere that egress permits.

use super::{
    Attempt, Reach,
    client::{Outgoing, Redirects, Trouble, read_bounded, trouble},
    dates::retry_after_ms,
    egress::authority,
    ending::{Ending, health_of, kept_json, may_mend},
};
use crate::secrets::{SecretError, Secrets};
use quipu_schemas::{
    ids::OrgId,
    limits::{EFFECT_TIMEOUT_MAX_MS, EFFECT_TIMEOUT_MS, RESPONSE_KEEP_BYTES},
    reaction::{HttpRequest, Outcome},
};
use reqwest::{
    Method, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use std::{collections::BTreeMap, time::Duration};

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
    let repeatable = attempt.effect.is_repeatable();
    let (outgoing, secrets) = match outgoing(reach, attempt, request) {
        Ok(ready) => ready,
        Err(ending) => return ending,
    };
    let peer = authority(&outgoing.url);
    let ms = request.timeout_ms.unwrap_or(EFFECT_TIMEOUT_MS).clamp(1, EFFECT_TIMEOUT_MAX_MS);
    let url = outgoing.url.clone();
    let exchange = async {
        let mut response = reach.client.send(outgoing).await?;
        let body = read_bounded(&mut response, RESPONSE_KEEP_BYTES)
            .await
            .map_err(|error| trouble(&error, &url))?;
        Ok::<_, Trouble>((response, body))
    };
    let (response, body) = match tokio::time::timeout(Duration::from_millis(ms), exchange).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(trouble)) => return Ending::of_trouble(trouble, repeatable),
        Err(_) => return Ending::of_trouble(Trouble::timeout(&format!("the answer of {peer}"), ms), repeatable),
    };
    let status = response.status();
    if may_mend(status, repeatable) || status.is_server_error() {
        return Ending::of_status(status, &peer, None, retry_after_ms(response.headers(), (reach.clock)()), repeatable);
    }
    Ending::done(
        Outcome::Responded {
            status: status.as_u16(),
            body: kept_json(&body, &secrets),
        },
        health_of(status),
    )
}

fn outgoing(reach: &Reach, attempt: &Attempt, request: &HttpRequest) -> Result<(Outgoing, Vec<String>), Ending> {
    let refused = |code, detail: String| Ending::of_trouble(Trouble::refused(code, detail), true);
    let method = method(&request.method).ok_or_else(|| refused("request_invalid", "the method is not an HTTP method".into()))?;
    let url = Url::parse(&request.url).map_err(|_| refused("url_refused", "the URL is not an absolute http or https URL".into()))?;
    let mut filled = fill_headers(&request.headers, &reach.secrets, &attempt.org)?;
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
    Ok((outgoing, filled.secrets))
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

fn fill_headers(written: &BTreeMap<String, String>, secrets: &Secrets, org: &OrgId) -> Result<Filled, Ending> {
    let mut filled = Filled {
        headers: HeaderMap::new(),
        confidential: Vec::new(),
        secrets: Vec::new(),
    };
    for (name, template) in written {
        let (value, used) = fill(template, secrets, org)?;
        let secret = !used.is_empty();
        let name = insert(&mut filled.headers, name, &value)
            .map_err(|detail| Ending::of_trouble(Trouble::refused("header_refused", detail), true))?;
        if secret {
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

/// Puts secrets in the place of `{{secret:NAME}}`; returns which values were used.
fn fill(template: &str, secrets: &Secrets, org: &OrgId) -> Result<(String, Vec<String>), SecretError> {
    let (mut value, mut used, mut rest) = (String::new(), Vec::new(), template);
    while let Some((before, after)) = rest.split_once("{{secret:") {
        let Some((name, tail)) = after.split_once("}}") else { break };
        let secret = secrets.of_org(org, name.trim())?;
        value.push_str(before);
        value.push_str(secret.expose());
        used.push(secret.expose().to_owned());
        rest = tail;
    }
    value.push_str(rest);
    Ok((value, used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_filled_in_by_name_and_unknown_ones_are_named() {
        let secrets = Secrets::from([("acme/a", "A"), ("acme/b", "B"), ("openai", "platform")]);
        let org = OrgId::from_static("acme");
        let fill = |template: &str| fill(template, &secrets, &org);
        assert_eq!(fill("Bearer {{secret:a}}").unwrap().0, "Bearer A");
        assert_eq!(
            fill("{{secret:a}}:{{secret: b }}").unwrap(),
            ("A:B".into(), vec!["A".into(), "B".into()])
        );
        assert_eq!(fill("plain {{x}}").unwrap(), ("plain {{x}}".into(), vec![]));
        assert_eq!(fill("{{secret:a").unwrap().0, "{{secret:a");
        assert_eq!(fill("{{secret:openai}}"), Err(SecretError::NotFound("acme/openai".into())));
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
