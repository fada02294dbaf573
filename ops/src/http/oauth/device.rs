//! Devices on which nobody can sign in (RFC 8628): they get two codes, and a person types the short one on this node's own page, signs
//! in there, sees who asks from where, and says yes or no.
//!
//! The short code never comes in an address, so nobody is led past the page that asks what it is for. Signing in gives a ticket that
//! is good for this one device and for minutes; it travels in the page, so there is no cookie that another site could use.

use super::{
    client::Client,
    device_page::{self, Confirm},
    failure::{self, grant_failed, no_grant, refused},
    form::{Fields, Posted},
    grants,
    issue::{self, Issued},
};
use crate::{
    app::accounts::CLIENT,
    http::{App, Failure, json},
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use quipu_kinds::application::GrantType;

use quipu_runtime::{
    accounts::{Device, DeviceStands, LogIn, LoggedIn, NewDevice, Password, WhoLogsIn},
    node::Node,
    tokens::{scope_of, scope_text},
};
use quipu_schemas::{
    client_secret::ClientId,
    context::Millis,
    digest::Digest,
    ids::Home,
    limits::{DEVICE_CODE_MS, DEVICE_CONFIRM_MS, DEVICE_POLL_SECONDS},
    problem::Problem,
    rights::Pattern,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::net::IpAddr;

/// The grant of RFC 8628.
pub(crate) const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// The client that asks for a device.
struct Asker {
    name: String,
    scope: Vec<Pattern>,
    refreshes: bool,
}

impl Asker {
    /// A client of an org, by the ways that it was registered for; or the terminal of this node's own people, which shows nothing.
    fn of(app: &App, posted: &Posted) -> Result<Self, Failure> {
        let fields = &posted.fields;
        let shows = fields.get("client_secret").is_some() || fields.get("client_assertion").is_some();
        if fields.get("client_id") == Some(CLIENT) && !shows && !posted.headers.contains_key(header::AUTHORIZATION) {
            let scope = fields.get("scope").map(scope_of).transpose();
            return Ok(Self {
                name: CLIENT.to_owned(),
                scope: scope.map_err(|e| refused("invalid_scope", e.to_string()))?.unwrap_or_default(),
                refreshes: true,
            });
        }
        let client = Client::of(app, posted)?;
        if !client.app.may(GrantType::DeviceCode) {
            return Err(refused("unauthorized_client", "this client was not registered for the grant"));
        }
        Ok(Self {
            scope: grants::scope(&client, fields.get("scope"))?,
            refreshes: client.app.may(GrantType::RefreshToken),
            name: client.id.to_string(),
        })
    }
}

/// `POST /oauth/device_authorization`: a device asks for codes.
pub(super) async fn authorization(State(app): State<App>, posted: Result<Posted, Failure>) -> Response {
    let answered = match posted {
        Ok(posted) => codes(&app, &posted).await,
        Err(failure) => Err(failure),
    };
    answered.unwrap_or_else(failure::with_challenge)
}

async fn codes(app: &App, posted: &Posted) -> Result<Response, Failure> {
    let node = app.accounts();
    let asker = Asker::of(app, posted)?;
    let new = NewDevice {
        client: asker.name,
        scope: asker.scope,
        audience: grants::audience(node, &posted.fields)?,
        network: posted.from.map(network),
    };
    let asked = node.ask_device(new).await?;
    json(&json!({
        "device_code": asked.device_code.as_str(),
        "user_code": asked.user_code,
        "verification_uri": format!("{}/oauth/device", node.issuer()),
        "expires_in": DEVICE_CODE_MS / 1_000,
        "interval": DEVICE_POLL_SECONDS,
    }))
}

/// The grant at `/oauth/token`.
pub(super) async fn grant(app: &App, posted: &Posted) -> Result<Response, Failure> {
    let node = app.accounts();
    // What it may ask for now does not matter to what a person has allowed; that it is still a client does.
    let asker = Asker::of(app, posted)?;
    let shown = posted.fields.need("device_code")?;
    let stands = node.poll_device(shown, &asker.name, asker.refreshes).await.map_err(grant_failed)?;
    let (home, started) = match stands {
        None => return Err(no_grant()),
        Some(DeviceStands::Waiting) => return Err(refused("authorization_pending", "nobody has answered yet")),
        Some(DeviceStands::TooSoon) => return Err(refused("slow_down", "wait five seconds longer between two requests")),
        Some(DeviceStands::Refused) => return Err(refused("access_denied", "the request was refused")),
        Some(DeviceStands::Over) => return Err(refused("expired_token", "the code is over; ask for another one")),
        Some(DeviceStands::Allowed(begun)) => *begun,
    };
    issue::answer(
        node,
        &asker.name,
        &Issued {
            home: &home,
            session: &started.id,
            refresh: started.refresh.as_ref(),
            identity: Some(None),
            issued_type: None,
        },
    )
}

/// The network of an address, as it is told to people and kept: wider than what one of them has.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}::/48")
        }
    }
}

