//! Configuration: as written (defaults < file < environment < flags), then as meant. Only the second leaves this module.
//!
//! File: TOML. Environment: `QUIPU_` and the key in upper case, `__` between levels (`QUIPU_LOG__PARTITIONS=4`).
//! An unknown key is an error that names it, wherever it stands.

mod auth;
mod logging;
mod mail;
mod network;
mod written;

use crate::{
    app::Registration,
    bus::BusConfig,
    nearest::nearest,
    origins::OriginPattern,
    tls::TlsFiles,
    views_in::{BadViewsIn, ViewsIn},
};
use figment::{
    Figment,
    providers::{Format, Serialized, Toml},
};
use quipu_events::{backend::Backend, blobs::BlobsAt};
use quipu_runtime::{
    accounts::KeyHash,
    cluster::ClusterConfig,
    node::NodeConfig,
    performers::{Egress, MailConfig},
    providers::ProviderConfig,
    secrets::{SecretSource, SecretValues, Secrets},
    tokens::TokensConfig,
};
use quipu_schemas::{limits, limits::PARTITIONS_MAX, network::Network};
use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};
use written::{ConfigLayers, Layer, SecretWritten, Views};

pub use crate::log_lines::LogFormat;
pub use written::Flags;

/// Variables of the `QUIPU_` family that are no configuration of a node.
pub const OTHER_ENV: &[&str] = &[
    "QUIPU_URL",
    "QUIPU_TOKEN",
    "QUIPU_CA_FILE",
    "QUIPU_PASSWORD",
    "QUIPU_PROFILES",
    "QUIPU_ORG",
    "QUIPU_CONFIG",
    "QUIPU_ON_BEHALF_OF",
    "QUIPU_BLESS",
    OPENAI_BASE_URL,
];
const OPENAI_BASE_URL: &str = "QUIPU_OPENAI_BASE_URL";
const OPENAI_API_KEY: &str = "OPENAI_API_KEY";
const OPENAI_SECRET: &str = "openai_api_key";

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file does not exist or does not read.
    #[error("configuration file {0}: {1}")]
    File(PathBuf, io::Error),
    /// An unknown key, a wrong type, or broken TOML.
    #[error("configuration: {0}{meant}", meant = meant_key(.0))]
    Written(Box<figment::Error>),
    /// A value that parses and makes no sense.
    #[error("configuration: `{key}`: {detail}")]
    Value {
        /// The key, dotted.
        key: String,
        /// What is wrong, and what to write.
        detail: String,
    },
}

/// The key that was probably meant, where an unknown one is the mistake.
fn meant_key(error: &figment::Error) -> String {
    match &error.kind {
        figment::error::Kind::UnknownField(key, known) => {
            nearest(key, known.iter().copied()).map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
        }
        _ => String::new(),
    }
}

fn address(listen: &str) -> Result<SocketAddr, ConfigError> {
    let not_one = |_| wrong("listen", format!("not an address: `{listen}`; use ip:port"));
    listen.parse().map_err(not_one)
}

fn wrong(key: impl Into<String>, detail: impl Into<String>) -> ConfigError {
    ConfigError::Value {
        key: key.into(),
        detail: detail.into(),
    }
}

