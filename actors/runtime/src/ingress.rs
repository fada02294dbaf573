//! Where commands enter: identity, digest, sealing. After this step the command is in stored form.

mod minted;

use crate::{
    accounts::passwords::Passwords,
    api::CommandRequest,
    kinds::Kinds,
    refusals::{unknown_command, unknown_kind},
};
use minted::{Minted, mint};
use quipu_events::keyring::Keyring;
use quipu_kinds::principal::{PrincipalCommand, PrincipalWord};
use quipu_schemas::{
    context::{Millis, uuid_v7},
    digest::Digest,
    envelope::{CommandBody, CommandEnvelope, DataClass, Receipt, Shown},
    ids::{CommandId, CredentialId, EntityId, Home, Kind, PrincipalId, StreamId, type_id},
    json::Json,
    limits::{COMMAND_MAX_BYTES, VALUE_INLINE_MAX_BYTES},
    personal,
    problem::Problem,
};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

mod carried;

/// Random bits that a command enters with.
pub struct Drawn {
    /// Minted ids follow from it.
    pub seed: u128,
    /// The secret that the command makes, if it makes one.
    secret: [u8; 32],
}

impl Drawn {
    /// Fresh ones.
    pub(crate) fn fresh() -> Result<Self, Problem> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(no_entropy)?;
        let seed = entropy()?;
        Ok(Self { seed, secret })
    }

    /// The same ones each time, for simulations: a secret that follows from a seed is none.
    pub fn of_seed(seed: u128) -> Self {
        let secret = Digest::of(&[b"secret", &seed.to_be_bytes()]).0;
        Self { seed, secret }
    }
}

/// A command that has entered.
#[derive(Debug)]
pub struct Entered {
    /// In stored form.
    pub envelope: CommandEnvelope,
    /// The secret that it made, for whoever asked: nothing in the envelope tells it.
    pub shown: Option<Shown>,
}

fn no_entropy(error: getrandom::Error) -> Problem {
    Problem::new(500, "no_entropy", format!("the system gives no randomness: {error}"))
}

/// Random bits, or an error that says that the system gives none.
pub(crate) fn entropy() -> Result<u128, Problem> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(no_entropy)?;
    Ok(u128::from_be_bytes(bytes))
}

/// Whether admitting a request may wait for a disk or for servers: it holds a value that is kept beside the log.
pub fn may_block(body: &Value, rough_size: usize) -> bool {
    rough_size > VALUE_INLINE_MAX_BYTES || personal::contains_blob(body)
}

/// A new key is kept by Argon2id of its hash: computed where passwords are, since it takes as long.
pub(crate) async fn kept_slowly(mut envelope: CommandEnvelope, passwords: &Arc<Passwords>) -> Result<CommandEnvelope, Problem> {
    let stream = envelope.stream.clone();
    if let Some((hash, fields)) = minted::of_key(&mut envelope) {
        minted::slowly(fields, passwords.of_key(stream, hash).await?);
    }
    Ok(envelope)
}

