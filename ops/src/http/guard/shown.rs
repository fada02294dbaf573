//! What a request shows, and what it opens: the node's token, the cluster's secret, a key of an org, a session.

use super::{
    App, cookie, problem, serving,
    session::{ShownSession, by_session, is_token, looked_up},
};
use crate::{
    app::audit::Asker,
    asked,
    caller::Credential,
    http::surface::{Keys, Surface},
};
use axum::{
    extract::Request,
    http::{HeaderMap, Uri, header},
};
use quipu_runtime::kernel::refusals::no_access;
use quipu_schemas::{context::Millis, ids::PrincipalId, key_text::KeyText, problem::Problem};
use sha2::{Digest, Sha256};
use std::{net::IpAddr, sync::Arc};

/// What is shown.
#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack")]
pub(super) enum Shown {
    /// What opens its surface.
    Credential(Credential),
    /// A key, which is to be looked up.
    Key(ShownKey),
    /// A token, whose session is to be looked up.
    Session(Box<ShownSession>),
    /// The same, where nothing need be shown.
    Maybe(Box<ShownSession>),
}

/// A key as it was shown, and what its request says of where it is to open something.
pub(super) struct ShownKey {
    text: String,
    from: Option<IpAddr>,
    /// The org of the path as it stands there, where the surface opens to keys at all: a name that would need decoding is none.
    org: Option<String>,
    on_behalf_of: Result<Option<PrincipalId>, Problem>,
    /// What is asked for.
    path: Uri,
}

impl ShownKey {
    /// What a request shows.
    pub(super) fn read(surface: &Surface, request: &Request, text: &str, from: Option<IpAddr>) -> Self {
        let of_path = || request.uri().path().split('/').nth(3).map(str::to_owned);
        Self {
            text: text.to_owned(),
            from,
            org: match surface.keys {
                Keys::OwnOrg => of_path(),
                Keys::Account | Keys::Nothing => None,
            },
            on_behalf_of: asked::on_behalf_of(request.headers()),
            path: request.uri().clone(),
        }
    }
}

/// What a request shows where something must be shown.
pub(super) fn required(app: &App, surface: &Surface, request: &Request, from: Option<IpAddr>) -> Result<Shown, Problem> {
    let headers = request.headers();
    match bearer(headers) {
        Some(token) if app.token.matches(token) => Ok(Shown::Credential(Credential::Token)),
        Some(key) if KeyText::is_one(key) => Ok(Shown::Key(ShownKey::read(surface, request, key, from))),
        // A cookie holds a session and nothing else.
        other => match other.or_else(|| cookie::of(headers)) {
            Some(token) if is_token(token) => {
                cookie::check(request)?;
                Ok(Shown::Session(Box::new(ShownSession::read(surface, request, token, from))))
            }
            other => Err(problem::unauthenticated(other.is_some())),
        },
    }
}

/// The same where nothing need be: whoever shows something that has ended comes there for another.
pub(super) fn optional(app: &App, surface: &Surface, request: &Request, from: Option<IpAddr>) -> Shown {
    let headers = request.headers();
    match bearer(headers) {
        Some(token) if app.token.matches(token) => Shown::Credential(Credential::Token),
        other => match other.or_else(|| cookie::of(headers)) {
            Some(token) if is_token(token) && cookie::check(request).is_ok() => {
                Shown::Maybe(Box::new(ShownSession::read(surface, request, token, from)))
            }
            _ => Shown::Credential(Credential::Nothing),
        },
    }
}

/// What that opens, and until when where it says so.
pub(super) async fn opened(app: &App, shown: Shown) -> Result<(Credential, Option<Millis>), Problem> {
    match shown {
        Shown::Credential(credential) => Ok((credential, None)),
        Shown::Key(shown) => Ok((by_key(app, shown).await?, None)),
        Shown::Session(shown) => {
            let (credential, end) = by_session(app, *shown).await?;
            Ok((credential, Some(end)))
        }
        Shown::Maybe(shown) => match looked_up(app, &shown).await {
            Ok((credential, end)) => Ok((credential, Some(end))),
            Err(problem) if problem.is_unavailable() => Err(problem),
            Err(_) => Ok((Credential::Nothing, None)),
        },
    }
}

/// Looks a key up, and refuses what it does not open.
async fn by_key(app: &App, shown: ShownKey) -> Result<Credential, Problem> {
    let path = shown.path.path();
    let holder = match app.key_holder(&shown.text, shown.from).await {
        Ok(holder) => holder,
        Err(problem) => {
            if problem.status == 401
                && let Some(asker) = app.ended_asker(&shown.text).await
            {
                app.note_refused(&asker, path, &problem);
            }
            return Err(problem);
        }
    };
    let asker = Asker::of_holder(&holder);
    let refused = |problem: Problem| {
        app.note_refused(&asker, path, &problem);
        problem
    };
    if shown.org.as_deref() != Some(holder.org().as_str()) || !holder.is_known() {
        return Err(refused(no_access()));
    }
    let holder = match shown.on_behalf_of? {
        Some(principal) => app.acting_for(holder, principal).await.map_err(refused)?,
        None => holder,
    };
    serving(app)?;
    Ok(Credential::Key(Arc::new(holder)))
}

/// What is shown; of another scheme than `Bearer` it counts for nothing.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    match given.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token.trim()),
        _ => Some(""),
    }
}

/// Refuses whoever does not show the cluster's secret; everybody, where there is none.
pub(super) fn check_secret(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.strip_prefix("Bearer "));
    // Digests, so that the time of the comparison tells nothing of the secret.
    let digest = |text: &str| <[u8; 32]>::from(Sha256::digest(text.as_bytes()));
    match (&app.access.cluster, given) {
        (Some(secret), Some(given)) if digest(secret) == digest(given) => Ok(()),
        (None, _) => Err(Problem::new(403, "no_cluster", "this node takes no commands from other nodes")
            .fix("set `cluster.secret` to the same secret on every node")),
        (Some(_), _) => Err(Problem::new(401, "unauthenticated", "this is not the cluster's secret").field("Authorization")),
    }
}
