//! The routes of the catalogue of problems, which anybody may read.

use super::{path_parameter, rights::Opens};
use serde_json::{Map, Value, json};

fn operation(id: &str, summary: &str, parameters: Vec<Value>, schema: Value, statuses: &[u16]) -> Value {
    let one = |status: &u16| {
        (
            status.to_string(),
            json!({ "$ref": format!("#/components/responses/Problem{status}") }),
        )
    };
    let mut responses: Map<String, Value> = statuses.iter().map(one).collect();
    let text = json!({ "schema": { "type": "string" } });
    responses.insert(
        "200".into(),
        json!({
            "description": "The document that was asked for.",
            "content": { "application/json": { "schema": schema }, "text/html": text, "text/plain": text },
        }),
    );
    let mut operation = json!({
        "operationId": id,
        "tags": ["ops"],
        "summary": summary,
        "parameters": parameters,
        "responses": responses,
    });
    Opens::Anybody.tell(&mut operation);
    json!({ "get": operation })
}

fn entry() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "type": "object",
        "required": ["type", "code", "statuses", "title", "meaning", "remedy"],
        "properties": {
            "type": text("As in a problem."),
            "code": text("The stable code."),
            "statuses": { "type": "array", "items": { "type": "integer" }, "description": "Statuses that it comes with." },
            "title": text("The code in words."),
            "meaning": text("What it means."),
            "remedy": text("What to do about it."),
        }
    })
}

/// Paths and their items.
pub(super) fn paths() -> [(&'static str, Value); 2] {
    let always = [400, 403, 405, 414, 431, 500, 503];
    let list = json!({ "type": "object", "required": ["items"], "properties": { "items": { "type": "array", "items": entry() } } });
    let with_404: Vec<u16> = always.iter().copied().chain([404]).collect();
    let code = path_parameter("code", "^[a-z][a-z0-9_]{0,63}$", "The code of a problem.");
    [
        (
            "/docs/problems",
            operation(
                "problems",
                "Every code of a problem, with what to do about it.",
                vec![],
                list,
                &always,
            ),
        ),
        (
            "/docs/problems/{code}",
            operation("problem", "What a code of a problem means.", vec![code], entry(), &with_404),
        ),
    ]
}
