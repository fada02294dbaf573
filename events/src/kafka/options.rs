//! How a log on Kafka is found and made.

use super::security::{KafkaSecurity, Misfit};
use crate::broker::durability::SyncMode;
use quipu_schemas::{
    limits::{BROKER_OPEN_MS, BROKER_OUTCOME_MS, BROKER_PREFIX_MAX_CHARS, BROKER_REQUEST_MS, PARTITIONS_DEFAULT, PARTITIONS_MAX},
    position::LogId,
};
use std::{str::FromStr, time::Duration};

/// First and longest pause before a request is sent again, in the client's own words.
pub(super) const RETRY_MS: [(&str, &str); 5] = [
    ("retry.backoff.ms", "20"),
    ("retry.backoff.max.ms", "500"),
    ("reconnect.backoff.ms", "20"),
    ("reconnect.backoff.max.ms", "500"),
    ("fetch.error.backoff.ms", "20"),
];

/// How a log is opened or made. The text form is `kafka://host:port[,host:port…][/prefix][?key=value&…]` with the keys
/// `partitions`, `replicas`, `min_insync`, `sync` (`always` or `interval`) and `accept` (`unsynced`), and in a build with the feature
/// `kafka-tls` `security` (`plaintext`, `ssl`, `sasl_ssl`), `ca`, `certificate`, `key` (files), `mechanism`, `user` and `secret`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaOptions {
    /// Broker addresses to begin with, `host:port`.
    pub brokers: Vec<String>,
    /// How they are spoken to, and as whom.
    pub security: KafkaSecurity,
    /// First part of the topics' names; `[A-Za-z0-9_-]`, 32 at most.
    pub prefix: String,
    /// Number of partitions; fixed when the log is made, and checked afterwards.
    pub partitions: u16,
    /// Identity of a new log (random if `None`); of an existing one, checked if given.
    pub log_id: Option<LogId>,
    /// Generation of a new log.
    pub generation: u32,
    /// Replicas of a new topic; of an existing one, checked. 1, 3 or 5.
    pub replicas: u16,
    /// `min.insync.replicas` of a new topic, and the least of an existing one; a majority of the replicas if `None`.
    pub min_insync: Option<u16>,
    /// `always`: a new topic is made with `flush.messages=1`. Of brokers that do not tell their configuration it is
    /// believed; those that do are believed themselves.
    pub sync: Option<SyncMode>,
    /// Takes a log whose acknowledgements do not wait for a disk (`memory`, `quorum-memory`); refused otherwise.
    pub accept_unsynced: bool,
    /// How long one request is waited for.
    pub request: Duration,
    /// How long the outcome of one append or claim is waited for before it is called unknown.
    pub outcome: Duration,
    /// How long opening waits for the brokers.
    pub open: Duration,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            brokers: vec!["127.0.0.1:9092".into()],
            security: KafkaSecurity::default(),
            prefix: "quipu".into(),
            partitions: PARTITIONS_DEFAULT,
            log_id: None,
            generation: 1,
            replicas: 1,
            min_insync: None,
            sync: None,
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
    /// Not the address of a broker.
    #[error("a Kafka log is named by kafka://host:port[,host:port][/prefix][?key=value], not by `{0}`")]
    Address(String),
    /// A user or password in the address.
    #[error("a Kafka log's address takes no user and no password before the host: use user=NAME and secret=NAME with security=sasl_ssl")]
    Login,
    /// TLS or SASL, which this build has not.
    #[error("this build speaks to Kafka without TLS and SASL: build it with `--features kafka-tls`")]
    NotBuilt,
    /// A secret that nobody looked up.
    #[error("the address names the secret `{0}`, and secrets are a node's")]
    NoSecret(String),
    /// A key that does not exist.
    #[error(
        "unknown option `{0}` of a Kafka log; known: partitions, replicas, min_insync, sync, accept, security, ca, certificate, key, mechanism, user, secret"
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

fn misfit((key, value, takes): Misfit) -> BadOptions {
    BadOptions::Value { key, value, takes }
}

