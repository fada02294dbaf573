//! A secret that is an access token: asked for again before it ends, and given up when its provider gives none any more.

use super::{SecretRejection, SecretState, checked, sealed};
use crate::decider::{Corrupt, Decision};
use quipu_kinds::secret::{ConnectSecret, Connected, RefreshFailed, SecretEvent, TokenRefreshed};
use quipu_schemas::{
    context::{Context, Millis},
    envelope::KernelCommand,
    host::HostPattern,
    limits::{
        SECRET_CLIENT_MAX_CHARS, SECRET_REFRESH_FAILURES_MAX, SECRET_REFRESH_LEAD_MS, SECRET_REFRESH_PAUSE_MS, SECRET_SCOPES_MAX,
        SECRET_TOKEN_MAX_SECONDS,
    },
    pause::doubled_ms,
    personal::SecretValue,
    reaction::{Effect, Outcome, Perform, Reaction, Retry, TokenRefresh},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The timer that asks for the next access token.
pub(super) const REFRESH_TIMER: &str = "refresh";
/// Effects that ask for it are called so, and by the generation.
const REFRESH: &str = "refresh:";

/// A connection, as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Connection {
    /// How many values and connections the secret has had, this one included.
    pub generation: u64,
    /// To whom.
    pub to: Connected,
    /// What the provider wants to see for the next access token.
    pub refresh_token: SecretValue,
    /// The access token, once there is one.
    pub access: Option<Access>,
    /// The only hosts that access tokens may be sent to; any where there are none.
    pub hosts: Vec<HostPattern>,
    /// How often in a row the provider gave none.
    pub failures: u32,
    /// Why it was given up, where it was.
    pub broken: Option<String>,
}

/// An access token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Access {
    /// The token.
    pub token: SecretValue,
    /// Until when it counts; the moment itself is outside.
    pub expires_at: Millis,
}

impl Connection {
    /// The access token, while it counts.
    pub(super) fn token(&self, now: Millis) -> Option<&SecretValue> {
        self.access
            .as_ref()
            .filter(|access| now < access.expires_at)
            .map(|access| &access.token)
    }

    /// What it has.
    pub(super) fn values(&self) -> impl Iterator<Item = &SecretValue> {
        let access = self.access.iter().map(|access| &access.token);
        [&self.refresh_token].into_iter().chain(&self.to.client_secret).chain(access)
    }

    /// Asks the provider. What it gives is sealed under the key of this connection.
    fn refresh(&self) -> Reaction {
        Reaction::Perform(Perform {
            name: format!("{REFRESH}{}", self.generation),
            effect: Effect::Refresh(TokenRefresh {
                token_url: self.to.token_url.clone(),
                client_id: self.to.client_id.clone(),
                client_secret: self.to.client_secret.clone(),
                client_auth: self.to.client_auth,
                refresh_token: self.refresh_token.clone(),
                scopes: self.to.scopes.clone(),
                subject: self.refresh_token.subject().to_owned(),
            }),
            retry: Retry::default(),
        })
    }
}

/// What an effect of [`Connection::refresh`] came to: of which generation, and what.
pub(super) fn refreshed(told: &KernelCommand) -> Option<Result<TokenRefreshed, RefreshFailed>> {
    let KernelCommand::EffectSettled { name, outcome, .. } = told else {
        return None;
    };
    let generation = name.strip_prefix(REFRESH)?.parse().ok()?;
    let failed = |code: &str, detail: &str| {
        Err(RefreshFailed {
            generation,
            code: code.to_owned(),
            detail: detail.to_owned(),
        })
    };
    Some(match outcome {
        Outcome::Refreshed {
            access_token,
            refresh_token,
            expires_in_seconds,
        } => Ok(TokenRefreshed {
            generation,
            access_token: access_token.clone(),
            refresh_token: refresh_token.clone(),
            expires_in_seconds: *expires_in_seconds,
        }),
        Outcome::Failed { code, detail } => failed(code, detail),
        Outcome::Lost { detail } => failed("lost", &Outcome::lost_detail(detail.as_deref())),
        Outcome::Cancelled { .. } => failed("cancelled", "the request was cancelled"),
        _ => failed("unexpected_outcome", "the effect came to an outcome of another kind"),
    })
}

pub(super) fn decide_connect(
    state: &SecretState,
    connect: &ConnectSecret,
    context: &Context<'_>,
) -> Result<Decision<SecretEvent>, SecretRejection> {
    check(connect)?;
    let generation = state.generation() + 1;
    let hosts = connect.hosts.as_deref().unwrap_or(state.hosts());
    let client_secret = connect.client_secret.as_ref();
    Ok(Decision::one(SecretEvent::Connected {
        generation,
        hosts: checked(hosts)?,
        connection: Connected {
            token_url: connect.token_url.clone(),
            authorize_url: connect.authorize_url.clone(),
            client_id: connect.client_id.clone(),
            client_secret: client_secret.map(|secret| sealed(secret, generation, context)).transpose()?,
            client_auth: connect.client_auth,
            scopes: connect.scopes.clone(),
        },
        refresh_token: sealed(&connect.refresh_token, generation, context)?,
        shreds: state.subjects(),
    }))
}

