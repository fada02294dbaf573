//! Sending one HTTP request under the egress rule, and reading a bounded answer.

use super::egress::{Egress, Refused, Route, authority};
use bytes::Bytes;
use quipu_schemas::limits::{CONNECT_TIMEOUT_MS, REDIRECTS_MAX};
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{
        ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue, LOCATION,
        PROXY_AUTHORIZATION,
    },
    redirect, retry,
};
use std::{error::Error as _, time::Duration};

/// Idle connections are kept that long; most destinations are called in bursts or rarely.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// A request could not be made at all.
#[derive(Debug, thiserror::Error)]
#[error("HTTP client: {0}")]
pub struct ClientError(String);

/// Two clients that differ in their resolver: one for destinations that `egress.allow` names, one for all others.
/// Their connection pools are apart, so a permitted connection never carries a guarded request.
pub(crate) struct Client {
    egress: Egress,
    allowed: reqwest::Client,
    guarded: reqwest::Client,
}

/// What to do with a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Redirects {
    /// It is the answer.
    Answer,
    /// Follow it where HTTP says that the request may be repeated there, every hop under the egress rule.
    Follow,
}

/// A request to send.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// Headers that stay with the first origin.
    pub(crate) confidential: Vec<HeaderName>,
    pub(crate) body: Option<Bytes>,
    pub(crate) redirects: Redirects,
}

/// Whether the receiver can have seen the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    /// Refused here, and would be again.
    Never,
    /// No connection this time.
    NotYet,
    /// Perhaps: the connection stood.
    Perhaps,
}

/// Why there is no answer. `detail` holds no secret, query or personal data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) code: &'static str,
    pub(crate) detail: String,
    pub(crate) reached: Reached,
}

impl Trouble {
    pub(crate) fn refused(code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            reached: Reached::Never,
        }
    }

    /// `missing` did not come in time: `an answer from host:port`.
    pub(crate) fn timeout(missing: &str, ms: u64) -> Self {
        Self {
            code: "timeout",
            detail: format!("no {missing} within {ms} ms"),
            reached: Reached::Perhaps,
        }
    }
}

impl Client {
    pub(crate) fn new(egress: Egress) -> Result<Self, ClientError> {
        // Fails where a provider is installed already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self {
            allowed: build(&egress, Route::Allowed)?,
            guarded: build(&egress, Route::Guarded)?,
            egress,
        })
    }

    /// Sends; returns as soon as the answer's head is there. Dropping the future, or the answer, closes the connection.
    pub(crate) async fn send(&self, mut request: Outgoing) -> Result<Response, Trouble> {
        for _ in 0..=REDIRECTS_MAX {
            let route = self
                .egress
                .check(&request.url)
                .map_err(|refused| Trouble::refused(code_of(&refused), refused.to_string()))?;
            let client = match route {
                Route::Allowed => &self.allowed,
                Route::Guarded => &self.guarded,
            };
            let mut call = client
                .request(request.method.clone(), request.url.clone())
                .headers(request.headers.clone());
            if let Some(body) = &request.body {
                call = call.body(body.clone());
            }
            if !request.headers.contains_key(ACCEPT_ENCODING) {
                // Without it any encoding is allowed.
                call = call.header(ACCEPT_ENCODING, "identity");
            }
            let response = call.send().await.map_err(|error| trouble(&error, &request.url))?;
            if request.redirects == Redirects::Answer {
                return Ok(response);
            }
            match next_hop(&request, response.status(), response.headers())? {
                Some(next) => request = next,
                None => return Ok(response),
            }
        }
        Err(Trouble::refused(
            "too_many_redirects",
            format!("more than {REDIRECTS_MAX} redirects"),
        ))
    }
}

fn build(egress: &Egress, route: Route) -> Result<reqwest::Client, ClientError> {
    let builder = || {
        reqwest::Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            // Repetition is the outbox's business: it knows which requests may be repeated.
            .retry(retry::never())
            .referer(false)
            .dns_resolver(egress.resolver(route))
            .connect_timeout(Duration::from_millis(CONNECT_TIMEOUT_MS))
            .pool_idle_timeout(POOL_IDLE)
            .user_agent(concat!("quipu/", env!("CARGO_PKG_VERSION")))
    };
    builder().build().or_else(|error| {
        tracing::warn!(%error, "no trusted root certificates: https calls will fail until some are installed");
        builder().tls_certs_only([]).build().map_err(|error| ClientError(error.to_string()))
    })
}

/// Says in `X-Request-Id` which request a call follows from. An id that is not a header value is left out.
pub(crate) fn correlate(headers: &mut HeaderMap, correlation: Option<&str>) {
    if let Some(value) = correlation.and_then(|id| HeaderValue::from_str(id).ok()) {
        headers.insert("x-request-id", value);
    }
}

fn code_of(refused: &Refused) -> &'static str {
    match refused {
        Refused::Url(_) => "url_refused",
        Refused::Address { .. } => "egress_refused",
    }
}

