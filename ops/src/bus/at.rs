//! Where the bus is.

#[cfg(feature = "jetstream")]
use quipu_events::jetstream::JetStreamOptions;
use std::{fmt, str::FromStr};

/// A kind of bus and its address. Shown without passwords.
#[derive(Debug, Clone)]
pub enum BusAt {
    /// A NATS cluster with JetStream; the options of a log that say something of the log alone are not looked at.
    #[cfg(feature = "jetstream")]
    Nats(Box<JetStreamOptions>),
}

/// Text that names no bus that this build can speak to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBusAt {
    /// No kind of bus.
    #[error("`{0}` is no bus: use an address that begins with nats:// or tls://")]
    Unknown(String),
    /// Left out of this build.
    #[error("this build has no NATS bus: build it with `--features jetstream`")]
    NotBuilt,
    /// An address with something wrong in it.
    #[error("{0}")]
    Address(String),
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
            Some(("nats" | "tls", _)) => Err(BadBusAt::NotBuilt),
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
        }
    }
}

#[cfg(all(test, feature = "jetstream"))]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_that_of_a_log_and_shown_without_passwords() {
        let at: BusAt = "nats://u:secret@a:4222,b:4222?replicas=3".parse().unwrap();
        assert_eq!(at.to_string(), "nats://a:4222,nats://b:4222 (with a login)");
        assert!(!format!("{at:?}").contains("secret"));
        for text in ["amqp://u:secret@a:1", "a:4222", "nats://u:secret@a:1?colour=red", ""] {
            let error = text.parse::<BusAt>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
