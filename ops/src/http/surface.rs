//! Surfaces: what the guard asks of a request, and how it is told of a failure, where its routes lie.
//!
//! A surface is one value here and one router beside it ([`Part`]); the guard compares no paths of routes that are known.

use super::{App, problem};
use crate::caller_rates::Counted;
use axum::{
    Router,
    body::Body,
    http::{Extensions, HeaderValue, header},
    response::Response,
    routing::MethodRouter,
};
use quipu_schemas::{limits, problem::Problem};

/// One of the faces that this address shows.
#[derive(Debug)]
pub struct Surface {
    /// Paths of it that no route takes: one that ends in `/` stands for all below it, another one for itself alone.
    pub prefixes: &'static [&'static str],
    /// The form of failures.
    pub errors: Errors,
    /// Who may ask.
    pub authentication: Authentication,
    /// What a key of an org opens, where the node's token opens all of it.
    pub keys: Keys,
    /// The most bytes of a body.
    pub body: Bound,
    /// The most milliseconds until an answer begins; a stream or an upgraded connection goes on behind it.
    pub first_byte: Bound,
    /// What pages of configured origins may do; `None` where they may do nothing.
    pub cors: Option<Cors>,
    /// As what a request counts for the network that it comes from.
    pub counted: Option<Counted>,
}

/// A limit, with the name by which it is told.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// The most.
    pub most: u64,
    /// Its name among the limits.
    pub name: &'static str,
}

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// Whoever has the node's token, or another credential where the surface opens to it.
    Token,
    /// Everybody; what is shown and counts is known to the handler.
    Optional,
    /// The same, and everybody on this machine.
    TokenOrLoopback,
    /// Other nodes of the cluster, by its secret.
    Cluster,
    /// Everybody who names the host.
    Open,
    /// Everybody, by whatever host and also while the node stops: load balancers ask by its address, by a name of their own, or
    /// without any host.
    Probe,
}

/// What a key of an org, or a session, opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// What lies under its own org, or one that knows who shows it: the path's third segment.
    OwnOrg,
    /// What is the own of whoever shows a session; a key opens nothing.
    Account,
    /// Nothing but to operators: a key is refused here as it is in another org.
    Nothing,
}

/// The form of failures. Status and headers are the same in each.
#[derive(Debug, Clone, Copy)]
pub enum Errors {
    /// RFC 9457.
    Problems,
    /// Another form.
    Shaped {
        /// Its media type.
        media_type: &'static str,
        /// A problem in it.
        body: fn(&Problem) -> Vec<u8>,
    },
}

/// What a page of a configured origin may send and see.
#[derive(Debug, Clone, Copy)]
pub struct Cors {
    /// Methods, besides those that need no leave.
    pub methods: &'static str,
    /// Headers that it may send.
    pub headers: &'static str,
    /// Headers of an answer that it may read.
    pub exposed: &'static str,
}

/// Marks a request that came over TLS of the node's own.
#[derive(Debug, Clone, Copy)]
pub struct Secured;

/// A surface with its routes.
pub struct Part {
    /// What the guard asks.
    pub surface: &'static Surface,
    /// What is behind it.
    pub routes: Routes,
}

/// Routes that are known by their paths: one that stands in no document is found.
pub struct Routes<S = App> {
    router: Router<S>,
    paths: Vec<String>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// None yet.
    pub fn new() -> Self {
        Self {
            router: Router::new(),
            paths: Vec::new(),
        }
    }

    /// One more.
    pub fn route(mut self, path: &str, methods: MethodRouter<S>) -> Self {
        self.paths.push(path.to_owned());
        self.router = self.router.route(path, methods);
        self
    }

    /// With what its handlers share besides the app.
    pub fn with_state<S2>(self, state: S) -> Routes<S2> {
        Routes {
            router: self.router.with_state(state),
            paths: self.paths,
        }
    }

    /// Their paths, as they are written in the router.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// The router of them.
    pub fn into_router(self) -> Router<S> {
        self.router
    }
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self::new()
    }
}

const BODY: Bound = Bound {
    most: limits::BODY_MAX_BYTES as u64,
    name: "BODY_MAX_BYTES",
};

const FIRST_BYTE: Bound = Bound {
    most: limits::REQUEST_TIMEOUT_MS,
    name: "REQUEST_TIMEOUT_MS",
};

