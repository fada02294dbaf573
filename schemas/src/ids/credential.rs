//! What somebody showed to prove who they are.

use super::{BadId, EntityId, Kind, bad};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{borrow::Cow, fmt, str::FromStr};

/// What somebody showed to prove who they are, `KIND/ID`: an API key of the org in which it counts, or a session of the principal
/// who shows it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialId {
    /// `api-key` or `session`.
    pub kind: Kind,
    /// Its id.
    pub id: EntityId,
}

impl CredentialId {
    /// An API key.
    pub fn of_api_key(id: EntityId) -> Self {
        Self { kind: Kind::API_KEY, id }
    }

    /// The API key that it is, where it is one.
    pub fn api_key(&self) -> Option<&EntityId> {
        (self.kind == Kind::API_KEY).then_some(&self.id)
    }
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}
impl fmt::Debug for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for CredentialId {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        let (kind, id) = text.split_once('/').ok_or_else(|| bad("credential", text, "KIND/ID"))?;
        Ok(Self {
            kind: Kind::parse(kind)?,
            id: EntityId::parse(id)?,
        })
    }
}
impl Serialize for CredentialId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for CredentialId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
impl JsonSchema for CredentialId {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("CredentialId")
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[a-z][a-z0-9-]{0,31}/[A-Za-z0-9_-]{1,64}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_named_by_kind_and_id() {
        let key: CredentialId = "api-key/key_1".parse().unwrap();
        assert_eq!(
            (key.to_string().as_str(), key.api_key().map(EntityId::as_str)),
            ("api-key/key_1", Some("key_1"))
        );
        assert_eq!(serde_json::from_str::<CredentialId>("\"api-key/key_1\"").unwrap(), key);
        let session: CredentialId = "session/ses_1".parse().unwrap();
        assert_eq!(session.api_key(), None);
        for text in ["", "api-key", "api-key/", "/key_1", "API/key_1", "api-key/a/b"] {
            assert!(text.parse::<CredentialId>().is_err(), "{text}");
        }
    }
}
