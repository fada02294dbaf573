//! Commands in: `POST` on the grid. Answers are receipts of what is decided and durable.

use super::{
    Answer, App, KnownKind, json_bytes,
    params::Params,
    problem::{self, Failure},
    query::{is_read_only, view_named},
    request::{At, Correlation, Fields, Labels, entity, org},
};
use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    response::Response,
};
use quipu_runtime::api::CommandRequest;
use quipu_schemas::{
    envelope::Receipt,
    ids::{EntityId, OrgId, PrincipalId},
    problem::Problem,
};
use serde_json::Value;

/// The header that carries how far the log or the views are.
pub const POSITION: HeaderName = HeaderName::from_static("quipu-position");

/// Everything of a request but its path.
struct Call {
    labels: Labels,
    correlation: Correlation,
    fields: Value,
}

impl Call {
    fn read(uri: &Uri, headers: &HeaderMap, correlation: Correlation, fields: Value) -> Result<Self, Problem> {
        Params::parse(uri, &[])?;
        Ok(Self {
            labels: Labels::read(headers)?,
            correlation,
            fields,
        })
    }
}

/// `POST /v1/orgs/{org}/{kinds}`: the `create` command of a new entity.
pub async fn create(
    State(app): State<App>,
    At((org_text, plural)): At<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    Extension(correlation): Extension<Correlation>,
    Fields(fields): Fields,
) -> Answer {
    let org = org(org_text)?;
    if !app.has_kind(&plural) && view_named(&plural).is_some() {
        return Ok(problem::only("GET, HEAD", "POST", uri.path()));
    }
    let kind = app.kind(&plural)?;
    let call = Call::read(&uri, &headers, correlation, fields)?;
    send(&app, org, kind, None, "create", call).await
}

/// `POST /v1/orgs/{org}/{kinds}/{id}`: the `create` command under the client's own id.
pub async fn create_named(
    State(app): State<App>,
    At((org_text, plural, id)): At<(String, String, String)>,
    uri: Uri,
    headers: HeaderMap,
    Extension(correlation): Extension<Correlation>,
    Fields(fields): Fields,
) -> Answer {
    let org = org(org_text)?;
    if !app.has_kind(&plural) && view_named(&plural).is_some() {
        return Ok(problem::only("GET, HEAD", "POST", uri.path()));
    }
    let kind = app.kind(&plural)?;
    let id = entity(id)?;
    let call = Call::read(&uri, &headers, correlation, fields)?;
    send(&app, org, kind, Some(id), "create", call).await
}

/// `POST /v1/orgs/{org}/{kinds}/{id}/{command}`; also behind routes whose last segment is fixed for `GET`.
pub async fn command(
    State(app): State<App>,
    At(parts): At<Vec<(String, String)>>,
    uri: Uri,
    headers: HeaderMap,
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
    let org = org(part("org"))?;
    let kind = app.kind(&part("kinds"))?;
    let id = entity(part("id"))?;
    // Commands are snake_case: what would need decoding is none.
    let command = uri.path().rsplit('/').next().unwrap_or_default();
    if !kind.has_command(command) && is_read_only(kind.kind.as_str(), command) {
        return Ok(problem::only("GET, HEAD", "POST", uri.path()));
    }
    let call = Call::read(&uri, &headers, correlation, fields)?;
    send(&app, org, kind, Some(id), command, call).await
}

/// A command as a face was asked for it, over HTTP or the bus.
pub(crate) struct Asked<'a> {
    pub(crate) org: OrgId,
    pub(crate) kind: &'a KnownKind,
    pub(crate) id: Option<EntityId>,
    pub(crate) command: &'a str,
    pub(crate) labels: Labels,
    pub(crate) correlation: Correlation,
    pub(crate) fields: Value,
}

impl Asked<'_> {
    /// What the node is asked for, if the kind has such a command.
    pub(crate) fn into_request(self) -> Result<CommandRequest, Problem> {
        let kind = self.kind;
        if !kind.has_command(self.command) {
            return Err(problem::unknown_command(
                kind.kind.as_str(),
                self.command,
                &kind.commands.join(", "),
            ));
        }
        Ok(CommandRequest {
            org: self.org,
            kind: kind.kind.clone(),
            id: self.id,
            command: self.command.to_owned(),
            body: self.fields,
            command_id: self.labels.command_id,
            principal: PrincipalId::BOOTSTRAP,
            on_behalf_of: self.labels.on_behalf_of,
            expected_version: self.labels.expected_version,
            environment: self.labels.environment,
            data_class: self.labels.data_class,
            correlation: Some(self.correlation.0),
            traceparent: self.labels.traceparent,
        })
    }
}

async fn send(app: &App, org: OrgId, kind: &KnownKind, id: Option<EntityId>, command: &str, call: Call) -> Answer {
    let Call {
        labels,
        correlation,
        fields,
    } = call;
    let asked = Asked {
        org,
        kind,
        id,
        command,
        labels,
        correlation,
        fields,
    };
    let request = asked.into_request()?;
    let receipt = app.node.command(request).await.map_err(Failure)?;
    let status = if command == "create" {
        StatusCode::CREATED
    } else {
        StatusCode::ACCEPTED
    };
    receipt_answer(app, &receipt, status)
}

/// A receipt with `ETag`, `Quipu-Position` and, for a new entity, `Location`.
pub(super) fn receipt_answer(app: &App, receipt: &Receipt, status: StatusCode) -> Answer {
    let body = serde_json::to_vec(receipt).map_err(|e| problem::internal(format!("the receipt cannot be encoded: {e}")))?;
    let mut response = json_bytes(body);
    *response.status_mut() = status;
    // The durable end of the whole log, so that the same value serves as `min_position` and as a feed's `from`.
    let mut cursor = app.node.cursor();
    cursor.advance(receipt.position);
    position(&mut response, &cursor);
    version_tag(&mut response, receipt.version);
    if status == StatusCode::CREATED {
        let stream = &receipt.stream;
        if let Ok(value) = HeaderValue::from_str(&app.path(stream)) {
            response.headers_mut().insert(header::LOCATION, value);
        }
    }
    Ok(response)
}

/// Sets `Quipu-Position`.
pub(super) fn position(response: &mut Response, cursor: &quipu_schemas::position::Cursor) {
    if let Ok(value) = HeaderValue::from_str(&cursor.to_string()) {
        response.headers_mut().insert(POSITION, value);
    }
}

/// Sets `ETag`.
pub(super) fn version_tag(response: &mut Response, version: u64) {
    if let Ok(value) = HeaderValue::from_str(&format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, value);
    }
}
