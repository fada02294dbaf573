//! Words of rights: capabilities, what can be granted, and on what.
//!
//! A capability is `cap:FAMILY.VERB` or `cap:FAMILY.VERB:SUB`. Whoever holds `send` does not thereby hold `send:priority`; both are
//! asked for where a message has a priority. What is granted is a capability, a whole family (`cap:FAMILY.*`) or a role
//! (`role:NAME`), which stands for what it holds.

use crate::{
    ids::{EntityId, Kind},
    limits,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::{
    borrow::{Borrow, Cow},
    fmt,
    str::FromStr,
};

/// Why a text is not a capability, pattern or target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRight {
    /// The text is outside the grammar of capabilities.
    #[error("`{0}` is not cap:FAMILY.VERB, cap:FAMILY.VERB:SUB, cap:FAMILY.* or role:NAME (lower-case letters, digits, `_` and `-`)")]
    Pattern(String),
    /// The text is outside the grammar of targets.
    #[error("`{0}` is not `org`, `project/ID`, `application/ID` or `KIND/ID`")]
    Target(String),
}

fn is_word(text: &str) -> bool {
    text.len() <= limits::CAPABILITY_WORD_MAX_CHARS
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

/// Whether the text can be the name of a role: words, parted by `:`.
pub fn is_role_name(text: &str) -> bool {
    text.len() <= limits::ROLE_NAME_MAX_CHARS && text.split(':').all(is_word)
}

/// One capability, in its text form without `cap:`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(Cow<'static, str>);

impl Capability {
    /// A capability that the code names.
    pub const fn named(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// The capability of a command of a kind.
    pub fn of_command(kind: &Kind, command: &str) -> Self {
        Self(Cow::Owned(format!("{kind}.{command}")))
    }

    /// Family, before the dot.
    pub fn family(&self) -> &str {
        self.0.split_once('.').map_or("", |(family, _)| family)
    }

    /// `FAMILY.VERB` or `FAMILY.VERB:SUB`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Its text, by which it is ordered.
impl Borrow<str> for Capability {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cap:{}", self.0)
    }
}

impl FromStr for Capability {
    type Err = BadRight;

    fn from_str(text: &str) -> Result<Self, BadRight> {
        let bad = || BadRight::Pattern(text.chars().take(limits::CAPABILITY_WORD_MAX_CHARS).collect());
        let rest = text.strip_prefix("cap:").ok_or_else(bad)?;
        let (family, verb) = rest.split_once('.').ok_or_else(bad)?;
        let is_verb = match verb.split_once(':') {
            Some((verb, sub)) => is_word(verb) && is_word(sub),
            None => is_word(verb),
        };
        if is_word(family) && is_verb {
            Ok(Self(Cow::Owned(rest.to_owned())))
        } else {
            Err(bad())
        }
    }
}

/// What can be granted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// One capability.
    One(Capability),
    /// All capabilities of a family.
    Family(String),
    /// What a role holds.
    Role(String),
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(capability) => capability.fmt(f),
            Self::Family(family) => write!(f, "cap:{family}.*"),
            Self::Role(role) => write!(f, "role:{role}"),
        }
    }
}

impl FromStr for Pattern {
    type Err = BadRight;

    fn from_str(text: &str) -> Result<Self, BadRight> {
        let bad = || BadRight::Pattern(text.chars().take(limits::CAPABILITY_WORD_MAX_CHARS).collect());
        if let Some(role) = text.strip_prefix("role:") {
            return is_role_name(role).then(|| Self::Role(role.to_owned())).ok_or_else(bad);
        }
        let family = text.strip_prefix("cap:").and_then(|rest| rest.strip_suffix(".*"));
        match family {
            Some(family) if is_word(family) => Ok(Self::Family(family.to_owned())),
            Some(_) => Err(bad()),
            None => text.parse().map(Self::One),
        }
    }
}

/// What a grant is on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Everything in the org.
    Org,
    /// What belongs to a project.
    Project(EntityId),
    /// What belongs to an application.
    Application(EntityId),
    /// One entity.
    Entity(Kind, EntityId),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Org => f.write_str("org"),
            Self::Project(id) => write!(f, "project/{id}"),
            Self::Application(id) => write!(f, "application/{id}"),
            Self::Entity(kind, id) => write!(f, "{kind}/{id}"),
        }
    }
}

impl FromStr for Target {
    type Err = BadRight;

    fn from_str(text: &str) -> Result<Self, BadRight> {
        let bad = || BadRight::Target(text.chars().take(limits::CAPABILITY_WORD_MAX_CHARS).collect());
        if text == "org" {
            return Ok(Self::Org);
        }
        let (kind, id) = text.split_once('/').ok_or_else(bad)?;
        let id = EntityId::parse(id).map_err(|_| bad())?;
        Ok(match kind {
            "project" => Self::Project(id),
            "application" => Self::Application(id),
            kind => Self::Entity(Kind::parse(kind).map_err(|_| bad())?, id),
        })
    }
}

/// A type whose stored form is its text.
macro_rules! as_text {
    ($type:ident, $pattern:literal, $description:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": $description })
            }
        }
    };
}

pub(crate) use as_text;

as_text!(
    Capability,
    r"^cap:[a-z][a-z0-9_-]*\.[a-z][a-z0-9_-]*(:[a-z][a-z0-9_-]*)?$",
    "A capability."
);
as_text!(
    Pattern,
    r"^(cap:[a-z][a-z0-9_-]*\.(\*|[a-z][a-z0-9_-]*(:[a-z][a-z0-9_-]*)?)|role:[a-z][a-z0-9_:-]*)$",
    "A capability, a family of capabilities or a role."
);
as_text!(
    Target,
    r"^(org|[a-z][a-z0-9-]*/.+)$",
    "The whole org, a project, an application or one entity."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_rights_are_parsed_and_written_back() {
        for text in [
            "cap:messaging.send",
            "cap:messaging.send:priority",
            "cap:run.*",
            "role:admin",
            "role:org:admin",
        ] {
            let pattern: Pattern = text.parse().unwrap();
            assert_eq!(pattern.to_string(), text);
            let json = serde_json::to_value(&pattern).unwrap();
            assert_eq!(serde_json::from_value::<Pattern>(json).unwrap(), pattern);
        }
        for text in ["org", "project/p1", "application/a1", "run/r1"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_outside_the_grammar_is_refused() {
        for text in [
            "",
            "cap:",
            "cap:*",
            "cap:*.*",
            "cap:run",
            "cap:run.",
            "cap:.x",
            "cap:run.*:x",
            "cap:run.a:",
            "cap:run.a:b:c",
            "cap:Run.a",
            "role:",
            "role:Admin",
            "role:a:",
            "run.start",
            "cap:run.a b",
            "cap:run.ä",
        ] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
        for text in ["", "orgs", "project/", "Run/r", "/x"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
        assert!("cap:run.*".parse::<Capability>().is_err());
    }
}