fn next_hop(request: &Outgoing, status: StatusCode, headers: &HeaderMap) -> Result<Option<Outgoing>, Trouble> {
    let safe = matches!(request.method, Method::GET | Method::HEAD);
    let keeps_method = match status.as_u16() {
        307 | 308 => true,
        301 | 302 if safe => true,
        303 => safe,
        // A redirected POST may not be repeated as it is, and as a GET it would be another request.
        _ => return Ok(None),
    };
    let Some(location) = headers.get(LOCATION).and_then(|value| value.to_str().ok()) else {
        return Ok(None);
    };
    let url = request
        .url
        .join(location)
        .map_err(|_| Trouble::refused("url_refused", "the redirect's location is not a URL"))?;
    if request.url.scheme() == "https" && url.scheme() == "http" {
        return Err(Trouble::refused(
            "redirect_downgraded",
            format!("{} redirects from https to http", authority(&request.url)),
        ));
    }
    let mut next = Outgoing { url, ..request.clone() };
    if next.url.origin() != request.url.origin() {
        for name in request.confidential.iter().chain(&[AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION]) {
            next.headers.remove(name);
        }
    }
    if !keeps_method {
        next.method = Method::GET;
        next.body = None;
        next.headers.remove(CONTENT_TYPE);
        next.headers.remove(CONTENT_LENGTH);
    }
    Ok(Some(next))
}

/// Tells errors apart by their causes: what the client's texts say may hold the URL.
pub(crate) fn trouble(error: &reqwest::Error, url: &Url) -> Trouble {
    let mut cause = error.source();
    let (mut io, mut tls) = (None, None);
    while let Some(inner) = cause {
        if let Some(refused) = inner.downcast_ref::<Refused>() {
            return Trouble::refused(code_of(refused), refused.to_string());
        }
        if let Some(error) = inner.downcast_ref::<std::io::Error>() {
            io = Some(error.kind());
            // An io::Error's own `source` passes over the error that it wraps.
            tls = tls.or(error.get_ref().and_then(|wrapped| wrapped.downcast_ref::<rustls::Error>()));
        }
        tls = tls.or(inner.downcast_ref::<rustls::Error>());
        cause = inner.source();
    }
    let peer = authority(url);
    let why = io.map_or_else(|| "the connection was closed".to_owned(), |kind| kind.to_string());
    let reached = if error.is_connect() { Reached::NotYet } else { Reached::Perhaps };
    let (code, detail) = match tls {
        Some(tls) => ("tls", format!("TLS with {peer} failed: {tls}")),
        None if error.is_connect() && error.is_timeout() => {
            ("timeout", format!("connecting to {peer} took longer than {CONNECT_TIMEOUT_MS} ms"))
        }
        None if error.is_connect() => ("connect", format!("no connection to {peer}: {why}")),
        None if error.is_builder() => return Trouble::refused("request_invalid", "the request is not valid HTTP"),
        None => ("connection_lost", format!("connection to {peer} lost before its answer: {why}")),
    };
    Trouble { code, detail, reached }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(method: Method, status: u16, location: &str) -> Result<Option<Outgoing>, Trouble> {
        let mut headers = HeaderMap::new();
        headers.insert("x-key", HeaderValue::from_static("s3cret"));
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer s3cret"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("x-plain", HeaderValue::from_static("kept"));
        let request = Outgoing {
            method,
            url: "https://a.example/one?q=1".parse().unwrap(),
            headers,
            confidential: vec![HeaderName::from_static("x-key")],
            body: Some(Bytes::from_static(b"{}")),
            redirects: Redirects::Follow,
        };
        let mut answer = HeaderMap::new();
        answer.insert(LOCATION, location.parse().unwrap());
        next_hop(&request, StatusCode::from_u16(status).unwrap(), &answer)
    }

    #[test]
    fn redirect_repeats_allowed_methods_and_drops_secrets() {
        let same = hop(Method::GET, 302, "/two").unwrap().unwrap();
        assert_eq!(same.url.as_str(), "https://a.example/two");
        assert!(same.headers.contains_key("x-key") && same.headers.contains_key(AUTHORIZATION));

        let other = hop(Method::POST, 307, "https://b.example/").unwrap().unwrap();
        assert_eq!((other.method, other.body.is_some()), (Method::POST, true));
        assert!(!other.headers.contains_key("x-key") && !other.headers.contains_key(AUTHORIZATION));
        assert!(other.headers.contains_key("x-plain"));

        let seen = hop(Method::POST, 303, "/seen").unwrap().unwrap();
        assert_eq!(
            (seen.method, seen.body, seen.headers.contains_key(CONTENT_TYPE)),
            (Method::GET, None, false)
        );

        assert!(hop(Method::POST, 302, "/two").unwrap().is_none());
        assert!(hop(Method::GET, 304, "/two").unwrap().is_none());
        assert_eq!(hop(Method::GET, 302, "http://a.example/").unwrap_err().code, "redirect_downgraded");
    }
}
