//! Which log a node runs on, by its name or address, and how it is opened.

#[cfg(feature = "jetstream")]
use crate::jetstream::{self, JetStreamLog, JetStreamOptions};
use crate::{
    disk::RealDisk,
    embedded::{self, EmbeddedLog, EmbeddedOptions},
    heads::{self, EndsError},
    memory::MemoryLog,
    port::Log,
};
use quipu_schemas::position::LogId;
use std::{fmt, path::Path, str::FromStr, sync::Arc};

/// A kind of log and where it is. Shown without passwords.
#[derive(Debug, Clone, Default)]
pub enum Backend {
    /// Lives and ends with the process.
    Memory,
    /// Files in the node's data directory.
    #[default]
    Embedded,
    /// A NATS cluster.
    #[cfg(feature = "jetstream")]
    JetStream(Box<JetStreamOptions>),
}

/// Text that names no log that this build can open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBackend {
    /// No kind of log.
    #[error("`{0}` is no log: use embedded, memory, or an address that begins with nats:// or tls://")]
    Unknown(String),
    /// A kind of log that was left out of this build.
    #[error("this build has no {scheme} log: build it with `--features {feature}`")]
    NotBuilt {
        /// Scheme of the address.
        scheme: &'static str,
        /// Cargo feature that brings it.
        feature: &'static str,
    },
    /// An address with something wrong in it.
    #[error("{0}")]
    Address(String),
}

/// Why a log does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The embedded log.
    #[error(transparent)]
    Embedded(#[from] embedded::OpenError),
    /// The log on JetStream.
    #[cfg(feature = "jetstream")]
    #[error(transparent)]
    JetStream(#[from] jetstream::OpenError),
    /// It ends before what this node saw of it.
    #[error(transparent)]
    Ends(#[from] EndsError),
    /// An embedded log needs a directory.
    #[error("an embedded log needs a data directory")]
    NoDirectory,
}

/// A log that was opened.
pub struct OpenedLog {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The same, where it is embedded: for backups and its report.
    pub embedded: Option<Arc<EmbeddedLog>>,
}

impl Backend {
    /// Opens the log or makes it. `partitions` is that of a new embedded or memory log; a broker's is in its address.
    /// With a data directory, a broker's log that ends before what the heads file of that directory says is refused.
    /// Blocks, on a broker until its servers answer or the deadline of its options has passed.
    pub fn open(&self, data_dir: Option<&Path>, partitions: u16, new_id: LogId) -> Result<OpenedLog, OpenError> {
        let log: Arc<dyn Log> = match self {
            Self::Memory => Arc::new(MemoryLog::new(new_id, partitions)),
            Self::Embedded => {
                let options = EmbeddedOptions { partitions, ..EmbeddedOptions::default() };
                let log = Arc::new(EmbeddedLog::open(data_dir.ok_or(OpenError::NoDirectory)?, &options)?);
                return Ok(OpenedLog { log: log.clone(), embedded: Some(log) });
            }
            #[cfg(feature = "jetstream")]
            Self::JetStream(options) => Arc::new(JetStreamLog::open(options)?),
        };
        if let Some(dir) = data_dir {
            heads::check_ends(&RealDisk, dir, &*log)?;
        }
        Ok(OpenedLog { log, embedded: None })
    }

    /// Whether the log is outside this machine's files, so that other nodes may own what this one does not.
    pub fn is_shared(&self) -> bool {
        !matches!(self, Self::Memory | Self::Embedded)
    }
}

impl FromStr for Backend {
    type Err = BadBackend;

    fn from_str(text: &str) -> Result<Self, BadBackend> {
        match text.split_once("://").map_or(text, |(scheme, _)| scheme) {
            "memory" => Ok(Self::Memory),
            "embedded" => Ok(Self::Embedded),
            #[cfg(feature = "jetstream")]
            "nats" | "tls" => {
                let options = text.parse::<JetStreamOptions>().map_err(|e| BadBackend::Address(e.to_string()))?;
                Ok(Self::JetStream(Box::new(options)))
            }
            #[cfg(not(feature = "jetstream"))]
            "nats" | "tls" => Err(BadBackend::NotBuilt { scheme: "nats", feature: "jetstream" }),
            // What comes before an `@` may be a password.
            _ => Err(BadBackend::Unknown(text.rsplit('@').next().unwrap_or_default().to_owned())),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Embedded => f.write_str("embedded"),
            #[cfg(feature = "jetstream")]
            Self::JetStream(options) => write!(f, "{}/{}", options.servers.join(","), options.prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_or_an_address_tells_which_and_passwords_are_not_shown() {
        assert!(matches!("embedded".parse(), Ok(Backend::Embedded)));
        assert!(matches!("memory".parse(), Ok(Backend::Memory)));
        let told = "ftp://user:secret@host/x".parse::<Backend>().unwrap_err().to_string();
        assert!(told.contains("embedded") && !told.contains("secret"), "{told}");
        let nats = "nats://user:secret@host:4222/prod".parse::<Backend>();
        #[cfg(feature = "jetstream")]
        {
            let nats = nats.unwrap();
            assert_eq!(nats.to_string(), "nats://host:4222/prod");
            assert!(nats.is_shared() && !format!("{nats:?}").contains("secret"));
        }
        #[cfg(not(feature = "jetstream"))]
        assert!(nats.unwrap_err().to_string().contains("--features jetstream"));
    }
}
