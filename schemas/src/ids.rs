//! Typed ids. One grammar: `[A-Za-z0-9_-]{1,64}`; command ids also take `.` and `:` up to 128.

use crate::limits::{COMMAND_ID_MAX_CHARS, ID_MAX_CHARS};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    borrow::Cow,
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    str::FromStr,
    sync::Arc,
};

mod credential;
mod home;
mod kinds;

pub use credential::CredentialId;
pub use home::{Home, PERSON_PREFIX};

/// An id that is outside its grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{shown}` is not an id: use {grammar}")]
pub struct BadId {
    what: &'static str,
    shown: String,
    grammar: &'static str,
}

const ID_GRAMMAR: &str = "1 to 64 of A-Z a-z 0-9 _ -";
const KIND_GRAMMAR: &str = "1 to 32 of a-z 0-9 -, starting with a letter";
const COMMAND_ID_GRAMMAR: &str = "1 to 128 of A-Z a-z 0-9 _ . : -";

fn bad(what: &'static str, text: &str, grammar: &'static str) -> BadId {
    BadId {
        what,
        shown: text.chars().take(80).collect(),
        grammar,
    }
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= ID_MAX_CHARS && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn is_kind(text: &str) -> bool {
    text.len() <= 32
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_command_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= COMMAND_ID_MAX_CHARS
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-'))
}

/// An id's text, shared by its copies: ids are copied many times on a record's way.
#[derive(Clone)]
enum Text {
    Static(&'static str),
    Shared(Arc<str>),
}

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        match self {
            Text::Static(text) => text,
            Text::Shared(text) => text,
        }
    }
}
impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}
impl Eq for Text {}
impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}
impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

/// Reads an id without a string in between.
struct TextVisitor;

impl serde::de::Visitor<'_> for TextVisitor {
    type Value = Arc<str>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Arc<str>, E> {
        Ok(text.into())
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:ident, $grammar:ident, $pattern:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Text);

        impl $name {
            /// Parses, refusing anything outside the grammar.
            pub fn parse(text: impl Into<Arc<str>>) -> Result<Self, BadId> {
                let text = text.into();
                if $check(&text) { Ok(Self(Text::Shared(text))) } else { Err(bad($what, &text, $grammar)) }
            }
            /// A literal known to be within the grammar.
            pub const fn from_static(text: &'static str) -> Self { Self(Text::Static(text)) }
            /// The id's text.
            pub fn as_str(&self) -> &str { &self.0 }
            /// Ids that begin with `_` belong to the platform.
            pub fn is_reserved(&self) -> bool { self.0.starts_with('_') }
        }
        impl fmt::Display for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) } }
        impl fmt::Debug for $name { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) } }
        impl FromStr for $name { type Err = BadId; fn from_str(s: &str) -> Result<Self, BadId> { Self::parse(s) } }
        impl AsRef<str> for $name { fn as_ref(&self) -> &str { &self.0 } }
        impl Serialize for $name { fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> { s.serialize_str(&self.0) } }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                Self::parse(d.deserialize_str(TextVisitor)?).map_err(serde::de::Error::custom)
            }
        }
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> { Cow::Borrowed(stringify!($name)) }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}

id!(
    /// An org: the one tenant key. `_platform` owns platform entities.
    OrgId, "org", is_id, ID_GRAMMAR, "^[A-Za-z0-9_-]{1,64}$"
);
id!(
    /// An entity within an org and kind.
    EntityId, "id", is_id, ID_GRAMMAR, "^[A-Za-z0-9_-]{1,64}$"
);
id!(
    /// Whoever acts: a person, an agent or a service.
    PrincipalId, "principal", is_id, ID_GRAMMAR, "^[A-Za-z0-9_-]{1,64}$"
);
id!(
    /// A message within a conversation.
    MessageId, "message id", is_id, ID_GRAMMAR, "^[A-Za-z0-9_-]{1,64}$"
);
id!(
    /// The kind of an entity, in the singular: `org`, `agent`, `conversation`, `run`, or a user's own.
    Kind, "kind", is_kind, KIND_GRAMMAR, "^[a-z][a-z0-9-]{0,31}$"
);
id!(
    /// A command's identity within its stream; `Idempotency-Key` over HTTP.
    CommandId, "command id", is_command_id, COMMAND_ID_GRAMMAR, "^[A-Za-z0-9_.:-]{1,128}$"
);

impl OrgId {
    /// The org that owns platform entities.
    pub const PLATFORM: OrgId = OrgId::from_static("_platform");
}

impl PrincipalId {
    /// The holder of the bootstrap token.
    pub const BOOTSTRAP: PrincipalId = PrincipalId::from_static("bootstrap");

    /// Whether this is nobody of an org: the holder of the bootstrap token, or an id that begins with `_`.
    pub fn is_platform(&self) -> bool {
        self.is_reserved() || *self == Self::BOOTSTRAP
    }
}

/// `org/kind/id`: the name of one entity's stream.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Tenant.
    pub org: OrgId,
    /// Kind of entity.
    pub kind: Kind,
    /// The entity.
    pub id: EntityId,
}

