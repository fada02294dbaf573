//! How the node is reached, and by whom it is spoken for: other nodes, its certificate, proxies.

use super::{ConfigError, resolved, written, wrong};
use crate::{
    bus::{
        BusConfig,
        at::{BadBusAt, BusAt},
    },
    tls::TlsFiles,
};
use quipu_events::backend::Backend;
use quipu_runtime::{
    cluster::{ClusterConfig, PeerTls},
    secrets::{SecretSource, Secrets},
};
use quipu_schemas::{ids::PrincipalId, limits, network::Network};
use std::{collections::BTreeMap, path::PathBuf};

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
        tls: match written.tls.as_str() {
            "required" => PeerTls::Required,
            "offered" => PeerTls::Offered,
            "off" => PeerTls::Off,
            other => return Err(wrong("cluster.tls", format!("`{other}` is not one of required, offered, off"))),
        },
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

/// The secret of the platform that an address names, for whoever connects there.
fn login(key: &str, name: &str, secrets: &Secrets) -> Result<String, ConfigError> {
    let secret = secrets
        .platform(name)
        .map_err(|e| wrong(key, format!("{e}: `secret` names a secret of [secrets]")))?;
    Ok(secret.expose().to_owned())
}

/// The log with what its address names by a secret.
pub(super) fn with_secrets(key: &str, mut log: Backend, secrets: &Secrets) -> Result<Backend, ConfigError> {
    if let Some(name) = log.secret().map(str::to_owned) {
        log.open_with(login(key, &name, secrets)?);
    }
    Ok(log)
}

pub(super) fn bus(written: &written::Bus, env: &BTreeMap<String, String>, secrets: &Secrets) -> Result<Option<BusConfig>, ConfigError> {
    const KEY: &str = "bus.url";
    if !(1..=limits::BUS_FEED_DAYS_MAX).contains(&written.feed_days) {
        return Err(wrong("bus.feed_days", format!("use 1 to {}", limits::BUS_FEED_DAYS_MAX)));
    }
    if written.url.is_empty() {
        return Ok(None);
    }
    // Never with the address as written: it may hold a password.
    let url = resolved(KEY, &written.url, env)?;
    let mut at: BusAt = url.parse().map_err(|e: BadBusAt| wrong(KEY, e.to_string()))?;
    if let Some(name) = at.secret().map(str::to_owned) {
        at.open_with(login(KEY, &name, secrets)?);
    }
    Ok(Some(BusConfig {
        at,
        feed_days: written.feed_days,
        principal: bus_principal(&written.principal)?,
    }))
}

/// As whom commands over the bus act; nobody has a right in every org by it.
fn bus_principal(written: &str) -> Result<Option<PrincipalId>, ConfigError> {
    const KEY: &str = "bus.principal";
    if written.is_empty() {
        return Ok(None);
    }
    let principal = PrincipalId::parse(written.to_owned()).map_err(|e| wrong(KEY, e.to_string()))?;
    if principal.is_platform() {
        return Err(wrong(
            KEY,
            format!("`{written}` belongs to the platform; name a principal that orgs give rights to"),
        ));
    }
    Ok(Some(principal))
}