/// Turns a request into an envelope. Values that are too large for a record are kept, durably, on return. `now` is the owner's clock.
pub fn admit(request: CommandRequest, kinds: &Kinds, keys: &Arc<Keyring>, drawn: &Drawn, now: Millis) -> Result<Entered, Problem> {
    let handler = kinds.get(&request.kind).ok_or_else(|| unknown_kind(&request.kind, kinds))?;
    if !handler.commands().contains(&request.command) {
        return Err(unknown_command(&request.kind, &request.command, kinds));
    }
    check_names(&request)?;
    let (text, size) = (request.body.to_string(), plain_len(&request.body));
    let command_id = match &request.command_id {
        Some(id) => id.clone(),
        None => CommandId::parse(type_id("cmd", uuid_v7(now, drawn.seed, 1))).expect("a TypeID is a command id"),
    };
    let id = entity_id(&request, &command_id, handler.prefix())?;
    let actor = request.on_behalf_of.as_ref().unwrap_or(&request.principal);
    let person = handler.data_subject(&request.command, &request.body);
    let subject = format!("{}/{}", request.org, person.as_deref().unwrap_or(actor.as_str()));
    if person.as_ref().is_some_and(|p| PrincipalId::parse(p.as_str()).is_err()) {
        return Err(Problem::new(422, "invalid_command", "the principal is outside its grammar").field("principal"));
    }
    let digest = Digest::keyed(&keys.digest_key(), &[request.command.as_bytes(), text.as_bytes()]);
    let mut body = if request.body.is_null() {
        Value::Object(Default::default())
    } else {
        request.body
    };
    let shown = match handler.mints(&request.command) {
        // After the digest: a repetition makes another secret, and is the same command.
        Some(field) => mint(
            field,
            &mut body,
            &Minted::of(&request.kind, request.org.clone(), id.clone(), drawn.secret),
            keys,
        )?,
        None => None,
    };
    if handler.carries(&request.command) {
        carried::carry(&mut body, (&request.org, &id), actor, kinds, keys)?;
    }
    let command = handler.parse(&request.command, body, &subject, keys.clone())?;
    check_size(size, &command)?;
    let envelope = CommandEnvelope {
        stream: StreamId::new(request.org, request.kind, id),
        command_id,
        digest,
        body: CommandBody::Given { command, settles: None },
        principal: request.principal,
        on_behalf_of: request.on_behalf_of,
        home: None,
        credential: request.credential,
        expected_version: request.expected_version,
        environment: request.environment,
        data_class: request.data_class,
        correlation: request.correlation,
        causation: None,
        traceparent: request.traceparent,
        seed: drawn.seed,
    };
    Ok(Entered { envelope, shown })
}

/// The entity that a command is for: minted ids follow from the command.
fn entity_id(request: &CommandRequest, command_id: &CommandId, prefix: &str) -> Result<EntityId, Problem> {
    let id = match &request.id {
        Some(id) if id.is_reserved() && request.kind != Kind::ORG => {
            return Err(Problem::new(422, "reserved_id", format!("ids that begin with `_` are reserved: {id}")).field("id"));
        }
        Some(id) => id.clone(),
        None if request.kind == Kind::ORG => StreamId::of_org(&request.org).id,
        None => derived_id(request, command_id, prefix),
    };
    if request.kind == Kind::ORG && id.as_str() != request.org.as_str() {
        return Err(Problem::new(
            422,
            "wrong_org_stream",
            format!("org {} lives under its own id, not {id}", request.org),
        )
        .field("id")
        .fix(format!("use /v1/orgs/{0}/orgs/{0}", request.org)));
    }
    Ok(id)
}

/// What a node itself tells a principal: a word, or a command that it sends for them. Values that are too large for a record are
/// refused: none of these is.
pub fn told(
    home: &Home,
    said: Value,
    keys: &Arc<Keyring>,
    drawn: &Drawn,
    now: Millis,
    credential: Option<CredentialId>,
) -> Result<CommandEnvelope, Problem> {
    let digest = Digest::keyed(&keys.digest_key(), &[b"told", said.to_string().as_bytes()]);
    let unstorable = |e: serde_json::Error| Problem::new(500, "command_unstorable", format!("a word to {home}: {e}"));
    let (word, failed) = personal::sealing(&home.subject(), keys.clone(), || match PrincipalWord::deserialize(&said) {
        Ok(word) => serde_json::to_value(word),
        Err(_) => PrincipalCommand::deserialize(&said).and_then(serde_json::to_value),
    });
    if let Some(failed) = failed {
        return Err(failed.problem());
    }
    let word = Json(word.map_err(unstorable)?);
    check_size(plain_len(&said), &word)?;
    Ok(CommandEnvelope {
        stream: home.stream(),
        command_id: CommandId::parse(type_id("cmd", uuid_v7(now, drawn.seed, 1))).expect("a TypeID is a command id"),
        digest,
        body: CommandBody::Told { word },
        principal: PrincipalId::ACCOUNTS,
        on_behalf_of: None,
        home: None,
        credential,
        expected_version: None,
        environment: None,
        data_class: DataClass::None,
        correlation: None,
        causation: None,
        traceparent: None,
        seed: drawn.seed,
    })
}