/// The configuration of one node, as meant.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which log.
    pub log: Backend,
    /// Where large values are kept, if not where the log is.
    pub blobs: BlobsAt,
    /// Data directory; `None` keeps everything in memory.
    pub data: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Values of `Host` that are served besides loopback names.
    pub hosts: Vec<String>,
    /// Origins of web pages that may call.
    pub origins: Vec<String>,
    /// How tokens are signed; an empty issuer becomes the address that it listens on.
    pub tokens: TokensConfig,
    /// Networks of proxies whose word on the client's address counts.
    pub trusted_proxies: Vec<Network>,
    /// The certificate of the HTTP face, where it speaks TLS.
    pub tls: Option<TlsFiles>,
    /// Who gets an account.
    pub registration: Registration,
    /// Where letters go, if anywhere.
    pub mail: Option<MailConfig>,
    /// What is kept of new API keys.
    pub key_hash: KeyHash,
    /// Whether there is a token of the node's own.
    pub node_token: bool,
    /// Partitions of a new log in memory or in the data directory; a broker's stand in its address.
    pub partitions: u16,
    /// How this node appears to others; an empty address becomes the one that it listens on.
    pub cluster: ClusterConfig,
    /// The bus, if one is used.
    pub bus: Option<BusConfig>,
    /// Where the views of the log are kept.
    pub views: ViewsIn,
    /// Views stand still until somebody calls [`crate::views::Views::follow`]: for tests of what happens before.
    pub hold_views: bool,
    /// Idle time before an entity is put to sleep, milliseconds.
    pub passivate_after_ms: u64,
    /// Entities kept in memory.
    pub active_entities: usize,
    /// Commands in the node at a time.
    pub queue_commands: usize,
    /// Bytes of commands in the node at a time.
    pub queue_bytes: usize,
    /// Requests to orgs that the node lets through in a minute; 0: as many as come.
    pub requests_per_minute: u32,
    /// Requests that a network signs in by within a minute; 0: as many as come.
    pub sign_in_per_minute: u32,
    /// `host:port` that effects may reach although it is not global.
    pub egress_allow: Vec<String>,
    /// Model providers by name.
    pub providers: BTreeMap<String, ProviderConfig>,
    /// Secrets by name.
    pub secrets: Secrets,
    /// Whether a log that has records may be served without its keys.
    pub allow_lost_keys: bool,
    /// How long a node that was told to stop goes on serving while it says that it is not ready, milliseconds.
    pub shutdown_delay_ms: u64,
    /// Log lines.
    pub log_format: LogFormat,
    /// Filter of log lines, as `RUST_LOG` has it.
    pub log_level: String,
    effective: serde_json::Value,
}

impl Config {
    /// Loads a configuration from the environment.
    pub fn load(file: Option<&Path>, flags: Flags) -> Result<Self, ConfigError> {
        Self::from_layers(file, std::env::vars().collect(), flags)
    }

    /// Defaults with everything in memory on a free loopback port: for tests and demonstrations.
    pub fn in_memory() -> Result<Self, ConfigError> {
        let flags = Flags {
            listen: Some("127.0.0.1:0".into()),
            memory: true,
            ..Flags::default()
        };
        Self::from_layers(None, BTreeMap::new(), flags)
    }

    /// Defaults with `data` on a free loopback port, whatever the environment says.
    pub fn at(data: &Path) -> Result<Self, ConfigError> {
        let flags = Flags {
            listen: Some("127.0.0.1:0".into()),
            data: Some(data.display().to_string()),
            ..Flags::default()
        };
        Self::from_layers(None, BTreeMap::new(), flags)
    }

