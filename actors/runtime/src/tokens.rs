//! Tokens that the node signs: access tokens (RFC 9068) and ID tokens, and the reading of what is shown.
//!
//! A token says who acted when it was issued. What it opens is decided at each use, by what is known then; a checked signature is
//! remembered, and nothing else of an answer is.

mod checked;
mod claims;
mod jws;
mod keys;
mod once;
mod provider;

pub use claims::{AccessClaims, BadScope, IdClaims, act_of, scope_of, scope_text, subject_of, subject_text};
pub use jws::{ClientKey, Jws, Unreadable};
pub use keys::Algorithm;

use crate::ingress::entropy;
use checked::Checked;
use claims::Wire;
use keys::SigningKeys;
use once::Once;
use quipu_events::keyring::{Keyring, KeyringError};
use quipu_schemas::{
    context::{Millis, uuid_v7},
    digest::Digest,
    ids::{Home, OrgId, type_id},
    limits::{TOKEN_MAX_BYTES, TOKEN_OF_PERSON_MS, TOKEN_OF_SERVICE_MS},
    problem::Problem,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// `typ` of an access token.
const ACCESS: &str = "at+jwt";
/// `typ` of an ID token.
const IDENTITY: &str = "JWT";

/// How tokens are signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokensConfig {
    /// Whose they are: the address by which clients reach the nodes. Empty: the one that the node listens on.
    pub issuer: String,
    /// How they are signed.
    pub algorithm: Algorithm,
    /// Which series of keys signs. Raising it ends every token that a key of another series signed.
    pub series: u32,
    /// How long an access token of a person lives.
    pub person_ms: Millis,
}

impl Default for TokensConfig {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            algorithm: Algorithm::Es256,
            series: 1,
            person_ms: TOKEN_OF_PERSON_MS,
        }
    }
}

/// Why a token opens nothing. Whoever showed it is told no more than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// It is longer than any of ours.
    #[error("the token is too long")]
    TooLong,
    /// It is not in the form of a signed token, or says more than ours do.
    #[error("the token is not in its form")]
    Unreadable,
    /// It is signed, and not an access token.
    #[error("this is not an access token")]
    OtherType,
    /// No key of the node signed it.
    #[error("no key of this node signed the token")]
    UnknownKey,
    /// The signature is not its key's, or made in another way.
    #[error("the signature is wrong")]
    WrongSignature,
    /// Another issuer's.
    #[error("another issuer's token")]
    OtherIssuer,
    /// For somebody else.
    #[error("the token is for another audience")]
    OtherAudience,
    /// Its time has not come, or it lives longer than any of ours.
    #[error("the token is not valid yet")]
    NotYet,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// The keys cannot be read.
    #[error("the keys are not to be had right now")]
    NoKeys,
}

/// For whom a token must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For<'a> {
    /// The node itself.
    Node,
    /// Somebody in particular.
    Audience(&'a str),
    /// Whoever: for telling what a token is, not for opening anything.
    Anybody,
}

/// Issues and reads tokens.
pub struct Tokens {
    issuer: String,
    keys: SigningKeys,
    checked: Checked,
    once: Once,
    binding: [u8; 32],
    person_ms: Millis,
}

impl Tokens {
    /// Signs with keys of this keyring.
    pub fn new(config: &TokensConfig, keyring: Arc<Keyring>) -> Self {
        Self {
            issuer: config.issuer.trim_end_matches('/').to_owned(),
            keys: SigningKeys::new(keyring.clone(), config.algorithm, config.series),
            checked: Checked::default(),
            once: Once::default(),
            binding: Digest::keyed(&keyring.digest_key(), &[b"quipu binding v1"]).0,
            person_ms: config.person_ms,
        }
    }

    /// Whose the tokens are.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// How they are signed.
    pub fn algorithm(&self) -> Algorithm {
        self.keys.algorithm()
    }

    /// The name of a token.
    pub fn new_id(&self, now: Millis) -> Result<String, Problem> {
        Ok(type_id("tok", uuid_v7(now, entropy()?, 0)))
    }

