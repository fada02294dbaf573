//! What a person changes of what is known of them. An access token alone changes no address: whoever can reset a password is the person.

use super::given::{Given, wrong};
use crate::{
    caller::Own,
    http::{
        Answer, App, json,
        params::Params,
        request::{CameFrom, Fields},
    },
    told::{AddressAdded, Changed},
};
use axum::{extract::State, http::Uri};
use quipu_schemas::ids::EntityId;

/// `POST /v1/auth/name`: what you are called.
pub(super) async fn name(State(app): State<App>, uri: Uri, own: Own, Fields(body): Fields) -> Answer {
    Params::parse(&uri, &[])?;
    let home = &own.whole()?.home;
    let mut given = Given::of(body);
    let name = given.need("name")?;
    given.done()?;
    app.accounts().set_name(home, &name).await?;
    json(&Changed { status: "changed" })
}

/// `POST /v1/auth/address/add`: another address. A letter with a code goes to it where the node sends mail; until it was shown the address opens
/// nothing that another one of yours does not.
pub(super) async fn add(State(app): State<App>, uri: Uri, own: Own, CameFrom(from): CameFrom, Fields(body): Fields) -> Answer {
    Params::parse(&uri, &[])?;
    let home = &own.whole()?.home;
    let mut given = Given::of(body);
    let (address, password) = (given.need("address")?, given.need_secret("password")?);
    let code = given.secret("code")?;
    given.done()?;
    let node = app.accounts();
    node.show_again(home, &password, code.as_ref(), from).await?;
    let id = node.add_own_address(home, &address, from).await?;
    if node.has_mail() {
        let sent = node.send_verification(home, Some(&id)).await;
        sent.unwrap_or_else(|problem| tracing::warn!(%home, code = problem.code, "an address was not sent its code"));
    }
    json(&AddressAdded {
        id: id.to_string(),
        letter: node.has_mail(),
    })
}

/// `POST /v1/auth/address/remove`: an address that is yours no more.
pub(super) async fn remove(State(app): State<App>, uri: Uri, own: Own, CameFrom(from): CameFrom, Fields(body): Fields) -> Answer {
    Params::parse(&uri, &[])?;
    let home = &own.whole()?.home;
    let mut given = Given::of(body);
    let (id, password) = (given.need("id")?, given.need_secret("password")?);
    let code = given.secret("code")?;
    given.done()?;
    let id = EntityId::parse(id).map_err(|_| wrong("id", "`id` is the id of an address, adr_…"))?;
    let node = app.accounts();
    node.show_again(home, &password, code.as_ref(), from).await?;
    node.remove_address(home, &id).await?;
    json(&Changed { status: "changed" })
}