/// The receipt of a command that has entered here, whichever node decided it, with the secret that it made: only the hash went any
/// further. What was decided before has another secret.
pub(crate) fn showing(receipt: Receipt, shown: Option<Shown>) -> Receipt {
    let is_first = !receipt.duplicate && !receipt.unchanged;
    Receipt {
        shown: shown.filter(|_| is_first),
        ..receipt
    }
}

/// Refuses what names the platform's.
fn check_names(request: &CommandRequest) -> Result<(), Problem> {
    if request.org.is_reserved() {
        return Err(Problem::new(403, "reserved_org", format!("org {} belongs to the platform", request.org)).field("org"));
    }
    if let Some(person) = request.on_behalf_of.as_ref().filter(|person| person.is_platform()) {
        return Err(
            Problem::new(403, "reserved_principal", format!("principal {person} belongs to the platform"))
                .field("Quipu-On-Behalf-Of")
                .fix("name a principal of the org, or leave it out to act as the holder of the token"),
        );
    }
    Ok(())
}

/// What was sealed apart has its own bound; the rest must fit a record.
fn check_size(size: usize, command: &Json) -> Result<(), Problem> {
    let stored = if size > COMMAND_MAX_BYTES { plain_len(&command.0) } else { size };
    if stored > COMMAND_MAX_BYTES {
        return Err(Problem::new(
            413,
            "command_too_large",
            format!("the command takes {stored} bytes beside its sealed values; {COMMAND_MAX_BYTES} is the most (COMMAND_MAX_BYTES)"),
        )
        .fix("send less, or store a large payload elsewhere and pass its address"));
    }
    Ok(())
}

/// Bytes of a value, its texts counted as they are: how a text is escaped on its way says nothing about its size.
fn plain_len(value: &Value) -> usize {
    match value {
        Value::Null => 4,
        Value::Bool(_) => 5,
        Value::Number(number) => number.to_string().len(),
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| plain_len(item) + 1).sum::<usize>(),
        Value::Object(fields) => 2 + fields.iter().map(|(name, value)| name.len() + 4 + plain_len(value)).sum::<usize>(),
    }
}

/// A create without an id: the same command by the same person makes the same entity. Two people whom one token speaks for
/// may give their commands the same ids.
fn derived_id(request: &CommandRequest, command: &CommandId, prefix: &str) -> EntityId {
    let kind = &request.kind;
    let mut parts = vec![
        request.org.as_str().as_bytes(),
        kind.as_str().as_bytes(),
        request.principal.as_str().as_bytes(),
        command.as_str().as_bytes(),
    ];
    parts.extend(request.on_behalf_of.as_ref().map(|person| person.as_str().as_bytes()));
    let digest = Digest::keyed(&[0; 32], &parts);
    let bits = u128::from_be_bytes(digest.0[..16].try_into().expect("16 bytes"));
    EntityId::parse(type_id(prefix, bits)).expect("a TypeID is an id")
}

#[cfg(test)]
mod tests {
    use super::*;
    use quipu_schemas::{
        ids::OrgId,
        key_text::{self, KeyText},
    };
    use serde_json::json;

    fn create(person: Option<&'static str>) -> CommandRequest {
        CommandRequest {
            org: OrgId::from_static("acme"),
            kind: Kind::CONVERSATION,
            id: None,
            command: "create".into(),
            body: json!({ "type": "group" }),
            command_id: None,
            principal: PrincipalId::BOOTSTRAP,
            on_behalf_of: person.map(PrincipalId::from_static),
            credential: None,
            expected_version: None,
            environment: None,
            data_class: DataClass::None,
            correlation: None,
            traceparent: None,
        }
    }

    #[test]
    fn one_key_of_two_people_makes_two_entities() {
        let one = CommandId::from_static("1");
        let made = |person| derived_id(&create(person), &one, "cnv");
        assert_eq!(made(Some("ada")), made(Some("ada")));
        assert_ne!(made(Some("ada")), made(Some("bob")));
        assert_ne!(made(Some("ada")), made(None));
    }