    /// Loads a configuration from these layers.
    pub fn from_layers(file: Option<&Path>, env: BTreeMap<String, String>, flags: Flags) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(ConfigLayers::default()));
        if let Some(path) = file {
            fs::metadata(path).map_err(|e| ConfigError::File(path.to_owned(), e))?;
            figment = figment.merge(Toml::file_exact(path));
        }
        let figment = figment.merge(Layer::of_env(&env, OTHER_ENV)).merge(Layer::of_flags(&flags));
        let mut written: ConfigLayers = figment.extract().map_err(|e| ConfigError::Written(Box::new(e)))?;
        written.openai_from_env(env.get(OPENAI_BASE_URL), env.contains_key(OPENAI_API_KEY))?;
        Self::meant(written, &env)
    }

    fn meant(written: ConfigLayers, env: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        // Never with the address as written: it may hold a password.
        let log = resolved("log.backend", &written.log.backend, env)?;
        let log = log.parse::<Backend>().map_err(|e| wrong("log.backend", e.to_string()))?;
        let blobs = resolved("blobs.store", &written.blobs.store, env)?;
        let blobs = blobs.parse::<BlobsAt>().map_err(|e| wrong("blobs.store", e.to_string()))?;
        let secrets = secrets(&written.secrets, env)?;
        let log = network::with_secrets("log.backend", log, &secrets)?;
        let bus = network::bus(&written.bus, env, &secrets)?;
        let effective = written.redacted(&log, &blobs, bus.as_ref().map(|bus| &bus.at));
        let listen = address(&written.listen)?;
        let memory = matches!(log, Backend::Memory);
        if !(1..=PARTITIONS_MAX).contains(&written.log.partitions) {
            return Err(wrong("log.partitions", format!("use 1 to {PARTITIONS_MAX}")));
        }
        if written.data.is_empty() {
            return Err(wrong("data", "name a directory, or set log.backend to memory"));
        }
        let own = &written.limits;
        let zero = [
            ("limits.active_entities", own.active_entities == 0),
            ("limits.queue_commands", own.queue_commands == 0),
            ("limits.queue_bytes", own.queue_bytes == 0),
            ("limits.passivate_after_ms", own.passivate_after_ms == 0),
        ];
        if let Some((key, _)) = zero.into_iter().find(|(_, is_zero)| *is_zero) {
            return Err(wrong(key, "must be at least 1"));
        }
        if written.shutdown.delay_ms > limits::SHUTDOWN_DELAY_MAX_MS {
            return Err(wrong("shutdown.delay_ms", format!("use 0 to {}", limits::SHUTDOWN_DELAY_MAX_MS)));
        }
        for origin in &written.origins {
            OriginPattern::parse(origin).map_err(|why| wrong("origins", why))?;
        }
        Egress::new(&written.egress.allow).map_err(|e| wrong("egress.allow", e.to_string()))?;
        Ok(Self {
            log,
            blobs,
            data: (!memory).then(|| PathBuf::from(&written.data)),
            cluster: network::cluster(&written.cluster, &secrets)?,
            listen,
            hosts: written.hosts,
            origins: written.origins,
            tokens: auth::tokens(&written.public_url, &written.auth)?,
            trusted_proxies: network::trusted(&written.trusted_proxies)?,
            tls: network::tls(&written.tls)?,
            registration: auth::registration(&written.auth)?,
            mail: mail::mail(&written.mail, &written.public_url, &secrets)?,
            key_hash: auth::key_hash(&written.auth)?,
            node_token: auth::node_token(&written.auth)?,
            partitions: written.log.partitions,
            bus,
            views: views_in(&written.views, memory, env)?,
            hold_views: false,
            passivate_after_ms: own.passivate_after_ms,
            active_entities: own.active_entities,
            queue_commands: own.queue_commands,
            queue_bytes: own.queue_bytes,
            requests_per_minute: own.requests_per_minute,
            sign_in_per_minute: own.sign_in_per_minute,
            egress_allow: written.egress.allow,
            providers: providers(&written.providers, &secrets)?,
            secrets,
            allow_lost_keys: written.keys.allow_lost,
            shutdown_delay_ms: written.shutdown.delay_ms,
            log_format: logging::format_of(&written.logging)?,
            log_level: written.logging.level,
            effective,
        })
    }

    /// Origins of web pages that may call, parsed.
    pub fn allowed_origins(&self) -> Result<Vec<OriginPattern>, ConfigError> {
        let parse = |origin: &String| OriginPattern::parse(origin).map_err(|why| wrong("origins", why));
        self.origins.iter().map(parse).collect()
    }

    /// What is in force, secrets redacted, in the form of the file.
    pub fn effective(&self) -> &serde_json::Value {
        &self.effective
    }

    /// The runtime's part.
    pub fn node(&self) -> Result<NodeConfig, ConfigError> {
        Ok(NodeConfig {
            log: self.log.clone(),
            blobs: self.blobs.clone(),
            cluster: self.cluster.clone(),
            data_dir: self.data.clone(),
            partitions: self.partitions,
            providers: self.providers.clone(),
            secrets: self.secrets.clone(),
            egress: Egress::new(&self.egress_allow).map_err(|e| wrong("egress.allow", e.to_string()))?,
            passivate_after_ms: self.passivate_after_ms,
            active_max: self.active_entities,
            queue_max: self.queue_commands,
            queue_max_bytes: self.queue_bytes,
            allow_lost_keys: self.allow_lost_keys,
            reads: Vec::new(),
            clock: quipu_runtime::clock::ClockSource::default(),
            tokens: self.tokens.clone(),
            mail: self.mail.clone(),
            key_hash: self.key_hash,
        })
    }
}

