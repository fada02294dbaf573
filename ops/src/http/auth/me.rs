//! Who somebody is here, and by which sessions.

use crate::{
    caller::Own,
    clock::rfc3339,
    http::{
        Answer, App, json,
        params::Params,
        problem,
        request::{At, entity},
    },
    told::{AccountOfMe, AddressOfMe, EndedSessions, Me, OrgOfMe, SessionOfMe, SessionsOfMe},
};
use axum::{extract::State, http::Uri};
use quipu_runtime::{
    kernel::principals::KnownSession,
    tokens::{scope_text, subject_text},
};
use quipu_schemas::problem::Problem;

fn shown(session: &KnownSession, own: &Own) -> SessionOfMe {
    SessionOfMe {
        id: session.id.to_string(),
        current: session.id == own.account().session.id,
        client: session.client.clone(),
        scope: (!session.patterns.is_empty()).then(|| scope_text(&session.patterns)),
        act: session.act.iter().map(subject_text).collect(),
        amr: session.amr.clone(),
        auth_time: rfc3339(session.auth_time),
        expires_at: rfc3339(session.expires_at),
    }
}

/// What is known of a person. What is cut, or used by somebody else, sees none of it: clients have `/oauth/userinfo`.
fn about(app: &App, own: &Own) -> Result<Option<AccountOfMe>, Problem> {
    let Some(home) = own.whole().ok().map(|account| &account.home).filter(|home| home.is_person()) else {
        return Ok(None);
    };
    let person = app.accounts().about(home)?;
    let addresses = person.addresses.into_iter().map(|address| AddressOfMe {
        id: address.id.to_string(),
        address: address.address,
        verified: address.verified,
    });
    Ok(Some(AccountOfMe {
        name: person.name,
        addresses: addresses.collect(),
        has_password: person.has_password,
        has_totp: person.has_totp,
        recovery_codes: person.recovery_codes,
    }))
}

/// `GET /v1/me`: who, in which orgs, by which session.
pub(super) async fn me(State(app): State<App>, uri: Uri, own: Own) -> Answer {
    Params::parse(&uri, &[])?;
    let account = own.account();
    let known = app.accounts().principal(&account.home)?;
    let orgs = app.orgs_of(&own).await?;
    let of_org = |(org, role)| OrgOfMe { org, role };
    json(&Me {
        principal: subject_text(&account.home),
        kind: known.map(|known| known.kind),
        operator: account.is_operator,
        account: about(&app, &own)?,
        orgs: orgs.map(|orgs| orgs.into_iter().map(of_org).collect()),
        session: shown(&account.session, &own),
    })
}

/// `GET /v1/me/sessions`: the open ones.
pub(super) async fn sessions(State(app): State<App>, uri: Uri, own: Own) -> Answer {
    Params::parse(&uri, &[])?;
    let found = app.accounts().sessions_of(&own.whole()?.home)?;
    json(&SessionsOfMe {
        items: found.iter().map(|session| shown(session, &own)).collect(),
    })
}

/// `DELETE /v1/me/sessions/{id}`: one of them ends.
pub(super) async fn end(State(app): State<App>, uri: Uri, own: Own, At(id): At<String>) -> Answer {
    Params::parse(&uri, &[])?;
    let (home, id) = (&own.whole()?.home, entity(id)?);
    let node = app.accounts();
    if !node.sessions_of(home)?.iter().any(|session| session.id == id) {
        return Err(problem::not_found(format!("open session {id} of yours")).into());
    }
    node.end_session(home, &id).await?;
    json(&EndedSessions {
        ended: vec![id.to_string()],
    })
}

/// `DELETE /v1/me/sessions`: all of them end, the one that asks included.
pub(super) async fn end_all(State(app): State<App>, uri: Uri, own: Own) -> Answer {
    Params::parse(&uri, &[])?;
    let home = &own.whole()?.home;
    let node = app.accounts();
    let ended = node.sessions_of(home)?.iter().map(|session| session.id.to_string()).collect();
    node.end_sessions(home).await?;
    json(&EndedSessions { ended })
}