impl StreamId {
    /// Names a stream.
    pub fn new(org: OrgId, kind: Kind, id: EntityId) -> Self {
        Self { org, kind, id }
    }

    /// An org's own stream, `{org}/org/{org}`.
    pub fn of_org(org: &OrgId) -> Self {
        Self {
            org: org.clone(),
            kind: Kind::ORG,
            id: EntityId(org.0.clone()),
        }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.org, self.kind, self.id)
    }
}
impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for StreamId {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        let mut parts = text.splitn(3, '/');
        let mut next = || parts.next().ok_or_else(|| bad("stream", text, "org/kind/id"));
        Ok(Self {
            org: OrgId::parse(next()?)?,
            kind: Kind::parse(next()?)?,
            id: EntityId::parse(next()?)?,
        })
    }
}
impl Serialize for StreamId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for StreamId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
impl JsonSchema for StreamId {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("StreamId")
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}/[a-z][a-z0-9-]{0,31}/[A-Za-z0-9_-]{1,64}$" })
    }
}

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A TypeID (`prefix_` + 26 characters of Crockford base 32 over a UUID); the UUID comes from the caller.
pub fn type_id(prefix: &str, uuid: u128) -> String {
    let mut text = String::with_capacity(prefix.len() + 27);
    text.push_str(prefix);
    text.push('_');
    for place in (0..26).rev() {
        text.push(ALPHABET[((uuid >> (place * 5)) & 31) as usize] as char);
    }
    text
}

/// When a TypeID over a UUIDv7 was made, in milliseconds since the Unix epoch; `None` where the text is none.
pub fn minted_at(id: &str) -> Option<u64> {
    let (_, uuid) = id.rsplit_once('_').filter(|(_, uuid)| uuid.len() == 26)?;
    // The first ten letters hold the UUID's first 48 bits, after two that are always zero.
    let mut time = 0u64;
    for letter in uuid.bytes().take(10) {
        time = time << 5 | ALPHABET.iter().position(|known| *known == letter)? as u64;
    }
    Some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_when_they_were_minted() {
        let id = type_id("ses", (1_764_500_000_123 << 80) | 7);
        assert_eq!(minted_at(&id), Some(1_764_500_000_123));
        for text in ["", "ses_1", "ses_", "01kb9v5n3v00000000000000000", &id.to_uppercase()] {
            assert_eq!(minted_at(text), None, "{text}");
        }
    }

    #[test]
    fn ids_outside_the_grammar_are_refused_with_the_grammar() {
        for text in ["", "a b", "a/b", "é", &"x".repeat(65)] {
            let error = EntityId::parse(text).unwrap_err().to_string();
            assert!(error.contains("A-Z a-z 0-9"), "{error}");
        }
        assert!(EntityId::parse("x".repeat(64)).is_ok());
        assert!(Kind::parse("Org").is_err());
        assert!(CommandId::parse("a.b:c-d_e").is_ok());
    }

    #[test]
    fn an_id_is_its_text_however_it_came() {
        use std::collections::{BTreeMap, hash_map::DefaultHasher};
        let hash = |kind: &Kind| {
            let mut hasher = DefaultHasher::new();
            kind.hash(&mut hasher);
            hasher.finish()
        };
        let parsed = Kind::parse("run").unwrap();
        assert_eq!((&parsed, hash(&parsed)), (&Kind::RUN, hash(&Kind::RUN)));
        assert!(Kind::AGENT < parsed && parsed < Kind::parse("runs").unwrap());
        let keyed: BTreeMap<Kind, u8> = serde_json::from_str(r#"{"run":1}"#).unwrap();
        assert_eq!(
            (keyed[&Kind::RUN], serde_json::to_string(&keyed).unwrap().as_str()),
            (1, r#"{"run":1}"#)
        );
        let error = serde_json::from_str::<Kind>("7").unwrap_err().to_string();
        assert!(error.contains("expected a string"), "{error}");
    }

    #[test]
    fn a_stream_id_round_trips_and_its_partition_never_changes() {
        let stream: StreamId = "acme/conversation/cnv_1".parse().unwrap();
        assert_eq!(stream.to_string().parse::<StreamId>().unwrap(), stream);
        assert_eq!(stream.partition(1), 0);
        // Golden: a change here moves streams between partitions of existing logs.
        assert_eq!(stream.partition(16), GOLDEN_PARTITION);
        let org: StreamId = "acme/org/acme".parse().unwrap();
        let principal: StreamId = "acme/principal/ada".parse().unwrap();
        assert_eq!(org.partition(16), principal.partition(16));
    }
    const GOLDEN_PARTITION: u16 = 7;

    #[test]
    fn type_ids_sort_by_time() {
        assert_eq!(type_id("cnv", 0), "cnv_00000000000000000000000000");
        assert!(type_id("cnv", 1 << 80) < type_id("cnv", 2 << 80));
        assert!(EntityId::parse(type_id("cnv", u128::MAX)).is_ok());
    }
}
