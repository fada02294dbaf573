//! How a log on JetStream is found and made.

use crate::broker::durability::SyncMode;
use quipu_schemas::{
    limits::{BROKER_OPEN_MS, BROKER_OUTCOME_MS, BROKER_PREFIX_MAX_CHARS, BROKER_REQUEST_MS, PARTITIONS_DEFAULT, PARTITIONS_MAX},
    position::LogId,
};
use std::{path::PathBuf, str::FromStr, time::Duration};

/// A user and a password, `user:password`; without a colon a token; or the text of a `.creds` file. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Login(pub String);

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(…)")
    }
}

/// How a log is opened or made. The text form is
/// `nats://[user:password@]host:port[,host:port…][/prefix][?key=value&…]` with the keys `partitions`, `replicas`,
/// `domain`, `credentials` (file), `secret` (name of a secret that holds a login), `ca` (file), `certificate` and `key` (files), `system` (`user:password` of the system account), `sync` (`always` or
/// `interval`: declared, where the server is not asked) and `accept` (`unsynced`). `tls://` asks for TLS.
#[derive(Debug, Clone)]
pub struct JetStreamOptions {
    /// Server addresses, `nats://host:port` or `tls://host:port`.
    pub servers: Vec<String>,
    /// Who connects, if no credentials file says so.
    pub login: Option<Login>,
    /// Part of the names of streams and subjects; `[A-Za-z0-9_-]`, 32 at most.
    pub prefix: String,
    /// Number of partitions; fixed when the log is made, and checked afterwards.
    pub partitions: u16,
    /// Identity of a new log (random if `None`); of an existing one, checked if given.
    pub log_id: Option<LogId>,
    /// Generation of a new log.
    pub generation: u32,
    /// Replicas of a new stream; of an existing one, checked. 1, 3 or 5.
    pub replicas: usize,
    /// JetStream domain, if the servers are reached through a leaf node.
    pub domain: Option<String>,
    /// A `.creds` file.
    pub credentials: Option<PathBuf>,
    /// Name of a secret that holds who connects, for whoever knows secrets.
    pub secret: Option<String>,
    /// A PEM file of roots to trust.
    pub roots: Option<PathBuf>,
    /// PEM files of a certificate and its key, for servers that ask clients for one.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Who may use the system account, by which the servers are asked for their sync mode.
    pub system: Option<Login>,
    /// The servers' sync mode (`sync_interval`), where they cannot be asked.
    pub declared_sync: Option<SyncMode>,
    /// Takes a log whose acknowledgements do not wait for a disk (`memory`, `quorum-memory`); refused otherwise.
    pub accept_unsynced: bool,
    /// How long one request is waited for.
    pub request: Duration,
    /// How long the outcome of one append or claim is looked for before it is called unknown.
    pub outcome: Duration,
    /// How long opening waits for the servers.
    pub open: Duration,
}

impl Default for JetStreamOptions {
    fn default() -> Self {
        Self {
            servers: vec!["nats://127.0.0.1:4222".into()],
            login: None,
            prefix: "main".into(),
            partitions: PARTITIONS_DEFAULT,
            log_id: None,
            generation: 1,
            replicas: 1,
            domain: None,
            credentials: None,
            secret: None,
            roots: None,
            certificate: None,
            system: None,
            declared_sync: None,
            accept_unsynced: false,
            request: Duration::from_millis(BROKER_REQUEST_MS),
            outcome: Duration::from_millis(BROKER_OUTCOME_MS),
            open: Duration::from_millis(BROKER_OPEN_MS),
        }
    }
}

/// Text or values that name no log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadOptions {
    /// Not the address of a nats-server.
    #[error("a JetStream log is named by nats://host:port[/prefix][?key=value], not by `{0}`")]
    Address(String),
    /// A key that does not exist.
    #[error(
        "unknown option `{0}` of a JetStream log; known: partitions, replicas, domain, credentials, secret, ca, certificate, key, system, sync, accept"
    )]
    Key(String),
    /// A value that its key does not take.
    #[error("`{key}` cannot be `{value}`: {takes}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// What it takes.
        takes: &'static str,
    },
}

