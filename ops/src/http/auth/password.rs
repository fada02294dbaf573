//! What a person proves who they are by: changed by themselves.

use super::given::{Given, wrong};
use crate::{
    caller::{Credential, Operator, Own},
    http::{
        Answer, App, json,
        params::Params,
        request::{CameFrom, Fields},
    },
    told::{Changed, Enrolled, NewRecoveryCodes},
};
use axum::{extract::State, http::Uri};
use quipu_runtime::kernel::refusals::no_access;
use quipu_schemas::ids::{Home, OrgId, PrincipalId};

/// `POST /v1/auth/password/change`: another password, for whoever knows the old one, and a code where one is asked for. Every session
/// ends.
pub(super) async fn change(State(app): State<App>, uri: Uri, own: Own, CameFrom(from): CameFrom, Fields(body): Fields) -> Answer {
    Params::parse(&uri, &[])?;
    let home = &own.whole()?.home;
    let mut given = Given::of(body);
    let (old, new) = (given.need_secret("old")?, given.need_secret("new")?);
    let code = given.secret("code")?;
    given.done()?;
    app.accounts().change_password(home, &old, &new, code.as_ref(), from).await?;
    json(&Changed { status: "changed" })
}

/// `POST /v1/auth/password/set`: another password for somebody who has lost theirs, by the node's own token. Every session ends. An
/// operator may not: whoever sets a password is that person in their orgs, where operators are nobody.
pub(super) async fn set(State(app): State<App>, uri: Uri, by: Operator, Fields(body): Fields) -> Answer {
    Params::parse(&uri, &[])?;
    if !matches!(by.caller().credential(), Credential::Token) {
        return Err(no_access().into());
    }
    let mut given = Given::of(body);
    let (id, password) = (given.need("id")?, given.need_secret("password")?);
    given.done()?;
    let id = PrincipalId::parse(id).map_err(|_| wrong("id", "`id` is the id of a person, usr_…"))?;
    app.accounts()
        .set_password(&Home::of(&OrgId::PLATFORM, &id), &password, true)
        .await?;
    json(&Changed { status: "changed" })
}

/// `POST /v1/auth/totp`: a secret for codes that follow from the time; none is asked for until one was shown. A first one
/// takes the password; whoever has one already shows a code of that, or a recovery code.
pub(super) async fn enrol(State(app): State<App>, uri: Uri, own: Own, CameFrom(from): CameFrom, Fields(body): Fields) -> Answer {
    Params::parse(&uri, &[])?;
    let home = &own.whole()?.home;
    let mut given = Given::of(body);
    let (password, code) = (given.secret("password")?, given.secret("code")?);
    given.done()?;
    let secret = app.accounts().enrol_totp(home, password.as_ref(), code.as_ref(), from).await?;
    json(&Enrolled {
        uri: format!("otpauth://totp/quipu:{}?secret={}&issuer=quipu", home.id, secret.as_str()),
        secret: secret.as_str().to_owned(),
    })
}

/// `POST /v1/auth/totp/confirm`: the first code; from then on one is asked for.
pub(super) async fn confirm(State(app): State<App>, uri: Uri, own: Own, Fields(body): Fields) -> Answer {
    Params::parse(&uri, &[])?;
    let home = &own.whole()?.home;
    let mut given = Given::of(body);
    let code = given.need_secret("code")?;
    given.done()?;
    let codes = app.accounts().confirm_totp(home, &code).await?;
    json(&NewRecoveryCodes {
        recovery_codes: codes.iter().map(|code| code.as_str().to_owned()).collect(),
    })
}