/// What signing in for one device has proved. It is carried by the page and tied together by a MAC.
#[derive(Serialize, Deserialize)]
struct Ticket {
    device: Home,
    home: Home,
    /// Of the person, when they had signed in: whatever changes of them since, such as a new password or the end of their sessions, ends
    /// the ticket.
    version: u64,
    amr: Vec<String>,
    auth_time: Millis,
    until: Millis,
}

impl Ticket {
    fn to_text(&self, node: &Node) -> Result<String, Problem> {
        let said = serde_json::to_vec(self).map_err(|e| Problem::new(500, "internal", e.to_string()))?;
        let mac = bound(node, &said);
        Ok(format!("{}.{}", URL_SAFE_NO_PAD.encode(&said), URL_SAFE_NO_PAD.encode(mac.0)))
    }

    /// A ticket of this node's, or of another one with the same keys, that is not over.
    fn read(node: &Node, text: &str) -> Option<Self> {
        let (said, mac) = text.split_once('.')?;
        let said = URL_SAFE_NO_PAD.decode(said).ok()?;
        let shown: [u8; 32] = URL_SAFE_NO_PAD.decode(mac).ok()?.try_into().ok()?;
        // Compared by their digests, so that how long it takes says nothing.
        let differs = Digest::of(&[&shown]) != Digest::of(&[&bound(node, &said).0]);
        let ticket: Self = serde_json::from_slice(&said).ok().filter(|_| !differs)?;
        (node.now() < ticket.until).then_some(ticket)
    }
}

fn bound(node: &Node, said: &[u8]) -> Digest {
    node.tokens().binding(&[b"device ticket", said])
}

/// `GET /oauth/device`: where a person types the code. What stands in the address does not count.
pub(super) async fn ask() -> Response {
    device_page::sign_in(StatusCode::OK, None, "", "")
}

/// `POST /oauth/device`: somebody signs in with a code, or answers.
pub(super) async fn answer(State(app): State<App>, posted: Result<Posted, Failure>) -> Response {
    let Posted { fields, from, .. } = match posted {
        Ok(posted) => posted,
        Err(failure) => return device_page::over(StatusCode::BAD_REQUEST, &failure.0.detail),
    };
    if let Some(ticket) = fields.get("ticket") {
        return decided(&app, ticket, fields.get("decision")).await;
    }
    match found(&app, &fields, from).await {
        Ok(page) => page,
        Err(problem) => {
            let (status, said) = told(&problem);
            let typed = |name| fields.get(name).unwrap_or_default();
            device_page::sign_in(status, Some(said), typed("user_code"), typed("address"))
        }
    }
}

/// What a person is told of a failure.
fn told(problem: &Problem) -> (StatusCode, &'static str) {
    match problem.code.as_str() {
        WRONG_CODE => (
            StatusCode::BAD_REQUEST,
            "No device waits for this code. It may be over: ask the device for another one.",
        ),
        _ => super::authorize::told(problem),
    }
}

