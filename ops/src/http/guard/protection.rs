//! Headers by which a browser does no more with an answer than it has to. Every answer has them; a handler may be stricter.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// On every answer.
const ALWAYS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];
/// A page runs and loads nothing, unless its handler says what.
const PAGE_POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// A year. The names below this one are nobody's business.
const TRANSPORT: &str = "max-age=31536000";

/// Adds them. What is not said to be kept is kept by nobody: answers hold what a credential opened.
pub(super) fn add(headers: &mut HeaderMap, is_secured: bool) {
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let is_page = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if is_page {
        headers
            .entry(header::CONTENT_SECURITY_POLICY)
            .or_insert(HeaderValue::from_static(PAGE_POLICY));
    }
    if is_secured {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(TRANSPORT));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_tls_get_more_and_handlers_may_be_stricter() {
        let mut headers = HeaderMap::new();
        add(&mut headers, false);
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert!(headers.get(header::CONTENT_SECURITY_POLICY).is_none() && headers.get(header::STRICT_TRANSPORT_SECURITY).is_none());
        for (name, value) in ALWAYS {
            assert_eq!(headers[name], value);
        }
        let mut headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
            (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600")),
        ]);
        add(&mut headers, true);
        assert_eq!(headers[header::CONTENT_SECURITY_POLICY], PAGE_POLICY);
        assert!(!PAGE_POLICY.contains("unsafe"));
        assert_eq!(headers[header::CACHE_CONTROL], "public, max-age=3600");
        assert_eq!(headers[header::STRICT_TRANSPORT_SECURITY], TRANSPORT);
        let own = "default-src 'none'; style-src 'self'";
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(own));
        add(&mut headers, true);
        assert_eq!(headers[header::CONTENT_SECURITY_POLICY], own);
    }
}
