//! Which log a node runs on, by its name or address, and how it is opened.

mod error;

#[cfg(feature = "jetstream")]
use crate::jetstream::{JetStreamLog, JetStreamOptions};
#[cfg(feature = "kafka")]
use crate::kafka::{KafkaLog, KafkaOptions};
use crate::{
    blobs::{BLOBS_DIR, Blobs, BlobsAt, DirectoryBlobs, MemoryBlobs},
    channel::Channel,
    disk::DiskLock,
    embedded::{EmbeddedLog, EmbeddedOptions},
    keyring::{KeyStore, Keyring},
    leases::{Alone, Leases, Member},
    memory::MemoryLog,
    port::Log,
};
#[cfg(any(feature = "jetstream", feature = "kafka"))]
use crate::{
    broker::recent::Recent,
    disk::{Disk, LockError, RealDisk},
    heads,
};
pub use error::{BadBackend, OpenError};
use quipu_schemas::position::LogId;
use std::{fmt, fs, io, path::Path, str::FromStr, sync::Arc, time::Duration};

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
    /// A Kafka cluster.
    #[cfg(feature = "kafka")]
    Kafka(Box<KafkaOptions>),
}

/// What nodes that share a log use beside it.
pub trait SharedLog: Send + Sync {
    /// Where their wrapped data keys are.
    fn keys(&self) -> Result<Arc<dyn KeyStore>, OpenError>;
    /// Joins them. A lease lives for `life`. Blocks.
    fn join(&self, me: Member, life: Duration) -> Result<Arc<dyn Leases>, OpenError>;
    /// Where their large values are kept, if the servers of the log keep such. Blocks.
    fn blobs(&self) -> Result<Option<Arc<dyn Blobs>>, OpenError> {
        Ok(None)
    }
    /// Plain messages between them, where the servers carry such.
    fn channel(&self) -> Option<Arc<dyn Channel>> {
        None
    }
}

#[cfg(feature = "jetstream")]
struct OnJetStream {
    log: Arc<JetStreamLog>,
    options: Box<JetStreamOptions>,
}

#[cfg(feature = "jetstream")]
impl SharedLog for OnJetStream {
    fn keys(&self) -> Result<Arc<dyn KeyStore>, OpenError> {
        Ok(Arc::new(self.log.keys(&self.options)?))
    }

    fn join(&self, me: Member, life: Duration) -> Result<Arc<dyn Leases>, OpenError> {
        Ok(Arc::new(self.log.join(&self.options, me, life)?))
    }

    fn channel(&self) -> Option<Arc<dyn Channel>> {
        Some(Arc::new(self.log.channel(&self.options)?))
    }

    fn blobs(&self) -> Result<Option<Arc<dyn Blobs>>, OpenError> {
        Ok(Some(Arc::new(self.log.blobs(&self.options)?)))
    }
}

#[cfg(feature = "kafka")]
struct OnKafka {
    log: Arc<KafkaLog>,
    options: Box<KafkaOptions>,
}

#[cfg(feature = "kafka")]
impl SharedLog for OnKafka {
    fn keys(&self) -> Result<Arc<dyn KeyStore>, OpenError> {
        Ok(Arc::new(KafkaLog::keys(&self.options)?))
    }

    fn join(&self, me: Member, life: Duration) -> Result<Arc<dyn Leases>, OpenError> {
        Ok(Arc::new(self.log.join(&self.options, me, life)?))
    }
}

/// A log that was opened.
pub struct OpenedLog {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The same, where it is embedded: for backups and its report.
    pub embedded: Option<Arc<EmbeddedLog>>,
    /// The lock on the data directory of a node whose log is elsewhere.
    pub lock: Option<Box<dyn DiskLock>>,
    /// What its nodes share, where others may serve it too.
    pub shared: Option<Arc<dyn SharedLog>>,
}

/// Name of the file of a node's id within its data directory.
const NODE_FILE: &str = "node";
/// Name of the lock file of a data directory without a log.
#[cfg(any(feature = "jetstream", feature = "kafka"))]
const LOCK_FILE: &str = "node.lock";

impl OpenedLog {
    /// Opens the log's keys: those of the data directory, or those that the nodes of a shared log have in common.
    pub fn keys(&self, data_dir: &Path, allow_lost: bool) -> Result<Keyring, OpenError> {
        Ok(match &self.shared {
            None => Keyring::of_log(data_dir, &*self.log, allow_lost)?,
            Some(shared) => Keyring::of_shared_log(data_dir, &*self.log, shared.keys()?, allow_lost)?,
        })
    }

