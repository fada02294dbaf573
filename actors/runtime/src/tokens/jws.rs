//! Signed tokens in their compact form (RFC 7515): taken apart and put together. Which key may have signed one is said elsewhere,
//! and so is the way: nothing here believes the header.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use quipu_schemas::jwk::{Curve, KeyType, PublicJwk};
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
use serde::{Deserialize, de::IgnoredAny};

/// A text that is not a signed token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a signed token in its compact form")]
pub struct Unreadable;

/// What a header says.
#[derive(Debug, Deserialize)]
pub struct Header {
    /// The way of signing.
    pub alg: String,
    /// The type.
    #[serde(default)]
    pub typ: Option<String>,
    /// The name of the key.
    #[serde(default)]
    pub kid: Option<String>,
    #[serde(default)]
    crit: Option<IgnoredAny>,
    #[serde(default)]
    jku: Option<IgnoredAny>,
    #[serde(default)]
    jwk: Option<IgnoredAny>,
    #[serde(default)]
    x5u: Option<IgnoredAny>,
    #[serde(default)]
    x5c: Option<IgnoredAny>,
    #[serde(default)]
    x5t: Option<IgnoredAny>,
    #[serde(default)]
    cty: Option<IgnoredAny>,
    #[serde(default)]
    enc: Option<IgnoredAny>,
    #[serde(default)]
    zip: Option<IgnoredAny>,
    #[serde(default)]
    b64: Option<IgnoredAny>,
}

impl Header {
    /// Whether it brings no key along, names no place of one, and wraps nothing.
    pub fn is_plain(&self) -> bool {
        let keys = [&self.jku, &self.jwk, &self.x5u, &self.x5c, &self.x5t];
        let forms = [&self.crit, &self.cty, &self.enc, &self.zip, &self.b64];
        keys.iter().chain(&forms).all(|field| field.is_none())
    }
}

/// A token taken apart, its signature not yet checked.
#[derive(Debug)]
pub struct Jws<'a> {
    /// The header.
    pub header: Header,
    /// What was signed, in bytes of a JSON object as a rule.
    pub payload: Vec<u8>,
    /// What the signature covers.
    pub signed: &'a str,
    /// The signature.
    pub signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    /// Takes a text apart.
    pub fn parse(text: &'a str) -> Result<Self, Unreadable> {
        let (signed, signature) = text.rsplit_once('.').ok_or(Unreadable)?;
        let (header, payload) = signed.split_once('.').ok_or(Unreadable)?;
        if payload.contains('.') {
            return Err(Unreadable);
        }
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Unreadable);
        Ok(Self {
            header: serde_json::from_slice(&decode(header)?).map_err(|_| Unreadable)?,
            payload: decode(payload)?,
            signed,
            signature: decode(signature)?,
        })
    }
}

/// Header and payload as they are signed.
pub(super) fn to_be_signed(header: &[u8], payload: &[u8]) -> String {
    let mut text = URL_SAFE_NO_PAD.encode(header);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut text);
    text
}

/// Appends the signature.
pub(super) fn append(signed: &mut String, signature: &[u8]) {
    signed.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, signed);
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
    pub fn alg(&self) -> &'static str {
        match self {
            Self::P256(_) => "ES256",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    /// Whether it signed this.
    pub fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature),
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(signed, signature),
        }
        .is_ok()
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
