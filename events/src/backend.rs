//! Which log a node runs on, by its name or address, and how it is opened.

#[cfg(feature = "jetstream")]
use crate::jetstream::{self, JetStreamLog, JetStreamOptions};
#[cfg(feature = "kafka")]
use crate::kafka::{self, KafkaLog, KafkaOptions};
use crate::{
    blobs::{BLOBS_DIR, BlobError, Blobs, BlobsAt, DirectoryBlobs, MemoryBlobs},
    channel::Channel,
    disk::DiskLock,
    embedded::{self, EmbeddedLog, EmbeddedOptions},
    heads::EndsError,
    keyring::{KeyStore, Keyring, KeyringError},
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
use quipu_schemas::position::LogId;
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

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

/// Text that names no log that this build can open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBackend {
    /// No kind of log.
    #[error("not a log: `{0}`; use embedded, memory, or an address that begins with nats://, tls:// or kafka://")]
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
    /// The log on Kafka.
    #[cfg(feature = "kafka")]
    #[error(transparent)]
    Kafka(#[from] kafka::OpenError),
    /// It ends before what this node saw of it.
    #[error(transparent)]
    Ends(#[from] EndsError),
    /// An embedded log needs a directory.
    #[error("an embedded log needs a data directory")]
    NoDirectory,
    /// Another process uses the data directory.
    #[error("data directory {} is in use by {holder}", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// Who holds it.
        holder: String,
    },
    /// The embedded log was copied to a broker: it is the past, and to go on from it would make two futures.
    #[error("the log in this directory was moved to {to}: start with --log and that address, or delete {} to continue from the old copy", file.display())]
    Moved {
        /// The broker's log.
        to: String,
        /// What says so.
        file: PathBuf,
    },
    /// The keys.
    #[error("keys: {0}")]
    Keys(#[from] KeyringError),
    /// The store of large values.
    #[error("values: {0}")]
    Blobs(#[from] BlobError),
    /// The data directory.
    #[error("data directory: {0}")]
    Io(#[from] io::Error),
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

    #[test]
    fn a_log_of_this_process_is_neither_shared_nor_on_a_broker() {
        for (backend, name) in [(Backend::Memory, "memory"), (Backend::Embedded, "embedded")] {
            assert!(!backend.is_shared() && !backend.is_on_broker());
            assert_eq!(
                (backend.to_string().as_str(), backend.named("other", 3).to_string().as_str()),
                (name, name)
            );
        }
    }

    #[test]
    fn log_opens_with_its_partitions_and_embedded_needs_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        for (backend, data_dir) in [(Backend::Memory, None), (Backend::Embedded, Some(dir.path()))] {
            let opened = backend.open(data_dir, 3, LogId([5; 16])).unwrap();
            assert_eq!(opened.log.meta().partitions, 3);
            assert_eq!(opened.embedded.is_some(), data_dir.is_some());
        }
        assert!(matches!(
            Backend::Embedded.open(None, 3, LogId([5; 16])),
            Err(OpenError::NoDirectory)
        ));
    }

    #[test]
    fn a_log_that_was_moved_is_not_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Backend::Embedded.open(Some(dir.path()), 3, LogId([5; 16])).map(drop);
        open().unwrap();
        note_moved(dir.path(), &Backend::Memory).unwrap();
        let said = open().unwrap_err().to_string();
        assert!(said.contains("moved to memory") && said.contains(MOVED_FILE), "{said}");
        fs::remove_file(dir.path().join(MOVED_FILE)).unwrap();
        open().unwrap();
    }

    #[test]
    fn a_node_keeps_the_id_of_its_first_start() {
        let dir = tempfile::tempdir().unwrap();
        let first = node_id(Some(dir.path())).unwrap();
        assert!(first.strip_prefix("node_").is_some_and(|rest| rest.len() == 12), "{first}");
        assert_eq!(node_id(Some(dir.path())).unwrap(), first);
        assert_ne!(node_id(None).unwrap(), first, "nothing remembers it");
        // A crash may leave an empty file: another id, from then on.
        fs::write(dir.path().join(NODE_FILE), " \n").unwrap();
        let second = node_id(Some(dir.path())).unwrap();
        assert!(second.starts_with("node_") && second != first);
        assert_eq!(node_id(Some(dir.path())).unwrap(), second);
        // What cannot be read is told, never replaced.
        fs::remove_file(dir.path().join(NODE_FILE)).unwrap();
        fs::create_dir(dir.path().join(NODE_FILE)).unwrap();
        assert!(node_id(Some(dir.path())).is_err());
    }

    #[cfg(all(feature = "jetstream", feature = "kafka"))]
    #[test]
    fn a_log_on_a_broker_is_shared_and_named_on_the_same_servers() {
        for (text, named) in [
            ("nats://h:4222/prod", "nats://h:4222/copy"),
            ("kafka://h:9092/prod", "kafka://h:9092/copy"),
        ] {
            let backend: Backend = text.parse().unwrap();
            assert!(backend.is_shared() && backend.is_on_broker());
            let other = backend.named("copy", 3);
            assert_eq!((backend.to_string().as_str(), other.to_string().as_str()), (text, named));
            let partitions = match other {
                Backend::JetStream(options) => options.partitions,
                Backend::Kafka(options) => options.partitions,
                Backend::Memory | Backend::Embedded => 0,
            };
            assert_eq!(partitions, 3);
        }
    }

    #[cfg(any(feature = "jetstream", feature = "kafka"))]
    #[test]
    fn node_directory_is_locked_and_notes_heads_of_a_remote_log() {
        use crate::heads::{HeadEntry, note_ends};
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("made");
        assert!(lock(None).unwrap().is_none());
        let held = lock(Some(&dir)).unwrap();
        assert!(held.is_some());
        let holder = format!("process {}", std::process::id());
        assert!(matches!(lock(Some(&dir)), Err(OpenError::Locked { dir: d, holder: h }) if (&d, &h) == (&dir, &holder)));
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new(LogId([5; 16]), 1));
        let again = || opened(Some(&dir), None, log.clone(), None);
        let first = opened(Some(&dir), held, log.clone(), None).unwrap();
        assert!(first.lock.is_some() && first.embedded.is_none() && first.log.meta().log_id == LogId([5; 16]));
        let noted = HeadEntry {
            generation: 1,
            partition: 0,
            offset: 9,
            frame_hash: quipu_schemas::digest::Digest::ZERO,
        };
        note_ends(&RealDisk, &dir, LogId([5; 16]), vec![noted]).unwrap();
        assert!(matches!(again(), Err(OpenError::Ends(EndsError::Lost { found: 0, noted: 9, .. }))));
        assert!(
            opened(None, None, log.clone(), None).is_ok(),
            "without a directory nothing is known"
        );
        drop(first);
        assert!(lock(Some(&dir)).unwrap().is_some(), "given back");
    }
}
