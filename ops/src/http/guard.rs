//! What every request passes before its handler: correlation, `Host`, `Origin`, the credential, the org, bounds, a deadline, panics.
//!
//! Whether a key or a session reaches an org is decided here, for every route at once and before anything else of the request is read: what
//! another org holds, and whether it exists, cannot show in an answer.

mod agent;
pub mod client_address;
mod cookie;
mod cors;
mod dressing;
mod protection;
pub(super) mod rates;
mod scope;
mod session;
mod shown;

use super::{
    App, Failure, Stage, answer,
    problem::{self, clip},
    surface::{Authentication, ELSEWHERE, Secured, Surface},
};
use crate::{
    app::audit::Asker,
    asked::{self, Correlation},
    caller::{Caller, Credential, NodeKeyShown},
    metrics::{HTTP_IN_FLIGHT, HTTP_REFUSED, HTTP_REQUESTS, HTTP_SECONDS},
    request_id::RequestId,
};
use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, Method, StatusCode, Uri, Version, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use dressing::Ids;
use futures::FutureExt;
use quipu_schemas::{limits, problem::Problem};
use shown::{Shown, check_secret};
use std::{
    cell::RefCell,
    net::IpAddr,
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

pub(super) use cookie::NAME as COOKIE;

/// Where the guard stands.
#[derive(Clone)]
pub struct Gate {
    /// The node behind it.
    pub app: App,
    /// What it asks.
    pub surface: &'static Surface,
}

/// The middleware before the routes of a surface.
pub async fn guard(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    pass(&gate.app, gate.surface, request, next).await
}

/// The middleware before what no route takes: the surface that the path belongs to is asked all the same.
pub async fn guard_elsewhere(State((app, surfaces)): State<(App, Arc<[&'static Surface]>)>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let surface = surfaces.iter().copied().find(|surface| surface.has(path)).unwrap_or(&ELSEWHERE);
    pass(&app, surface, request, next).await
}

async fn pass(app: &App, surface: &'static Surface, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let origin = request.headers().get(header::ORIGIN).cloned();
    let is_secured = request.extensions().get::<Secured>().is_some();
    client_address::note(&app.access.proxies, &mut request);
    let (path, now) = (request.uri().path().to_owned(), app.now());
    let id = RequestId::of(request.headers(), now);
    let correlation = Correlation::of(request.headers(), &id);
    let ids = Ids { request: id, correlation };
    let is_shown = request.headers().contains_key(header::AUTHORIZATION) || cookie::of(request.headers()).is_some();
    let mut response = match admit(app, surface, &request) {
        Err(problem) => refuse(problem),
        Ok(Admitted::Preflight) => StatusCode::NO_CONTENT.into_response(),
        Ok(Admitted::Yes(shown)) => {
            request.extensions_mut().insert(ids.correlation.clone());
            request.extensions_mut().insert(surface);
            bounded(app, surface, serve(app, surface, *shown, (request, next)), &ids).await
        }
    };
    dressing::complete(&mut response, &path, &ids.request, app.now());
    if response.status() == StatusCode::UNAUTHORIZED
        && response
            .headers()
            .get(header::WWW_AUTHENTICATE)
            .is_some_and(|value| value == answer::BEARER)
    {
        let challenge = app.challenge(is_shown);
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    surface.errors.shape(&mut response);
    dressing::name(&mut response, &ids);
    protection::add(response.headers_mut(), is_secured);
    if let Some(cors) = &surface.cors {
        cors::share(app, cors, response.headers_mut(), origin, method == Method::OPTIONS);
    }
    let status = response.status().as_u16();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    count(method_label(&method), route, status, begun.elapsed());
    tracing::debug!(request = %ids.request.0, correlation = %ids.correlation.0, %method, route, status, "request answered");
    response
}

/// The meters of one method, route and status.
struct Meters {
    method: &'static str,
    route: String,
    status: u16,
    requests: metrics::Counter,
    seconds: metrics::Histogram,
}

/// Meters that a thread keeps at hand; routes and statuses are few.
const METERS_KEPT: usize = 256;

/// Counts an answer. Looking a meter up by its labels costs allocations and a hash, so each thread keeps those it used.
fn count(method: &'static str, route: &str, status: u16, took: Duration) {
    thread_local! {
        static KEPT: RefCell<Vec<Meters>> = const { RefCell::new(Vec::new()) };
    }
    KEPT.with_borrow_mut(|kept| {
        let found = kept
            .iter()
            .position(|m| m.status == status && m.method == method && m.route == route);
        let at = found.unwrap_or_else(|| {
            if kept.len() >= METERS_KEPT {
                kept.clear();
            }
            kept.push(Meters {
                method,
                route: route.to_owned(),
                status,
                requests: metrics::counter!(HTTP_REQUESTS, "method" => method, "route" => route.to_owned(), "status" => status.to_string()),
                seconds: metrics::histogram!(HTTP_SECONDS, "route" => route.to_owned()),
            });
            kept.len() - 1
        });
        kept[at].requests.increment(1);
        kept[at].seconds.record(took.as_secs_f64());
    });
}

// Any token is a method to HTTP, and labels must stay few.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

enum Admitted {
    /// Whoever shows this may, if it is a key that counts.
    Yes(Box<Shown>),
    Preflight,
}

impl From<Credential> for Admitted {
    fn from(credential: Credential) -> Self {
        Self::Yes(Box::new(Shown::Credential(credential)))
    }
}

fn refuse(problem: Problem) -> Response {
    metrics::counter!(HTTP_REFUSED, "reason" => problem.code.clone()).increment(1);
    Failure(problem).into_response()
}

/// Serves a request within its bounds, as which looking up a key counts, and counting at rates.
async fn serve(app: &App, surface: &Surface, shown: Shown, (mut request, next): (Request, Next)) -> Response {
    let (credential, until) = match shown::opened(app, shown).await {
        Ok(opened) => opened,
        Err(problem) => return refuse(problem),
    };
    let asked = rates::read(surface, &request, &credential);
    let caller = Caller::with(credential).until(until);
    let path = request.uri().path();
    let agrees = scope::check(path, request.headers(), &caller).and_then(|()| agent::check(app, path, request.headers(), &caller));
    if let Err(problem) = agrees {
        return refuse(problem);
    }
    let standing = match rates::let_through(app, asked).await {
        Ok(standing) => standing,
        Err((problem, standing)) => {
            let mut response = refuse(problem);
            standing.into_iter().for_each(|standing| standing.write(response.headers_mut()));
            return response;
        }
    };
    let path = request.uri().clone();
    let named = asked::on_behalf_of(request.headers()).ok().flatten();
    let asker = Asker::of(&caller, path.path(), named.as_ref());
    request.extensions_mut().insert(caller);
    let mut response = next.run(request).await;
    if let (Some(asker), Some(problem)) = (asker, response.extensions().get::<Problem>()) {
        app.note_refused(&asker, path.path(), problem);
    }
    standing.into_iter().for_each(|standing| standing.write(response.headers_mut()));
    response
}

fn serving(app: &App) -> Result<(), Problem> {
    if *app.stage.borrow() == Stage::Stopping {
        return Err(problem::stopping());
    }
    Ok(())
}

fn admit(app: &App, surface: &Surface, request: &Request) -> Result<Admitted, Problem> {
    let headers = request.headers();
    check_sizes(request.uri(), headers)?;
    let is_probe = surface.authentication == Authentication::Probe;
    let host = read_host(request, is_probe)?;
    if !is_probe {
        check_host(app, host)?;
    }
    cors::check(app, headers, &host.to_ascii_lowercase())?;
    check_once(headers)?;
    if surface.cors.is_some()
        && request.method() == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    {
        return Ok(Admitted::Preflight);
    }
    let peer = client_address::of(request);
    let anybody = Credential::Nothing.into();
    let shown = match surface.authentication {
        Authentication::Open | Authentication::Probe => return Ok(anybody),
        Authentication::TokenOrLoopback if peer.is_some_and(|ip| ip.is_loopback()) => return Ok(anybody),
        Authentication::Cluster => {
            check_secret(app, headers)?;
            app.admit_node(request.extensions().get::<NodeKeyShown>())?;
            Shown::Credential(Credential::Cluster)
        }
        Authentication::Token | Authentication::TokenOrLoopback => shown::required(app, surface, request, peer)?,
        Authentication::Optional => shown::optional(app, surface, request, peer),
    };
    // What is to be looked up is looked up before.
    if matches!(shown, Shown::Credential(_)) {
        serving(app)?;
    }
    Ok(Admitted::Yes(Box::new(shown)))
}

fn check_sizes(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let uri_bytes = uri.path().len() + uri.query().map_or(0, str::len);
    if uri_bytes > limits::URI_MAX_BYTES {
        let detail = format!(
            "path and query take {uri_bytes} bytes; {} is the most (URI_MAX_BYTES)",
            limits::URI_MAX_BYTES
        );
        return Err(Problem::new(414, "uri_too_long", detail).fix("shorten the query"));
    }
    let header_bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if header_bytes > limits::HEADERS_MAX_BYTES {
        let detail = format!(
            "headers take {header_bytes} bytes; {} is the most (HEADERS_MAX_BYTES)",
            limits::HEADERS_MAX_BYTES
        );
        return Err(Problem::new(431, "headers_too_large", detail).fix("send fewer headers"));
    }
    Ok(())
}

/// A credential is given once: whatever stands before the node may have looked at the other one.
fn check_once(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.get_all(header::AUTHORIZATION).iter().nth(1).is_some() {
        return Err(problem::bad_header("Authorization", "Authorization is given twice", "give it once"));
    }
    Ok(())
}

/// The host that a request is for; empty where it names none.
fn read_host(request: &Request, is_probe: bool) -> Result<&str, Problem> {
    let mut given = request.headers().get_all(header::HOST).iter();
    let first = given.next();
    // Whatever stands before the node may have looked at the other one.
    if given.next().is_some() {
        return Err(problem::bad_header("Host", "Host is given twice", "give it once"));
    }
    // Only HTTP/1.0 has requests without one.
    if first.is_none() && request.uri().authority().is_none() && request.version() > Version::HTTP_10 && !is_probe {
        return Err(problem::bad_header("Host", "there is no Host", "name the host that is asked"));
    }
    Ok(match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => first.and_then(|v| v.to_str().ok()).unwrap_or_default(),
    })
}

/// A web page that got its name to resolve to this machine (DNS rebinding) sends its own name as `Host`.
fn check_host(app: &App, given: &str) -> Result<(), Problem> {
    if is_loopback(given)
        || app
            .access
            .hosts
            .iter()
            .any(|host| host.eq_ignore_ascii_case(given) || host.eq_ignore_ascii_case(without_port(given)))
    {
        return Ok(());
    }
    Err(
        Problem::new(403, "host_not_allowed", format!("host `{}` is not served here", clip(given)))
            .field("Host")
            .fix("use a loopback name, or add the name to `hosts` in the configuration"),
    )
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

fn is_loopback(host: &str) -> bool {
    let name = without_port(host);
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

async fn bounded(app: &App, surface: &Surface, work: impl Future<Output = Response>, ids: &Ids) -> Response {
    let Ok(_permit) = app.requests.clone().try_acquire_owned() else {
        metrics::counter!(HTTP_REFUSED, "reason" => "overloaded").increment(1);
        return Failure(problem::overloaded("requests", limits::REQUESTS_MAX)).into_response();
    };
    static IN_FLIGHT: OnceLock<metrics::Gauge> = OnceLock::new();
    let in_flight = IN_FLIGHT.get_or_init(|| metrics::gauge!(HTTP_IN_FLIGHT));
    in_flight.increment(1.0);
    let work = AssertUnwindSafe(work).catch_unwind();
    // Bounds the time to the first byte; streams go on after it, and so do upgraded connections.
    let answer = tokio::time::timeout(Duration::from_millis(surface.first_byte.most), work).await;
    in_flight.decrement(1.0);
    match answer {
        Ok(Ok(response)) => response,
        Ok(Err(_panic)) => {
            tracing::error!(request = %ids.request.0, correlation = %ids.correlation.0, "a handler panicked");
            Failure(problem::internal("the handler of this request crashed")).into_response()
        }
        Err(_elapsed) => Failure(problem::timed_out(surface.first_byte.most, surface.first_byte.name)).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_and_addresses_pass_with_any_port() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "127.9.9.9", "[::1]:99", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "localhost.evil.com",
            "evil.com:80",
            "10.0.0.1",
            "127.0.0.1.evil.com",
            "[::2]:1",
            "0.0.0.0:80",
            "localhost:80:80",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
