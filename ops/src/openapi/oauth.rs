//! The routes of OAuth and OpenID Connect, which standards describe: forms in, their own form of failures out.

use super::rights::Opens;
use serde_json::{Map, Value, json};

/// What fails on every route of them.
const ALWAYS: &[u16] = &[400, 403, 405, 414, 429, 431, 500, 503];
/// What fails besides, where there is a body.
const FORM: &[u16] = &[408, 413, 415];

fn failures(statuses: &[&[u16]]) -> Map<String, Value> {
    let schema = json!({
        "type": "object",
        "required": ["error"],
        "properties": { "error": { "type": "string" }, "error_description": { "type": "string" } }
    });
    let one = |status: &u16| {
        let failure =
            json!({ "description": "A failure in the form of RFC 6749.", "content": { "application/json": { "schema": schema } } });
        (status.to_string(), failure)
    };
    statuses.iter().flat_map(|some| some.iter()).map(one).collect()
}

fn operation(id: &str, summary: &str, responses: Map<String, Value>) -> Value {
    let mut operation = json!({ "operationId": id, "tags": ["oauth"], "summary": summary, "responses": responses });
    Opens::Anybody.tell(&mut operation);
    operation
}

fn answer(description: &str) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": { "type": "object" } } } })
}

/// A document that is there for everybody.
fn document(id: &str, summary: &str, problems: bool) -> Value {
    let mut responses = if problems {
        let one = |status: &u16| {
            let problem = json!({ "$ref": format!("#/components/responses/Problem{status}") });
            (status.to_string(), problem)
        };
        ALWAYS.iter().map(one).collect()
    } else {
        failures(&[ALWAYS])
    };
    responses.insert("200".into(), answer("The document."));
    json!({ "get": operation(id, summary, responses) })
}

/// A form, of which these fields must be there.
fn form(fields: &[&str], required: &[&str]) -> Value {
    let named = |name: &&str| ((*name).to_owned(), json!({ "type": "string" }));
    let properties: Map<String, Value> = fields.iter().map(named).collect();
    let mut schema = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    json!({ "required": true, "content": { "application/x-www-form-urlencoded": { "schema": schema } } })
}

fn post(id: &str, summary: &str, (fields, required): (&[&str], &[&str]), answered: Value) -> Value {
    let mut responses = failures(&[ALWAYS, FORM, &[401]]);
    responses.insert("200".into(), answered);
    let mut operation = operation(id, summary, responses);
    operation["requestBody"] = form(fields, required);
    json!({ "post": operation })
}

const CLIENT: [&str; 4] = ["client_id", "client_secret", "client_assertion_type", "client_assertion"];
const ASKED: [&str; 11] = [
    "client_id",
    "redirect_uri",
    "response_type",
    "response_mode",
    "scope",
    "state",
    "nonce",
    "resource",
    "code_challenge",
    "code_challenge_method",
    "prompt",
];

