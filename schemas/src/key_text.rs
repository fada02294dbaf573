//! The text of an API key: `qpk_ORG.ID.SECRET`, with a checksum at its end.
//!
//! How it is written: [`secret_text`].

use crate::{
    digest::Digest,
    ids::{EntityId, OrgId},
    limits::KEY_TEXT_MAX_CHARS,
    secret_text,
};
use std::fmt;

/// What every key begins with.
pub const PREFIX: &str = "qpk_";

/// The text is not a key. The error does not repeat it: it may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the text of an API key, or not all of it")]
pub struct BadKey;

/// A key as its holder shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText {
    /// The org that it opens.
    pub org: OrgId,
    /// Its entity, of the kind `api-key`.
    pub id: EntityId,
    secret: [u8; 32],
}

impl KeyText {
    /// A key with fresh random bits.
    pub fn new(org: OrgId, id: EntityId, secret: [u8; 32]) -> Self {
        Self { org, id, secret }
    }

    /// Whether a token says of itself that it is a key.
    pub fn is_one(token: &str) -> bool {
        token.starts_with(PREFIX)
    }

    /// Takes a text apart. What this accepts is the one text of its key.
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        let ([org, id], secret) = secret_text::take_apart(PREFIX, text, KEY_TEXT_MAX_CHARS).ok_or(BadKey)?;
        Ok(Self {
            org: OrgId::parse(org).map_err(|_| BadKey)?,
            id: EntityId::parse(id).map_err(|_| BadKey)?,
            secret,
        })
    }

    /// The text. It is shown once and kept nowhere.
    pub fn to_text(&self) -> String {
        secret_text::put_together(PREFIX, &[self.org.as_str(), self.id.as_str()], &self.secret)
    }

    /// What is stored in its place. Org and id are part of it, so that it is of no use under the name of another key.
    pub fn hash(&self, pepper: &[u8; 32]) -> Digest {
        Digest::keyed(pepper, &[self.org.as_str().as_bytes(), self.id.as_str().as_bytes(), &self.secret])
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}.{}.…", self.org, self.id)
    }
}

/// What the hashes of keys are made under: a key of its own, which follows from that of the log's digests. Who reads the log has no
/// way to tell whether a guess is right.
pub fn pepper(digest_key: &[u8; 32]) -> [u8; 32] {
    Digest::keyed(digest_key, &[b"quipu api-key pepper v1"]).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret_text::checksum;
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    fn key() -> KeyText {
        KeyText::new(OrgId::from_static("acme"), EntityId::from_static("key_01"), [0xa5; 32])
    }

    /// Golden: keys that were handed out stay keys.
    #[test]
    fn a_key_reads_back_from_its_text() {
        let text = key().to_text();
        assert_eq!(text, "qpk_acme.key_01.paWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaU9c341791");
        assert_eq!(KeyText::parse(&text), Ok(key()));
        let longest = KeyText::new(
            OrgId::parse("o".repeat(64)).unwrap(),
            EntityId::parse("i".repeat(64)).unwrap(),
            [0xff; 32],
        );
        assert_eq!(longest.to_text().len(), KEY_TEXT_MAX_CHARS);
        assert_eq!(KeyText::parse(&longest.to_text()), Ok(longest));
    }

    #[test]
    fn a_key_with_any_letter_changed_is_none() {
        let text = key().to_text();
        let letters = "ABCXYZabcxyz0189-_.: \u{e9}";
        for (at, was) in text.char_indices() {
            for letter in letters.chars().filter(|letter| *letter != was) {
                let changed: String = text.char_indices().map(|(i, c)| if i == at { letter } else { c }).collect();
                assert_eq!(KeyText::parse(&changed), Err(BadKey), "{changed}");
            }
        }
        for cut in 0..text.len() {
            assert_eq!(KeyText::parse(&text[..cut]), Err(BadKey));
            assert_eq!(KeyText::parse(&format!("{text}{}", &text[..=cut])), Err(BadKey));
        }
        for other in [text.to_uppercase(), format!(" {text}"), format!("{text}\n")] {
            assert_eq!(KeyText::parse(&other), Err(BadKey), "{other}");
        }
    }

    /// Texts with a right checksum that are no keys all the same.
    #[test]
    fn a_right_checksum_alone_makes_no_key() {
        let secret = URL_SAFE_NO_PAD.encode([1u8; 32]);
        for body in [
            format!("qpk_acme.{secret}"),
            format!("qpk_acme.k.x.{secret}"),
            format!("qpk_.k.{secret}"),
            format!("qpk_ac/me.k.{secret}"),
            format!("qpk_acme.k.{}", &secret[1..]),
            format!("qpk_acme.k.{secret}A"),
            // The last letter has two bits to spare: they are not.
            format!("qpk_acme.k.{}B", "A".repeat(42)),
            format!("qpj_acme.k.{secret}"),
        ] {
            let text = format!("{body}{}", checksum(&body));
            assert_eq!(KeyText::parse(&text), Err(BadKey), "{text}");
        }
        assert!(KeyText::parse("").is_err());
    }

    #[test]
    fn hashes_differ_by_every_part_and_the_pepper() {
        let hash = key().hash(&pepper(&[1; 32]));
        let with = |change: &dyn Fn(&mut KeyText)| {
            let mut other = key();
            change(&mut other);
            other.hash(&pepper(&[1; 32]))
        };
        assert_eq!(hash, with(&|_| ()));
        assert_ne!(hash, with(&|key| key.secret[31] ^= 1));
        assert_ne!(hash, with(&|key| key.id = EntityId::from_static("key_02")));
        assert_ne!(hash, with(&|key| key.org = OrgId::from_static("acmf")));
        assert_ne!(hash, key().hash(&pepper(&[2; 32])));
    }

    #[test]
    fn debug_hides_the_secret() {
        let (key, text) = (key(), key().to_text());
        let shown = format!("{key:?}");
        assert_eq!(shown, "qpk_acme.key_01.…");
        assert!(!shown.contains(&text[16..30]));
    }
}
