//! Words of an alias: a name that an entity of the directory has in its org. Each alias is a stream of its own, which decides who has it.

use quipu_schemas::{
    digest::Digest,
    ids::{EntityId, StreamId, type_id},
    limits::{ALIAS_MAX_CHARS, ALIAS_SEGMENTS_MAX, SLUG_MAX_CHARS},
    text::is_printable_line,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The form of an alias. Two aliases of different forms are different aliases, whatever their text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "FormOfAlias")]
pub enum AliasForm {
    /// A short name, addressed as `@support`: a-z, 0-9 and `-`, at most 48.
    Slug,
    /// Slugs parted by `/`, 2 to 8 of them: `sales/emea/support`.
    Qualified,
    /// The name that another system knows it by: any visible text without `#`.
    Legacy,
    /// `name@host`: the name that it has elsewhere.
    Federated,
}

impl AliasForm {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slug => "slug",
            Self::Qualified => "qualified",
            Self::Legacy => "legacy",
            Self::Federated => "federated",
        }
    }
}

/// An alias. Stored unencrypted: no personal data.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AliasName {
    /// Form.
    pub form: AliasForm,
    /// Text, by the form's grammar; at most 200 characters. Compared byte for byte.
    pub text: String,
}

fn is_slug(text: &str) -> bool {
    let bounded = (1..=SLUG_MAX_CHARS).contains(&text.len());
    bounded && !text.starts_with('-') && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && !label.starts_with('-') && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    text.split('.').all(is_label)
}

impl AliasName {
    /// Names one; whether it is within its grammar, [`AliasName::is_valid`] tells.
    pub fn new(form: AliasForm, text: impl Into<String>) -> Self {
        Self { form, text: text.into() }
    }

    /// Whether the text is within its form's grammar.
    pub fn is_valid(&self) -> bool {
        let text = self.text.as_str();
        if text.is_empty() || text.len() > ALIAS_MAX_CHARS {
            return false;
        }
        match self.form {
            AliasForm::Slug => is_slug(text),
            AliasForm::Qualified => (2..=ALIAS_SEGMENTS_MAX).contains(&text.split('/').count()) && text.split('/').all(is_slug),
            AliasForm::Legacy => is_printable_line(text) && text.trim() == text && !text.contains('#'),
            AliasForm::Federated => text.split_once('@').is_some_and(|(name, host)| is_slug(name) && is_host(host)),
        }
    }

    /// The id of its entity: a slug says itself, the others are hashed, because their texts are not valid ids.
    pub fn id(&self) -> EntityId {
        let text = match self.form {
            AliasForm::Slug if is_slug(&self.text) => format!("slug_{}", self.text),
            form => {
                let hash = Digest::of(&[form.name().as_bytes(), &[0], self.text.as_bytes()]);
                let first: [u8; 16] = std::array::from_fn(|at| hash.0[at]);
                type_id(form.name(), u128::from_be_bytes(first))
            }
        };
        EntityId::parse(text).expect("a slug and a TypeID are ids")
    }
}

/// How somebody writes whom they mean: `@slug`, `qualified/name`, `name@host`, `FORM:TEXT` or an entity's id, each with `#instance`
/// behind it where one instance is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Whom.
    pub whom: Addressee,
    /// Which of its instances.
    pub instance: Option<EntityId>,
}

/// Whom an address means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addressee {
    /// An entity by its id.
    Id(EntityId),
    /// Whoever has this alias.
    Alias(AliasName),
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadAddress;

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an address: use @slug, slug#instance, qualified/name, name@host, legacy:TEXT or an entity's id")
    }
}

impl std::error::Error for BadAddress {}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let (whom, instance) = match text.rsplit_once('#') {
            Some((whom, instance)) => (whom, Some(EntityId::parse(instance).map_err(|_| BadAddress)?)),
            None => (text, None),
        };
        let named = |form, text: &str| {
            let alias = AliasName::new(form, text);
            if alias.is_valid() {
                Ok(Addressee::Alias(alias))
            } else {
                Err(BadAddress)
            }
        };
        let forms = [AliasForm::Slug, AliasForm::Qualified, AliasForm::Legacy, AliasForm::Federated];
        let by_form = whom
            .split_once(':')
            .and_then(|(form, rest)| Some((*forms.iter().find(|known| known.name() == form)?, rest)));
        let whom = match (by_form, whom.strip_prefix('@')) {
            (Some((form, rest)), _) => named(form, rest)?,
            (None, Some(slug)) => named(AliasForm::Slug, slug)?,
            (None, None) if whom.contains('@') => named(AliasForm::Federated, whom)?,
            (None, None) if whom.contains('/') => named(AliasForm::Qualified, whom)?,
            // `slug#instance`: an id of an entity is written without an instance, or with its prefix.
            (None, None) if instance.is_some() && !whom.starts_with("ent_") => named(AliasForm::Slug, whom)?,
            (None, None) => Addressee::Id(EntityId::parse(whom).map_err(|_| BadAddress)?),
        };
        Ok(Self { whom, instance })
    }
}

