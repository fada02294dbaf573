//! The routes of values by themselves, which take and give plain bytes.

use super::{path_parameter, references};
use crate::rights::PERSONAL;
use serde_json::{Map, Value, json};

/// A name as uploads are answered with, and as answers show in place of a large value.
pub(super) fn name_schema() -> Value {
    json!({
        "type": "object",
        "description": "The name of a value that is kept beside the log. A command takes it in place of the value; an answer shows it in place of a large one.",
        "required": ["$blob", "$size", "$subject"],
        "properties": {
            "$blob": { "type": "string", "pattern": "^[0-9a-f]{64}$", "description": "Names the stored bytes, which are sealed: not the digest of the value." },
            "$size": { "type": "integer", "minimum": 0, "description": "Bytes of the value as JSON text." },
            "$subject": { "type": "string", "description": "Whose data it is, org/principal." },
            "unavailable": { "type": "string", "enum": ["missing", "damaged"], "description": "The name leads nowhere any more." }
        }
    })
}

fn problems(statuses: &[u16]) -> Map<String, Value> {
    let one = |status: &u16| {
        (
            status.to_string(),
            json!({ "$ref": format!("#/components/responses/Problem{status}") }),
        )
    };
    statuses.iter().map(one).collect()
}

fn value_content() -> Value {
    json!({ "text/plain": { "schema": { "type": "string" } }, "application/json": { "schema": {} } })
}

/// Paths and their items.
pub(super) fn paths() -> [(&'static str, Value); 2] {
    let header = |name: &str, description: &str| json!({ "name": name, "in": "header", "required": false, "description": description, "schema": { "type": "string" } });
    let mut put = problems(&[400, 401, 403, 404, 405, 413, 414, 415, 422, 431, 500, 503, 507]);
    put.insert(
        "201".into(),
        json!({ "description": "Sealed and durable.", "content": { "application/json": { "schema": name_schema() } } }),
    );
    let mut put_parameters = references(&["org", "on-behalf-of", "correlation"]);
    put_parameters.push(header(
        "Content-Digest",
        "RFC 9530, `sha-256=:<base64>:`: refused where the body has another.",
    ));
    let mut get = problems(&[400, 401, 403, 404, 405, 410, 414, 431, 500, 503]);
    get.insert(
        "200".into(),
        json!({ "description": "The value, opened: a text as text/plain, anything else as JSON.", "content": value_content() }),
    );
    get.insert(
        "206".into(),
        json!({ "description": "The bytes that `Range` asks for.", "content": value_content() }),
    );
    let problem = json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } });
    get.insert(
        "416".into(),
        json!({ "description": "The value has no such bytes.", "content": problem }),
    );
    let mut get_parameters = references(&["org"]);
    get_parameters.push(path_parameter("digest", "^[0-9a-f]{64}$", "`$blob` of a name."));
    get_parameters.push(header("Range", "One range of bytes."));
    [
        (
            "/v1/orgs/{org}/blobs",
            json!({ "put": {
                "operationId": "upload_value", "x-quipu-right": PERSONAL.to_string(), "tags": ["values"],
                "summary": "Keeps a value of up to 8 MiB, sealed, and answers with its name; deleted after a day if no command names it.",
                "parameters": put_parameters,
                "requestBody": { "required": true, "content": value_content() },
                "responses": put,
            } }),
        ),
        (
            "/v1/orgs/{org}/blobs/{digest}",
            json!({ "get": {
                "operationId": "get_value", "x-quipu-right": PERSONAL.to_string(), "tags": ["values"],
                "summary": "A value that an answer only names.",
                "parameters": get_parameters,
                "responses": get,
            } }),
        ),
    ]
}