impl KafkaOptions {
    /// Checks what the brokers would otherwise refuse in other words.
    pub fn check(&self) -> Result<(), BadOptions> {
        let bad = |key, value: &dyn ToString, takes| {
            Err(BadOptions::Value {
                key,
                value: value.to_string(),
                takes,
            })
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if self.brokers.is_empty() {
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
        if !(1..=self.replicas).contains(&self.least_insync()) {
            return bad("min_insync", &self.least_insync(), "1 to the number of replicas");
        }
        self.security.check().map_err(misfit)?;
        if self.security.takes_tls() && !cfg!(feature = "kafka-tls") {
            return Err(BadOptions::NotBuilt);
        }
        Ok(())
    }

    /// The same, and that whoever connects is known.
    pub(super) fn ready(&self) -> Result<(), BadOptions> {
        self.check()?;
        match &self.security.secret {
            Some(name) if self.security.password.is_none() => Err(BadOptions::NoSecret(name.clone())),
            _ => Ok(()),
        }
    }

    /// How many replicas must have a frame before it is acknowledged.
    pub fn least_insync(&self) -> u16 {
        self.min_insync.unwrap_or(self.replicas / 2 + 1)
    }

    /// Name of the topic that holds the frames.
    pub fn log_topic(&self) -> String {
        format!("{}.log", self.prefix)
    }

    /// Name of the topic that says what the log is.
    pub fn meta_topic(&self) -> String {
        format!("{}.meta", self.prefix)
    }

    /// What every client of these brokers is told: where they are, and how long it waits before it asks again.
    pub fn client_config(&self) -> rdkafka::ClientConfig {
        let mut config = rdkafka::ClientConfig::new();
        config.set("bootstrap.servers", self.brokers.join(","));
        config.set("client.id", "quipu");
        for (key, value) in self.security.settings() {
            config.set(key, value);
        }
        config.set("topic.metadata.refresh.interval.ms", "30000");
        for (key, value) in RETRY_MS.iter().filter(|(key, _)| !key.starts_with("fetch")) {
            config.set(*key, *value);
        }
        config
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
            "min_insync" => self.min_insync = Some(value.parse().map_err(|_| bad("min_insync", "1 to the number of replicas"))?),
            "sync" => {
                self.sync = Some(match value {
                    "always" => SyncMode::Always,
                    "interval" => SyncMode::Interval,
                    _ => return Err(bad("sync", "always or interval")),
                });
            }
            "accept" if value == "unsynced" => self.accept_unsynced = true,
            "accept" => return Err(bad("accept", "unsynced")),
            _ if self.security.set(key, value).map_err(misfit)? => {}
            _ => return Err(BadOptions::Key(key.to_owned())),
        }
        Ok(())
    }
}

impl std::fmt::Display for KafkaOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "kafka://{}/{}?partitions={}&replicas={}",
            self.brokers.join(","),
            self.prefix,
            self.partitions,
            self.replicas
        )
    }
}

impl FromStr for KafkaOptions {
    type Err = BadOptions;