impl JetStreamOptions {
    /// Checks what the servers would otherwise refuse in other words.
    pub fn check(&self) -> Result<(), BadOptions> {
        let bad = |key, value: &dyn ToString, takes| {
            Err(BadOptions::Value {
                key,
                value: value.to_string(),
                takes,
            })
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if self.servers.is_empty() {
            return Err(BadOptions::Address(String::new()));
        }
        if self.prefix.is_empty() || self.prefix.len() > BROKER_PREFIX_MAX_CHARS || !self.prefix.chars().all(plain) {
            return bad("prefix", &self.prefix, "1 to 32 of A-Z a-z 0-9 _ -");
        }
        if !(1..=PARTITIONS_MAX).contains(&self.partitions) {
            return bad("partitions", &self.partitions, "1 to 1024");
        }
        if ![1, 3, 5].contains(&self.replicas) {
            return bad("replicas", &self.replicas, "1, 3 or 5");
        }
        if self.secret.is_some() && self.credentials.is_some() {
            return bad(
                "secret",
                &self.secret.as_deref().unwrap_or(""),
                "a login, where no file of credentials is named",
            );
        }
        if let Some((certificate, key)) = &self.certificate {
            if key.as_os_str().is_empty() {
                return bad("key", &"", "the PEM file of the key of `certificate`");
            }
            if certificate.as_os_str().is_empty() {
                return bad("certificate", &"", "the PEM file of the certificate of `key`");
            }
            if !self.is_tls() {
                return bad("certificate", &certificate.display(), "a file where the address begins with tls://");
            }
        }
        if self.domain.as_ref().is_some_and(|d| d.is_empty() || !d.chars().all(plain)) {
            return bad("domain", &self.domain.as_deref().unwrap_or(""), "A-Z a-z 0-9 _ -");
        }
        Ok(())
    }

    fn is_tls(&self) -> bool {
        self.servers.iter().all(|server| server.starts_with("tls://"))
    }

    /// Name of a partition's stream.
    pub fn stream(&self, partition: u16) -> String {
        format!("QUIPU_{}_P{partition:03}", self.prefix)
    }

    /// Subject of a partition's frames.
    pub fn subject(&self, partition: u16) -> String {
        format!("quipu.log.{}.{partition:03}", self.prefix)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), BadOptions> {
        let bad = |key, takes| BadOptions::Value {
            key,
            value: value.to_owned(),
            takes,
        };
        match key {
            "partitions" => self.partitions = value.parse().map_err(|_| bad("partitions", "1 to 1024"))?,
            "replicas" => self.replicas = value.parse().map_err(|_| bad("replicas", "1, 3 or 5"))?,
            "domain" => self.domain = Some(value.to_owned()),
            "credentials" => self.credentials = Some(value.into()),
            "secret" => self.secret = Some(value.to_owned()),
            "ca" => self.roots = Some(value.into()),
            "certificate" => self.certificate.get_or_insert_default().0 = value.into(),
            "key" => self.certificate.get_or_insert_default().1 = value.into(),
            "system" => self.system = Some(Login(value.to_owned())),
            "sync" => {
                self.declared_sync = Some(match value {
                    "always" => SyncMode::Always,
                    "interval" => SyncMode::Interval,
                    _ => return Err(bad("sync", "always or interval")),
                });
            }
            "accept" if value == "unsynced" => self.accept_unsynced = true,
            "accept" => return Err(bad("accept", "unsynced")),
            _ => return Err(BadOptions::Key(key.to_owned())),
        }
        Ok(())
    }
}

impl FromStr for JetStreamOptions {
    type Err = BadOptions;

