//! What `jsonwebtoken` signs and checks by: ring, which the binary holds for TLS already. It knows two ways, and no others.

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind, Result},
    signature::{Error as Failed, Signer, Verifier},
};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, UnparsedPublicKey},
};

/// Installs it for the process. Another one that was installed before would be a mistake of the build: it is told by tests.
pub(super) fn install() {
    let _ = PROVIDER.install_default();
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    // Keys are read and named here, not there.
    key_utils: KeyUtils::new_unimplemented(),
};

fn unknown() -> Error {
    ErrorKind::InvalidAlgorithm.into()
}

enum Pair {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    let kept = key.as_bytes();
    let damaged = |_| Error::from(ErrorKind::InvalidKeyFormat);
    Ok(Box::new(match algorithm {
        Algorithm::ES256 => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, kept, &SystemRandom::new());
            Pair::Es256(pair.map_err(damaged)?)
        }
        Algorithm::EdDSA => Pair::EdDsa(Ed25519KeyPair::from_pkcs8(kept).map_err(damaged)?),
        _ => return Err(unknown()),
    }))
}

impl Signer<Vec<u8>> for Pair {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Failed> {
        Ok(match self {
            Self::Es256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).map_err(|_| Failed::new())?;
                signature.as_ref().to_vec()
            }
            Self::EdDsa(pair) => pair.sign(message).as_ref().to_vec(),
        })
    }
}

impl JwtSigner for Pair {
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Es256(_) => Algorithm::ES256,
            Self::EdDsa(_) => Algorithm::EdDSA,
        }
    }
}

struct Public {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    // A key of one family is never tried in another's way.
    if key.family() != algorithm.family() || ![Algorithm::ES256, Algorithm::EdDSA].contains(algorithm) {
        return Err(unknown());
    }
    Ok(Box::new(Public {
        algorithm: *algorithm,
        bytes: key.try_get_as_bytes()?.to_vec(),
    }))
}

impl Verifier<Vec<u8>> for Public {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Failed> {
        let checked = match self.algorithm {
            Algorithm::ES256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.bytes).verify(message, signature),
            _ => UnparsedPublicKey::new(&ED25519, &self.bytes).verify(message, signature),
        };
        checked.map_err(|_| Failed::new())
    }
}

impl JwtVerifier for Public {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
