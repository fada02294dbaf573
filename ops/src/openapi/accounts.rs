//! The routes of accounts and sessions.

use super::{path_parameter, rights::Opens};
use serde_json::{Map, Value, json};

/// On every one of them.
const ALWAYS: &[u16] = &[400, 401, 403, 405, 414, 431, 500, 503];
/// Where there is a body.
const BODY: &[u16] = &[408, 413, 415, 422];

/// Name, whether it must be there, schema, meaning.
type Field = (&'static str, bool, Value, &'static str);

/// One operation.
struct Route {
    path: &'static str,
    method: &'static str,
    id: &'static str,
    summary: &'static str,
    opens: Opens,
    fields: Option<Vec<Field>>,
    answer: (u16, &'static str),
    more: &'static [u16],
}

fn text(name: &'static str, required: bool, meaning: &'static str) -> Field {
    (
        name,
        required,
        json!({ "type": "string", "minLength": 1, "maxLength": 1_024 }),
        meaning,
    )
}

fn flag(name: &'static str, meaning: &'static str) -> Field {
    (name, false, json!({ "type": "boolean", "default": false }), meaning)
}

fn post(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    opens: Opens,
    fields: Vec<Field>,
    answer: (u16, &'static str),
) -> Route {
    Route {
        path,
        method: "post",
        id,
        summary,
        opens,
        fields: Some(fields),
        answer,
        more: &[409, 429, 507],
    }
}

fn own(path: &'static str, method: &'static str, id: &'static str, summary: &'static str, answer: &'static str) -> Route {
    Route {
        path,
        method,
        id,
        summary,
        opens: Opens::Account,
        fields: None,
        answer: (200, answer),
        more: &[404],
    }
}

/// Getting an account and a session.
fn sign_in() -> Vec<Route> {
    vec![
        post(
            "/v1/auth/login",
            "login",
            "A session for whoever knows a password. Failed guesses make the next ones wait; nobody is locked out.",
            Opens::Anybody,
            vec![
                text("address", false, "An address of the person; this or `id`."),
                text("id", false, "The person, usr_…; this or `address`."),
                text("password", true, "The password."),
                text(
                    "code",
                    false,
                    "A code that follows from the time, or a recovery code, where one is asked for.",
                ),
                text(
                    "scope",
                    false,
                    "What the session may be used for at most, as rights parted by spaces; everything unless given.",
                ),
                flag("cookie", "Whether the session goes into a cookie, and not into the answer."),
            ],
            (200, "Tokens"),
        ),
        post(
            "/v1/auth/refresh",
            "refresh",
            "Another access token. The refresh token is shown once: a second time ends its session.",
            Opens::Anybody,
            vec![text("refresh_token", true, "The refresh token.")],
            (200, "Tokens"),
        ),
        post(
            "/v1/auth/register",
            "register",
            "An account: by an operator, or by whoever asks where `auth.registration` is open; they are answered 202, whether or not there was one.",
            Opens::Anybody,
            vec![
                text("name", false, "What the person is called (sealed)."),
                text("address", false, "Their address (sealed)."),
                text("password", false, "Their password, 10 to 256 characters."),
                flag("operator", "Whether they operate the platform; for operators to say."),
                flag("first", "Whether this is to be the first operator: refused where there is one."),
            ],
            (201, "Registered"),
        ),
    ]
}

/// A route that may be about something that is not there.
fn about_somebody(route: Route) -> Route {
    Route {
        more: &[404, 409, 429, 507],
        ..route
    }
}

fn of_invites() -> Route {
    post(
        "/v1/auth/invite/accept",
        "accept_invite",
        "Joins an org by the code of an invite: as whoever is logged in, or by the password of an account that there is or will be.",
        Opens::Anybody,
        vec![
            text("code", true, "The code, qpi_…."),
            text(
                "password",
                false,
                "The password of the account of that address; a new one's where there is none.",
            ),
            text(
                "totp",
                false,
                "A code that follows from the time, or a recovery code, where one is asked for.",
            ),
            text("name", false, "What the person is called, for a new account (sealed)."),
        ],
        (200, "Joining"),
    )
}

/// Letters, and what whoever has the code of one does.
fn of_letters() -> Vec<Route> {
    vec![
        post(
            "/v1/auth/password/forgot",
            "forgot_password",
            "A letter with a code, to whoever has this address. The answer says nothing of whether there is such an account.",
            Opens::Anybody,
            vec![text("address", true, "The address.")],
            (202, "Sent"),
        ),
        post(
            "/v1/auth/password/reset",
            "reset_password",
            "Another password, by the code of such a letter, once and within half an hour. Every session ends.",
            Opens::Anybody,
            vec![
                text("code", true, "The code, qpw_…."),
                text("password", true, "The new password, 10 to 256 characters."),
            ],
            (200, "Changed"),
        ),
        post(
            "/v1/auth/address/verify",
            "verify_address",
            "Shows that an address is its person's, by the code that was sent there, once and within a day.",
            Opens::Anybody,
            vec![text("code", true, "The code, qpv_….")],
            (200, "Verified"),
        ),
        of_invites(),
        post(
            "/v1/auth/address/send",
            "send_verification",
            "Another letter with a code, to an address of one's own that was not verified yet.",
            Opens::Account,
            vec![text(
                "id",
                false,
                "The address, adr_…; the first that was not verified unless given.",
            )],
            (202, "Sent"),
        ),
        post(
            "/v1/auth/link",
            "make_link",
            "The link of a letter that nobody sends, by the node's own token alone. Whoever has it is that person.",
            Opens::Node,
            vec![
                text("purpose", true, "reset_password, verify_address or invite."),
                text("id", true, "The person, usr_…, or the invite."),
                text("org", false, "The org of the invite."),
                text("address", false, "One of their addresses, adr_…; the first unless given."),
            ],
            (200, "CodeShown"),
        ),
    ]
}

/// What is a principal's own.
fn of_account() -> Vec<Route> {
    vec![
        post(
            "/v1/auth/logout",
            "logout",
            "Ends the session that is shown.",
            Opens::Account,
            vec![],
            (200, "EndedSessions"),
        ),
        post(
            "/v1/auth/password/change",
            "change_password",
            "Another password, for whoever knows the old one. Every session ends.",
            Opens::Account,
            vec![
                text("old", true, "The old one."),
                text("new", true, "The new one, 10 to 256 characters."),
                text("code", false, "A code, or a recovery code, where login asks for one."),
            ],
            (200, "Changed"),
        ),
        post(
            "/v1/auth/password/set",
            "set_password",
            "Another password for somebody who has lost theirs, by the node's own token alone. Every session ends.",
            Opens::Node,
            vec![
                text("id", true, "The person, usr_…."),
                text("password", true, "The new password, 10 to 256 characters."),
            ],
            (200, "Changed"),
        ),
        post(
            "/v1/auth/totp",
            "enrol_totp",
            "A secret for codes that follow from the time. None is asked for until the first was shown.",
            Opens::Account,
            vec![
                text("password", false, "The password, for a first authenticator."),
                text("code", false, "A code of the secret that is to be replaced, or a recovery code."),
            ],
            (200, "Enrolled"),
        ),
        post(
            "/v1/auth/totp/confirm",
            "confirm_totp",
            "The first code: from then on one is asked for at login. Recovery codes come with the answer.",
            Opens::Account,
            vec![text("code", true, "The code.")],
            (200, "NewRecoveryCodes"),
        ),
    ]
}

/// What a person changes of what is known of them.
fn of_person() -> Vec<Route> {
    let shown = || {
        [
            text("password", true, "The password: an access token alone changes no address."),
            text("code", false, "A code, or a recovery code, where login asks for one."),
        ]
    };
    let with = |field: Field| [vec![field], shown().into()].concat();
    vec![
        post(
            "/v1/auth/name",
            "set_name",
            "What you are called.",
            Opens::Account,
            vec![text("name", true, "Your name (sealed).")],
            (200, "Changed"),
        ),
        about_somebody(post(
            "/v1/auth/address/add",
            "add_address",
            "Another address. A letter with a code goes to it where the node sends mail.",
            Opens::Account,
            with(text("address", true, "The address (sealed).")),
            (200, "AddressAdded"),
        )),
        about_somebody(post(
            "/v1/auth/address/remove",
            "remove_address",
            "Takes an address of yours away.",
            Opens::Account,
            with(text("id", true, "The address, adr_…; `GET /v1/me` lists yours.")),
            (200, "Changed"),
        )),
    ]
}

/// Who somebody is, and by which sessions.
fn of_me() -> Vec<Route> {
    vec![
        own(
            "/v1/me",
            "get",
            "me",
            "Who you are here, in which orgs, and by which session.",
            "Me",
        ),
        own("/v1/me/sessions", "get", "my_sessions", "Your open sessions.", "SessionsOfMe"),
        own(
            "/v1/me/sessions",
            "delete",
            "end_my_sessions",
            "Ends all of your sessions, this one included.",
            "EndedSessions",
        ),
        own(
            "/v1/me/sessions/{id}",
            "delete",
            "end_my_session",
            "Ends one of your sessions.",
            "EndedSessions",
        ),
    ]
}

impl Route {
    fn operation(&self) -> Value {
        let schema = json!({ "$ref": format!("#/components/schemas/{}", self.answer.1) });
        let answer = |schema: &Value| json!({ "description": "Done.", "content": { "application/json": { "schema": schema } } });
        let mut responses = Map::from_iter([(self.answer.0.to_string(), answer(&schema))]);
        if self.id == "register" {
            responses.insert("202".into(), answer(&schema));
        }
        let body: &[u16] = if self.fields.is_some() { BODY } else { &[] };
        for status in ALWAYS.iter().chain(body).chain(self.more) {
            let problem = json!({ "$ref": format!("#/components/responses/Problem{status}") });
            responses.insert(status.to_string(), problem);
        }
        let mut operation = json!({
            "operationId": self.id,
            "tags": ["accounts"],
            "summary": self.summary,
            "responses": responses,
        });
        if self.path.ends_with("{id}") {
            operation["parameters"] = json!([path_parameter("id", super::ID, "The session's id.")]);
        }
        if let Some(fields) = self.fields.as_ref() {
            let described = |(name, _, schema, meaning): &Field| {
                let mut schema = schema.clone();
                schema["description"] = (*meaning).into();
                ((*name).to_owned(), schema)
            };
            let required: Vec<&str> = fields.iter().filter(|field| field.1).map(|field| field.0).collect();
            let properties: Map<String, Value> = fields.iter().map(described).collect();
            let mut schema = json!({ "type": "object", "additionalProperties": false, "properties": properties });
            if !required.is_empty() {
                schema["required"] = required.clone().into();
            }
            operation["requestBody"] = json!({ "required": !required.is_empty(), "content": { "application/json": { "schema": schema } } });
        }
        self.opens.tell(&mut operation);
        if self.opens == Opens::Anybody {
            // What is shown besides counts for `register` alone.
            operation["security"] = json!([{}, { "bearer": [] }, { "access_token": [] }]);
        }
        operation
    }
}

/// Paths and their items.
pub(super) fn paths() -> Map<String, Value> {
    let mut paths: Map<String, Value> = Map::new();
    for route in sign_in()
        .into_iter()
        .chain(of_letters().into_iter().map(about_somebody))
        .chain(of_account())
        .chain(of_person())
        .chain(of_me())
    {
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        item[route.method] = route.operation();
    }
    paths
}