    fn from_str(text: &str) -> Result<Self, BadOptions> {
        // Without what comes before the host: it may hold a password.
        let address = || BadOptions::Address(text.rsplit('@').next().unwrap_or_default().to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(address)?;
        if !["nats", "tls"].contains(&scheme) {
            return Err(address());
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match hosts.rsplit_once('@') {
            Some((login, hosts)) => (Some(Login(login.to_owned())), hosts),
            None => (None, hosts),
        };
        if hosts.split(',').any(str::is_empty) {
            return Err(address());
        }
        let mut options = Self {
            servers: hosts.split(',').map(|host| format!("{scheme}://{host}")).collect(),
            login,
            ..Self::default()
        };
        if !prefix.is_empty() {
            options.prefix = prefix.to_owned();
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            options.set(key, value)?;
        }
        options.check()?;
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_names_everything() {
        let o: JetStreamOptions = "nats://u:p@a:4222,b:4223/prod?replicas=3&partitions=8&system=s:x&accept=unsynced&sync=always"
            .parse()
            .unwrap();
        assert_eq!(o.servers, ["nats://a:4222", "nats://b:4223"]);
        assert_eq!(o.login, Some(Login("u:p".into())));
        assert!(!format!("{o:?}").contains("u:p"));
        assert_eq!((o.prefix.as_str(), o.partitions, o.replicas), ("prod", 8, 3));
        assert_eq!(
            (o.system.clone(), o.declared_sync),
            (Some(Login("s:x".into())), Some(SyncMode::Always))
        );
        assert!(o.accept_unsynced);
        assert_eq!((o.stream(7), o.subject(7)), ("QUIPU_prod_P007".into(), "quipu.log.prod.007".into()));
        let o: JetStreamOptions = "tls://a:4222".parse().unwrap();
        assert_eq!(
            (o.servers[0].as_str(), o.prefix.as_str(), o.partitions),
            ("tls://a:4222", "main", 16)
        );
        assert!(!o.accept_unsynced);
    }

    /// What is refused, with the words for it, next to what is just taken.
    #[test]
    fn the_bounds_of_each_option_are_told() {
        let long = "p".repeat(BROKER_PREFIX_MAX_CHARS);
        for text in [
            format!("nats://a:1/{long}"),
            "nats://a:1/A-z_0".into(),
            "nats://a:1?partitions=1".into(),
            "nats://a:1?partitions=1024".into(),
            "nats://a:1?replicas=5".into(),
            "nats://a:1?domain=leaf-1_A&sync=interval".into(),
        ] {
            assert!(text.parse::<JetStreamOptions>().is_ok(), "{text}");
        }
        for (text, key, takes) in [
            (format!("nats://a:1/{long}p"), "prefix", "1 to 32 of A-Z a-z 0-9 _ -"),
            ("nats://a:1/x.y".into(), "prefix", "1 to 32 of A-Z a-z 0-9 _ -"),
            ("nats://a:1?partitions=0".into(), "partitions", "1 to 1024"),
            ("nats://a:1?partitions=1025".into(), "partitions", "1 to 1024"),
            ("nats://a:1?partitions=many".into(), "partitions", "1 to 1024"),
            ("nats://a:1?replicas=2".into(), "replicas", "1, 3 or 5"),
            ("nats://a:1?domain=".into(), "domain", "A-Z a-z 0-9 _ -"),
            ("nats://a:1?domain=a.b".into(), "domain", "A-Z a-z 0-9 _ -"),
            ("nats://a:1?sync=maybe".into(), "sync", "always or interval"),
            ("nats://a:1?accept=".into(), "accept", "unsynced"),
            (
                "nats://a:1?secret=nats&credentials=/c.creds".into(),
                "secret",
                "a login, where no file of credentials is named",
            ),
            (
                "tls://a:1?certificate=/c.pem".into(),
                "key",
                "the PEM file of the key of `certificate`",
            ),
            (
                "tls://a:1?key=/k.pem".into(),
                "certificate",
                "the PEM file of the certificate of `key`",
            ),
            (
                "nats://a:1?certificate=/c.pem&key=/k.pem".into(),
                "certificate",
                "a file where the address begins with tls://",
            ),
        ] {
            let refused = text.parse::<JetStreamOptions>().unwrap_err();
            assert!(
                matches!(&refused, BadOptions::Value { key: k, takes: t, .. } if (*k, *t) == (key, takes)),
                "{text}: {refused}"
            );
        }
        assert_eq!(
            "nats://a:1?x=1".parse::<JetStreamOptions>().unwrap_err(),
            BadOptions::Key("x".into())
        );
        for nowhere in [
            JetStreamOptions {
                servers: vec![],
                ..JetStreamOptions::default()
            },
            JetStreamOptions {
                prefix: String::new(),
                ..JetStreamOptions::default()
            },
        ] {
            assert!(nowhere.check().is_err(), "{nowhere:?}");
        }
        // What is refused may hold a password before its host.
        let refused = "http://user:secret@a:1".parse::<JetStreamOptions>().unwrap_err();
        assert_eq!(refused, BadOptions::Address("a:1".into()));
    }

    #[test]
    fn files_and_domains_are_named_by_their_keys() {
        let o: JetStreamOptions = "nats://a:1?credentials=/c.creds&ca=/ca.pem&domain=leaf&sync=interval&replicas=5"
            .parse()
            .unwrap();
        assert_eq!((o.credentials, o.roots), (Some("/c.creds".into()), Some("/ca.pem".into())));
        let by_certificate: JetStreamOptions = "tls://a:1?certificate=/c.pem&key=/k.pem&secret=nats".parse().unwrap();
        assert_eq!(
            (by_certificate.certificate, by_certificate.secret.as_deref()),
            (Some(("/c.pem".into(), "/k.pem".into())), Some("nats"))
        );
        assert_eq!(
            (o.domain.as_deref(), o.declared_sync, o.replicas),
            (Some("leaf"), Some(SyncMode::Interval), 5)
        );
        assert_eq!(format!("{:?}", Login("u:p".into())), "Login(…)");
    }

    #[test]
    fn what_names_no_log_is_refused() {
        for text in [
            "kafka://a:1",
            "nats://",
            "nats://a:1,,b:1",
            "a:4222",
            "nats://a:1/x.y",
            "nats://a:1?replicas=2",
            "nats://a:1?partitions=0",
            "nats://a:1?sync=maybe",
            "nats://a:1?accept=anything",
            "nats://a:1?colour=red",
        ] {
            assert!(text.parse::<JetStreamOptions>().is_err(), "{text}");
        }
    }
}
