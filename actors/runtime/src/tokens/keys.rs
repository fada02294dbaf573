//! The keys that sign: made by the first node that needs them, kept in the keyring, and known to every node that shares it.
//!
//! Which key signs follows from the time alone, so nodes agree without telling each other: each signs for a year, is published a day
//! before and for as long after as one of its tokens may live.

use super::{jws::ClientKey, provider};
use jsonwebtoken::{EncodingKey, Header};
use parking_lot::RwLock;
use quipu_events::keyring::{Keyring, KeyringError};
use quipu_schemas::{
    context::Millis,
    limits::{SIGNING_KEY_LEAD_MS, SIGNING_KEY_MS, TOKEN_LIFETIME_MAX_MS},
};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use serde::Serialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// How tokens are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA over P-256: every client knows it.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// Its name in tokens.
    pub fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    pub(super) fn of_tokens(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// A key pair, with the name that tokens call it by.
pub(super) struct SigningKey {
    algorithm: Algorithm,
    pair: EncodingKey,
    public: ClientKey,
    id: String,
}

fn no_entropy(_: ring::error::Unspecified) -> KeyringError {
    KeyringError::Entropy("no key pair was made".into())
}

impl SigningKey {
    /// A fresh one, in the form in which it is kept (PKCS#8).
    fn make(algorithm: Algorithm) -> Result<Vec<u8>, KeyringError> {
        let random = SystemRandom::new();
        let made = match algorithm {
            Algorithm::Es256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random),
            Algorithm::EdDsa => Ed25519KeyPair::generate_pkcs8(&random),
        };
        Ok(made.map_err(no_entropy)?.as_ref().to_vec())
    }

    fn read(algorithm: Algorithm, kept: &[u8]) -> Result<Self, KeyringError> {
        let damaged = || KeyringError::Damaged {
            path: "a signing key".into(),
            line: 1,
        };
        let (pair, public) = match algorithm {
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, kept, &SystemRandom::new()).map_err(|_| damaged())?;
                let point = pair.public_key().as_ref().try_into().map_err(|_| damaged())?;
                (EncodingKey::from_ec_der(kept), ClientKey::P256(point))
            }
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::from_pkcs8(kept).map_err(|_| damaged())?;
                let key = pair.public_key().as_ref().try_into().map_err(|_| damaged())?;
                (EncodingKey::from_ed_der(kept), ClientKey::Ed25519(key))
            }
        };
        let id = public.jwk().thumbprint();
        Ok(Self {
            algorithm,
            pair,
            public,
            id,
        })
    }

    /// Its name: the thumbprint of its public half (RFC 7638).
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The one way of signing that goes with it.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Signs claims as a token of this type.
    pub(super) fn sign(&self, typ: &str, claims: &impl Serialize) -> Result<String, KeyringError> {
        let mut header = Header::new(self.algorithm.of_tokens());
        header.typ = Some(typ.to_owned());
        header.kid = Some(self.id.clone());
        jsonwebtoken::encode(&header, claims, &self.pair).map_err(|e| KeyringError::Entropy(e.to_string()))
    }

    /// Its public half, by which tokens are checked.
    pub(super) fn public(&self) -> &ClientKey {
        &self.public
    }

    #[cfg(test)]
    pub(super) fn pair(&self) -> &EncodingKey {
        &self.pair
    }

    /// Its public half.
    pub(super) fn jwk(&self) -> Value {
        let public = self.public.jwk();
        let mut jwk = json!({
            "kty": public.kty,
            "crv": public.crv,
            "x": public.x,
            "kid": self.id,
            "alg": self.algorithm().name(),
            "use": "sig",
        });
        if let (Some(y), Some(fields)) = (public.y, jwk.as_object_mut()) {
            fields.insert("y".into(), y.into());
        }
        jwk
    }
}

/// The keys of one series.
pub(super) struct SigningKeys {
    keyring: Arc<Keyring>,
    algorithm: Algorithm,
    series: u32,
    /// Those that were needed, by their year.
    known: RwLock<BTreeMap<u64, Arc<SigningKey>>>,
}

impl SigningKeys {
    pub(super) fn new(keyring: Arc<Keyring>, algorithm: Algorithm, series: u32) -> Self {
        provider::install();
        Self {
            keyring,
            algorithm,
            series,
            known: RwLock::default(),
        }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key that signs now.
    pub(super) fn signing(&self, now: Millis) -> Result<Arc<SigningKey>, KeyringError> {
        self.of_year(now / SIGNING_KEY_MS)
    }

    /// The key that signs now and those of which a token may be met, or soon may be.
    pub(super) fn published(&self, now: Millis) -> Result<Vec<Arc<SigningKey>>, KeyringError> {
        let first = now.saturating_sub(TOKEN_LIFETIME_MAX_MS) / SIGNING_KEY_MS;
        let last = now.saturating_add(SIGNING_KEY_LEAD_MS) / SIGNING_KEY_MS;
        (first..=last).map(|year| self.of_year(year)).collect()
    }

    fn of_year(&self, year: u64) -> Result<Arc<SigningKey>, KeyringError> {
        if let Some(key) = self.known.read().get(&year) {
            return Ok(key.clone());
        }
        let name = format!("signing/{}/{}/{year}", self.algorithm.name(), self.series);
        let kept = self.keyring.document(&name, || SigningKey::make(self.algorithm))?;
        let key = Arc::new(SigningKey::read(self.algorithm, &kept)?);
        self.known.write().insert(year, key.clone());
        Ok(key)
    }
}
