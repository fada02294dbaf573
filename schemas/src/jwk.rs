//! Public keys of principals, in the form of RFC 7517: P-256 and Ed25519, and nothing of a private key.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A public key by which signatures are checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublicJwk {
    /// `EC` or `OKP`.
    pub kty: KeyType,
    /// `P-256` or `Ed25519`.
    pub crv: Curve,
    /// The point's x, or the whole key: 32 bytes in base64url.
    pub x: String,
    /// The point's y, where there is one: 32 bytes in base64url.
    #[serde(default)]
    pub y: Option<String>,
}

/// Kinds of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyType {
    /// On an elliptic curve, with two coordinates.
    #[serde(rename = "EC")]
    Ec,
    /// On a curve with one coordinate.
    #[serde(rename = "OKP")]
    Okp,
}

/// Curves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Curve {
    /// For ES256.
    #[serde(rename = "P-256")]
    P256,
    /// For EdDSA.
    #[serde(rename = "Ed25519")]
    Ed25519,
}

impl PublicJwk {
    /// Whether its parts fit each other. Whether the point lies on its curve shows when a signature is checked.
    pub fn is_whole(&self) -> bool {
        let is_number = |text: &str| URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == 32);
        let fits = match (self.kty, self.crv) {
            (KeyType::Ec, Curve::P256) => self.y.as_deref().is_some_and(is_number),
            (KeyType::Okp, Curve::Ed25519) => self.y.is_none(),
            (KeyType::Ec, Curve::Ed25519) | (KeyType::Okp, Curve::P256) => false,
        };
        fits && is_number(&self.x)
    }

    /// RFC 7638: SHA-256 over its required parts, in base64url. It names the key.
    pub fn thumbprint(&self) -> String {
        let canonical = match (&self.y, self.crv) {
            (Some(y), _) => format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{y}"}}"#, self.x),
            (None, _) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, self.x),
        };
        URL_SAFE_NO_PAD.encode(Sha256::digest(canonical))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and the thumbprint of RFC 8037, appendices A.2 and A.3.
    #[test]
    fn a_thumbprint_is_that_of_the_standard() {
        let key: PublicJwk =
            serde_json::from_str(r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#).unwrap();
        assert!(key.is_whole());
        assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_private_or_mixed_key_is_refused() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let private = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","d":"{x}"}}"#);
        assert!(serde_json::from_str::<PublicJwk>(&private).is_err());
        for text in [
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}"}}"#),
            format!(r#"{{"kty":"OKP","crv":"P-256","x":"{x}"}}"#),
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","y":"{x}"}}"#),
            r#"{"kty":"OKP","crv":"Ed25519","x":"AA"}"#.to_owned(),
        ] {
            let key: PublicJwk = serde_json::from_str(&text).unwrap();
            assert!(!key.is_whole(), "{text}");
        }
        let point: PublicJwk = serde_json::from_str(&format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{x}"}}"#)).unwrap();
        assert!(point.is_whole());
    }
}
