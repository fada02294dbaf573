//! Documents for programs: OpenAPI, AsyncAPI, and a page for language models.

use super::{
    Answer, App, catalogue, json_bytes,
    params::Params,
    surface::{DOCS, Part, Routes},
};
use crate::{asyncapi, openapi};
use axum::{
    body::Bytes,
    extract::State,
    http::{Uri, header},
    response::IntoResponse,
    routing::get,
};
use serde_json::Value;
use std::sync::{Arc, OnceLock};

/// The documents of a node, made when they are first asked for: a node that nobody documents does not pay for them in memory.
#[derive(Clone)]
struct Documents(Arc<Made>);

struct Made {
    app: App,
    openapi: OnceLock<Bytes>,
    asyncapi: OnceLock<Bytes>,
}

/// The documents.
pub(super) fn part(app: App) -> Part {
    let made = Made {
        app,
        openapi: OnceLock::new(),
        asyncapi: OnceLock::new(),
    };
    let routes = Routes::new()
        .route("/docs/openapi.json", get(openapi))
        .route("/docs/asyncapi.json", get(asyncapi))
        .route("/docs/llms.txt", get(llms));
    let routes = catalogue::routes(routes).with_state(Documents(Arc::new(made)));
    Part { surface: &DOCS, routes }
}

fn pretty(document: &Value) -> Bytes {
    serde_json::to_vec_pretty(document).unwrap_or_default().into()
}

/// `GET /docs/openapi.json`.
async fn openapi(State(Documents(made)): State<Documents>, uri: Uri) -> Answer {
    Params::parse(&uri, &[])?;
    let make = || pretty(&openapi::document(&made.app.infos(), made.app.families()));
    Ok(json_bytes(made.openapi.get_or_init(make).clone()))
}

/// `GET /docs/asyncapi.json`.
async fn asyncapi(State(Documents(made)): State<Documents>, uri: Uri) -> Answer {
    Params::parse(&uri, &[])?;
    let make = || pretty(&asyncapi::document(&made.app.infos()));
    Ok(json_bytes(made.asyncapi.get_or_init(make).clone()))
}

/// `GET /docs/llms.txt`.
async fn llms(State(Documents(made)): State<Documents>, uri: Uri) -> Answer {
    use std::fmt::Write;
    Params::parse(&uri, &[])?;
    let mut page = String::from(include_str!("llms.txt"));
    page.push_str("\n## Kinds and commands of this node\n");
    for kind in made.app.infos() {
        let _ = writeln!(page, "\n### {}\n", kind.plural);
        for command in &kind.commands {
            let _ = writeln!(page, "- `{}`: {}", command.name, command.summary);
        }
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], page).into_response())
}
