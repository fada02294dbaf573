//! Which principal is meant, wherever they act.

use super::{BadId, CredentialId, EntityId, Kind, OrgId, PrincipalId, StreamId, bad};
use crate::limits::SESSION_ID_MAX_CHARS;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{borrow::Cow, fmt, str::FromStr};

/// What ids of people begin with. No agent and no service is called so.
pub const PERSON_PREFIX: &str = "usr";

impl PrincipalId {
    /// What a node itself changes principals as.
    pub const ACCOUNTS: PrincipalId = PrincipalId::from_static("_accounts");

    /// Whether this is an account of a person, at home on the platform and the same one in every org. A bare name of an older log
    /// is not.
    pub fn is_person(&self) -> bool {
        is_person(self.as_str())
    }
}

impl EntityId {
    /// Whether the id is kept for people.
    pub fn is_person(&self) -> bool {
        is_person(self.as_str())
    }
}

fn is_person(id: &str) -> bool {
    id.strip_prefix(PERSON_PREFIX).is_some_and(|rest| rest.starts_with('_'))
}

/// A principal with the org that they belong to, `ORG/ID`: `_platform` for people. Two orgs may have an agent of one name; their
/// homes differ.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Home {
    /// The org.
    pub org: OrgId,
    /// The principal.
    pub id: PrincipalId,
}

impl Home {
    /// Whom a bare id means in an org.
    pub fn of(org: &OrgId, id: &PrincipalId) -> Self {
        let org = if id.is_person() { &OrgId::PLATFORM } else { org };
        Self {
            org: org.clone(),
            id: id.clone(),
        }
    }

    /// The principal whose stream this is; `None` where it is another kind's.
    pub fn of_stream(stream: &StreamId) -> Option<Self> {
        (stream.kind == Kind::PRINCIPAL).then(|| Self {
            org: stream.org.clone(),
            id: PrincipalId(stream.id.0.clone()),
        })
    }

    /// Their stream.
    pub fn stream(&self) -> StreamId {
        StreamId::new(self.org.clone(), Kind::PRINCIPAL, EntityId(self.id.0.clone()))
    }

    /// Whether it is an account of a person.
    pub fn is_person(&self) -> bool {
        self.org == OrgId::PLATFORM && self.id.is_person()
    }

    /// Whether they may act in an org by a session of their own: people in each, everybody else at home.
    pub fn acts_in(&self, org: &OrgId) -> bool {
        self.is_person() || self.org == *org
    }

    /// Whose personal data theirs is.
    pub fn subject(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.org, self.id)
    }
}
impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for Home {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        let (org, id) = text.split_once('/').ok_or_else(|| bad("principal", text, "ORG/ID"))?;
        Ok(Self {
            org: OrgId::parse(org)?,
            id: PrincipalId::parse(id)?,
        })
    }
}
impl Serialize for Home {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Home {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
impl JsonSchema for Home {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Home")
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}/[A-Za-z0-9_-]{1,64}$" })
    }
}

/// The kind of a credential that is a session. It is no entity of its own: its principal's holds it.
const SESSION: Kind = Kind::from_static("session");

impl CredentialId {
    /// A session of whoever shows it.
    pub fn of_session(id: EntityId) -> Self {
        Self { kind: SESSION, id }
    }

    /// The session that it is, where it is one.
    pub fn session(&self) -> Option<&EntityId> {
        (self.kind == SESSION && self.id.as_str().len() <= SESSION_ID_MAX_CHARS).then_some(&self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_at_home_on_the_platform() {
        let (acme, ada) = (OrgId::from_static("acme"), PrincipalId::from_static("usr_1"));
        let home = Home::of(&acme, &ada);
        assert_eq!((home.to_string().as_str(), home.is_person()), ("_platform/usr_1", true));
        assert!(home.acts_in(&acme));
        let bot = Home::of(&acme, &PrincipalId::from_static("bot"));
        assert_eq!((bot.to_string().as_str(), bot.is_person()), ("acme/bot", false));
        assert!(bot.acts_in(&acme) && !bot.acts_in(&OrgId::from_static("beta")));
        // Nobody becomes a person by an org's own entity.
        let false_one: Home = "acme/usr_1".parse().unwrap();
        assert!(!false_one.is_person());
        for name in ["usr", "usr-1", "user_1", "Usr_1"] {
            assert!(!PrincipalId::from_static(name).is_person(), "{name}");
        }
    }

    #[test]
    fn a_home_is_its_stream_and_its_text() {
        let home: Home = "acme/bot".parse().unwrap();
        assert_eq!(home.stream().to_string(), "acme/principal/bot");
        assert_eq!(Home::of_stream(&home.stream()), Some(home.clone()));
        assert_eq!(Home::of_stream(&"acme/agent/bot".parse().unwrap()), None);
        assert_eq!(serde_json::from_str::<Home>("\"acme/bot\"").unwrap(), home);
        for text in ["", "acme", "acme/", "/bot", "acme/a/b"] {
            assert!(text.parse::<Home>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_session_is_a_credential_and_no_key() {
        let session = CredentialId::of_session(EntityId::from_static("ses_1"));
        assert_eq!(session.to_string(), "session/ses_1");
        assert_eq!(session.session().map(EntityId::as_str), Some("ses_1"));
        assert_eq!(session.api_key(), None);
        assert_eq!(CredentialId::of_api_key(EntityId::from_static("k")).session(), None);
    }
}
