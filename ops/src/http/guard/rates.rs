//! Rates, before anything else of a request is read: those of the node and of the org that it is for; and where nobody needs a
//! credential, that of the network that it comes from.

use super::{App, Surface, asked, client_address, problem};
use crate::{caller::Credential, caller_rates::Counted, http::surface::Keys};
use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue},
};
use quipu_runtime::{
    kernel::limiter::{Refused, Standing},
    rates::{Asking, Taken},
};
use quipu_schemas::{ids::OrgId, limits, problem::Problem};
use std::net::IpAddr;

/// How a request stands at the rate that is nearest to being used up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown {
    by: &'static str,
    requests: u32,
    per_seconds: u32,
    remaining: u32,
    reset_seconds: u64,
}

/// A refusal, with what its headers say.
pub(super) type NotNow = (Problem, Option<Shown>);

impl Shown {
    fn of_node(standing: Standing) -> Self {
        Self {
            by: "node",
            requests: standing.rate.requests,
            per_seconds: standing.rate.per_seconds,
            remaining: standing.remaining,
            reset_seconds: standing.reset_ms.div_ceil(1_000),
        }
    }

    fn of_network(standing: Standing) -> Self {
        Self {
            by: "network",
            ..Self::of_node(standing)
        }
    }

    fn of_org(taken: Taken) -> Self {
        Self {
            by: taken.by.name(),
            requests: taken.requests,
            per_seconds: taken.per_seconds,
            remaining: taken.remaining,
            reset_seconds: taken.reset_ms.div_ceil(1_000),
        }
    }

    fn refused(self) -> NotNow {
        let Self {
            by,
            requests,
            per_seconds,
            reset_seconds,
            ..
        } = self;
        let wait = u32::try_from(reset_seconds).unwrap_or(u32::MAX).max(1);
        let problem = Problem::new(
            429,
            "rate_limited",
            format!("{requests} requests in {per_seconds} s are let through by {by}, and as many have come"),
        )
        .fix(format!("wait {wait} s, or have the rate raised"))
        .retry_after(wait);
        (problem, Some(self))
    }

    /// Says it in an answer's headers: under the names that most clients know, and as the draft of the IETF has it.
    pub(super) fn write(self, headers: &mut HeaderMap) {
        let numbers = [
            ("ratelimit-limit", "x-ratelimit-limit", u64::from(self.requests)),
            ("ratelimit-remaining", "x-ratelimit-remaining", u64::from(self.remaining)),
            ("ratelimit-reset", "x-ratelimit-reset", self.reset_seconds),
        ];
        for (name, old, number) in numbers {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(number));
            headers.insert(HeaderName::from_static(old), HeaderValue::from(number));
        }
        let policy = format!("\"{}\";q={};w={}", self.by, self.requests, self.per_seconds);
        let state = format!("\"{}\";r={};t={}", self.by, self.remaining, self.reset_seconds);
        for (name, text) in [("ratelimit-policy", policy), ("ratelimit", state)] {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

/// What a request is counted by.
pub(super) enum Counting {
    /// The rates of an org, and the node's: nothing, where it is the platform's own.
    Org(Option<Asking>),
    /// That of the network that it comes from.
    Network(Counted, Option<IpAddr>),
}

/// What the rates count of a request; `None` where it is for nothing that has one.
pub(super) fn read(surface: &Surface, request: &Request, credential: &Credential) -> Option<Counting> {
    if let Some(counted) = surface.counted {
        // Whoever holds the node's token registers as many as there are.
        let is_own = matches!(credential, Credential::Token);
        return (!is_own).then(|| Counting::Network(counted, client_address::of(request)));
    }
    if surface.keys != Keys::OwnOrg {
        return None;
    }
    let org = OrgId::parse(request.uri().path().split('/').nth(3)?).ok()?;
    Some(Counting::Org(asking(org, request.headers(), credential)))
}

/// Counts one request of a network where nobody needs a credential.
fn by_network(app: &App, counted: Counted, from: Option<IpAddr>) -> Result<Option<Shown>, NotNow> {
    match app.caller_rates.take(counted, from) {
        Ok(standing) => Ok(standing.map(Shown::of_network)),
        Err(Refused::Rate(_, standing)) => Err(Shown::of_network(standing).refused()),
        Err(Refused::NoRoom) => Err((problem::overloaded("times of requests", limits::RATE_ENTRIES_MAX), None)),
    }
}

/// Counts a request whose credential was wrong, where right ones are not counted.
pub(in crate::http) fn wrong_credential(app: &App, from: Option<IpAddr>) -> Result<(), Problem> {
    by_network(app, Counted::SignIn, from).map(|_| ()).map_err(|(problem, _)| problem)
}

/// Counts a request; what no rate is for passes.
pub(super) async fn let_through(app: &App, asked: Option<Counting>) -> Result<Option<Shown>, NotNow> {
    let asking = match asked {
        None => return Ok(None),
        Some(Counting::Network(counted, from)) => return by_network(app, counted, from),
        Some(Counting::Org(asking)) => asking,
    };
    let of_node = match app.node_rate.take() {
        Ok(standing) => standing.map(Shown::of_node),
        Err(Refused::Rate(_, standing)) => return Err(Shown::of_node(standing).refused()),
        Err(Refused::NoRoom) => return Err((problem::overloaded("times of requests", limits::RATE_ENTRIES_MAX), None)),
    };
    let Some(asking) = asking else { return Ok(of_node) };
    let of_org = app.let_through(&asking).await.map_err(|problem| (problem, None))?;
    match of_org {
        Some(taken) if !taken.passes => Err(Shown::of_org(taken).refused()),
        of_org => {
            let both = of_node.into_iter().chain(of_org.map(Shown::of_org));
            Ok(both.min_by_key(|shown| shown.remaining))
        }
    }
}

/// By what a request is counted; `None` for the platform itself, which changes rates that lock everybody else out.
fn asking(org: OrgId, headers: &HeaderMap, credential: &Credential) -> Option<Asking> {
    let on_behalf_of = asked::on_behalf_of(headers).ok().flatten().map(|principal| principal.to_string());
    let (credential, principal) = match credential {
        Credential::Token => ("token".to_owned(), on_behalf_of?),
        Credential::Key(holder) => {
            let own = || holder.principal().to_string();
            (holder.credential().to_string(), on_behalf_of.unwrap_or_else(own))
        }
        // Who makes an org operates the platform; accounts are asked of no org.
        Credential::Founder(..) | Credential::Account(_) => return None,
        Credential::Cluster | Credential::Bus | Credential::Nothing => return None,
    };
    Some(Asking {
        org,
        credential,
        principal,
    })
}
