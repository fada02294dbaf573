//! Secrets by name: configuration and definitions name them, and only performers see them.
//!
//! Every secret has an owner. `acme/billing` is org `acme`'s: effects of that org, and of no other, may name
//! it (as `billing`). A name without an org is the platform's: providers use it, and no org's effect can.

mod kept;

pub(crate) use kept::NodeSecrets;

use quipu_schemas::ids::OrgId;
use reqwest::Url;
use serde::{Deserialize, Deserializer};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// A secret's value. It shows itself nowhere but through [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the wire.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Why a secret cannot be had. The texts name secrets, never their values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Nobody configured it.
    #[error("no secret is configured under `{0}`, nor kept by an org: an org's secrets are keyed `org/name`, the platform's `name` alone")]
    NotFound(String),
    /// It was ended.
    #[error("secret `{0}` was retired")]
    Retired(String),
    /// Its provider gives no access token any more.
    #[error("secret `{0}` is a connection whose provider gives no access token any more: connect it again")]
    Broken(String),
    /// It may not be sent there.
    #[error("secret `{name}` is not sent to {host}: that is none of its hosts")]
    Elsewhere {
        /// Its name.
        name: String,
        /// Where it would have gone.
        host: String,
    },
    /// Where it is kept does not answer.
    #[error("secret cannot be read: {0}")]
    Unavailable(String),
    /// It is configured, and is not of the form that its use needs.
    #[error("secret `{name}` is not {expected}")]
    Form {
        /// Its name.
        name: String,
        /// What was needed.
        expected: &'static str,
    },
}

impl SecretError {
    /// Whether it may be had later.
    pub fn may_pass(&self) -> bool {
        matches!(self, SecretError::Unavailable(_))
    }

    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self {
            SecretError::Unavailable(_) => "secret_unavailable",
            SecretError::NotFound(_) => "secret_not_found",
            SecretError::Retired(_) => "secret_retired",
            SecretError::Broken(_) => "secret_broken",
            SecretError::Elsewhere { .. } => "secret_host_refused",
            SecretError::Form { .. } => "secret_invalid",
        }
    }
}

/// The configured values of one name: one, or during a rotation several with the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretValues(Vec<Secret>);

impl<'de> Deserialize<'de> for SecretValues {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrSeveral {
            One(String),
            Several(Vec<String>),
        }
        // A type error must not quote what was written: it may be the secret.
        let written = OneOrSeveral::deserialize(d).map_err(|_| serde::de::Error::custom("a secret is a string or a list of strings"))?;
        let values = match written {
            OneOrSeveral::One(value) => vec![value],
            OneOrSeveral::Several(values) => values,
        };
        if values.is_empty() || values.iter().any(String::is_empty) {
            return Err(serde::de::Error::custom("a secret is never empty"));
        }
        Ok(Self(values.into_iter().map(Secret).collect()))
    }
}

impl From<&str> for SecretValues {
    fn from(value: &str) -> Self {
        Self(vec![Secret::new(value)])
    }
}

impl From<Vec<String>> for SecretValues {
    fn from(values: Vec<String>) -> Self {
        Self(values.into_iter().map(Secret).collect())
    }
}

/// Where secrets are had from: the port that performers and providers know. Answers at once, from memory or a local store.
pub trait SecretSource: Send + Sync {
    /// The platform's secret `name`, newest value. Never an org's.
    fn platform(&self, name: &str) -> Result<Secret, SecretError>;

    /// Every value of secret `name` of `org`, the newest first: several while it is rotated, never none. Never another org's,
    /// nor the platform's. `to` is where it is about to be sent; a secret that is not meant for it is refused.
    fn all_of_org(&self, org: &OrgId, name: &str, to: Option<&Url>) -> Result<Vec<Secret>, SecretError>;

    /// Secret `name` of `org`, newest value.
    fn of_org(&self, org: &OrgId, name: &str, to: Option<&Url>) -> Result<Secret, SecretError> {
        let values = self.all_of_org(org, name, to)?;
        values
            .into_iter()
            .next()
            .ok_or_else(|| SecretError::NotFound(format!("{org}/{name}")))
    }
}

/// All configured secrets. Cheap to clone; `Debug` shows names only.
#[derive(Clone, Default)]
pub struct Secrets(Arc<BTreeMap<String, SecretValues>>);

impl Secrets {
    /// From the configuration's map of `name` (the platform's) or `org/name` (an org's).
    pub fn new(values: BTreeMap<String, SecretValues>) -> Self {
        Self(Arc::new(values))
    }

    /// Whether an org's secret of this name is configured.
    pub fn is_configured(&self, org: &OrgId, name: &str) -> bool {
        self.0.contains_key(&format!("{org}/{name}"))
    }

    fn values(&self, full: &str) -> Result<&[Secret], SecretError> {
        match self.0.get(full) {
            Some(SecretValues(values)) if !values.is_empty() => Ok(values),
            _ => Err(SecretError::NotFound(full.chars().take(160).collect())),
        }
    }
}

impl SecretSource for Secrets {
    fn platform(&self, name: &str) -> Result<Secret, SecretError> {
        if name.contains('/') {
            return Err(SecretError::NotFound(name.to_owned()));
        }
        self.values(name).map(|values| values[0].clone())
    }

    fn all_of_org(&self, org: &OrgId, name: &str, _to: Option<&Url>) -> Result<Vec<Secret>, SecretError> {
        self.values(&format!("{org}/{name}")).map(<[Secret]>::to_vec)
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Secrets {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self::new(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_belongs_to_org_or_platform_and_never_shows() {
        let secrets = Secrets::from([("openai", "sk-platform"), ("acme/billing", "sk-acme")]);
        let (acme, other) = (OrgId::from_static("acme"), OrgId::from_static("other"));
        assert_eq!(secrets.platform("openai").unwrap().expose(), "sk-platform");
        assert_eq!(secrets.of_org(&acme, "billing", None).unwrap().expose(), "sk-acme");
        for refused in [
            secrets.of_org(&acme, "openai", None),
            secrets.of_org(&other, "billing", None),
            secrets.of_org(&other, "../acme/billing", None),
            secrets.platform("acme/billing"),
        ] {
            assert_eq!(refused.unwrap_err().code(), "secret_not_found");
        }
        assert_eq!(
            secrets.of_org(&other, "billing", None).unwrap_err().to_string(),
            "no secret is configured under `other/billing`, nor kept by an org: an org's secrets are keyed `org/name`, the platform's `name` alone"
        );
        let shown = format!(
            "{secrets:?} {:?} {}",
            secrets.platform("openai").unwrap(),
            secrets.platform("openai").unwrap()
        );
        assert!(shown.contains("openai") && !shown.contains("sk-"), "{shown}");
    }

    #[test]
    fn rotation_lists_newest_first_and_quotes_no_bad_value() {
        let written = r#"{"acme/hook": ["new", "old"], "key": "only"}"#;
        let secrets = Secrets::new(serde_json::from_str(written).unwrap());
        let hook = secrets.all_of_org(&OrgId::from_static("acme"), "hook", None).unwrap();
        assert_eq!(hook.iter().map(Secret::expose).collect::<Vec<_>>(), ["new", "old"]);
        let error = serde_json::from_str::<SecretValues>(r#"{"value": "hunter2"}"#)
            .unwrap_err()
            .to_string();
        assert!(!error.contains("hunter2"), "{error}");
        assert!(serde_json::from_str::<SecretValues>("[]").is_err());
    }
}