    /// Opens the store of large values: where `at` says, else where the log is. `None`: there is none that all nodes of the
    /// log would find, so values stand in their records. Blocks.
    pub fn blobs(&self, data_dir: Option<&Path>, at: &BlobsAt) -> Result<Option<Arc<dyn Blobs>>, OpenError> {
        if let Some(store) = at.open()? {
            return Ok(Some(store));
        }
        match (&self.shared, data_dir) {
            (Some(shared), _) => shared.blobs(),
            (None, Some(dir)) => Ok(Some(Arc::new(DirectoryBlobs::open(&dir.join(BLOBS_DIR))?))),
            (None, None) => Ok(Some(Arc::new(MemoryBlobs::default()))),
        }
    }

    /// Joins the nodes of the log; alone where it is not shared. A lease lives for `life`. Blocks.
    pub fn join(&self, me: Member, life: Duration) -> Result<Arc<dyn Leases>, OpenError> {
        match &self.shared {
            None => Ok(Arc::new(Alone)),
            Some(shared) => shared.join(me, life),
        }
    }
}

/// The id of the node of a data directory, made at its first start.
pub fn node_id(data_dir: Option<&Path>) -> io::Result<String> {
    let path = data_dir.map(|dir| dir.join(NODE_FILE));
    if let Some(path) = &path {
        match fs::read_to_string(path) {
            Ok(id) if !id.trim().is_empty() => return Ok(id.trim().to_owned()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let mut random = [0; 6];
    getrandom::fill(&mut random).map_err(|e| io::Error::other(e.to_string()))?;
    let id = format!("node_{}", hex::encode(random));
    if let Some(path) = &path {
        fs::write(path, format!("{id}\n"))?;
    }
    Ok(id)
}

impl Backend {
    /// The name of the secret by which its address says who connects.
    pub fn secret(&self) -> Option<&str> {
        match self {
            Self::Memory | Self::Embedded => None,
            #[cfg(feature = "jetstream")]
            Self::JetStream(options) => options.secret.as_deref(),
            #[cfg(feature = "kafka")]
            Self::Kafka(options) => options.security.secret.as_deref(),
        }
    }

    /// Says what that secret is. It is never shown.
    pub fn open_with(&mut self, secret: String) {
        match self {
            Self::Memory | Self::Embedded => drop(secret),
            #[cfg(feature = "jetstream")]
            Self::JetStream(options) => options.login = Some(crate::jetstream::Login(secret)),
            #[cfg(feature = "kafka")]
            Self::Kafka(options) => options.security.password = Some(crate::kafka::Password(secret)),
        }
    }

    /// Opens the log or makes it. `partitions` is that of a new embedded or memory log; a broker's is in its address.
    /// With a data directory, a broker's log that ends before what the heads file of that directory says is refused.
    /// Blocks, on a broker until its servers answer or the deadline of its options has passed.
    pub fn open(&self, data_dir: Option<&Path>, partitions: u16, new_id: LogId) -> Result<OpenedLog, OpenError> {
        match self {
            Self::Memory => {
                let log = Arc::new(MemoryLog::new(new_id, partitions));
                Ok(OpenedLog {
                    log,
                    embedded: None,
                    lock: None,
                    shared: None,
                })
            }
            Self::Embedded => {
                let options = EmbeddedOptions {
                    partitions,
                    ..EmbeddedOptions::default()
                };
                let dir = data_dir.ok_or(OpenError::NoDirectory)?;
                check_moved(dir)?;
                let log = Arc::new(EmbeddedLog::open(dir, &options)?);
                Ok(OpenedLog {
                    log: log.clone(),
                    embedded: Some(log),
                    lock: None,
                    shared: None,
                })
            }
            #[cfg(feature = "jetstream")]
            Self::JetStream(options) => {
                let lock = lock(data_dir)?;
                let log = Arc::new(JetStreamLog::open(options)?);
                let shared = Arc::new(OnJetStream {
                    log: log.clone(),
                    options: options.clone(),
                });
                opened(data_dir, lock, log, Some(shared))
            }
            #[cfg(feature = "kafka")]
            Self::Kafka(options) => {
                let lock = lock(data_dir)?;
                let log = Arc::new(KafkaLog::open(options)?);
                let shared = Arc::new(OnKafka {
                    log: log.clone(),
                    options: options.clone(),
                });
                opened(data_dir, lock, log, Some(shared))
            }
        }
    }

    /// The same servers with a log of this name and so many partitions; itself where logs have no names.
    pub fn named(&self, name: &str, partitions: u16) -> Self {
        match self.clone() {
            #[cfg(feature = "jetstream")]
            Self::JetStream(options) => Self::JetStream(Box::new(JetStreamOptions {
                prefix: name.to_owned(),
                partitions,
                ..*options
            })),
            #[cfg(feature = "kafka")]
            Self::Kafka(options) => Self::Kafka(Box::new(KafkaOptions {
                prefix: name.to_owned(),
                partitions,
                ..*options
            })),
            same => {
                let _ = (name, partitions);
                same
            }
        }
    }

    /// Deletes a broker's log with everything in it. What is not there, and a log that is on no broker, is no error.
    pub fn remove(&self) -> Result<(), OpenError> {
        match self {
            Self::Memory | Self::Embedded => Ok(()),
            #[cfg(feature = "jetstream")]
            Self::JetStream(options) => Ok(JetStreamLog::remove(options)?),
            #[cfg(feature = "kafka")]
            Self::Kafka(options) => Ok(KafkaLog::remove(options)?),
        }
    }

    /// Whether several nodes may serve the log, so that another may own what this one does not.
    pub fn is_shared(&self) -> bool {
        match self {
            Self::Memory | Self::Embedded => false,
            #[cfg(feature = "jetstream")]
            Self::JetStream(_) => true,
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => true,
        }
    }

    /// Whether the log is on a broker.
    pub fn is_on_broker(&self) -> bool {
        !matches!(self, Self::Memory | Self::Embedded)
    }
}

/// Beside an embedded log that was moved to a broker: where to.
const MOVED_FILE: &str = "log.moved";

/// Notes that the embedded log of a directory was moved to a broker.
pub fn note_moved(dir: &Path, to: &Backend) -> io::Result<()> {
    fs::write(dir.join(MOVED_FILE), format!("{to}\n"))
}

/// Refuses a directory whose embedded log was moved to a broker.
pub fn check_moved(dir: &Path) -> Result<(), OpenError> {
    let file = dir.join(MOVED_FILE);
    match fs::read_to_string(&file) {
        Ok(to) => Err(OpenError::Moved {
            to: to.trim().to_owned(),
            file,
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Locks the data directory of a node whose log is elsewhere, making it where there is none.
#[cfg(any(feature = "jetstream", feature = "kafka"))]
fn lock(data_dir: Option<&Path>) -> Result<Option<Box<dyn DiskLock>>, OpenError> {
    let Some(dir) = data_dir else { return Ok(None) };
    fs::create_dir_all(dir)?;
    match RealDisk.lock(&dir.join(LOCK_FILE), &format!("process {}", std::process::id())) {
        Ok(lock) => Ok(Some(lock)),
        Err(LockError::Held(holder)) => Err(OpenError::Locked {
            dir: dir.to_owned(),
            holder,
        }),
        Err(LockError::Io(error)) => Err(error.into()),
    }
}

/// A broker's log, unless it ends before what this node saw of it.
#[cfg(any(feature = "jetstream", feature = "kafka"))]
fn opened(
    data_dir: Option<&Path>,
    lock: Option<Box<dyn DiskLock>>,
    log: Arc<dyn Log>,
    shared: Option<Arc<dyn SharedLog>>,
) -> Result<OpenedLog, OpenError> {
    if let Some(dir) = data_dir {
        heads::check_ends(&RealDisk, dir, &*log)?;
    }
    let log = Arc::new(Recent::new(log));
    Ok(OpenedLog {
        log,
        embedded: None,
        lock,
        shared,
    })
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
            "nats" | "tls" => Err(BadBackend::NotBuilt {
                scheme: "nats",
                feature: "jetstream",
            }),
            #[cfg(feature = "kafka")]
            "kafka" => {
                let options = text.parse::<KafkaOptions>().map_err(|e| BadBackend::Address(e.to_string()))?;
                Ok(Self::Kafka(Box::new(options)))
            }
            #[cfg(not(feature = "kafka"))]
            "kafka" => Err(BadBackend::NotBuilt {
                scheme: "kafka",
                feature: "kafka",
            }),
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
            #[cfg(feature = "kafka")]
            Self::Kafka(options) => write!(f, "kafka://{}/{}", options.brokers.join(","), options.prefix),
        }
    }
}

#[cfg(test)]
mod tests;
