//! A command inside another one: it is checked and sealed as if it came in by itself, and comes out of its carrier as it is to be sent.

use crate::{
    kinds::Kinds,
    refusals::{unknown_command, unknown_kind},
};
use quipu_events::keyring::Keyring;
use quipu_schemas::{
    digest::Digest,
    ids::{EntityId, Kind, OrgId, PrincipalId},
    problem::Problem,
};
use serde_json::{Map, Value};
use std::sync::Arc;

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a str, Problem> {
    fields.get(name).and_then(Value::as_str).ok_or_else(|| {
        Problem::new(422, "invalid_command", format!("`{name}` is missing, or no text"))
            .field(name)
            .fix("name the kind, the id and the command that is carried")
    })
}

/// Puts the carried command into its stored form.
pub(super) fn carry(
    body: &mut Value,
    (org, id): (&OrgId, &EntityId),
    actor: &PrincipalId,
    kinds: &Kinds,
    keys: &Arc<Keyring>,
) -> Result<(), Problem> {
    // Anything but an object is refused later, when it is parsed.
    let Value::Object(fields) = body else { return Ok(()) };
    if fields.contains_key("digest") {
        return Err(
            Problem::new(422, "minted_field", "`digest` is made by the node, and taken from nobody")
                .field("digest")
                .fix("leave it out"),
        );
    }
    let bad_kind = |e: quipu_schemas::ids::BadId| Problem::new(422, "invalid_command", e.to_string()).field("kind");
    let kind = Kind::parse(text(fields, "kind")?).map_err(bad_kind)?;
    let command = text(fields, "command")?.to_owned();
    let within = |problem: Problem| Problem {
        status: 422,
        field: Some(problem.field.map_or_else(|| "body".to_owned(), |field| format!("body.{field}"))),
        ..problem
    };
    let handler = kinds.get(&kind).ok_or_else(|| Problem {
        status: 422,
        ..unknown_kind(&kind, kinds)
    })?;
    if !handler.commands().contains(&command) {
        return Err(Problem {
            status: 422,
            ..unknown_command(&kind, &command, kinds)
        });
    }
    // What makes a secret would show it to nobody; what brings one would leave it in the approval's own records.
    if handler.mints(&command).is_some() || handler.takes_secret(&command) {
        return Err(Problem::new(
            422,
            "secret_unseen",
            format!("{kind}.{command} makes or brings a secret, which an approval does not carry"),
        )
        .field("command")
        .fix("send it yourself"));
    }
    if handler.carries(&command) {
        return Err(Problem::new(422, "approval_of_approval", "a command that carries another one is not carried").field("command"));
    }
    if kind == Kind::ORG && text(fields, "id")? != org.as_str() {
        return Err(Problem::new(422, "wrong_org_stream", format!("org {org} lives under its own id"))
            .field("id")
            .fix(format!("use the id {org}")));
    }
    let inner = fields.remove("body").unwrap_or_else(|| Value::Object(Map::new()));
    let digest = Digest::keyed(
        &keys.digest_key(),
        // Of this approval alone: by that of another nobody finds out what it carries.
        &[
            org.as_str().as_bytes(),
            id.as_str().as_bytes(),
            command.as_bytes(),
            inner.to_string().as_bytes(),
        ],
    );
    let person = handler.data_subject(&command, &inner);
    if person.as_ref().is_some_and(|person| PrincipalId::parse(person.as_str()).is_err()) {
        return Err(Problem::new(422, "invalid_command", "the principal is outside its grammar").field("body.principal"));
    }
    let subject = format!("{org}/{}", person.as_deref().unwrap_or(actor.as_str()));
    let stored = handler.parse(&command, inner, &subject, keys.clone()).map_err(within)?;
    fields.insert("body".into(), stored.0);
    fields.insert("digest".into(), digest.to_string().into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn carried(mut body: Value) -> Result<Value, Problem> {
        let keys = Arc::new(Keyring::ephemeral(7));
        carry(
            &mut body,
            (&OrgId::from_static("acme"), &EntityId::from_static("ask")),
            &PrincipalId::from_static("ada"),
            &Kinds::builtin(),
            &keys,
        )
        .map(|()| body)
    }

    #[test]
    fn a_carried_command_is_stored_as_its_kind_stores_it() {
        let body = json!({ "principal": "bob", "role": "member", "email": "bob@example.org" });
        let made = carried(json!({ "kind": "org", "id": "acme", "command": "add_member", "body": body })).unwrap();
        assert_eq!(made["body"]["add_member"]["principal"], "bob", "{made}");
        assert!(!made.to_string().contains("example.org"), "personal fields are sealed: {made}");
        assert_eq!(made["digest"].as_str().unwrap().len(), 64);
    }

    #[test]
    fn what_could_not_be_sent_by_itself_is_not_carried() {
        for (body, code) in [
            (
                json!({ "kind": "org", "id": "acme", "command": "rename", "body": { "nam": "x" } }),
                "invalid_command",
            ),
            (
                json!({ "kind": "org", "id": "other", "command": "rename", "body": { "name": "x" } }),
                "wrong_org_stream",
            ),
            (json!({ "kind": "org", "id": "acme", "command": "vanish" }), "unknown_command"),
            (json!({ "kind": "nothing", "id": "x", "command": "create" }), "unknown_kind"),
            (json!({ "kind": "alias", "id": "x", "command": "claim" }), "unknown_command"),
            (
                json!({ "kind": "api-key", "id": "x", "command": "create", "body": { "name": "x" } }),
                "secret_unseen",
            ),
            (
                json!({ "kind": "secret", "id": "x", "command": "set", "body": { "value": "v" } }),
                "secret_unseen",
            ),
            (
                json!({ "kind": "callback", "id": "x", "command": "rotate_secret", "body": { "secret": { "value": "v" } } }),
                "secret_unseen",
            ),
            (
                json!({ "kind": "approval", "id": "x", "command": "create" }),
                "approval_of_approval",
            ),
            (
                json!({ "kind": "org", "id": "acme", "command": "rename", "digest": "00" }),
                "minted_field",
            ),
            (json!({ "kind": "org", "id": "acme" }), "invalid_command"),
        ] {
            let problem = carried(body.clone()).unwrap_err();
            assert_eq!((problem.status, problem.code.as_str()), (422, code), "{body}: {problem}");
            assert!(problem.field.is_some(), "{problem}");
        }
    }
}
