//! Whom an address of the directory means: read from the log, so that an alias leads to a new entity as soon as it is its.

use super::{
    Answer, App, json,
    params::Params,
    problem::{bad_parameter, clip},
};
use crate::caller::InOrg;
use axum::{extract::State, http::Uri};
use quipu_kinds::alias::Address;
use quipu_schemas::ids::Kind;

/// `GET /v1/orgs/{org}/resolve?address=@slug`.
pub async fn resolve(State(app): State<App>, in_org: InOrg, uri: Uri) -> Answer {
    let reads = app.reads(&in_org);
    let params = Params::parse(&uri, &["address"])?;
    let Some(text) = params.text("address") else {
        reads.ask_kind(&Kind::ENTITY)?;
        return Err(bad_parameter("address", "whom to resolve is not said", "ask for ?address=@slug").into());
    };
    let address: Address = text.parse().map_err(|error| {
        let fix = "percent-encode it, and write @ and # as %40 and %23";
        bad_parameter("address", format!("`{}`: {error}", clip(text)), fix)
    })?;
    json(&reads.resolve(&address).await?)
}
