//! The key of a node, and TLS between nodes by it: each side shows a bare public key (RFC 7250) and proves that it has the private
//! one. No certificate, no authority and no time of validity are part of it.

use super::PROTOCOL;
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{hmac, rand::SystemRandom, signature::Ed25519KeyPair};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, ServerConfig, SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring as provider, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime, pem::PemObject},
    server::{
        AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::TLS13,
};
use std::{
    fmt, fs, io,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Name of the key's file inside the data directory.
pub const KEY_FILE: &str = "node.key";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum NodeKeyError {
    /// The file could not be read or written.
    #[error("key of the node {0}: {1}")]
    Io(PathBuf, io::Error),
    /// The file holds something else.
    #[error("key of the node {0} does not read: {1}; delete it to have a new one made")]
    Malformed(PathBuf, String),
    /// Other users could read it.
    #[error("key of the node {0} can be read by others (mode {1:o}); delete it to have a new one made")]
    Exposed(PathBuf, u32),
    /// No key could be made.
    #[error("key of the node: {0}")]
    Start(String),
}

/// The key of a node; `Debug` shows the public part.
#[derive(Clone)]
pub struct NodeKey {
    certified: Arc<CertifiedKey>,
    provider: Arc<CryptoProvider>,
    public: Arc<str>,
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.public)
    }
}

impl NodeKey {
    /// The key of a data directory, made (readable by its owner alone, synced) if there is none; without a directory a new one.
    pub fn load_or_make(dir: Option<&Path>) -> Result<Self, NodeKeyError> {
        let Some(dir) = dir else {
            return Self::of(made()?).map_err(NodeKeyError::Start);
        };
        let path = dir.join(KEY_FILE);
        let failed = |error| NodeKeyError::Io(path.clone(), error);
        let pem = match fs::read(&path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = made()?;
                store(dir, &path, &made).map_err(failed)?;
                return Self::of(made).map_err(NodeKeyError::Start);
            }
            Err(error) => return Err(failed(error)),
        };
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(&path).map_err(failed)?.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(NodeKeyError::Exposed(path, mode));
            }
        }
        let malformed = |why: String| NodeKeyError::Malformed(path.clone(), why);
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|e| malformed(e.to_string()))?;
        Self::of(key).map_err(malformed)
    }

    fn of(key: PrivateKeyDer<'static>) -> Result<Self, String> {
        let key = provider::sign::any_eddsa_type(&as_pkcs8(&key)?).map_err(|e| e.to_string())?;
        let public = key.public_key().ok_or("it shows no public key")?.into_owned();
        Ok(Self {
            public: STANDARD.encode(&public).into(),
            certified: Arc::new(CertifiedKey::new(vec![CertificateDer::from(public.to_vec())], key)),
            provider: Arc::new(provider::default_provider()),
        })
    }

    /// Its public part, as other nodes are told it.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// For connections of other nodes. Any key is taken that they have; whose it is, whoever serves the request asks.
    pub fn server_config(&self) -> Result<ServerConfig, String> {
        let verifier = Arc::new(AnyKey(self.algorithms()));
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(|e| e.to_string())?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(self.certified.clone())));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        // Each connection proves itself.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// For connections to the node that has this public key, and no other.
    pub fn client_config(&self, public: &str) -> Result<ClientConfig, String> {
        let pinned = STANDARD.decode(public).map_err(|e| format!("not the public key of a node: {e}"))?;
        let verifier = OneKey {
            pinned,
            algorithms: self.algorithms(),
        };
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(|e| e.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(self.certified.clone())));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn algorithms(&self) -> WebPkiSupportedAlgorithms {
        self.provider.signature_verification_algorithms
    }
}

fn as_pkcs8<'a>(key: &'a PrivateKeyDer<'static>) -> Result<rustls::pki_types::PrivatePkcs8KeyDer<'a>, String> {
    match key {
        PrivateKeyDer::Pkcs8(key) => Ok(rustls::pki_types::PrivatePkcs8KeyDer::from(key.secret_pkcs8_der())),
        _ => Err("not an Ed25519 key in PKCS #8".into()),
    }
}

