//! `/oauth/authorize`: a client sends a person here, who signs in and says yes or no, and is sent back with a code or a refusal.
//!
//! Nothing is kept of a request before it is answered: the page carries it, and it is checked whole again. A person types their
//! password each time, so another site that sends its own form here gains nothing.

use super::{
    client::Client,
    failure,
    form::{Fields, Posted, encoded},
    grants,
    page::{Question, dead_end, question},
};
use crate::http::{App, Failure};
use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use quipu_kinds::application::GrantType;
use quipu_runtime::{
    accounts::{CodeOf, LogIn, NewSession, Password, WhoLogsIn},
    tokens::scope_text,
};
use quipu_schemas::{limits::CARRIED_MAX_CHARS, limits::SESSION_OF_GRANT_MS, problem::Problem, rights::Pattern};
use std::net::IpAddr;

/// What the page carries of a request.
const CARRIED: [&str; 9] = [
    "client_id",
    "redirect_uri",
    "response_type",
    "scope",
    "state",
    "nonce",
    "resource",
    "code_challenge",
    "code_challenge_method",
];

/// Where a person is sent back to, which is known before anything else may be told there.
struct Back {
    client: Client,
    redirect_uri: String,
    state: Option<String>,
    issuer: String,
}

/// What is asked for.
struct Wanted {
    scope: Vec<Pattern>,
    audience: Option<String>,
    challenge: String,
    nonce: Option<String>,
}

impl Back {
    /// Finds out whom a person is sent back to. Until then nobody is sent anywhere.
    fn of(app: &App, fields: &Fields) -> Result<Self, Response> {
        let nobody = || dead_end("The application is not known here, or was stopped.");
        let id = fields.get("client_id").and_then(|id| id.parse().ok()).ok_or_else(nobody)?;
        let found = Client::named(app, &id).map_err(IntoResponse::into_response)?;
        let client = found.ok_or_else(nobody)?;
        let elsewhere = || dead_end("The address that you would be sent to is not one of the application's.");
        let named = fields.get("redirect_uri").ok_or_else(elsewhere)?;
        if !client.app.is.redirect_uris.iter().any(|uri| uri.permits(named)) {
            return Err(elsewhere());
        }
        let state = fields.get("state").map(str::to_owned);
        if state.as_ref().is_some_and(|state| state.len() > CARRIED_MAX_CHARS) {
            return Err(dead_end("The request carries too much."));
        }
        Ok(Self {
            redirect_uri: named.to_owned(),
            state,
            issuer: app.accounts().issuer().to_owned(),
            client,
        })
    }

    /// Sends a person back, and says who sends them (RFC 9207).
    fn with(&self, said: &[(&str, &str)]) -> Response {
        let own = [("iss", self.issuer.as_str())];
        let state = self.state.as_deref().map(|state| ("state", state));
        let query = encoded(said.iter().copied().chain(state).chain(own));
        let joined = if self.redirect_uri.contains('?') { '&' } else { '?' };
        let address = format!("{}{joined}{query}", self.redirect_uri);
        let Ok(location) = HeaderValue::from_str(&address) else {
            return dead_end("The address that you would be sent to cannot be written.");
        };
        let headers = [
            (header::LOCATION, location),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        ];
        (StatusCode::SEE_OTHER, headers).into_response()
    }

    fn refused(&self, failure: &Failure) -> Response {
        self.with(&[("error", failure::name(&failure.0)), ("error_description", &failure.0.detail)])
    }

    /// What a request asks for.
    fn wanted(&self, app: &App, fields: &Fields) -> Result<Wanted, Failure> {
        let bad = |detail: &str| failure::refused("invalid_request", detail);
        if fields.get("request").is_some() || fields.get("request_uri").is_some() {
            return Err(bad("request objects are not taken"));
        }
        if fields.get("response_type") != Some("code") || fields.get("response_mode").is_some_and(|mode| mode != "query") {
            return Err(bad("response_type is code, and it comes in the query"));
        }
        if !self.client.app.may(GrantType::AuthorizationCode) {
            return Err(failure::refused(
                "unauthorized_client",
                "this client was not registered for the grant",
            ));
        }
        // `plain`, and a method that is left out, would show the verifier to whoever sees the request.
        if fields.get("code_challenge_method") != Some("S256") {
            return Err(bad("code_challenge_method is S256"));
        }
        let challenge = fields.need("code_challenge")?;
        let is_letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if challenge.len() != 43 || !challenge.bytes().all(is_letter) {
            return Err(bad("code_challenge is a SHA-256 digest in base64url"));
        }
        let nonce = fields.get("nonce").map(str::to_owned);
        if nonce.as_ref().is_some_and(|nonce| nonce.len() > CARRIED_MAX_CHARS) {
            return Err(bad("nonce is too long"));
        }
        Ok(Wanted {
            scope: grants::scope(&self.client, fields.get("scope"))?,
            audience: grants::audience(app.accounts(), fields)?,
            challenge: challenge.to_owned(),
            nonce,
        })
    }

