//! Where the bus is.

#[cfg(feature = "jetstream")]
use quipu_events::jetstream::JetStreamOptions;
#[cfg(feature = "kafka")]
use quipu_events::kafka::KafkaOptions;
use std::{fmt, str::FromStr};

/// A kind of bus and its address. Shown without passwords.
#[derive(Debug, Clone)]
pub enum BusAt {
    /// A NATS cluster with JetStream; the options of a log that say something of the log alone are not looked at.
    #[cfg(feature = "jetstream")]
    Nats(Box<JetStreamOptions>),
    /// A Kafka cluster; the prefix is the first part of the topics' names, the number of partitions that of topics made.
    #[cfg(feature = "kafka")]
    Kafka(Box<KafkaOptions>),
}

/// Text that names no bus that this build can speak to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBusAt {
    /// No kind of bus.
    #[error("not a bus: `{0}`; use an address that begins with nats://, tls:// or kafka://")]
    Unknown(String),
    /// Left out of this build.
    #[error("this build has no bus on {system}: build it with `--features {feature}`")]
    NotBuilt {
        /// What it cannot speak to.
        system: &'static str,
        /// What it was built without.
        feature: &'static str,
    },
    /// An address with something wrong in it.
    #[error("{0}")]
    Address(String),
}

impl BusAt {
    /// The name of the secret by which its address says who connects.
    pub fn secret(&self) -> Option<&str> {
        match *self {
            #[cfg(feature = "jetstream")]
            Self::Nats(ref options) => options.secret.as_deref(),
            #[cfg(feature = "kafka")]
            Self::Kafka(ref options) => options.security.secret.as_deref(),
        }
    }

    /// Says what that secret is. It is never shown.
    pub fn open_with(&mut self, secret: String) {
        // Without a kind of bus in the build nothing is asked for one.
        let _ = &secret;
        match *self {
            #[cfg(feature = "jetstream")]
            Self::Nats(ref mut options) => options.login = Some(quipu_events::jetstream::Login(secret)),
            #[cfg(feature = "kafka")]
            Self::Kafka(ref mut options) => options.security.password = Some(quipu_events::kafka::Password(secret)),
        }
    }
}

impl FromStr for BusAt {
    type Err = BadBusAt;

    fn from_str(text: &str) -> Result<Self, BadBusAt> {
        match text.split_once("://") {
            #[cfg(feature = "jetstream")]
            Some(("nats" | "tls", _)) => {
                let options = text.parse::<JetStreamOptions>().map_err(|e| BadBusAt::Address(e.to_string()))?;
                Ok(Self::Nats(Box::new(options)))
            }
            #[cfg(not(feature = "jetstream"))]
            Some(("nats" | "tls", _)) => Err(BadBusAt::NotBuilt {
                system: "NATS",
                feature: "jetstream",
            }),
            #[cfg(feature = "kafka")]
            Some(("kafka", _)) => {
                let options = text.parse::<KafkaOptions>().map_err(|e| BadBusAt::Address(e.to_string()))?;
                Ok(Self::Kafka(Box::new(options)))
            }
            #[cfg(not(feature = "kafka"))]
            Some(("kafka", _)) => Err(BadBusAt::NotBuilt {
                system: "Kafka",
                feature: "kafka",
            }),
            // Without what comes before the host: it may hold a password.
            _ => Err(BadBusAt::Unknown(text.rsplit('@').next().unwrap_or_default().to_owned())),
        }
    }
}

impl fmt::Display for BusAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without a kind of bus in the build there is nothing to show.
        let _ = &f;
        match *self {
            #[cfg(feature = "jetstream")]
            Self::Nats(ref options) => {
                // They have a scheme and no login.
                f.write_str(&options.servers.join(","))?;
                if options.login.is_some() {
                    f.write_str(" (with a login)")
                } else {
                    Ok(())
                }
            }
            // Nothing in it is secret.
            #[cfg(feature = "kafka")]
            Self::Kafka(ref options) => write!(f, "kafka://{}/{}", options.brokers.join(","), options.prefix),
        }
    }
}

#[cfg(all(test, feature = "kafka"))]
mod kafka_tests {
    use super::*;

    #[test]
    fn the_address_of_a_kafka_bus_is_that_of_a_log() {
        let at: BusAt = "kafka://a:9092,b:9092/prod?replicas=3&min_insync=2".parse().unwrap();
        assert_eq!(at.to_string(), "kafka://a:9092,b:9092/prod");
        let refused = "kafka://u:hunter2@a:1".parse::<BusAt>().unwrap_err().to_string();
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}

#[cfg(all(test, feature = "jetstream"))]
mod tests {
    use super::*;

    #[test]
    fn bus_address_reads_like_a_logs_and_shows_no_password() {
        let at: BusAt = "nats://u:hunter2@a:4222,b:4222?replicas=3".parse().unwrap();
        assert_eq!(at.to_string(), "nats://a:4222,nats://b:4222 (with a login)");
        assert!(!format!("{at:?}").contains("hunter2"));
        for text in ["amqp://u:hunter2@a:1", "a:4222", "nats://u:hunter2@a:1?colour=red", ""] {
            let error = text.parse::<BusAt>().unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
