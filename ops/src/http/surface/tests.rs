//! Another surface beside the others: one value, one router.

use super::*;
use crate::{
    app::tests::in_memory,
    http::{Failure, join, request::Fields, router},
};
use axum::{
    http::{Method, Request, StatusCode},
    routing::{get, post},
};
use serde_json::{Value, json};
use std::future::pending;
use tower::ServiceExt;

/// Failures as some other interface tells them.
fn other_shape(problem: &Problem) -> Vec<u8> {
    let error = json!({ "error": { "message": problem.detail, "code": problem.code, "param": problem.field } });
    error.to_string().into_bytes()
}

static OTHER: Surface = Surface {
    prefixes: &["/other/"],
    errors: Errors::Shaped {
        media_type: "application/json",
        body: other_shape,
    },
    body: Bound {
        most: 8,
        name: "OTHER_BODY_MAX_BYTES",
    },
    first_byte: Bound {
        most: 50,
        name: "OTHER_FIRST_BYTE_MS",
    },
    cors: None,
    ..USUAL
};

async fn refuse() -> Failure {
    Failure(Problem::new(422, "odd", "this is odd").field("x").retry_after(3))
}

async fn read(Fields(fields): Fields) -> String {
    fields.to_string()
}

fn other() -> Part {
    let routes = Routes::new()
        .route("/other/refuse", get(refuse))
        .route("/other/read", post(read))
        .route("/other/never", get(pending::<()>));
    Part { surface: &OTHER, routes }
}

struct Answered {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: Value,
}

async fn ask(router: &Router, token: Option<&str>, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answered {
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 23).await.unwrap();
    Answered {
        status: head.status,
        headers: head.headers,
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
    }
}