    fn ask(&self, status: StatusCode, fields: &Fields, wanted: &Wanted, problem: Option<&str>) -> Response {
        let carried = |name: &&str| fields.get(name).map(|value| ((*name).to_owned(), value.to_owned()));
        let from = self.redirect_uri.find("://").map_or(0, |at| at + 3);
        let end = self.redirect_uri[from..]
            .find(['/', '?'])
            .map_or(self.redirect_uri.len(), |at| from + at);
        question(
            status,
            &Question {
                client: &self.client.app.is.name,
                org: self.client.id.org.as_str(),
                wants: scope_text(&wanted.scope).split(' ').map(str::to_owned).collect(),
                leads_to: &self.redirect_uri[..end],
                request: CARRIED.iter().filter_map(carried).collect(),
                problem,
                address: fields.get("address").unwrap_or_default(),
            },
        )
    }
}

/// `GET`: the page, or a refusal for the client.
pub(super) async fn ask(State(app): State<App>, uri: Uri) -> Response {
    let fields = match Fields::parse(uri.query().unwrap_or_default()) {
        Ok(fields) => fields,
        Err(failure) => return dead_end(&failure.0.detail),
    };
    let back = match Back::of(&app, &fields) {
        Ok(back) => back,
        Err(response) => return response,
    };
    match back.wanted(&app, &fields) {
        Err(failure) => back.refused(&failure),
        // Nobody is signed in before they are asked.
        Ok(_) if fields.get("prompt") == Some("none") => back.with(&[("error", "login_required")]),
        Ok(wanted) => back.ask(StatusCode::OK, &fields, &wanted, None),
    }
}

/// `POST`: what the person answered.
pub(super) async fn answer(State(app): State<App>, posted: Result<Posted, Failure>) -> Response {
    let Posted { fields, from, .. } = match posted {
        Ok(posted) => posted,
        Err(failure) => return dead_end(&failure.0.detail),
    };
    let back = match Back::of(&app, &fields) {
        Ok(back) => back,
        Err(response) => return response,
    };
    let wanted = match back.wanted(&app, &fields) {
        Ok(wanted) => wanted,
        Err(failure) => return back.refused(&failure),
    };
    if fields.get("decision") != Some("allow") {
        return back.with(&[("error", "access_denied")]);
    }
    match grant(&app, &back, &fields, &wanted, from).await {
        Ok(code) => back.with(&[("code", &code)]),
        Err(problem) => {
            let (status, said) = told(&problem);
            back.ask(status, &fields, &wanted, Some(said))
        }
    }
}

/// What a person is told of a failure: nothing of whether there is such an account.
pub(super) fn told(problem: &Problem) -> (StatusCode, &'static str) {
    match (problem.code.as_str(), problem.status) {
        ("totp_required", _) => (StatusCode::UNAUTHORIZED, "Enter the code of your authenticator as well."),
        (_, 429) => (StatusCode::TOO_MANY_REQUESTS, "Too many attempts. Wait a moment and try again."),
        (_, 500..) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Signing in does not work right now. Try again in a moment.",
        ),
        _ => (StatusCode::UNAUTHORIZED, "Address or password is wrong."),
    }
}

/// Signs a person in, and makes the session that the code opens.
async fn grant(app: &App, back: &Back, fields: &Fields, wanted: &Wanted, from: Option<IpAddr>) -> Result<String, Problem> {
    let node = app.accounts();
    let code = fields.get("totp").map(Password::new);
    let logged_in = node
        .log_in(LogIn {
            who: WhoLogsIn::Address(fields.get("address").unwrap_or_default().to_owned()),
            password: Password::new(fields.get("password").unwrap_or_default()),
            code,
            from,
        })
        .await?;
    let session = NewSession {
        client: Some(back.client.id.to_string()),
        scope: wanted.scope.clone(),
        audience: wanted.audience.clone(),
        amr: logged_in.amr,
        auth_time: logged_in.auth_time,
        lifetime_ms: SESSION_OF_GRANT_MS,
        code: Some(CodeOf {
            challenge: wanted.challenge.clone(),
            redirect_uri: back.redirect_uri.clone(),
        }),
        ..NewSession::default()
    };
    let started = node.start_session(&logged_in.home, session).await?;
    let code = started
        .code
        .ok_or_else(|| Problem::new(500, "internal", "a session without its code"))?;
    Ok(grants::code_with(node, code.as_str(), wanted.nonce.as_deref()))
}