const WRONG_CODE: &str = "wrong_user_code";

/// Signs a person in and finds the device. Whoever guesses codes has to sign in each time, and waits longer each time.
async fn found(app: &App, fields: &Fields, from: Option<IpAddr>) -> Result<Response, Problem> {
    let node = app.accounts();
    let login = node
        .log_in(LogIn {
            who: WhoLogsIn::Address(fields.get("address").unwrap_or_default().to_owned()),
            password: Password::new(fields.get("password").unwrap_or_default()),
            code: fields.get("totp").map(Password::new),
            from,
        })
        .await?;
    let whose = format!("device codes of {}", login.home);
    node.guess(&whose, from)?;
    let nothing = || Problem::new(400, WRONG_CODE, "no device waits for this code");
    let (device, waiting) = node
        .waiting_device(fields.get("user_code").unwrap_or_default())?
        .ok_or_else(nothing)?;
    node.guess_undone(&whose, from);
    let person = node.principal(&login.home)?.ok_or_else(nothing)?;
    let ticket = Ticket {
        device,
        home: login.home,
        version: person.version,
        amr: login.amr,
        auth_time: login.auth_time,
        until: node.now().saturating_add(DEVICE_CONFIRM_MS).min(waiting.expires_at),
    };
    let (client, org) = who_asks(app, &waiting)?.ok_or_else(nothing)?;
    Ok(device_page::confirm(&Confirm {
        client: &client,
        org: org.as_deref(),
        wants: scope_text(&waiting.request.scope),
        network: waiting.request.network.as_deref(),
        is_near: from.map(network) == waiting.request.network,
        ticket: &ticket.to_text(node)?,
    }))
}

/// The display name of a device's client, with its org; `None` where it was stopped.
fn who_asks(app: &App, device: &Device) -> Result<Option<(String, Option<String>)>, Problem> {
    let name = &device.request.client;
    if name == CLIENT {
        return Ok(Some(("Quipu on a terminal".to_owned(), None)));
    }
    let Ok(id) = name.parse::<ClientId>() else { return Ok(None) };
    let client = Client::named(app, &id).map_err(|failure| failure.0)?;
    Ok(client.map(|client| (client.app.is.name.clone(), Some(id.org.to_string()))))
}

async fn decided(app: &App, ticket: &str, decision: Option<&str>) -> Response {
    let node = app.accounts();
    let over = || device_page::over(StatusCode::BAD_REQUEST, "This took too long, or it was answered already.");
    let Some(ticket) = Ticket::read(node, ticket) else { return over() };
    let is_allowed = decision == Some("allow");
    let is_as_it_was = match node.principal(&ticket.home) {
        Ok(person) => person.is_some_and(|person| person.version == ticket.version),
        Err(problem) => {
            let (status, said) = super::authorize::told(&problem);
            return device_page::over(status, said);
        }
    };
    if is_allowed && !is_as_it_was {
        return device_page::over(
            StatusCode::BAD_REQUEST,
            "Something of your account has changed since. Sign in with the code again.",
        );
    }
    let login = is_allowed.then(|| LoggedIn {
        home: ticket.home.clone(),
        amr: ticket.amr.clone(),
        auth_time: ticket.auth_time,
    });
    match node.answer_device(&ticket.device, login).await {
        Ok(()) => device_page::done(is_allowed),
        Err(problem) if problem.status < 500 && problem.status != 429 => over(),
        Err(problem) => {
            let (status, said) = super::authorize::told(&problem);
            device_page::over(status, said)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_wider_than_one_address() {
        for (address, expected) in [
            ("192.0.2.77", "192.0.2.0/24"),
            ("::ffff:192.0.2.77", "192.0.2.0/24"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ] {
            assert_eq!(network(address.parse().unwrap()), expected);
        }
    }
}