const CORS: Cors = Cors {
    methods: "GET, POST, PUT",
    headers: "Authorization, Content-Digest, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Quipu-On-Behalf-Of, Range, traceparent, X-Correlation-Id, X-Data-Class, X-Env, X-IBEX-Agent-ID, X-Org-Id, X-Quipu-Agent, X-Request-Id, X-Service-Id",
    exposed: "Accept-Ranges, Content-Digest, Content-Range, ETag, Idempotent-Replayed, Location, Quipu-Position, RateLimit, RateLimit-Limit, RateLimit-Policy, RateLimit-Remaining, RateLimit-Reset, Retry-After, X-Correlation-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, X-Request-Id, X-Should-Retry",
};

/// What most surfaces are like.
pub const USUAL: Surface = Surface {
    prefixes: &[],
    errors: Errors::Problems,
    authentication: Authentication::Token,
    keys: Keys::Nothing,
    body: BODY,
    first_byte: FIRST_BYTE,
    cors: Some(CORS),
    counted: None,
};

/// Where no other surface is.
pub static ELSEWHERE: Surface = USUAL;

/// Orgs, and everything in them.
pub static GRID: Surface = Surface {
    prefixes: &["/v1/orgs/"],
    keys: Keys::OwnOrg,
    ..USUAL
};

/// Where other systems deliver what they have signed.
pub static CALLBACKS: Surface = Surface {
    prefixes: &["/callbacks/"],
    authentication: Authentication::Open,
    body: Bound {
        most: limits::CALLBACK_BODY_MAX_BYTES as u64,
        name: "CALLBACK_BODY_MAX_BYTES",
    },
    cors: None,
    counted: Some(Counted::Delivery),
    ..USUAL
};

/// What operators see and do.
pub static OPS: Surface = Surface {
    prefixes: &["/v1/ops/"],
    ..USUAL
};

/// Where somebody gets an account, and a session.
pub static SIGN_IN: Surface = Surface {
    prefixes: &["/v1/auth/"],
    authentication: Authentication::Optional,
    keys: Keys::Account,
    counted: Some(Counted::SignIn),
    ..USUAL
};

/// Where somebody gets an account.
pub static REGISTER: Surface = Surface {
    authentication: Authentication::Optional,
    keys: Keys::Account,
    counted: Some(Counted::Registration),
    ..USUAL
};

/// Where somebody who is signed in changes how they sign in.
pub static SECRETS: Surface = Surface {
    keys: Keys::Account,
    counted: Some(Counted::SignIn),
    ..USUAL
};

/// What is a principal's own.
pub static ACCOUNT: Surface = Surface {
    prefixes: &["/v1/me", "/v1/me/"],
    keys: Keys::Account,
    cors: Some(Cors {
        methods: "GET, POST, DELETE",
        ..CORS
    }),
    ..USUAL
};

/// How the node is.
pub static HEALTH: Surface = Surface {
    prefixes: &["/health", "/health/"],
    authentication: Authentication::Probe,
    ..USUAL
};

/// The metrics page.
pub static METRICS: Surface = Surface {
    prefixes: &["/metrics"],
    authentication: Authentication::TokenOrLoopback,
    ..USUAL
};

/// What nodes tell each other.
pub static INTERNAL: Surface = Surface {
    prefixes: &["/internal/"],
    authentication: Authentication::Cluster,
    // Sealed, a body takes more room than it came in.
    body: Bound {
        most: limits::FORWARD_MAX_BYTES as u64,
        name: "FORWARD_MAX_BYTES",
    },
    ..USUAL
};

/// Documents for programs.
pub static DOCS: Surface = Surface {
    prefixes: &["/docs/"],
    authentication: Authentication::Open,
    ..USUAL
};

impl Surface {
    /// Whether a path that no route takes is of this surface.
    pub fn has(&self, path: &str) -> bool {
        let is_within = |prefix: &&str| path == *prefix || (prefix.ends_with('/') && path.starts_with(*prefix));
        self.prefixes.iter().any(is_within)
    }

    /// The surface by which a request came, as the guard has noted.
    pub fn of(request: &Extensions) -> Result<&'static Self, Problem> {
        let unguarded = || problem::internal("this route is behind no guard");
        request.get::<&'static Self>().copied().ok_or_else(unguarded)
    }

    /// The most bytes of a body.
    pub fn body_max(&self) -> usize {
        usize::try_from(self.body.most).unwrap_or(usize::MAX)
    }
}

impl Errors {
    /// Gives a failure this form; another answer stays as it is.
    pub fn shape(&self, response: &mut Response) {
        let Self::Shaped { media_type, body } = self else { return };
        let Some(problem) = response.extensions().get::<Problem>() else {
            return;
        };
        let bytes = body(problem);
        *response.body_mut() = Body::from(bytes);
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
}

#[cfg(test)]
mod tests;
