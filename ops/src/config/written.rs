//! The configuration as written, before anything is resolved.

use super::{ConfigError, OPENAI_API_KEY, OPENAI_SECRET, auth::Auth, mail::Mail, wrong};
use crate::{bus::at::BusAt, views_in};
use figment::{
    Error, Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};
use quipu_events::{backend::Backend, blobs::BlobsAt};
use quipu_schemas::limits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Flags of the command line that override every other layer.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--data DIR`.
    pub data: Option<String>,
    /// `--listen ADDR`.
    pub listen: Option<String>,
    /// `--log LOG`.
    pub log: Option<String>,
    /// `--memory`: nothing on disk.
    pub memory: bool,
    /// `--blobs STORE`.
    pub blobs: Option<String>,
    /// `--views STORE`.
    pub views: Option<String>,
    /// `--bus BUS`.
    pub bus: Option<String>,
    /// `--without-keys`: new keys for a log whose keys are lost.
    pub without_keys: bool,
    /// Other keys, dotted, with values as in the environment.
    pub set: Vec<(String, String)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ConfigLayers {
    pub(super) data: String,
    pub(super) listen: String,
    pub(super) hosts: Vec<String>,
    pub(super) origins: Vec<String>,
    pub(super) public_url: String,
    pub(super) auth: Auth,
    pub(super) mail: Mail,
    pub(super) trusted_proxies: Vec<String>,
    pub(super) tls: Tls,
    pub(super) log: Log,
    pub(super) blobs: Blobs,
    pub(super) cluster: Cluster,
    pub(super) bus: Bus,
    pub(super) views: Views,
    pub(super) limits: Limits,
    pub(super) egress: Egress,
    pub(super) providers: BTreeMap<String, serde_json::Value>,
    pub(super) secrets: BTreeMap<String, SecretWritten>,
    pub(super) keys: Keys,
    pub(super) logging: Logging,
    pub(super) shutdown: Shutdown,
}

impl Default for ConfigLayers {
    fn default() -> Self {
        Self {
            data: "quipu-data".into(),
            listen: "127.0.0.1:7077".into(),
            hosts: Vec::new(),
            origins: Vec::new(),
            public_url: String::new(),
            auth: Auth::default(),
            mail: Mail::default(),
            trusted_proxies: Vec::new(),
            tls: Tls::default(),
            log: Log::default(),
            blobs: Blobs { store: "log".into() },
            cluster: Cluster::default(),
            bus: Bus::default(),
            views: Views {
                enabled: true,
                store: "sqlite".into(),
            },
            limits: Limits::default(),
            egress: Egress::default(),
            providers: BTreeMap::new(),
            secrets: BTreeMap::new(),
            keys: Keys { allow_lost: false },
            logging: Logging {
                format: "auto".into(),
                level: "info".into(),
            },
            shutdown: Shutdown { delay_ms: 0 },
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    pub(super) backend: String,
    pub(super) partitions: u16,
}
impl Default for Log {
    fn default() -> Self {
        Self {
            backend: "embedded".into(),
            partitions: limits::PARTITIONS_DEFAULT,
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tls {
    pub(super) certificate: String,
    pub(super) key: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Blobs {
    pub(super) store: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Cluster {
    pub(super) address: String,
    pub(super) secret: String,
    pub(super) tls: String,
    pub(super) ca: String,
    pub(super) lease_ms: u64,
}
impl Default for Cluster {
    fn default() -> Self {
        Self {
            address: String::new(),
            secret: String::new(),
            tls: "required".into(),
            ca: String::new(),
            lease_ms: limits::LEASE_MS,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Bus {
    pub(super) url: String,
    pub(super) principal: String,
    pub(super) feed_days: u32,
}
impl Default for Bus {
    fn default() -> Self {
        Self {
            url: String::new(),
            principal: String::new(),
            feed_days: limits::BUS_FEED_DAYS,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Views {
    pub(super) enabled: bool,
    pub(super) store: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) passivate_after_ms: u64,
    pub(super) active_entities: usize,
    pub(super) queue_commands: usize,
    pub(super) queue_bytes: usize,
    pub(super) requests_per_minute: u32,
    pub(super) sign_in_per_minute: u32,
}
impl Default for Limits {
    fn default() -> Self {
        Self {
            passivate_after_ms: limits::PASSIVATE_AFTER_MS,
            active_entities: limits::ACTIVE_ENTITIES_MAX,
            queue_commands: limits::NODE_QUEUE_MAX,
            queue_bytes: limits::NODE_QUEUE_MAX_BYTES,
            requests_per_minute: 0,
            sign_in_per_minute: limits::SIGN_IN_PER_MINUTE,
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Egress {
    pub(super) allow: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    pub(super) allow_lost: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Logging {
    pub(super) format: String,
    pub(super) level: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shutdown {
    pub(super) delay_ms: u64,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum SecretWritten {
    One(String),
    Several(Vec<String>),
}

impl std::fmt::Debug for SecretWritten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretWritten(..)")
    }
}

impl SecretWritten {
    pub(super) fn all(&self) -> &[String] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Several(values) => values,
        }
    }
}

impl ConfigLayers {
    /// `OPENAI_API_KEY` and `QUIPU_OPENAI_BASE_URL` make a provider `openai`, unless one is configured. Whoever names a
    /// base URL in the environment means it to be reached, so its address joins `egress.allow`.
    pub(super) fn openai_from_env(&mut self, base_url: Option<&String>, has_key: bool) -> Result<(), ConfigError> {
        if (base_url.is_none() && !has_key) || self.providers.contains_key("openai") {
            return Ok(());
        }
        let mut provider = serde_json::json!({
            "kind": "openai",
            "base_url": base_url.map_or("https://api.openai.com/v1", String::as_str),
        });
        if has_key {
            provider["api_key"] = OPENAI_SECRET.into();
            self.secrets
                .entry(OPENAI_SECRET.into())
                .or_insert_with(|| SecretWritten::One(format!("env:{OPENAI_API_KEY}")));
        }
        if let Some(base_url) = base_url {
            let bad = || wrong(super::OPENAI_BASE_URL, format!("not an http or https URL: `{base_url}`"));
            let url = reqwest::Url::parse(base_url).map_err(|_| bad())?;
            let (host, port) = url.host_str().zip(url.port_or_known_default()).ok_or_else(bad)?;
            self.egress.allow.push(format!("{host}:{port}"));
        }
        self.providers.insert("openai".into(), provider);
        Ok(())
    }

    /// For people: where secrets come from is shown, what they are is not.
    pub(super) fn redacted(&self, log: &Backend, blobs: &BlobsAt, bus: Option<&BusAt>) -> serde_json::Value {
        let mut shown = self.clone();
        shown.blobs.store = blobs.to_string();
        shown.log.backend = log.to_string();
        shown.bus.url = bus.map(BusAt::to_string).unwrap_or_default();
        shown.views.store = views_in::shown(&shown.views.store);
        for secret in shown.secrets.values_mut() {
            let redact = |text: &String| {
                if text.starts_with("env:") || text.starts_with("file:") {
                    text.clone()
                } else {
                    "<redacted>".into()
                }
            };
            *secret = match &*secret {
                SecretWritten::One(text) => SecretWritten::One(redact(text)),
                SecretWritten::Several(all) => SecretWritten::Several(all.iter().map(redact).collect()),
            };
        }
        serde_json::to_value(&shown).unwrap_or_default()
    }
}

/// A layer made of dotted keys.
pub(super) struct Layer {
    name: &'static str,
    values: Dict,
    /// What each key was called where it was written.
    called: BTreeMap<String, String>,
}

impl Layer {
    pub(super) fn of_env(env: &BTreeMap<String, String>, others: &[&str]) -> Self {
        let mut layer = Self {
            name: "environment variables",
            values: Dict::new(),
            called: BTreeMap::new(),
        };
        let texts = Texts::known();
        for (variable, value) in env.iter().filter(|(variable, _)| !others.contains(&variable.as_str())) {
            let Some(key) = variable.strip_prefix("QUIPU_") else { continue };
            if is_service_link(key, value) {
                continue;
            }
            let key = key.to_ascii_lowercase();
            let path: Vec<&str> = key.split("__").collect();
            layer.called.insert(path.join("."), variable.clone());
            layer.set(&path, texts.value(&path, value));
        }
        layer
    }

    pub(super) fn of_flags(flags: &Flags) -> Self {
        let mut layer = Self {
            name: "command line",
            values: Dict::new(),
            called: BTreeMap::new(),
        };
        let texts = Texts::known();
        for (key, value) in &flags.set {
            let path: Vec<&str> = key.split('.').collect();
            layer.set(&path, texts.value(&path, value));
        }
        // Directories and addresses are text whatever they look like.
        for (key, value) in [("data", &flags.data), ("listen", &flags.listen)] {
            if let Some(value) = value {
                layer.set(&[key], Value::from(value.as_str()));
            }
        }
        if flags.without_keys {
            layer.set(&["keys", "allow_lost"], Value::from(true));
        }
        if let Some(log) = &flags.log {
            layer.set(&["log", "backend"], Value::from(log.as_str()));
        }
        if let Some(store) = &flags.blobs {
            layer.set(&["blobs", "store"], Value::from(store.as_str()));
        }
        if let Some(bus) = &flags.bus {
            layer.set(&["bus", "url"], Value::from(bus.as_str()));
        }
        if let Some(store) = &flags.views {
            layer.set(&["views", "store"], Value::from(store.as_str()));
        }
        if flags.memory {
            layer.set(&["log", "backend"], Value::from("memory"));
        }
        layer
    }

    fn set(&mut self, path: &[&str], value: Value) {
        fn put(dict: &mut Dict, path: &[&str], value: Value) {
            match path {
                [] => {}
                [last] => {
                    dict.insert((*last).to_owned(), value);
                }
                [first, rest @ ..] => {
                    let inner = dict.entry((*first).to_owned()).or_insert_with(|| Value::from(Dict::new()));
                    if let Value::Dict(_, inner) = inner {
                        put(inner, rest, value);
                    }
                }
            }
        }
        put(&mut self.values, path, value);
    }
}

/// Whether this is what Kubernetes tells every container about a Service: a Service named `quipu` makes `QUIPU_PORT` and others,
/// which are no keys of ours. Keys of ours that are levels deep have `__`, which theirs have not.
fn is_service_link(key: &str, value: &str) -> bool {
    if key.contains("__") {
        return false;
    }
    let after = |mark: &str| key.strip_prefix(mark).or_else(|| Some(key.split_once(&format!("_{mark}"))?.1));
    if after("SERVICE_HOST").is_some_and(str::is_empty) {
        return true;
    }
    if let Some(rest) = after("SERVICE_PORT") {
        return rest.is_empty() || rest.starts_with('_');
    }
    match after("PORT") {
        // Somebody who means our port writes a number.
        Some("") => value.contains("://"),
        Some(rest) => {
            let parts: Vec<&str> = rest.trim_start_matches('_').split('_').collect();
            let is_port = parts[0].bytes().all(|b| b.is_ascii_digit()) && !parts[0].is_empty();
            let is_protocol = parts.get(1).is_some_and(|p| matches!(*p, "TCP" | "UDP" | "SCTP"));
            let is_detail = matches!(parts.get(2..), Some([] | ["PROTO" | "PORT" | "ADDR"]));
            is_port && is_protocol && is_detail
        }
        None => false,
    }
}

/// Which keys are texts: their values are taken as written, whatever else they look like.
struct Texts(serde_json::Value);

impl Texts {
    fn known() -> Self {
        Self(serde_json::to_value(ConfigLayers::default()).unwrap_or_default())
    }

    fn value(&self, path: &[&str], text: &str) -> Value {
        let is_text = match path {
            // A list of several values is written as one.
            ["secrets", _] => !text.trim_start().starts_with('['),
            ["providers", _, field] => matches!(*field, "kind" | "base_url" | "api_key" | "org_api_key" | "max_tokens_field"),
            _ => path
                .iter()
                .try_fold(&self.0, |at, name| at.get(name))
                .is_some_and(serde_json::Value::is_string),
        };
        if is_text { Value::from(text) } else { parsed(text) }
    }
}

/// Text as a number, boolean, list or string, as TOML would have it.
fn parsed(text: &str) -> Value {
    text.parse().unwrap_or_else(|never: std::convert::Infallible| match never {})
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        let called = self.called.clone();
        // A variable is named as its owner wrote it.
        Metadata::named(self.name).interpolater(move |_, keys| {
            let key = keys.join(".");
            // An unknown table is known by what was written into it.
            let within = format!("{key}.");
            let written = called
                .get(&key)
                .or_else(|| Some(called.iter().find(|(path, _)| path.starts_with(&within))?.1));
            written.cloned().unwrap_or(key)
        })
    }
    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}