/// Where views are kept. What is in memory has its views there, too: a database would hold them for ever.
fn views_in(written: &Views, memory: bool, env: &BTreeMap<String, String>) -> Result<ViewsIn, ConfigError> {
    const KEY: &str = "views.store";
    if !written.enabled {
        return Ok(ViewsIn::Off);
    }
    let views = resolved(KEY, &written.store, env)?;
    let views: ViewsIn = views.parse().map_err(|e: BadViewsIn| wrong(KEY, e.to_string()))?;
    if memory && views.is_elsewhere() {
        return Err(wrong(KEY, "a log in memory has its views in memory: use sqlite or off"));
    }
    Ok(views)
}

/// Resolves `env:NAME` and `file:PATH`; anything else is the value itself.
fn resolved(key: &str, text: &str, env: &BTreeMap<String, String>) -> Result<String, ConfigError> {
    if let Some(variable) = text.strip_prefix("env:") {
        let value = env.get(variable).cloned();
        value.ok_or_else(|| wrong(key, format!("environment variable {variable} is not set")))
    } else if let Some(path) = text.strip_prefix("file:") {
        let value = fs::read_to_string(path).map_err(|e| wrong(key, format!("file {path}: {e}")))?;
        Ok(value.trim_end().to_owned())
    } else {
        Ok(text.to_owned())
    }
}

fn secrets(written: &BTreeMap<String, SecretWritten>, env: &BTreeMap<String, String>) -> Result<Secrets, ConfigError> {
    let resolve = |name: &str, text: &str| {
        let key = format!("secrets.{name}");
        let value = resolved(&key, text, env)?;
        if value.is_empty() {
            Err(wrong(key, "a secret is never empty"))
        } else {
            Ok(value)
        }
    };
    let mut values = BTreeMap::new();
    for (name, written) in written {
        let resolved = written
            .all()
            .iter()
            .map(|text| resolve(name, text))
            .collect::<Result<Vec<_>, _>>()?;
        if resolved.is_empty() {
            return Err(wrong(format!("secrets.{name}"), "a secret has at least one value"));
        }
        values.insert(name.clone(), SecretValues::from(resolved));
    }
    Ok(Secrets::new(values))
}

fn providers(written: &BTreeMap<String, serde_json::Value>, secrets: &Secrets) -> Result<BTreeMap<String, ProviderConfig>, ConfigError> {
    let mut providers = BTreeMap::new();
    for (name, value) in written {
        let key = format!("providers.{name}");
        let provider: ProviderConfig = serde_json::from_value(value.clone()).map_err(|e| wrong(&key, e.to_string()))?;
        if let ProviderConfig::OpenAi(config) = &provider
            && let Some(secret) = &config.api_key
        {
            secrets
                .platform(secret)
                .map_err(|e| wrong(format!("{key}.api_key"), format!("{e}: api_key names a secret of [secrets]")))?;
        }
        providers.insert(name.clone(), provider);
    }
    Ok(providers)
}

#[cfg(test)]
mod tests;
