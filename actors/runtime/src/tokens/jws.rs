//! Signed tokens, by `jsonwebtoken`. Which key may have signed one is said elsewhere, and its way follows from the key: nothing here
//! believes the header.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, errors::ErrorKind};
use quipu_schemas::jwk::{Curve, KeyType, PublicJwk};
use serde::de::DeserializeOwned;

/// Why a text is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is not in the form of a signed token, or says something else than is asked for.
    #[error("not a signed token in its form")]
    Form,
    /// Its signature is another key's, or made in another way.
    #[error("the signature is not the key's")]
    Signature,
}

/// A token whose signature has not been checked.
#[derive(Debug)]
pub struct Jws<'a> {
    /// The header.
    pub header: Header,
    text: &'a str,
}

impl<'a> Jws<'a> {
    /// Reads a header. One that brings a key along or names the place of one, is critical, compressed or nested, or says what is not
    /// known, is refused.
    pub fn parse(text: &'a str) -> Result<Self, Unreadable> {
        let header = jsonwebtoken::decode_header(text).map_err(|_| Unreadable::Form)?;
        let brings = header.jku.is_some() || header.jwk.is_some() || header.x5u.is_some() || header.x5c.is_some();
        let names = header.x5t.is_some() || header.x5t_s256.is_some() || header.crit.is_some() || header.cty.is_some();
        let wraps = header.enc.is_some() || header.zip.is_some() || header.url.is_some() || header.nonce.is_some();
        if brings || names || wraps || !header.extras.inner().is_empty() {
            return Err(Unreadable::Form);
        }
        Ok(Self { header, text })
    }

    /// What it says, whoever signed it: for finding out who it says that signed it, and nothing else.
    pub fn unverified<T: DeserializeOwned>(&self) -> Option<T> {
        let payload = self.text.split('.').nth(1)?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }

    /// What it says, if this key signed it. Times, issuer and audience are compared elsewhere, by the node's clock.
    pub fn verified<T: DeserializeOwned>(&self, key: &ClientKey) -> Result<T, Unreadable> {
        let mut validation = Validation::new(key.algorithm());
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        match jsonwebtoken::decode(self.text, &key.decoding(), &validation) {
            Ok(token) => Ok(token.claims),
            Err(error) => Err(match error.kind() {
                ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => Unreadable::Signature,
                _ => Unreadable::Form,
            }),
        }
    }
}

/// A public key of one of the two kinds that are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientKey {
    /// P-256, for `ES256`: the point, uncompressed.
    P256([u8; 65]),
    /// Ed25519, for `EdDSA`.
    Ed25519([u8; 32]),
}

impl ClientKey {
    /// Reads one; `None` where it is not whole.
    pub fn of(jwk: &PublicJwk) -> Option<Self> {
        let number = |text: &str| -> Option<[u8; 32]> { URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok() };
        match (jwk.kty, jwk.crv) {
            (KeyType::Ec, Curve::P256) => {
                let mut point = [4; 65];
                point[1..33].copy_from_slice(&number(&jwk.x)?);
                point[33..].copy_from_slice(&number(jwk.y.as_deref()?)?);
                Some(Self::P256(point))
            }
            (KeyType::Okp, Curve::Ed25519) => Some(Self::Ed25519(number(&jwk.x)?)),
            (KeyType::Ec, Curve::Ed25519) | (KeyType::Okp, Curve::P256) => None,
        }
    }

    /// The one way of signing that goes with it.
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::P256(_) => Algorithm::ES256,
            Self::Ed25519(_) => Algorithm::EdDSA,
        }
    }

    fn decoding(&self) -> DecodingKey {
        match self {
            Self::P256(point) => DecodingKey::from_ec_der(point),
            Self::Ed25519(key) => DecodingKey::from_ed_der(key),
        }
    }

    /// As a JSON Web Key.
    pub fn jwk(&self) -> PublicJwk {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::P256(point) => PublicJwk {
                kty: KeyType::Ec,
                crv: Curve::P256,
                x: encode(&point[1..33]),
                y: Some(encode(&point[33..])),
            },
            Self::Ed25519(key) => PublicJwk {
                kty: KeyType::Okp,
                crv: Curve::Ed25519,
                x: encode(key),
                y: None,
            },
        }
    }
}
