//! A session in the cookie of a browser, for pages of this host: other sites make the browser send it along, and are refused.

use axum::{
    extract::Request,
    http::{HeaderMap, header},
};
use quipu_schemas::problem::Problem;

/// Browsers take a cookie of this name from this very host alone, over TLS (or on the machine itself), for all paths.
pub(in crate::http) const NAME: &str = "__Host-quipu";

/// The token in it, where nothing else is shown. Two of them are none.
pub(super) fn of(headers: &HeaderMap) -> Option<&str> {
    if headers.contains_key(header::AUTHORIZATION) {
        return None;
    }
    let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = texts
        .flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let mut found = pairs.filter(|(name, _)| *name == NAME).map(|(_, value)| value);
    match (found.next(), found.next()) {
        (Some(token), None) => Some(token),
        _ => None,
    }
}

/// Refuses a change by cookie that does not say from which page it comes; whether that page may is asked of every request.
pub(super) fn check(request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    if headers.contains_key(header::AUTHORIZATION) || request.method().is_safe() || headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    Err(Problem::new(
        403,
        "origin_required",
        "a request by cookie that changes something says from which page it comes",
    )
    .field("Origin")
    .fix("send it from a page of this host, or with Authorization: Bearer instead of the cookie"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, http::Method};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn the_cookie_is_read_by_its_whole_name_and_once() {
        let cookie = |text| headers(&[("cookie", text)]);
        assert_eq!(of(&cookie("a=b; __Host-quipu=eyJ.x.y; c=d")), Some("eyJ.x.y"));
        for other in [
            "__host-quipu=x",
            "quipu=x",
            "a__Host-quipu=x",
            "__Host-quipu",
            "__Host-quipu=x; __Host-quipu=y",
        ] {
            assert_eq!(of(&cookie(other)), None, "{other}");
        }
        let both = headers(&[("cookie", "__Host-quipu=x"), ("authorization", "Bearer y")]);
        assert_eq!(of(&both), None);
    }

    #[test]
    fn a_change_by_cookie_names_its_page() {
        let request = |method: Method, pairs: &[(&'static str, &'static str)]| {
            let mut request = Request::builder().method(method).body(Body::empty()).unwrap();
            *request.headers_mut() = headers(pairs);
            check(&request).map_err(|problem| problem.code)
        };
        assert_eq!(request(Method::GET, &[]), Ok(()));
        assert_eq!(request(Method::POST, &[]), Err("origin_required".into()));
        assert_eq!(request(Method::DELETE, &[]), Err("origin_required".into()));
        assert_eq!(request(Method::POST, &[("origin", "http://here")]), Ok(()));
        assert_eq!(request(Method::POST, &[("authorization", "Bearer x")]), Ok(()));
    }
}