    fn from_str(text: &str) -> Result<Self, BadOptions> {
        // Whatever is refused may hold a password before its host.
        let address = || BadOptions::Address(text.rsplit('@').next().unwrap_or_default().to_owned());
        let rest = text.strip_prefix("kafka://").ok_or_else(address)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if hosts.contains('@') {
            return Err(BadOptions::Login);
        }
        let named = |host: &str| {
            let (name, port) = host.rsplit_once(':')?;
            (!name.is_empty() && port.parse::<u16>().is_ok()).then(|| host.to_owned())
        };
        let brokers: Option<Vec<String>> = hosts.split(',').map(named).collect();
        let mut options = Self {
            brokers: brokers.ok_or_else(address)?,
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
        let o: KafkaOptions = "kafka://a:9092,b:9093/prod?replicas=3&partitions=8&min_insync=3&accept=unsynced&sync=always"
            .parse()
            .unwrap();
        assert_eq!(o.brokers, ["a:9092", "b:9093"]);
        assert_eq!((o.prefix.as_str(), o.partitions, o.replicas, o.least_insync()), ("prod", 8, 3, 3));
        assert!(o.accept_unsynced);
        assert_eq!(o.sync, Some(SyncMode::Always));
        assert_eq!((o.log_topic(), o.meta_topic()), ("prod.log".into(), "prod.meta".into()));
        let o: KafkaOptions = "kafka://a:9092".parse().unwrap();
        assert_eq!((o.prefix.as_str(), o.partitions, o.least_insync()), ("quipu", 16, 1));
        assert!(!o.accept_unsynced);
        assert_eq!(o.to_string(), "kafka://a:9092/quipu?partitions=16&replicas=1");
        assert_eq!(o.client_config().get("bootstrap.servers"), Some("a:9092"));
    }

    /// What is refused, with the words for it, next to what is just taken.
    #[test]
    fn the_bounds_of_each_option_are_told() {
        let long = "p".repeat(BROKER_PREFIX_MAX_CHARS);
        for (text, least) in [
            (format!("kafka://a:1/{long}"), 1),
            ("kafka://a:1/A-z_0".into(), 1),
            ("kafka://a:1?partitions=1".into(), 1),
            ("kafka://a:1?partitions=1024&sync=interval".into(), 1),
            ("kafka://a:1?replicas=3".into(), 2),
            ("kafka://a:1?replicas=5".into(), 3),
            ("kafka://a:1?replicas=3&min_insync=1".into(), 1),
            ("kafka://a:1?replicas=3&min_insync=3".into(), 3),
        ] {
            let taken = text.parse::<KafkaOptions>().expect(&text);
            assert_eq!(taken.least_insync(), least, "{text}: a majority, or what was said");
        }
        for (text, key, takes) in [
            (format!("kafka://a:1/{long}p"), "prefix", "1 to 32 of A-Z a-z 0-9 _ -"),
            ("kafka://a:1/x.y".into(), "prefix", "1 to 32 of A-Z a-z 0-9 _ -"),
            ("kafka://a:1?partitions=0".into(), "partitions", "1 to 1024"),
            ("kafka://a:1?partitions=1025".into(), "partitions", "1 to 1024"),
            ("kafka://a:1?partitions=many".into(), "partitions", "1 to 1024"),
            ("kafka://a:1?replicas=2".into(), "replicas", "1, 3 or 5"),
            ("kafka://a:1?replicas=x".into(), "replicas", "1, 3 or 5"),
            ("kafka://a:1?min_insync=0".into(), "min_insync", "1 to the number of replicas"),
            (
                "kafka://a:1?replicas=3&min_insync=4".into(),
                "min_insync",
                "1 to the number of replicas",
            ),
            ("kafka://a:1?min_insync=x".into(), "min_insync", "1 to the number of replicas"),
            ("kafka://a:1?sync=maybe".into(), "sync", "always or interval"),
            ("kafka://a:1?accept=".into(), "accept", "unsynced"),
        ] {
            let refused = text.parse::<KafkaOptions>().unwrap_err();
            assert!(
                matches!(&refused, BadOptions::Value { key: k, takes: t, .. } if (*k, *t) == (key, takes)),
                "{text}: {refused}"
            );
        }
        assert_eq!("kafka://a:1?x=1".parse::<KafkaOptions>().unwrap_err(), BadOptions::Key("x".into()));
        for nowhere in [
            KafkaOptions {
                brokers: vec![],
                ..KafkaOptions::default()
            },
            KafkaOptions {
                prefix: String::new(),
                ..KafkaOptions::default()
            },
        ] {
            assert!(nowhere.check().is_err(), "{nowhere:?}");
        }
        assert_eq!("kafka://user:hunter2@a:1".parse::<KafkaOptions>(), Err(BadOptions::Login));
        assert_eq!(
            "http://user:hunter2@a:1".parse::<KafkaOptions>(),
            Err(BadOptions::Address("a:1".into()))
        );
        for text in ["kafka://:1", "kafka://a:x", "kafka://a:70000"] {
            assert!(matches!(text.parse::<KafkaOptions>(), Err(BadOptions::Address(_))), "{text}");
        }
        assert_eq!(
            "kafka://a:1?sync=interval".parse::<KafkaOptions>().unwrap().sync,
            Some(SyncMode::Interval)
        );
    }

    #[test]
    fn tls_takes_a_build_that_has_it() {
        let text = "kafka://a:1?security=sasl_ssl&user=quipu&secret=kafka&mechanism=plain";
        let read = text.parse::<KafkaOptions>();
        if cfg!(feature = "kafka-tls") {
            let config = read.unwrap().client_config();
            assert_eq!(
                (config.get("sasl.mechanism"), config.get("sasl.username")),
                (Some("PLAIN"), Some("quipu"))
            );
        } else {
            let refused = read.unwrap_err();
            assert_eq!(refused, BadOptions::NotBuilt);
            assert!(refused.to_string().contains("--features kafka-tls"), "{refused}");
        }
        let alone = "kafka://a:1?user=quipu".parse::<KafkaOptions>().unwrap_err();
        assert!(matches!(alone, BadOptions::Value { key: "user", .. }), "{alone}");
    }

    #[test]
    fn what_names_no_log_is_refused_and_no_password_is_shown() {
        for text in [
            "nats://a:1",
            "kafka://",
            "kafka://a",
            "kafka://a:1,,b:1",
            "a:9092",
            "kafka://a:1/x.y",
            "kafka://a:1?replicas=2",
            "kafka://a:1?replicas=3&min_insync=4",
            "kafka://a:1?partitions=0",
            "kafka://a:1?sync=maybe",
            "kafka://a:1?accept=anything",
            "kafka://a:1?colour=red",
            "kafka://user:hunter2@a:1",
            "http://user:hunter2@a:1",
        ] {
            let refused = text.parse::<KafkaOptions>().expect_err(text).to_string();
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }
}