fn made() -> Result<PrivateKeyDer<'static>, NodeKeyError> {
    let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
    let made = made.map_err(|_| NodeKeyError::Start("the system gives no randomness".into()))?;
    Ok(PrivateKeyDer::Pkcs8(made.as_ref().to_vec().into()))
}

fn store(dir: &Path, path: &Path, key: &PrivateKeyDer<'_>) -> io::Result<()> {
    // Written aside and renamed, so that a crash leaves no half key.
    let aside = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&aside)?;
    let text = STANDARD.encode(key.secret_der());
    write!(file, "-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    fs::File::open(dir)?.sync_all()
}

/// What only somebody with the cluster's secret can make of a node, its address and its key.
pub(super) fn proof(secret: &str, [node, address, key]: [&str; 3]) -> String {
    hex::encode(hmac::sign(&keyed(secret), &told([node, address, key])).as_ref())
}

/// Whether that is it.
pub(super) fn is_proof(secret: &str, of: [&str; 3], shown: &str) -> bool {
    hex::decode(shown).is_ok_and(|shown| hmac::verify(&keyed(secret), &told(of), &shown).is_ok())
}

fn keyed(secret: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())
}

fn told(parts: [&str; 3]) -> Vec<u8> {
    let mut told = b"quipu node key v1\0".to_vec();
    for part in parts {
        told.extend((part.len() as u64).to_be_bytes());
        told.extend(part.as_bytes());
    }
    told
}

fn tls13(
    algorithms: &WebPkiSupportedAlgorithms,
    message: &[u8],
    key: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    verify_tls13_signature_with_raw_key(message, &SubjectPublicKeyInfoDer::from(key.as_ref()), signed, algorithms)
}

const NO_TLS12: Error = Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered);

/// Takes the one node that has this key.
#[derive(Debug)]
struct OneKey {
    pinned: Vec<u8>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for OneKey {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if shown.as_ref() == self.pinned {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(NO_TLS12)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tls13(&self.algorithms, message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Takes whoever has the key that they show.
#[derive(Debug)]
struct AnyKey(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(&self, _: &CertificateDer<'_>, _: &[CertificateDer<'_>], _: UnixTime) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(NO_TLS12)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        tls13(&self.0, message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_made_once_kept_private_and_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let first = NodeKey::load_or_make(Some(dir.path())).unwrap();
        assert_eq!(first.public(), NodeKey::load_or_make(Some(dir.path())).unwrap().public());
        assert_ne!(first.public(), NodeKey::load_or_make(None).unwrap().public());
        let path = dir.path().join(KEY_FILE);
        let pem = fs::read_to_string(&path).unwrap();
        let secret = pem.lines().nth(1).unwrap();
        assert!(!format!("{first:?}").contains(secret));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            assert!(matches!(
                NodeKey::load_or_make(Some(dir.path())),
                Err(NodeKeyError::Exposed(_, 0o640))
            ));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        fs::write(&path, "nonsense").unwrap();
        let refused = NodeKey::load_or_make(Some(dir.path())).unwrap_err();
        assert!(matches!(refused, NodeKeyError::Malformed(..)), "{refused}");
    }

    #[test]
    fn proof_is_of_one_node_address_key_and_secret() {
        let of = ["node_1", "http://a:1", "key"];
        let shown = proof("secret", of);
        assert!(is_proof("secret", of, &shown));
        assert!(!is_proof("other", of, &shown));
        for other in [
            ["node_2", of[1], of[2]],
            [of[0], "http://a:2", of[2]],
            [of[0], of[1], "other"],
            ["node_1http", "://a:1", "key"],
        ] {
            assert!(!is_proof("secret", other, &shown), "{other:?}");
        }
        assert!(!is_proof("secret", of, "") && !is_proof("secret", of, "zz"));
    }
}