    /// What ties parts together that a client carries from one request to another: nobody else can make it.
    pub fn binding(&self, parts: &[&[u8]]) -> Digest {
        Digest::keyed(&self.binding, parts)
    }

    /// Whether something that counts once, until a time, is shown for the first time at this node.
    pub fn is_first(&self, digest: Digest, until: Millis, now: Millis) -> bool {
        self.once.is_first(digest, until, now)
    }

    /// How long an access token of this principal lives at most.
    pub fn lifetime_ms(&self, home: &Home) -> Millis {
        if home.org == OrgId::PLATFORM {
            self.person_ms
        } else {
            TOKEN_OF_SERVICE_MS
        }
    }

    /// Signs an access token. Waits for the disk where it is the first of a key.
    pub fn issue(&self, claims: &AccessClaims, now: Millis) -> Result<String, KeyringError> {
        self.sign(ACCESS, &Wire::of(claims, &self.issuer), now)
    }

    /// Signs an ID token: what a client learns of who logged in. It opens nothing.
    pub fn issue_identity(&self, claims: &IdClaims, now: Millis) -> Result<String, KeyringError> {
        self.sign(IDENTITY, &claims.wire(&self.issuer), now)
    }

    fn sign(&self, typ: &str, claims: &impl Serialize, now: Millis) -> Result<String, KeyringError> {
        self.keys.signing(now)?.sign(typ, claims)
    }

    /// What an access token says, if this node or one that shares its keys signed it and its time is not over.
    pub fn read(&self, token: &str, audience: For<'_>, now: Millis) -> Result<Arc<AccessClaims>, TokenRefused> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(TokenRefused::TooLong);
        }
        let digest = Digest::of(&[token.as_bytes()]).0;
        let published = self.keys.published(now).map_err(|_| TokenRefused::NoKeys)?;
        let known = self.checked.get(&digest);
        // A key that was withdrawn since signs nothing any more.
        let checked = match known.filter(|known| published.iter().any(|key| key.id() == known.key)) {
            Some(known) => known,
            None => {
                let checked = Arc::new(self.check(token, &published)?);
                self.checked.keep(digest, checked.clone());
                checked
            }
        };
        if checked.issuer != self.issuer {
            return Err(TokenRefused::OtherIssuer);
        }
        let claims = &checked.claims;
        let is_for = match audience {
            For::Node => claims.aud == self.issuer,
            For::Audience(audience) => claims.aud == audience,
            For::Anybody => true,
        };
        if !is_for {
            return Err(TokenRefused::OtherAudience);
        }
        claims.check_time(checked.not_before, now)?;
        Ok(claims.clone())
    }

    fn check(&self, token: &str, published: &[Arc<keys::SigningKey>]) -> Result<checked::Token, TokenRefused> {
        let jws = Jws::parse(token).map_err(|_| TokenRefused::Unreadable)?;
        let kid = jws.header.kid.as_deref().ok_or(TokenRefused::UnknownKey)?;
        let key = published.iter().find(|key| key.id() == kid).ok_or(TokenRefused::UnknownKey)?;
        if jws.header.typ.as_deref() != Some(ACCESS) {
            return Err(TokenRefused::OtherType);
        }
        let wire: Wire = match jws.verified(key.public()) {
            Ok(wire) => wire,
            Err(Unreadable::Signature) => return Err(TokenRefused::WrongSignature),
            Err(Unreadable::Form) => return Err(TokenRefused::Unreadable),
        };
        let (issuer, not_before, claims) = wire.read().ok_or(TokenRefused::Unreadable)?;
        Ok(checked::Token {
            key: kid.to_owned(),
            issuer,
            not_before,
            claims: Arc::new(claims),
        })
    }

    /// The public halves of the keys that sign, will sign soon, or signed what may still live (RFC 7517).
    pub fn jwks(&self, now: Millis) -> Result<Value, KeyringError> {
        let keys: Vec<Value> = self.keys.published(now)?.iter().map(|key| key.jwk()).collect();
        Ok(json!({ "keys": keys }))
    }
}

#[cfg(test)]
mod tests;
