//! Secrets that commands make: keys, and secrets of clients. Only their hashes go further than the answer.

use quipu_events::keyring::Keyring;
use quipu_schemas::{
    client_secret::ClientSecret,
    digest::Digest,
    envelope::{CommandBody, CommandEnvelope, Shown},
    ids::{EntityId, Kind, OrgId},
    key_text::{self, KeyText},
    problem::Problem,
};
use serde_json::{Map, Value};

/// The field that says that a key's hash is a slow one.
const ARGON2ID: &str = "argon2id";

/// A secret that a command makes.
pub(super) enum Minted {
    Key(KeyText),
    Client(ClientSecret),
}

impl Minted {
    pub(super) fn of(kind: &Kind, org: OrgId, id: EntityId, secret: [u8; 32]) -> Self {
        if *kind == Kind::APPLICATION {
            Self::Client(ClientSecret::new(org, id, secret))
        } else {
            Self::Key(KeyText::new(org, id, secret))
        }
    }

    fn hash(&self, keys: &Keyring) -> Digest {
        match self {
            Self::Key(key) => key.hash(&key_text::pepper(&keys.digest_key())),
            Self::Client(secret) => secret.hash(&keys.digest_key()),
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::Key(key) => key.to_text(),
            Self::Client(secret) => secret.to_text(),
        }
    }
}

/// Puts a new key's hash into its command. Nothing else of the key goes any further than the answer.
pub(super) fn mint(field: &str, body: &mut Value, secret: &Minted, keys: &Keyring) -> Result<Option<Shown>, Problem> {
    // Anything but an object is refused later, when it is parsed.
    let Value::Object(fields) = body else { return Ok(None) };
    for field in [field, ARGON2ID] {
        if fields.contains_key(field) {
            return Err(
                Problem::new(422, "minted_field", format!("`{field}` is made by the node, and taken from nobody"))
                    .field(field.to_owned())
                    .fix("leave it out"),
            );
        }
    }
    let hash = secret.hash(keys);
    fields.insert(field.to_owned(), hash.to_string().into());
    Ok(Some(Shown::new(secret.to_text())))
}

/// The place of a new key's hash in its command, where it makes one.
pub(super) fn of_key(envelope: &mut CommandEnvelope) -> Option<(Digest, &mut Map<String, Value>)> {
    if envelope.stream.kind != Kind::API_KEY {
        return None;
    }
    let CommandBody::Given { command, .. } = &mut envelope.body else {
        return None;
    };
    let fields = command.0.as_object_mut()?.values_mut().next()?.as_object_mut()?;
    let hash = fields.get("hash")?.as_str()?.parse().ok()?;
    Some((hash, fields))
}

/// Puts Argon2id of the hash in its place.
pub(super) fn slowly(fields: &mut Map<String, Value>, slow: Digest) {
    fields.insert("hash".to_owned(), slow.to_string().into());
    fields.insert(ARGON2ID.to_owned(), true.into());
}