fn with_client(fields: &[&'static str]) -> Vec<&'static str> {
    fields.iter().copied().chain(CLIENT).collect()
}

fn authorize() -> Value {
    let page = |description: &str| json!({ "description": description, "content": { "text/html": { "schema": { "type": "string" } } } });
    let back = json!({
        "description": "Back to the client, with a code or a refusal.",
        "headers": { "Location": { "description": "Where the client waits.", "schema": { "type": "string" } } }
    });
    let either = |description: &str| {
        let json = failures(&[&[400]])["400"]["content"]["application/json"].clone();
        json!({ "description": description, "content": { "text/html": { "schema": { "type": "string" } }, "application/json": json } })
    };
    let responses = |more: &[&[u16]], pages: &[&str]| {
        let mut all = failures(&[ALWAYS]);
        all.extend(failures(more));
        all.insert("303".into(), back.clone());
        all.insert("200".into(), page("The page on which a person signs in."));
        for status in pages {
            all.insert((*status).to_owned(), either("The page, which says what was wrong."));
        }
        all
    };
    let parameter = |name: &&str| json!({ "name": name, "in": "query", "required": false, "schema": { "type": "string" } });
    let mut get = operation("oauth_authorize", "Where a client sends a person to.", responses(&[], &["400"]));
    get["parameters"] = ASKED.iter().map(parameter).collect();
    let mut post = operation(
        "oauth_authorize_answer",
        "What the person answered.",
        responses(&[FORM], &["400", "401", "429", "503"]),
    );
    let answered: Vec<&str> = ASKED.iter().copied().chain(["address", "password", "totp", "decision"]).collect();
    post["requestBody"] = form(&answered, &[]);
    json!({ "get": get, "post": post })
}

fn device() -> Value {
    let page = |description: &str| json!({ "description": description, "content": { "text/html": { "schema": { "type": "string" } } } });
    let either = || {
        let json = failures(&[&[400]])["400"]["content"]["application/json"].clone();
        json!({
            "description": "The page, which says what was wrong.",
            "content": { "text/html": { "schema": { "type": "string" } }, "application/json": json }
        })
    };
    let mut shown = failures(&[ALWAYS]);
    shown.insert("200".into(), page("The page on which a person types the code of a device."));
    let get = operation("oauth_device", "Where a person types the code of a device.", shown.clone());
    let mut answered = shown;
    answered.extend(failures(&[FORM]));
    for status in ["400", "401", "429", "503"] {
        answered.insert(status.into(), either());
    }
    let mut post = operation("oauth_device_answer", "What the person typed or answered.", answered);
    post["requestBody"] = form(&["user_code", "address", "password", "totp", "ticket", "decision"], &[]);
    json!({ "get": get, "post": post })
}

fn register() -> Value {
    let mut responses = failures(&[ALWAYS, FORM, &[401]]);
    responses.insert("201".into(), answer("The client, with its secret where it has one."));
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    let text = json!({ "type": "string" });
    let schema = json!({
        "type": "object",
        "properties": {
            "client_name": text,
            "grant_types": texts,
            "response_types": texts,
            "token_endpoint_auth_method": text,
            "redirect_uris": texts,
            "scope": text,
            "jwks": { "type": "object" }
        }
    });
    let mut post = operation(
        "oauth_register",
        "Makes a client, by a key of its org as initial access token (RFC 7591).",
        responses,
    );
    post["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    json!({ "post": post })
}

fn userinfo() -> Value {
    let mut responses = failures(&[ALWAYS, &[401]]);
    responses.insert("200".into(), answer("Who logged in."));
    json!({
        "get": operation("oauth_userinfo", "Who logged in, by their access token.", responses.clone()),
        "post": operation("oauth_userinfo_post", "The same.", responses),
    })
}

/// Where the links of letters lead.
fn code() -> Value {
    let page = |description: &str| json!({ "description": description, "content": { "text/html": { "schema": { "type": "string" } } } });
    let either = |description: &str| {
        let json = failures(&[&[400]])["400"]["content"]["application/json"].clone();
        json!({ "description": description, "content": { "text/html": { "schema": { "type": "string" } }, "application/json": json } })
    };
    let responses = |more: &[&[u16]], pages: &[&str]| {
        let mut all = failures(&[ALWAYS]);
        all.extend(failures(more));
        all.insert("200".into(), page("The page."));
        for status in pages {
            all.insert((*status).to_owned(), either("The page, which says what was wrong."));
        }
        all
    };
    let mut get = operation("oauth_code", "Where the links of letters lead.", responses(&[], &["400"]));
    get["parameters"] = json!([{ "name": "code", "in": "query", "required": false, "schema": { "type": "string" } }]);
    let mut post = operation(
        "oauth_code_answer",
        "What the person answered.",
        responses(&[FORM], &["400", "401", "422", "429", "503"]),
    );
    post["requestBody"] = form(&["code", "password", "totp"], &[]);
    json!({ "get": get, "post": post })
}

/// Paths and their items.
pub(super) fn paths() -> impl Iterator<Item = (&'static str, Value)> {
    tokens().into_iter().chain(made())
}

/// What is made for whoever asks.
fn made() -> [(&'static str, Value); 3] {
    [
        ("/oauth/device", device()),
        (
            "/oauth/device_authorization",
            post(
                "oauth_device_authorization",
                "Codes for a device on which nobody can sign in (RFC 8628).",
                (&with_client(&["scope", "resource"]), &[]),
                answer("The code of the device, and the one that a person types."),
            ),
        ),
        ("/oauth/register", register()),
    ]
}

fn tokens() -> [(&'static str, Value); 10] {
    let token = with_client(&[
        "grant_type",
        "scope",
        "resource",
        "code",
        "redirect_uri",
        "code_verifier",
        "refresh_token",
        "subject_token",
        "subject_token_type",
        "requested_token_type",
        "device_code",
    ]);
    let shown = with_client(&["token", "token_type_hint"]);
    let ended = json!({ "description": "It opens nothing any more." });
    [
        ("/oauth/authorize", authorize()),
        ("/oauth/code", code()),
        (
            "/oauth/token",
            post(
                "oauth_token",
                "Tokens, by one of the grants.",
                (&token, &["grant_type"]),
                answer("Tokens."),
            ),
        ),
        (
            "/oauth/introspect",
            post(
                "oauth_introspect",
                "What a token opens (RFC 7662).",
                (&shown, &["token"]),
                answer("What it is; `active` alone where it opens nothing."),
            ),
        ),
        (
            "/oauth/revoke",
            post(
                "oauth_revoke",
                "Ends a token with its session (RFC 7009).",
                (&shown, &["token"]),
                ended,
            ),
        ),
        ("/oauth/userinfo", userinfo()),
        (
            "/oauth/jwks",
            document("oauth_jwks", "The public keys that tokens are checked by.", false),
        ),
        (
            "/.well-known/openid-configuration",
            document("openid_configuration", "What there is, for clients of OpenID Connect.", true),
        ),
        (
            "/.well-known/oauth-authorization-server",
            document(
                "oauth_authorization_server",
                "What there is, for clients of OAuth (RFC 8414).",
                true,
            ),
        ),
        (
            "/.well-known/oauth-protected-resource",
            document("oauth_protected_resource", "Whose tokens open this node (RFC 9728).", true),
        ),
    ]
}
