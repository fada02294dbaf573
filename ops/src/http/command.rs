//! Commands in: `POST` on the grid. Answers are receipts of what is decided and durable.

use super::{
    Answer, App, Failure,
    answer::{only, receipt_answer},
    params::Params,
    request::{At, Fields, entity},
};
use crate::{
    asked::{Asked, Correlation, KnownKind, Labels},
    caller::InOrg,
    parts::{is_read_only, view_named},
    problems::bad_parameter,
};
use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri},
};
use quipu_schemas::{ids::EntityId, problem::Problem};
use serde_json::Value;

/// Says that the command was decided before, under the same key.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Everything of a request but its path.
struct Call {
    by: InOrg,
    labels: Labels,
    correlation: Correlation,
    fields: Value,
    /// Whether the answer waits for the other nodes.
    waits: bool,
}

/// Whether `wait=nodes` is asked.
fn waits(params: &Params) -> Result<bool, Problem> {
    match params.text("wait") {
        None => Ok(false),
        Some("nodes") => Ok(true),
        Some(other) => Err(bad_parameter(
            "wait",
            format!("`{other}` cannot be waited for"),
            "use wait=nodes, or leave it out",
        )),
    }
}

impl Call {
    fn read(uri: &Uri, headers: &HeaderMap, by: InOrg, correlation: Correlation, fields: Value) -> Result<Self, Problem> {
        let waits = waits(&Params::parse(uri, &["wait"])?)?;
        Ok(Self {
            waits,
            by,
            labels: Labels::read(headers)?,
            correlation,
            fields,
        })
    }
}

/// `POST /v1/orgs/{org}/{kinds}`: the `create` command of a new entity.
pub async fn create(
    State(app): State<App>,
    At((_, plural)): At<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    by: InOrg,
    Extension(correlation): Extension<Correlation>,
    Fields(fields): Fields,
) -> Answer {
    if !app.has_kind(&plural) && view_named(app.families(), &plural).is_some() {
        return Ok(only("GET, HEAD", "POST", uri.path()));
    }
    let kind = app.kind(&plural)?;
    let call = Call::read(&uri, &headers, by, correlation, fields)?;
    send(&app, kind, None, "create", call).await
}

/// `POST /v1/orgs/{org}/{kinds}/{id}`: the `create` command under the client's own id.
pub async fn create_named(
    State(app): State<App>,
    At((_, plural, id)): At<(String, String, String)>,
    uri: Uri,
    headers: HeaderMap,
    by: InOrg,
    Extension(correlation): Extension<Correlation>,
    Fields(fields): Fields,
) -> Answer {
    if !app.has_kind(&plural) && view_named(app.families(), &plural).is_some() {
        return Ok(only("GET, HEAD", "POST", uri.path()));
    }
    let kind = app.kind(&plural)?;
    let id = entity(id)?;
    let call = Call::read(&uri, &headers, by, correlation, fields)?;
    send(&app, kind, Some(id), "create", call).await
}

/// `POST /v1/orgs/{org}/{kinds}/{id}/{command}`; also behind routes whose last segment is fixed for `GET`.
pub async fn command(
    State(app): State<App>,
    At(parts): At<Vec<(String, String)>>,
    uri: Uri,
    headers: HeaderMap,
    by: InOrg,
    Extension(correlation): Extension<Correlation>,
    Fields(fields): Fields,
) -> Answer {
    let part = |name: &str| {
        parts
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.clone())
            .unwrap_or_default()
    };
    let kind = app.kind(&part("kinds"))?;
    let id = entity(part("id"))?;
    // Commands are snake_case: what would need decoding is none.
    let command = uri.path().rsplit('/').next().unwrap_or_default();
    if !kind.has_command(command) && is_read_only(app.families(), kind.kind.as_str(), command) {
        return Ok(only("GET, HEAD", "POST", uri.path()));
    }
    let call = Call::read(&uri, &headers, by, correlation, fields)?;
    send(&app, kind, Some(id), command, call).await
}

async fn send(app: &App, kind: &KnownKind, id: Option<EntityId>, command: &str, call: Call) -> Answer {
    let Call {
        by,
        labels,
        correlation,
        fields,
        waits,
    } = call;
    let asked = Asked {
        by: &by,
        kind,
        id,
        command,
        labels,
        correlation,
        fields,
    };
    let request = asked.into_request()?;
    if waits && !app.is_about_rights(&request.kind) {
        let detail = format!("other nodes keep up with rights alone, and {} is not about them", request.kind);
        return Err(Failure(bad_parameter("wait", detail, "leave it out")));
    }
    if let Some(holder) = by.caller().holder() {
        holder.ask_command(&request.kind, command, request.id.as_ref(), app.now())?;
    }
    let mut receipt = app.command(request).await.map_err(Failure)?;
    if waits {
        receipt.behind = Some(app.behind(receipt.position).await);
    }
    let is_repeat = receipt.duplicate;
    let status = if command == "create" {
        StatusCode::CREATED
    } else {
        StatusCode::ACCEPTED
    };
    let mut response = receipt_answer(app, &receipt, status)?;
    if is_repeat {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}
