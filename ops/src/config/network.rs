//! How the node is reached, and by whom it is spoken for: other nodes, its certificate, proxies.

use super::{ConfigError, written, wrong};
use crate::tls::TlsFiles;
use quipu_runtime::{
    cluster::ClusterConfig,
    secrets::{SecretSource, Secrets},
};
use quipu_schemas::network::Network;
use std::path::PathBuf;

/// How this node appears to others.
pub(super) fn cluster(written: &written::Cluster, secrets: &Secrets) -> Result<ClusterConfig, ConfigError> {
    let address = written.address.trim_end_matches('/');
    if !address.is_empty() && !["http://", "https://"].iter().any(|scheme| address.starts_with(scheme)) {
        return Err(wrong(
            "cluster.address",
            format!("not an address: `{address}`; use http://host:port, as other nodes reach this one"),
        ));
    }
    if !(500..=60_000).contains(&written.lease_ms) {
        return Err(wrong("cluster.lease_ms", "use 500 to 60000"));
    }
    let token = match written.secret.as_str() {
        "" => None,
        name => {
            let secret = secrets
                .platform(name)
                .map_err(|e| wrong("cluster.secret", format!("{e}: it names a secret of [secrets]")))?;
            Some(secret.expose().to_owned())
        }
    };
    Ok(ClusterConfig {
        address: address.to_owned(),
        token,
        ca: (!written.ca.is_empty()).then(|| PathBuf::from(&written.ca)),
        lease_ms: written.lease_ms,
    })
}

/// The files of a certificate: both or neither.
pub(super) fn tls(written: &written::Tls) -> Result<Option<TlsFiles>, ConfigError> {
    match (written.certificate.as_str(), written.key.as_str()) {
        ("", "") => Ok(None),
        ("", _) => Err(wrong("tls.certificate", "name the certificate of tls.key")),
        (_, "") => Err(wrong("tls.key", "name the key of tls.certificate")),
        (certificate, key) => Ok(Some(TlsFiles {
            certificate: certificate.into(),
            key: key.into(),
        })),
    }
}

pub(super) fn trusted(written: &[String]) -> Result<Vec<Network>, ConfigError> {
    let parse = |text: &String| {
        text.parse()
            .map_err(|e| wrong("trusted_proxies", format!("{e}; use an address or a network such as 10.0.0.0/8")))
    };
    written.iter().map(parse).collect()
}
