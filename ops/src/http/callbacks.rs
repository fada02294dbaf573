//! Where other systems deliver: no credential is asked for, the signature is it.

use super::{
    Answer, App, Failure,
    answer::receipt_answer,
    request::{At, Forwarded, entity, org},
    surface::{CALLBACKS, Part, Routes},
};
use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode},
    routing::post,
};
use quipu_runtime::node::Delivery;

/// The address of a callback.
pub const PATH: &str = "/callbacks/{org}/{id}";

/// The addresses of callbacks.
pub(super) fn part() -> Part {
    Part {
        surface: &CALLBACKS,
        routes: Routes::new().route(PATH, post(deliver)),
    }
}

/// `POST /callbacks/{org}/{id}`: one delivery.
async fn deliver(State(app): State<App>, At((named, id)): At<(String, String)>, headers: HeaderMap, Forwarded(body): Forwarded) -> Answer {
    let lines = headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()));
    let delivery = Delivery {
        org: org(named)?,
        id: entity(id)?,
        headers: lines.collect(),
        body,
    };
    let receipt = app.deliver(delivery).await.map_err(Failure)?;
    let mut answer = receipt_answer(&app, &receipt, StatusCode::ACCEPTED)?;
    if receipt.duplicate {
        answer.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(answer)
}