    fn key(command: &str, body: Value) -> CommandRequest {
        CommandRequest {
            kind: Kind::API_KEY,
            id: Some(EntityId::from_static("k")),
            command: command.into(),
            body,
            command_id: Some(CommandId::from_static("1")),
            ..create(Some("ada"))
        }
    }

    fn entered(request: CommandRequest, seed: u128) -> Result<Entered, Problem> {
        admit(
            request,
            &Kinds::builtin(),
            &Arc::new(Keyring::ephemeral(7)),
            &Drawn::of_seed(seed),
            1,
        )
    }

    #[test]
    fn a_secret_leaves_by_the_answer_alone() {
        let Entered { envelope, shown } = entered(key("create", json!({ "name": "laptop" })), 1).unwrap();
        let shown = shown.unwrap();
        let parsed = KeyText::parse(shown.as_str()).unwrap();
        let hash = parsed.hash(&key_text::pepper(&Keyring::ephemeral(7).digest_key()));
        let stored = serde_json::to_string(&envelope).unwrap();
        assert!(stored.contains(&hash.to_string()), "{stored}");
        let secret = shown.as_str().rsplit('.').next().unwrap();
        for text in [stored, format!("{envelope:?}"), format!("{shown:?}")] {
            assert!(!text.contains(&secret[..8]), "{text}");
        }
    }

    #[test]
    fn a_repetition_is_the_same_command_with_another_secret() {
        let [one, two] = [1, 2].map(|seed| entered(key("rotate", json!({ "grace_hours": 1 })), seed).unwrap());
        assert_eq!(one.envelope.digest, two.envelope.digest);
        assert_ne!(one.shown, two.shown);
        assert!(one.shown.is_some());
        assert_eq!(entered(key("revoke", json!({})), 1).unwrap().shown, None);
    }

    #[test]
    fn only_the_first_answer_shows_a_secret() {
        let receipt = |duplicate, unchanged| Receipt {
            command_id: CommandId::from_static("1"),
            stream: "acme/api-key/k".parse().unwrap(),
            version: 1,
            position: "p0.0.0".parse().unwrap(),
            durability: quipu_schemas::envelope::Durability::Memory,
            unchanged,
            duplicate,
            settled: None,
            shown: None,
            behind: None,
        };
        let shown = || Some(Shown::new("qpk_".into()));
        assert_eq!(showing(receipt(false, false), shown()).shown, shown());
        assert_eq!(showing(receipt(true, false), shown()).shown, None);
        assert_eq!(showing(receipt(false, true), shown()).shown, None);
        assert_eq!(showing(receipt(false, false), None).shown, None);
    }

    #[test]
    fn a_hash_that_a_client_sends_is_refused_by_its_name() {
        for body in [json!({ "name": "x", "hash": "0".repeat(64) }), json!({ "name": "x", "hash": null })] {
            let refused = entered(key("create", body), 1).unwrap_err();
            assert_eq!((refused.status, refused.code.as_str()), (422, "minted_field"));
            assert_eq!(refused.field.as_deref(), Some("hash"));
        }
        let refused = entered(key("rotate", json!({ "argon2id": false })), 1).unwrap_err();
        assert_eq!((&*refused.code, refused.field.as_deref()), ("minted_field", Some("argon2id")));
        let refused = entered(key("revoke", json!({ "hash": "0".repeat(64) })), 1).unwrap_err();
        assert_eq!((refused.code.as_str(), refused.field.as_deref()), ("invalid_command", Some("hash")));
    }

    #[test]
    fn size_is_that_of_texts_and_not_of_their_escapes() {
        let quotes = json!({ "body": "\"".repeat(65_000) });
        assert!(plain_len(&quotes) < 65_020, "{}", plain_len(&quotes));
        for plain in [json!({ "a": [1, -2.5, true, null, "xyz"], "b": {} }), json!("é"), json!([])] {
            assert!(plain_len(&plain) >= plain.to_string().len(), "{plain}");
        }
    }
}