/// What clients may send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AliasCommand {
    /// Takes the alias from whoever has it, so that another entity can have it.
    Release(ReleaseAlias),
}

/// Takes an alias from whoever has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseAlias {
    /// Why, for the audit. Stored unencrypted: no personal data.
    #[serde(default)]
    pub reason: String,
}

/// What entities of the directory send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AliasWord {
    /// The sending entity wants it.
    Claim(ClaimAlias),
    /// The sending entity needs it no longer.
    GiveUp(GiveUpAlias),
}

/// Claims an alias for the sending entity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimAlias {
    /// The alias.
    pub alias: AliasName,
    /// The entity's number of the claim: a later one is another claim.
    pub claim: u64,
}

/// Gives an alias up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GiveUpAlias {
    /// The claim by which the entity had it.
    pub claim: u64,
}

/// What happened to an alias.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum AliasEvent {
    /// An entity has it.
    #[serde(rename = "quipu.alias.claimed.v1")]
    Claimed {
        /// The alias.
        alias: AliasName,
        /// Who has it.
        entity: StreamId,
        /// By which of its claims.
        claim: u64,
    },
    /// The entity that had it needs it no longer.
    #[serde(rename = "quipu.alias.given_up.v1")]
    GivenUp {},
    /// It was taken from the entity that had it.
    #[serde(rename = "quipu.alias.released.v1")]
    Released {
        /// Who had it.
        entity: StreamId,
        /// By which of its claims.
        claim: u64,
        /// Why, for people to read. Stored unencrypted: no personal data.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_outside_a_forms_grammar_are_not_valid() {
        for (form, good, bad) in [
            (
                AliasForm::Slug,
                &["a", "help-desk", "2fa"][..],
                &["", "-a", "Help", "a b", "a/b", "ä"][..],
            ),
            (AliasForm::Qualified, &["a/b", "sales/emea/x"], &["a", "a//b", "/a", "a/B"]),
            (AliasForm::Legacy, &["User 17", "a:b/c"], &["", " a", "a#b", "a\nb"]),
            (AliasForm::Federated, &["bot@example.org"], &["bot", "@x", "bot@", "a@b@c", "Bot@x"]),
        ] {
            for text in good {
                assert!(AliasName::new(form, *text).is_valid(), "{form:?} {text}");
            }
            for text in bad {
                assert!(!AliasName::new(form, *text).is_valid(), "{form:?} {text}");
            }
        }
        assert!(!AliasName::new(AliasForm::Slug, "x".repeat(SLUG_MAX_CHARS + 1)).is_valid());
        assert!(!AliasName::new(AliasForm::Legacy, "x".repeat(ALIAS_MAX_CHARS + 1)).is_valid());
    }

    #[test]
    fn ids_of_aliases_differ_by_form_and_never_change() {
        let id = |form, text: &str| AliasName::new(form, text).id().to_string();
        assert_eq!(id(AliasForm::Slug, "help-desk"), "slug_help-desk");
        // Golden: a change here gives an alias that somebody has to the next who asks.
        assert_eq!(id(AliasForm::Legacy, "help-desk"), GOLDEN_LEGACY);
        assert_ne!(id(AliasForm::Legacy, "a/b"), id(AliasForm::Qualified, "a/b"));
    }
    const GOLDEN_LEGACY: &str = "legacy_26h9ysez746ent21bqp31929b2";

    #[test]
    fn addresses_say_whom_and_which_instance() {
        let parsed = |text: &str| text.parse::<Address>().ok();
        let alias = |form, text: &str| Addressee::Alias(AliasName::new(form, text));
        let entity = |text| Addressee::Id(EntityId::parse(text).unwrap());
        for (text, whom, instance) in [
            ("@desk", alias(AliasForm::Slug, "desk"), None),
            ("@desk#i1", alias(AliasForm::Slug, "desk"), Some("i1")),
            ("desk#i1", alias(AliasForm::Slug, "desk"), Some("i1")),
            ("sales/desk", alias(AliasForm::Qualified, "sales/desk"), None),
            ("bot@example.org", alias(AliasForm::Federated, "bot@example.org"), None),
            ("legacy:User 17", alias(AliasForm::Legacy, "User 17"), None),
            ("slug:desk", alias(AliasForm::Slug, "desk"), None),
            ("ent_1", entity("ent_1"), None),
            ("ent_1#i1", entity("ent_1"), Some("i1")),
        ] {
            let instance = instance.map(|text| EntityId::parse(text).unwrap());
            assert_eq!(parsed(text), Some(Address { whom, instance }), "{text}");
        }
        for text in ["", "@", "@A", "a b", "@desk#", "@desk#a b", "legacy:", "#i1", "a//b"] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
