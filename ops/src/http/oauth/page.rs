//! The page on which a person signs in and lets a client have something: plain HTML without scripts, which nothing frames and
//! which sends what is typed to this node alone.

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use quipu_schemas::problem::Problem;
use std::fmt::Write;

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:26rem;margin:4rem auto;padding:0 1rem}\
label{display:block;margin:.75rem 0}input{display:block;width:100%;box-sizing:border-box;padding:.5rem;font:inherit}\
button{font:inherit;padding:.5rem 1rem;margin-right:.5rem}.problem{color:#a00}code{overflow-wrap:anywhere}";
/// SHA-256 of [`STYLE`], by which it may stand in the page; a test compares them.
const STYLE_HASH: &str = "sha256-";

/// Text between tags and in quoted attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

fn html(title: &str, head: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title>{head}</head><body><main>{body}</main></body></html>"
    )
}

/// A failure that comes before its page is asked, for people: the headers that every answer has forbid it a style.
pub(super) fn failed(problem: &Problem) -> Vec<u8> {
    let wait = problem.retry_after.map(|seconds| format!("<p>Try it again in {seconds} s.</p>"));
    let body = format!(
        "<h1>Nothing was done</h1><p role=\"alert\">{}.</p>{}",
        escaped(&problem.detail),
        wait.unwrap_or_default()
    );
    html("Nothing was done", "", &body).into_bytes()
}

/// A page. `sends_to` is where a form may lead in the end, besides this node.
pub(super) fn page(status: StatusCode, title: &str, body: &str, sends_to: Option<&str>) -> Response {
    let html = html(title, &format!("<style>{STYLE}</style>"), body);
    let form = sends_to.map(|origin| format!(" {origin}")).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; style-src '{}'; form-action 'self'{form}; frame-ancestors 'none'; base-uri 'none'",
        style_hash()
    );
    let mut response = (status, html).into_response();
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // The form's own origin must come with it; nothing else learns this address.
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn style_hash() -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use sha2::{Digest, Sha256};
    format!("{STYLE_HASH}{}", STANDARD.encode(Sha256::digest(STYLE)))
}

/// A page whose form leads to this node alone.
pub(super) fn plain(status: StatusCode, title: &str, body: &str) -> Response {
    page(status, title, body, None)
}

/// What a person is asked.
pub(super) struct Question<'a> {
    /// The client's display name.
    pub(super) client: &'a str,
    /// The org that it belongs to.
    pub(super) org: &'a str,
    /// What it asks for, in words of rights.
    pub(super) wants: Vec<String>,
    /// Where the person is sent then.
    pub(super) leads_to: &'a str,
    /// The request as it came, to be checked again.
    pub(super) request: Vec<(String, String)>,
    /// What went wrong the last time.
    pub(super) problem: Option<&'a str>,
    /// What was typed as address.
    pub(super) address: &'a str,
}

/// Asks a person to sign in and to say yes.
pub(super) fn question(status: StatusCode, question: &Question<'_>) -> Response {
    let mut body = format!(
        "<h1>Sign in to {}</h1><p><strong>{}</strong>, an application of <strong>{}</strong>, asks to act for you. You will be sent to <code>{}</code>.</p>",
        "Quipu",
        escaped(question.client),
        escaped(question.org),
        escaped(question.leads_to)
    );
    body.push_str("<p>It asks for:</p><ul>");
    for want in &question.wants {
        let _ = write!(body, "<li><code>{}</code></li>", escaped(want));
    }
    body.push_str("</ul>");
    if let Some(problem) = question.problem {
        let _ = write!(body, "<p class=\"problem\" role=\"alert\">{}</p>", escaped(problem));
    }
    body.push_str("<form method=\"post\" action=\"/oauth/authorize\">");
    for (name, value) in &question.request {
        let _ = write!(
            body,
            "<input type=\"hidden\" name=\"{}\" value=\"{}\">",
            escaped(name),
            escaped(value)
        );
    }
    let _ = write!(
        body,
        "<label>Address<input name=\"address\" type=\"text\" autocomplete=\"username\" value=\"{}\"></label>",
        escaped(question.address)
    );
    body.push_str(
        "<label>Password<input name=\"password\" type=\"password\" autocomplete=\"current-password\"></label>\
         <label>Code of your authenticator, if you use one<input name=\"totp\" inputmode=\"numeric\" autocomplete=\"one-time-code\"></label>\
         <p><button name=\"decision\" value=\"allow\">Sign in and allow</button>\
         <button name=\"decision\" value=\"deny\">Deny</button></p></form>",
    );
    page(status, "Sign in", &body, Some(question.leads_to))
}

/// Says that a request leads nowhere: whom it could be told to is not known.
pub(super) fn dead_end(detail: &str) -> Response {
    let body = format!(
        "<h1>This link does not work</h1><p class=\"problem\" role=\"alert\">{}</p><p>Go back to the application that sent you here.</p>",
        escaped(detail)
    );
    page(StatusCode::BAD_REQUEST, "This link does not work", &body, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_clients_say_is_text_on_the_page() {
        let evil = "\"><script>alert(1)</script>";
        let response = question(
            StatusCode::OK,
            &Question {
                client: evil,
                org: "acme",
                wants: vec![evil.into()],
                leads_to: "https://app.example",
                request: vec![("state".into(), evil.into())],
                problem: Some(evil),
                address: evil,
            },
        );
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(
            policy.contains("form-action 'self' https://app.example;") && !policy.contains("unsafe"),
            "{policy}"
        );
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let html = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(!html.contains("<script") && html.matches("&lt;script&gt;").count() == 5, "{html}");
        assert_eq!(escaped("a&b'c"), "a&amp;b&#39;c");
    }
}
