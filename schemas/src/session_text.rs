//! The secrets of a session: a refresh token `qpr_ORG.PRINCIPAL.SESSION.SECRET` and a code `qpc_…`, both with a checksum at the end.
//!
//! What is stored in their place is a hash under a pepper of its own for each purpose, so that what was made for one opens nothing
//! as another. Half of the 32 bytes is random, the other half a MAC over it and the session: whoever has the key tells a secret that was
//! once handed out from a guess, without remembering any.

use crate::{
    constant_time::is_equal,
    digest::Digest,
    ids::{EntityId, Home, OrgId, PrincipalId},
    limits::SESSION_TEXT_MAX_CHARS,
    secret_text,
};
use std::fmt;

/// What a secret of a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Makes the next access token.
    Refresh,
    /// Opens a session that waits for it, once.
    Code,
    /// Gets the session of a device, once a person has let it in.
    Device,
}

impl Purpose {
    /// What its texts begin with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Refresh => "qpr_",
            Self::Code => "qpc_",
            Self::Device => "qpd_",
        }
    }

    const fn seal(self) -> &'static [u8] {
        match self {
            Self::Refresh => b"quipu refresh seal v1",
            Self::Code => b"quipu code seal v1",
            Self::Device => b"quipu device seal v1",
        }
    }

    const fn label(self) -> &'static [u8] {
        match self {
            Self::Refresh => b"quipu refresh pepper v1",
            Self::Code => b"quipu code pepper v1",
            Self::Device => b"quipu device pepper v1",
        }
    }

    /// What its hashes are made under. It follows from the key of the log's digests.
    pub fn pepper(self, digest_key: &[u8; 32]) -> [u8; 32] {
        Digest::keyed(digest_key, &[self.label()]).0
    }
}

/// The text is none, or not all of one. The error does not repeat it: it may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a secret of a session, or not all of it")]
pub struct BadSecret;

/// A secret of a session as its holder shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionText {
    /// What it is for.
    pub purpose: Purpose,
    /// Whose session.
    pub home: Home,
    /// Which.
    pub session: EntityId,
    secret: [u8; 32],
}

impl SessionText {
    /// One with fresh random bits.
    pub fn new(purpose: Purpose, home: Home, session: EntityId, random: [u8; 16], digest_key: &[u8; 32]) -> Self {
        let mut text = Self {
            purpose,
            home,
            session,
            secret: [0; 32],
        };
        text.secret[..16].copy_from_slice(&random);
        let seal = text.seal(digest_key);
        text.secret[16..].copy_from_slice(&seal);
        text
    }

    /// Whether it was made by whoever has this key.
    pub fn is_authentic(&self, digest_key: &[u8; 32]) -> bool {
        is_equal(&self.seal(digest_key), &self.secret[16..])
    }

    fn seal(&self, digest_key: &[u8; 32]) -> [u8; 16] {
        let key = Digest::keyed(digest_key, &[self.purpose.seal()]).0;
        let ids = [self.home.org.as_str(), self.home.id.as_str(), self.session.as_str()].map(str::as_bytes);
        let mac = Digest::keyed(&key, &[ids[0], ids[1], ids[2], &self.secret[..16]]);
        mac.0[..16].try_into().expect("16 bytes")
    }

    /// Takes a text of this purpose apart. What this accepts is the one text of its secret.
    pub fn parse(purpose: Purpose, text: &str) -> Result<Self, BadSecret> {
        let ([org, id, session], secret) = secret_text::take_apart(purpose.prefix(), text, SESSION_TEXT_MAX_CHARS).ok_or(BadSecret)?;
        Ok(Self {
            purpose,
            home: Home {
                org: OrgId::parse(org).map_err(|_| BadSecret)?,
                id: PrincipalId::parse(id).map_err(|_| BadSecret)?,
            },
            session: EntityId::parse(session).map_err(|_| BadSecret)?,
            secret,
        })
    }

    /// The text. It is shown once and kept nowhere.
    pub fn to_text(&self) -> String {
        let ids = [self.home.org.as_str(), self.home.id.as_str(), self.session.as_str()];
        secret_text::put_together(self.purpose.prefix(), &ids, &self.secret)
    }

    /// What is stored in its place. The session is part of it, so that it is of no use under the name of another.
    pub fn hash(&self, digest_key: &[u8; 32]) -> Digest {
        let ids = [self.home.org.as_str(), self.home.id.as_str(), self.session.as_str()].map(str::as_bytes);
        Digest::keyed(&self.purpose.pepper(digest_key), &[ids[0], ids[1], ids[2], &self.secret])
    }
}

impl fmt::Debug for SessionText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}.{}.…", self.purpose.prefix(), self.home, self.session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(purpose: Purpose) -> SessionText {
        let home = "_platform/usr_1".parse().unwrap();
        SessionText::new(purpose, home, EntityId::from_static("ses_1"), [0xa5; 16], &[1; 32])
    }

    #[test]
    fn a_secret_reads_back_for_its_purpose_alone() {
        for (purpose, other) in [
            (Purpose::Refresh, Purpose::Code),
            (Purpose::Code, Purpose::Device),
            (Purpose::Device, Purpose::Refresh),
        ] {
            let made = text(purpose);
            let shown = made.to_text();
            assert_eq!(SessionText::parse(purpose, &shown), Ok(made.clone()));
            assert_eq!(SessionText::parse(other, &shown), Err(BadSecret));
            assert_ne!(made.hash(&[1; 32]), text(other).hash(&[1; 32]));
            assert_ne!(made.hash(&[1; 32]), made.hash(&[2; 32]));
            assert!(made.is_authentic(&[1; 32]) && !made.is_authentic(&[2; 32]));
            for at in 0..32 {
                let mut guessed = made.clone();
                guessed.secret[at] ^= 1;
                assert!(!guessed.is_authentic(&[1; 32]), "byte {at}");
            }
            let elsewhere = SessionText {
                session: EntityId::from_static("ses_2"),
                ..made.clone()
            };
            assert!(!elsewhere.is_authentic(&[1; 32]));
            for cut in 0..shown.len() {
                assert_eq!(SessionText::parse(purpose, &shown[..cut]), Err(BadSecret));
            }
            assert!(!format!("{made:?}").contains("paWl"), "{made:?}");
        }
    }

    #[test]
    fn the_longest_ids_fit() {
        let long = "i".repeat(64);
        let home = Home {
            org: OrgId::parse(long.clone()).unwrap(),
            id: PrincipalId::parse(long.clone()).unwrap(),
        };
        let longest = SessionText::new(Purpose::Code, home, EntityId::parse(long).unwrap(), [1; 16], &[1; 32]);
        assert_eq!(longest.to_text().len(), SESSION_TEXT_MAX_CHARS);
        assert_eq!(SessionText::parse(Purpose::Code, &longest.to_text()), Ok(longest));
    }
}
