//! Getting an account, a session, and out of it.

use super::{
    given::{Given, wrong},
    set_cookie,
};
use crate::{
    app::{
        Registration,
        accounts::{CLIENT, Opened},
    },
    caller::{Caller, Credential, Own},
    clock::rfc3339,
    http::{
        Answer, App, Failure, json,
        params::Params,
        request::{CameFrom, Fields},
    },
    told::{EndedSessions, Registered, Tokens},
};
use axum::{
    extract::State,
    http::{StatusCode, Uri},
};
use quipu_runtime::{
    accounts::{LogIn, NewSession, Register, WhoLogsIn},
    tokens::{scope_of, subject_text},
};
use quipu_schemas::{
    ids::{Home, OrgId, PrincipalId},
    limits::SESSION_OF_PERSON_MS,
    problem::Problem,
};

/// `POST /v1/auth/login`: a session for whoever knows a password.
pub(super) async fn login(State(app): State<App>, uri: Uri, CameFrom(from): CameFrom, Fields(body): Fields) -> Answer {
    Params::parse(&uri, &[])?;
    let mut given = Given::of(body);
    let who = match (given.text("address")?, given.text("id")?) {
        (Some(address), None) => WhoLogsIn::Address(address),
        (None, Some(id)) => {
            let id = PrincipalId::parse(id).map_err(|_| wrong("id", "`id` is the id of a person, usr_…"))?;
            WhoLogsIn::Person(Home::of(&OrgId::PLATFORM, &id))
        }
        _ => return Err(wrong("address", "give `address` or `id`, and not both").into()),
    };
    let (password, code) = (given.need_secret("password")?, given.secret("code")?);
    let scope = match given.text("scope")? {
        Some(text) => scope_of(&text).map_err(|e| wrong("scope", e.to_string()))?,
        None => Vec::new(),
    };
    let by_cookie = given.flag("cookie")?;
    given.done()?;
    let node = app.accounts();
    let logged_in = node.log_in(LogIn { who, password, code, from }).await?;
    let home = logged_in.home;
    // A browser has nothing but its cookie: the session ends with it.
    let lifetime_ms = if by_cookie {
        node.tokens().lifetime_ms(&home)
    } else {
        SESSION_OF_PERSON_MS
    };
    let new = NewSession {
        client: Some(CLIENT.to_owned()),
        scope,
        amr: logged_in.amr,
        auth_time: logged_in.auth_time,
        lifetime_ms,
        refresh: !by_cookie,
        ..NewSession::default()
    };
    let session = node.start_session(&home, new).await?;
    let opened = app.open(home, session).await?;
    answer(&app, &opened, by_cookie)
}

/// `POST /v1/auth/refresh`: another access token, and another refresh token in the place of the one that is shown.
pub(super) async fn refresh(State(app): State<App>, uri: Uri, Fields(body): Fields) -> Answer {
    Params::parse(&uri, &[])?;
    let mut given = Given::of(body);
    let shown = given.need("refresh_token")?;
    given.done()?;
    let (home, session) = app.accounts().refresh(&shown, Some(CLIENT)).await?;
    let opened = app.open(home, session).await?;
    answer(&app, &opened, false)
}

fn answer(app: &App, opened: &Opened, by_cookie: bool) -> Answer {
    let seconds = opened.token_ends_at.saturating_sub(app.now()) / 1_000;
    let told = Tokens {
        principal: subject_text(&opened.home),
        session: opened.session.id.to_string(),
        session_expires_at: rfc3339(opened.session.expires_at),
        token_type: "Bearer",
        expires_in: seconds,
        access_token: (!by_cookie).then(|| opened.token.clone()),
        refresh_token: opened.session.refresh.as_ref().map(|shown| shown.as_str().to_owned()),
    };
    let mut response = json(&told)?;
    if by_cookie {
        set_cookie(&mut response, &opened.token, seconds);
    }
    Ok(response)
}

/// `POST /v1/auth/register`: an account. Whoever asks for one of their own learns nothing of whether there was one.
pub(super) async fn register(State(app): State<App>, uri: Uri, caller: Caller, Fields(body): Fields) -> Answer {
    Params::parse(&uri, &[])?;
    let by_operator = match caller.credential() {
        Credential::Token => true,
        Credential::Account(account) => account.is_operator,
        _ => false,
    };
    if !by_operator {
        may_register(app.access.registration)?;
    }
    let mut given = Given::of(body);
    let (name, address, password) = (given.text("name")?, given.text("address")?, given.secret("password")?);
    let operator = by_operator && given.flag("operator")?;
    let first = by_operator && given.flag("first")?;
    given.done()?;
    if !by_operator && (address.is_none() || password.is_none()) {
        let missing = if address.is_none() { "address" } else { "password" };
        return Err(wrong(missing, format!("`{missing}` is missing")).into());
    }
    let node = app.accounts();
    if first && node.has_operator()? {
        return Err(not_first().into());
    }
    let has_address = address.is_some();
    let asked = Register { name, address, password };
    let made = node.register(asked).await;
    if let Ok(home) = &made
        && has_address
        && node.has_mail()
    {
        // That no letter goes out is no reason to have no account.
        let sent = node.send_verification(home, None).await;
        sent.unwrap_or_else(|problem| tracing::warn!(%home, code = problem.code, "an address was not sent its code"));
    }
    if !by_operator {
        return match made {
            Err(problem) if problem.code != "address_taken" => Err(problem.into()),
            _ => accepted(),
        };
    }
    let home = made?;
    if operator {
        node.make_operator(&home, true).await?;
    }
    let told = Registered {
        status: "registered",
        principal: Some(subject_text(&home)),
    };
    let mut response = json(&told)?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

fn not_first() -> Problem {
    Problem::new(409, "not_first", "an operator has an account here already")
        .field("first")
        .fix("log in as one of them, or register somebody else without `first`")
}

fn accepted() -> Answer {
    let mut response = json(&Registered {
        status: "accepted",
        principal: None,
    })?;
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

fn may_register(registration: Registration) -> Result<(), Problem> {
    match registration {
        Registration::Open => Ok(()),
        Registration::Closed => Err(Problem::new(403, "registration_closed", "nobody registers here by themselves")
            .fix("ask whoever operates this node to register you")),
        Registration::Invite => Err(
            Problem::new(403, "registration_by_invitation", "accounts are made for who is invited")
                .fix("ask whoever operates this node, or an admin of the org that you belong to, to invite you"),
        ),
    }
}

/// `POST /v1/auth/logout`: the session that is shown ends.
pub(super) async fn logout(State(app): State<App>, uri: Uri, own: Own, Fields(body): Fields) -> Result<axum::response::Response, Failure> {
    Params::parse(&uri, &[])?;
    Given::of(body).done()?;
    let account = own.account();
    app.accounts().end_session(&account.home, &account.session.id).await?;
    let mut response = json(&EndedSessions {
        ended: vec![account.session.id.to_string()],
    })?;
    set_cookie(&mut response, "", 0);
    Ok(response)
}