fn check(connect: &ConnectSecret) -> Result<(), SecretRejection> {
    let bad = |field| Err(SecretRejection::BadConnection(field));
    let is_short = |text: &str| !text.is_empty() && text.len() <= SECRET_CLIENT_MAX_CHARS && text.bytes().all(|b| b.is_ascii_graphic());
    let is_url = |url: &str| is_short(url) && (url.starts_with("https://") || url.starts_with("http://"));
    if !is_url(&connect.token_url) {
        return bad("token_url");
    }
    if connect.authorize_url.as_deref().is_some_and(|url| !is_url(url)) {
        return bad("authorize_url");
    }
    if !is_short(&connect.client_id) {
        return bad("client_id");
    }
    if connect.scopes.len() > SECRET_SCOPES_MAX || !connect.scopes.iter().all(|scope| is_short(scope)) {
        return bad("scopes");
    }
    Ok(())
}

/// The connection of this generation; what was asked for another one is too late.
fn of(state: &SecretState, generation: u64) -> Option<&Connection> {
    match state {
        SecretState::Connected(connection) if connection.generation == generation => Some(connection),
        SecretState::Connected(_) | SecretState::Missing | SecretState::Held(_) | SecretState::Retired { .. } => None,
    }
}

pub(super) fn due(state: &SecretState) -> Decision<SecretEvent> {
    match state {
        SecretState::Connected(connection) if connection.broken.is_none() => Decision::one(SecretEvent::RefreshBegun {}),
        SecretState::Connected(_) | SecretState::Missing | SecretState::Held(_) | SecretState::Retired { .. } => Decision::Unchanged,
    }
}

pub(super) fn take(state: &SecretState, refreshed: &TokenRefreshed, now: Millis) -> Decision<SecretEvent> {
    if of(state, refreshed.generation).is_none() {
        return Decision::Unchanged;
    }
    let lifetime = refreshed.expires_in_seconds.clamp(1, SECRET_TOKEN_MAX_SECONDS) * 1_000;
    // Well before its end, and never at once: a provider whose tokens live for seconds is not asked without a pause.
    let lead = (lifetime / 10).max(SECRET_REFRESH_LEAD_MS).min(lifetime / 2);
    Decision::one(SecretEvent::Refreshed {
        access_token: refreshed.access_token.clone(),
        refresh_token: refreshed.refresh_token.clone(),
        expires_at: now.saturating_add(lifetime),
        refresh_at: now.saturating_add(lifetime - lead),
    })
}

pub(super) fn fail(state: &SecretState, failed: &RefreshFailed, now: Millis) -> Decision<SecretEvent> {
    let Some(connection) = of(state, failed.generation).filter(|connection| connection.broken.is_none()) else {
        return Decision::Unchanged;
    };
    let (code, detail) = (failed.code.clone(), failed.detail.clone());
    let failures = connection.failures + 1;
    // The provider's own word (RFC 6749, section 5.2): asking again gives the same.
    if code.starts_with("oauth_") || failures >= SECRET_REFRESH_FAILURES_MAX {
        return Decision::one(SecretEvent::Broken { code, detail });
    }
    let retry_at = now.saturating_add(doubled_ms(SECRET_REFRESH_PAUSE_MS, failures));
    Decision::one(SecretEvent::RefreshFailed { code, detail, retry_at })
}

/// The state after an event that connects.
pub(super) fn begun(event: &SecretEvent) -> Result<Connection, Corrupt> {
    match event {
        SecretEvent::Connected {
            generation,
            connection,
            refresh_token,
            hosts,
            shreds: _,
        } => Ok(Connection {
            generation: *generation,
            to: connection.clone(),
            refresh_token: refresh_token.clone(),
            access: None,
            hosts: hosts.clone(),
            failures: 0,
            broken: None,
        }),
        event => Err(Corrupt(format!("{event:?} connects nothing"))),
    }
}

/// Folds what happens to a connection.
pub(super) fn evolve(connection: Connection, event: &SecretEvent) -> Result<Connection, Corrupt> {
    match event {
        SecretEvent::RefreshBegun {} => Ok(connection),
        SecretEvent::Refreshed {
            access_token,
            refresh_token,
            expires_at,
            refresh_at: _,
        } => Ok(Connection {
            refresh_token: refresh_token.clone().unwrap_or(connection.refresh_token),
            access: Some(Access {
                token: access_token.clone(),
                expires_at: *expires_at,
            }),
            failures: 0,
            broken: None,
            ..connection
        }),
        SecretEvent::RefreshFailed { .. } => Ok(Connection {
            failures: connection.failures + 1,
            ..connection
        }),
        SecretEvent::Broken { code, detail: _ } => Ok(Connection {
            broken: Some(code.clone()),
            ..connection
        }),
        event => Err(Corrupt(format!("{event:?} of a connection"))),
    }
}

/// What follows from an event of a connection, given the state after it.
pub(super) fn react(state: &SecretState, event: &SecretEvent) -> Vec<Reaction> {
    let SecretState::Connected(connection) = state else {
        return Vec::new();
    };
    let wake = |due: Millis| {
        vec![Reaction::WakeAt {
            name: REFRESH_TIMER.to_owned(),
            due,
        }]
    };
    match event {
        SecretEvent::Connected { .. } | SecretEvent::RefreshBegun {} => vec![connection.refresh()],
        SecretEvent::Refreshed { refresh_at, .. } => wake(*refresh_at),
        SecretEvent::RefreshFailed { retry_at, .. } => wake(*retry_at),
        _ => Vec::new(),
    }
}
