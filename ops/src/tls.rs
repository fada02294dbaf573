//! TLS of the HTTP face: a certificate and its key from two files, read again when they change.
//!
//! What is served is one value, taken whole: a connection that begins while files are being replaced gets the previous
//! certificate or the next one, never a mixture. Files that do not fit together are an error at the start; later they are told, and
//! what was served goes on being served.

pub mod renewal;
mod validity;

use crate::clock::rfc3339;
use parking_lot::RwLock;
use quipu_schemas::context::Millis;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use sha2::{Digest, Sha256};
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio_rustls::TlsAcceptor;

/// Where the certificate and its key are, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and behind it those that it is signed by.
    pub certificate: PathBuf,
    /// Its key: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: PathBuf,
}

/// Why files cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file does not read.
    #[error("tls: {0}: {1}")]
    Read(PathBuf, io::Error),
    /// No certificate in the file.
    #[error("tls.certificate: {0} holds no PEM certificate")]
    NoCertificate(PathBuf),
    /// A certificate that does not read.
    #[error("tls.certificate: {0} does not read: {1}")]
    BadCertificate(PathBuf, String),
    /// No key in the file.
    #[error("tls.key: {0} holds no PEM private key that is not encrypted")]
    NoKey(PathBuf),
    /// A key of a kind that is not served.
    #[error("tls.key: {0} cannot be used: {1}; use an ECDSA P-256 or P-384, Ed25519 or RSA key of at least 2048 bits")]
    BadKey(PathBuf, String),
    /// The key is another certificate's.
    #[error("tls.key: the key in {key} does not belong to the certificate in {certificate}")]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// Its time is over.
    #[error("tls.certificate: {0} expired at {1}")]
    Expired(PathBuf, String),
    /// Its time has not come.
    #[error("tls.certificate: {0} is not valid before {1}")]
    NotYet(PathBuf, String),
    /// TLS itself cannot start.
    #[error("tls: {0}")]
    Start(String),
}

/// A certificate with its key, and how long it is valid.
pub struct Served {
    certified: Arc<CertifiedKey>,
    /// Its last moment.
    pub ends: Millis,
    /// Of both files, as they were read.
    digest: [u8; 32],
}

/// What is served now.
pub struct Certificates {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    served: RwLock<Arc<Served>>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("files", &self.files).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.served.read().certified.clone())
    }
}

/// The bytes of both files.
struct Read {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Read {
    fn of(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = |path: &Path| fs::read(path).map_err(|e| TlsError::Read(path.to_owned(), e));
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
        })
    }

    fn digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update((self.certificate.len() as u64).to_be_bytes());
        hasher.update(&self.certificate);
        hasher.update(&self.key);
        hasher.finalize().into()
    }

    fn served(&self, files: &TlsFiles, provider: &CryptoProvider, now: Millis) -> Result<Served, TlsError> {
        let TlsFiles { certificate, key } = files;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .map_err(|e| TlsError::BadCertificate(certificate.clone(), e.to_string()))?;
        let first = chain.first().ok_or_else(|| TlsError::NoCertificate(certificate.clone()))?;
        let valid = validity::read(first).ok_or_else(|| TlsError::BadCertificate(certificate.clone(), "no time of validity".into()))?;
        if now > valid.ends {
            return Err(TlsError::Expired(certificate.clone(), rfc3339(valid.ends)));
        }
        if now < valid.begins {
            return Err(TlsError::NotYet(certificate.clone(), rfc3339(valid.begins)));
        }
        let private = PrivateKeyDer::from_pem_slice(&self.key).map_err(|e| match e {
            pem::Error::NoItemsFound => TlsError::NoKey(key.clone()),
            other => TlsError::BadKey(key.clone(), other.to_string()),
        })?;
        let certified = CertifiedKey::from_der(chain, private, provider).map_err(|e| match e {
            rustls::Error::InconsistentKeys(_) => TlsError::Mismatch {
                certificate: certificate.clone(),
                key: key.clone(),
            },
            rustls::Error::InvalidCertificate(why) => TlsError::BadCertificate(certificate.clone(), format!("{why:?}")),
            other => TlsError::BadKey(key.clone(), other.to_string()),
        })?;
        Ok(Served {
            certified: Arc::new(certified),
            ends: valid.ends,
            digest: self.digest(),
        })
    }
}

impl Certificates {
    /// Reads the files; `now` decides whether they are valid.
    pub fn load(files: TlsFiles, now: Millis) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let served = Read::of(&files)?.served(&files, &provider, now)?;
        Ok(Self {
            files,
            provider,
            served: RwLock::new(Arc::new(served)),
        })
    }

    /// Reads the files again; whether they hold another certificate than is served. After an error what was served still is.
    pub fn reload(&self, now: Millis) -> Result<bool, TlsError> {
        let read = Read::of(&self.files)?;
        if read.digest() == self.served.read().digest {
            return Ok(false);
        }
        let served = read.served(&self.files, &self.provider, now)?;
        *self.served.write() = Arc::new(served);
        Ok(true)
    }

    /// The last moment of what is served.
    pub fn ends(&self) -> Millis {
        self.served.read().ends
    }

    /// What takes connections: TLS 1.3 and 1.2, HTTP/1.1.
    pub fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, TlsError> {
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|e| TlsError::Start(e.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
