//! The secret of a client of OAuth: `qps_ORG.ID.SECRET`, with a checksum at its end, and the name that goes with it, `ORG.ID`.
//!
//! How it is written: [`secret_text`].

use crate::{
    digest::Digest,
    ids::{EntityId, OrgId},
    limits::CLIENT_SECRET_MAX_CHARS,
    secret_text,
};
use std::{fmt, str::FromStr};

/// What every client secret begins with.
pub const PREFIX: &str = "qps_";

/// The text is not a client secret. The error does not repeat it: it may be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the text of a client secret, or not all of it")]
pub struct BadClientSecret;

/// The name of a client: its application, with the org that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId {
    /// The org.
    pub org: OrgId,
    /// The application.
    pub id: EntityId,
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.org, self.id)
    }
}

impl FromStr for ClientId {
    type Err = BadClientSecret;

    fn from_str(text: &str) -> Result<Self, BadClientSecret> {
        let (org, id) = text.split_once('.').ok_or(BadClientSecret)?;
        Ok(Self {
            org: OrgId::parse(org).map_err(|_| BadClientSecret)?,
            id: EntityId::parse(id).map_err(|_| BadClientSecret)?,
        })
    }
}

/// A secret as the client shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientSecret {
    /// Whose it is.
    pub client: ClientId,
    secret: [u8; 32],
}

impl ClientSecret {
    /// One with fresh random bits.
    pub fn new(org: OrgId, id: EntityId, secret: [u8; 32]) -> Self {
        let client = ClientId { org, id };
        Self { client, secret }
    }

    /// Takes a text apart. What this accepts is the one text of its secret.
    pub fn parse(text: &str) -> Result<Self, BadClientSecret> {
        let ([org, id], secret) = secret_text::take_apart(PREFIX, text, CLIENT_SECRET_MAX_CHARS).ok_or(BadClientSecret)?;
        let org = OrgId::parse(org).map_err(|_| BadClientSecret)?;
        let id = EntityId::parse(id).map_err(|_| BadClientSecret)?;
        Ok(Self::new(org, id, secret))
    }

    /// The text. It is shown once and kept nowhere.
    pub fn to_text(&self) -> String {
        secret_text::put_together(PREFIX, &[self.client.org.as_str(), self.client.id.as_str()], &self.secret)
    }

    /// What is stored in its place. The client is part of it, so that it is of no use under the name of another.
    pub fn hash(&self, digest_key: &[u8; 32]) -> Digest {
        let pepper = Digest::keyed(digest_key, &[b"quipu client-secret pepper v1"]).0;
        let ids = [self.client.org.as_str(), self.client.id.as_str()].map(str::as_bytes);
        Digest::keyed(&pepper, &[ids[0], ids[1], &self.secret])
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}.…", self.client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(id: &'static str) -> ClientSecret {
        ClientSecret::new(OrgId::from_static("acme"), EntityId::from_static(id), [0xa5; 32])
    }

    #[test]
    fn a_client_secret_reads_back_and_is_no_key() {
        let text = secret("app_1").to_text();
        assert_eq!(ClientSecret::parse(&text), Ok(secret("app_1")));
        assert!(text.starts_with("qps_acme.app_1."));
        for cut in 0..text.len() {
            assert_eq!(ClientSecret::parse(&text[..cut]), Err(BadClientSecret));
        }
        assert!(crate::key_text::KeyText::parse(&text).is_err());
        assert!(!format!("{:?}", secret("app_1")).contains("paWl"));
    }

    #[test]
    fn hashes_differ_by_client_log_and_purpose() {
        let hash = secret("app_1").hash(&[1; 32]);
        assert_ne!(hash, secret("app_2").hash(&[1; 32]));
        assert_ne!(hash, secret("app_1").hash(&[2; 32]));
        // The same bits as an API key's secret are another hash.
        let key = crate::key_text::KeyText::new(OrgId::from_static("acme"), EntityId::from_static("app_1"), [0xa5; 32]);
        assert_ne!(hash, key.hash(&crate::key_text::pepper(&[1; 32])));
    }

    #[test]
    fn a_client_is_named_by_its_org_and_id() {
        let client: ClientId = "acme.app_1".parse().unwrap();
        assert_eq!(client.to_string(), "acme.app_1");
        for text in ["", "acme", "acme.", ".app", "acme.a.b", "acme/app", "ac me.app"] {
            assert!(text.parse::<ClientId>().is_err(), "{text}");
        }
    }
}
