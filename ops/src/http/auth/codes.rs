//! Codes that letters carry, and what whoever has one does by it.

use super::given::{Given, wrong};
use crate::{
    caller::{Credential, Operator, Own},
    http::{
        Answer, App, json,
        params::Params,
        request::{CameFrom, Fields},
    },
    told::{Changed, CodeShown, Sent, Verified},
};
use axum::{
    extract::State,
    http::{StatusCode, Uri},
    response::Response,
};
use quipu_runtime::{kernel::refusals::no_access, tokens::subject_text};
use quipu_schemas::{
    ids::{EntityId, Home, OrgId, PrincipalId},
    mail::MailPurpose,
};

fn accepted() -> Answer {
    let mut response: Response = json(&Sent { status: "accepted" })?;
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// `POST /v1/auth/password/forgot`: a letter to whoever has this address. The answer is the same where nobody has it.
pub(super) async fn forgot(State(app): State<App>, uri: Uri, CameFrom(from): CameFrom, Fields(body): Fields) -> Answer {
    Params::parse(&uri, &[])?;
    let mut given = Given::of(body);
    let address = given.need("address")?;
    given.done()?;
    app.accounts().send_reset(&address, from)?;
    accepted()
}

/// `POST /v1/auth/password/reset`: another password, by the code of such a letter. Every session ends.
pub(super) async fn reset(State(app): State<App>, uri: Uri, CameFrom(from): CameFrom, Fields(body): Fields) -> Answer {
    Params::parse(&uri, &[])?;
    let mut given = Given::of(body);
    let (code, password) = (given.need("code")?, given.need_secret("password")?);
    given.done()?;
    app.accounts().reset_by_code(&code, &password, from).await?;
    json(&Changed { status: "changed" })
}

/// `POST /v1/auth/address/verify`: shows that an address is its person's, by the code that was sent there.
pub(super) async fn verify(State(app): State<App>, uri: Uri, CameFrom(from): CameFrom, Fields(body): Fields) -> Answer {
    Params::parse(&uri, &[])?;
    let mut given = Given::of(body);
    let code = given.need("code")?;
    given.done()?;
    let home = app.accounts().verify_by_code(&code, from).await?;
    json(&Verified {
        status: "verified",
        principal: subject_text(&home),
    })
}

/// `POST /v1/auth/address/send`: another letter to an address of one's own that was not verified yet.
pub(super) async fn send(State(app): State<App>, uri: Uri, own: Own, Fields(body): Fields) -> Answer {
    Params::parse(&uri, &[])?;
    let home = &own.whole()?.home;
    let mut given = Given::of(body);
    let id = given.text("id")?;
    given.done()?;
    let id = id.map(EntityId::parse).transpose();
    let id = id.map_err(|_| wrong("id", "`id` is the id of an address, adr_…"))?;
    app.accounts().send_verification(home, id.as_ref()).await?;
    accepted()
}

/// `POST /v1/auth/link`: the link of a letter that nobody sent, by the node's own token. An operator may not: whoever has such a link is
/// that person.
pub(super) async fn link(State(app): State<App>, uri: Uri, by: Operator, Fields(body): Fields) -> Answer {
    Params::parse(&uri, &[])?;
    if !matches!(by.caller().credential(), Credential::Token) {
        return Err(no_access().into());
    }
    let mut given = Given::of(body);
    let (purpose, id, address) = (given.need("purpose")?, given.need("id")?, given.text("address")?);
    let org = given.text("org")?;
    given.done()?;
    if purpose == "invite" {
        return link_of_invite(&app, org, id);
    }
    let purpose = match purpose.as_str() {
        "reset_password" => MailPurpose::ResetPassword,
        "verify_address" => MailPurpose::VerifyAddress,
        _ => return Err(wrong("purpose", "`purpose` is reset_password, verify_address or invite").into()),
    };
    let id = PrincipalId::parse(id).map_err(|_| wrong("id", "`id` is the id of a person, usr_…"))?;
    let address = address.map(EntityId::parse).transpose();
    let address = address.map_err(|_| wrong("address", "`address` is the id of an address, adr_…"))?;
    let home = Home::of(&OrgId::PLATFORM, &id);
    let shown = app.accounts().show_code(&home, purpose, address.as_ref()).await?;
    json(&CodeShown {
        code: shown.code,
        link: shown.link,
    })
}

fn link_of_invite(app: &App, org: Option<String>, id: String) -> Answer {
    let org = org.and_then(|org| OrgId::parse(org).ok());
    let org = org.ok_or_else(|| wrong("org", "`org` is the org of the invite"))?;
    let id = EntityId::parse(id).map_err(|_| wrong("id", "`id` is the id of an invite, inv_…"))?;
    let shown = app.accounts().show_invite(&org, &id)?;
    json(&CodeShown {
        code: shown.code,
        link: shown.link,
    })
}