#[test]
fn paths_without_a_route_belong_to_the_surface_above() {
    for (surface, within, outside) in [
        (&GRID, "/v1/orgs/acme/x/y/z/w", "/v1/orgs"),
        (&OPS, "/v1/ops/nothing", "/v1/opsx"),
        (&HEALTH, "/health", "/healthy"),
        (&HEALTH, "/health/nothing", "/v1/health"),
        (&METRICS, "/metrics", "/metrics/"),
        (&INTERNAL, "/internal/v2", "/internal"),
        (&DOCS, "/docs/", "/docs"),
    ] {
        assert!(surface.has(within), "{within}");
        assert!(!surface.has(outside), "{outside}");
    }
    assert!(!ELSEWHERE.has("/") && !ELSEWHERE.has(""));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_surface_tells_every_failure_in_its_own_form() {
    let (app, _stage) = in_memory().await;
    let token = app.token.expose().to_owned();
    let token = Some(token.as_str());
    let router = join(app.clone(), vec![super::super::grid::part(), other()]);
    let is_json = ("content-type", "application/json");
    for (with, method, path, body, status, code) in [
        (None, Method::GET, "/other/refuse", "", 401, "unauthenticated"),
        (token, Method::GET, "/other/refuse", "", 422, "odd"),
        (token, Method::GET, "/other/nothing", "", 404, "unknown_route"),
        (None, Method::GET, "/other/nothing", "", 401, "unauthenticated"),
        (token, Method::POST, "/other/refuse", "", 405, "method_not_allowed"),
        (token, Method::POST, "/other/read", "{\"a\":", 400, "malformed_json"),
        (token, Method::POST, "/other/read", "{\"abc\":1}", 413, "body_too_large"),
        (token, Method::GET, "/other/never", "", 503, "request_timeout"),
    ] {
        let answered = ask(&router, with, method, path, &[is_json], body).await;
        assert_eq!(answered.status, status, "{path}: {}", answered.body);
        assert_eq!(answered.headers["content-type"], "application/json", "{path}");
        assert_eq!(answered.body["error"]["code"], code, "{path}");
        assert!(answered.headers.contains_key("x-correlation-id"), "{path}");
        match code {
            "method_not_allowed" => assert_eq!(answered.headers["allow"], "GET,HEAD"),
            "body_too_large" => assert!(
                answered.body["error"]["message"]
                    .to_string()
                    .contains("8 bytes (OTHER_BODY_MAX_BYTES)")
            ),
            "request_timeout" => assert!(
                answered.body["error"]["message"]
                    .to_string()
                    .contains("50 ms (OTHER_FIRST_BYTE_MS)")
            ),
            "odd" => assert_eq!(
                (&answered.headers["retry-after"], &answered.body["error"]["param"]),
                (&"3".parse().unwrap(), &json!("x"))
            ),
            _ => {}
        }
    }
    // Beside it, everything is as it was.
    let answered = ask(&router, token, Method::GET, "/v1/orgs/acme/nothing", &[], "").await;
    assert_eq!(answered.headers["content-type"], "application/problem+json");
    let answered = ask(&router, token, Method::POST, "/other/read", &[is_json], "{}").await;
    assert_eq!((answered.status, answered.body), (StatusCode::OK, json!({})));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_surface_asks_for_its_own_credential() {
    let (app, _stage) = in_memory().await;
    let token = app.token.expose().to_owned();
    let router = router(app);
    let get = async |token: Option<&str>, path: &str| ask(&router, token, Method::GET, path, &[], "").await.status.as_u16();
    for (path, without, with) in [
        ("/v1/orgs/acme/stats", 401, 404),
        ("/v1/orgs/acme/x/y/z/w/v", 401, 404),
        ("/v1/ops/tree", 401, 200),
        ("/v1/ops/nothing", 401, 404),
        ("/metrics", 401, 200),
        ("/nothing", 401, 404),
        ("/internal/v1/nothing", 403, 403),
        ("/health/live", 200, 200),
        ("/health/nothing", 404, 404),
        ("/docs/openapi.json", 200, 200),
        ("/docs/nothing", 404, 404),
        ("/docs", 401, 404),
    ] {
        assert_eq!((get(None, path).await, get(Some(&token), path).await), (without, with), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_call_only_surfaces_that_let_them() {
    let (app, _stage) = in_memory().await;
    let router = join(app, vec![super::super::grid::part(), other()]);
    let preflight = [("origin", "http://localhost"), ("access-control-request-method", "POST")];
    let status = async |path: &str| ask(&router, None, Method::OPTIONS, path, &preflight, "").await.status.as_u16();
    assert_eq!((status("/v1/orgs/acme/agents").await, status("/other/read").await), (204, 401));
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_that_are_behind_no_guard_serve_nobody() {
    let (app, _stage) = in_memory().await;
    let token = app.token.expose().to_owned();
    let [ops, ..] = super::super::ops::parts();
    let parts = [super::super::grid::part(), super::super::internal::part(), ops];
    let bare = parts
        .into_iter()
        .fold(Router::new(), |all, part| all.merge(part.routes.into_router()))
        .with_state(app);
    for (method, path) in [
        (Method::GET, "/v1/orgs/acme/stats"),
        (Method::GET, "/v1/orgs/acme/agents/a1/history"),
        (Method::GET, "/v1/orgs/acme/events"),
        (Method::POST, "/v1/orgs/acme/agents"),
        (Method::GET, "/v1/ops/outbox"),
        (Method::POST, "/internal/v1/commands"),
    ] {
        let answered = ask(&bare, Some(&token), method, path, &[], "").await;
        assert_eq!(
            (answered.status.as_u16(), &answered.body["code"]),
            (500, &json!("internal")),
            "{path}"
        );
    }
}

/// Whether a path of the document is taken by a route that is written like this.
fn is_taken(route: &str, path: &str) -> bool {
    let (route, path): (Vec<_>, Vec<_>) = (route.split('/').collect(), path.split('/').collect());
    let takes = |(r, p): (&&str, &&str)| r == p || r.starts_with('{');
    route.len() == path.len() && route.iter().zip(&path).all(takes)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_and_method_stands_in_the_document() {
    let (app, _stage) = in_memory().await;
    let token = app.token.expose().to_owned();
    let document = crate::openapi::document(&app.infos(), app.families());
    let paths = document["paths"].as_object().unwrap();
    let parts = super::super::parts(&app);
    let written: Vec<String> = parts.iter().flat_map(|part| part.routes.paths().to_vec()).collect();
    let router = router(app.clone());
    let mut undocumented = Vec::new();
    for route in &written {
        // Nodes speak to nodes of their own release: not a public interface.
        if route.starts_with("/internal/") {
            continue;
        }
        let filled = route.replace(['{', '}'], "");
        let answered = ask(&router, Some(&token), Method::from_bytes(b"PROBE").unwrap(), &filled, &[], "").await;
        assert_eq!(answered.status, 405, "{route}");
        for method in answered.headers["allow"]
            .to_str()
            .unwrap()
            .split(',')
            .map(str::trim)
            .filter(|m| *m != "HEAD")
        {
            // A command of this name would arrive here; a kind that has one is in the document with it.
            let last = route.rsplit('/').next().unwrap_or_default();
            if method == "POST" && matches!(last, "history" | "state") && !app.kinds().any(|kind| kind.has_command(last)) {
                continue;
            }
            let told = |(path, item): (&String, &Value)| is_taken(route, path) && item.get(method.to_ascii_lowercase()).is_some();
            if !paths.iter().any(told) {
                undocumented.push(format!("{method} {route}"));
            }
        }
    }
    assert!(undocumented.is_empty(), "in no document: {undocumented:?}");
    for path in paths.keys() {
        assert!(written.iter().any(|route| is_taken(route, path)), "no route takes {path}");
    }
    assert!(written.len() > 25, "{written:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_tells_its_right_and_who_may_show_it() {
    let (app, _stage) = in_memory().await;
    let document = crate::openapi::document(&app.infos(), app.families());
    let schemes = document["components"]["securitySchemes"].as_object().unwrap();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let right = operation["x-quipu-right"].as_str().unwrap_or_else(|| panic!("{method} {path}"));
            let is_of_org = path.starts_with("/v1/orgs/");
            assert_eq!(right.starts_with("cap:"), is_of_org, "{method} {path}: {right}");
            let security = operation.get("security").unwrap_or(&document["security"]);
            let shown = security.as_array().unwrap().iter().flat_map(|one| one.as_object().unwrap().keys());
            let shown: Vec<&String> = shown.collect();
            assert!(shown.iter().all(|name| schemes.contains_key(*name)), "{method} {path}");
            assert_eq!(shown.iter().any(|name| *name == "api_key"), is_of_org, "{method} {path}");
        }
    }
}
