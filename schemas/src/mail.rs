//! Letters that the node writes, and the one-time codes in them: `qpv_ORG.ID.ASK.SECRET`, with a checksum at the end.
//!
//! A code stands in no record. It follows from what it is for, from whose it is, and from a key that stays with the keyring, so that
//! whoever sends the letter makes it again, and whoever is shown it tells it from a guess. What is stored is a hash under another key.

use crate::{
    constant_time::is_equal,
    context::Millis,
    digest::Digest,
    ids::{EntityId, OrgId},
    limits::MAIL_CODE_MAX_CHARS,
    personal::Personal,
    secret_text,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a letter is for. A code of one purpose is none of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MailPurpose {
    /// Shows that an address is somebody's.
    VerifyAddress,
    /// Sets a password for whoever has lost theirs.
    ResetPassword,
    /// Asks somebody into an org.
    Invite,
}

impl MailPurpose {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::VerifyAddress, Self::ResetPassword, Self::Invite];

    /// What its codes begin with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::VerifyAddress => "qpv_",
            Self::ResetPassword => "qpw_",
            Self::Invite => "qpi_",
        }
    }

    const fn label(self) -> &'static [u8] {
        match self {
            Self::VerifyAddress => b"quipu verify code v1",
            Self::ResetPassword => b"quipu reset code v1",
            Self::Invite => b"quipu invite code v1",
        }
    }

    const fn pepper(self) -> &'static [u8] {
        match self {
            Self::VerifyAddress => b"quipu verify pepper v1",
            Self::ResetPassword => b"quipu reset pepper v1",
            Self::Invite => b"quipu invite pepper v1",
        }
    }
}

/// A letter. What it says follows from what it is for; the code is made when it is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MailCall {
    /// What it is for.
    pub purpose: MailPurpose,
    /// What was asked for, among all that its entity was ever asked.
    pub ask: EntityId,
    /// To which address.
    pub to: Personal<String>,
    /// Until when its code is taken.
    pub until: Millis,
}

/// The text is none, or not all of one. The error does not repeat it: it may be a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a code of a letter, or not all of one")]
pub struct BadCode;

/// The code of a letter, as whoever got it shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct MailCode {
    /// What it is for.
    pub purpose: MailPurpose,
    /// The org of the entity that sent it.
    pub org: OrgId,
    /// The entity.
    pub id: EntityId,
    /// What was asked for.
    pub ask: EntityId,
    secret: [u8; 32],
}

impl MailCode {
    /// The one of this letter, for whoever has the key.
    pub fn of(purpose: MailPurpose, org: OrgId, id: EntityId, ask: EntityId, digest_key: &[u8; 32]) -> Self {
        let key = Digest::keyed(digest_key, &[purpose.label()]).0;
        let secret = Digest::keyed(&key, &[org.as_str(), id.as_str(), ask.as_str()].map(str::as_bytes)).0;
        Self {
            purpose,
            org,
            id,
            ask,
            secret,
        }
    }

    /// Whether it was made by whoever has this key.
    pub fn is_authentic(&self, digest_key: &[u8; 32]) -> bool {
        let made = Self::of(self.purpose, self.org.clone(), self.id.clone(), self.ask.clone(), digest_key);
        is_equal(&self.secret, &made.secret)
    }

    /// Takes a text apart. What this accepts is the one text of its code.
    pub fn parse(text: &str) -> Result<Self, BadCode> {
        let purpose = MailPurpose::ALL.into_iter().find(|purpose| text.starts_with(purpose.prefix()));
        let purpose = purpose.ok_or(BadCode)?;
        let ([org, id, ask], secret) = secret_text::take_apart(purpose.prefix(), text, MAIL_CODE_MAX_CHARS).ok_or(BadCode)?;
        Ok(Self {
            purpose,
            org: OrgId::parse(org).map_err(|_| BadCode)?,
            id: EntityId::parse(id).map_err(|_| BadCode)?,
            ask: EntityId::parse(ask).map_err(|_| BadCode)?,
            secret,
        })
    }

    /// The text. It stands in the letter and nowhere else.
    pub fn to_text(&self) -> String {
        let ids = [self.org.as_str(), self.id.as_str(), self.ask.as_str()];
        secret_text::put_together(self.purpose.prefix(), &ids, &self.secret)
    }

    /// What is stored in its place.
    pub fn hash(&self, digest_key: &[u8; 32]) -> Digest {
        let key = Digest::keyed(digest_key, &[self.purpose.pepper()]).0;
        let ids = [self.org.as_str(), self.id.as_str(), self.ask.as_str()].map(str::as_bytes);
        Digest::keyed(&key, &[ids[0], ids[1], ids[2], &self.secret])
    }
}

impl fmt::Debug for MailCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}.{}.{}.…", self.purpose.prefix(), self.org, self.id, self.ask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(purpose: MailPurpose, ask: &'static str, key: u8) -> MailCode {
        MailCode::of(
            purpose,
            OrgId::PLATFORM,
            EntityId::from_static("usr_1"),
            EntityId::from_static(ask),
            &[key; 32],
        )
    }

    #[test]
    fn a_code_is_made_again_by_its_key_alone() {
        for purpose in MailPurpose::ALL {
            let made = code(purpose, "ask_1", 1);
            let text = made.to_text();
            assert_eq!(MailCode::parse(&text), Ok(made.clone()));
            assert_eq!(code(purpose, "ask_1", 1).to_text(), text);
            assert!(made.is_authentic(&[1; 32]) && !made.is_authentic(&[2; 32]));
            assert_ne!(made.hash(&[1; 32]), made.hash(&[2; 32]));
            for other in [code(purpose, "ask_2", 1), code(purpose, "ask_1", 2)] {
                assert_ne!((other.secret, other.hash(&[1; 32])), (made.secret, made.hash(&[1; 32])));
            }
            for at in 0..32 {
                let mut guessed = made.clone();
                guessed.secret[at] ^= 1;
                assert!(!guessed.is_authentic(&[1; 32]), "byte {at}");
            }
            for cut in 0..text.len() {
                assert_eq!(MailCode::parse(&text[..cut]), Err(BadCode));
            }
            assert!(!format!("{made:?}").contains(&text[text.len() - 30..]), "{made:?}");
        }
    }

    #[test]
    fn a_code_of_one_purpose_is_none_of_another() {
        for (purpose, other) in [
            (MailPurpose::VerifyAddress, MailPurpose::ResetPassword),
            (MailPurpose::ResetPassword, MailPurpose::Invite),
            (MailPurpose::Invite, MailPurpose::VerifyAddress),
        ] {
            let (made, elsewhere) = (code(purpose, "ask_1", 1), code(other, "ask_1", 1));
            assert_ne!(made.secret, elsewhere.secret);
            let renamed = MailCode { purpose: other, ..made };
            assert!(!renamed.is_authentic(&[1; 32]));
            assert_ne!(renamed.hash(&[1; 32]), elsewhere.hash(&[1; 32]));
        }
    }

    #[test]
    fn the_longest_ids_of_a_code_fit() {
        let long = "i".repeat(64);
        let id = EntityId::parse(long.clone()).unwrap();
        let longest = MailCode::of(MailPurpose::Invite, OrgId::parse(long).unwrap(), id.clone(), id, &[1; 32]);
        assert_eq!(longest.to_text().len(), MAIL_CODE_MAX_CHARS);
        assert_eq!(MailCode::parse(&longest.to_text()), Ok(longest));
    }
}
