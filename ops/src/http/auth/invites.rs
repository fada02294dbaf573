//! How whoever was asked into an org joins it.

use super::given::Given;
use crate::{
    app::Registration,
    caller::{Caller, Credential},
    http::{
        Answer, App, json,
        params::Params,
        request::{CameFrom, Fields},
    },
    told::Joining,
};
use axum::{extract::State, http::Uri};
use quipu_runtime::{node::Joins, tokens::subject_text};
use quipu_schemas::problem::Problem;

/// `POST /v1/auth/invite/accept`: by the code of an invite, as whoever is logged in, or by the password of an account that there is or will be.
pub(super) async fn accept(State(app): State<App>, uri: Uri, caller: Caller, CameFrom(from): CameFrom, Fields(body): Fields) -> Answer {
    Params::parse(&uri, &[])?;
    let mut given = Given::of(body);
    let code = given.need("code")?;
    let (password, totp, name) = (given.secret("password")?, given.secret("totp")?, given.text("name")?);
    given.done()?;
    let who = match (caller.credential(), password) {
        (_, Some(password)) => Joins::ByPassword {
            password,
            code: totp,
            name,
            may_register: app.access.registration != Registration::Closed,
        },
        (Credential::Account(account), None) if !account.is_cut => Joins::As(account.home.clone()),
        (_, None) => return Err(who_is_it().into()),
    };
    let joined = app.accounts().accept_invite(&code, who, from).await?;
    json(&Joining {
        status: "accepted",
        principal: subject_text(&joined.home),
        org: joined.org,
        role: joined.role,
    })
}

fn who_is_it() -> Problem {
    Problem::new(401, "unauthenticated", "whoever joins says who they are")
        .field("password")
        .fix("log in and show that session, uncut, or give the password of your account, or of a new one")
}
