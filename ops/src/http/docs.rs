//! Documents for programs: OpenAPI, AsyncAPI, and a page for language models.

use super::{Answer, App, json_bytes, params::Params};
use axum::{
    extract::State,
    http::{Uri, header},
    response::IntoResponse,
};

/// `GET /docs/openapi.json`.
pub async fn openapi(State(app): State<App>, uri: Uri) -> Answer {
    Params::parse(&uri, &[])?;
    Ok(json_bytes(app.openapi()))
}

/// `GET /docs/asyncapi.json`.
pub async fn asyncapi(State(app): State<App>, uri: Uri) -> Answer {
    Params::parse(&uri, &[])?;
    Ok(json_bytes(app.asyncapi()))
}

/// `GET /docs/llms.txt`.
pub async fn llms(State(app): State<App>, uri: Uri) -> Answer {
    use std::fmt::Write;
    Params::parse(&uri, &[])?;
    let mut page = String::from(include_str!("llms.txt"));
    page.push_str("\n## Kinds and commands of this node\n");
    for kind in app.node.kinds() {
        let _ = writeln!(page, "\n### {}\n", kind.plural);
        for command in &kind.commands {
            let _ = writeln!(page, "- `{}`: {}", command.name, command.summary);
        }
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], page).into_response())
}
