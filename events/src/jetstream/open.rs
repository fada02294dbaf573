//! Opening: the servers are asked what they are, the streams are made or checked, the durability class is found.

use super::{
    durability,
    options::{BadOptions, JetStreamOptions},
    partition::Partition,
    wire::{self, Answer, Refusal, Silence, Wire},
};
use crate::{
    broker::{
        durability::{Known, class, is_synced, name},
        frames::Frames,
    },
    port::LogMeta,
};
use async_nats::{Client, Event};
use parking_lot::Mutex;
use quipu_schemas::{
    envelope::Durability,
    limits::{BROKER_HEADERS_MAX_BYTES, BROKER_PAUSE_MS, FRAME_MAX_BYTES},
    pause::Pause,
    position::LogId,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};
use tokio::time::Instant;

/// Oldest server that does what the log needs.
const SERVER_MIN: (i64, i64, i64) = (2, 12, 0);
const FORMAT: &str = "1";

/// Why a log does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The options name no log.
    #[error(transparent)]
    Options(#[from] BadOptions),
    /// No server can be reached.
    #[error("no nats-server at {servers}: {detail}")]
    Unreachable {
        /// Their addresses.
        servers: String,
        /// Why not.
        detail: String,
    },
    /// The server is not fit.
    #[error("nats-server {version} cannot hold a log: {detail}")]
    Server {
        /// Its version.
        version: String,
        /// What it lacks.
        detail: String,
    },
    /// Made with another number of partitions.
    #[error("the log has {found} partitions, not {asked}: the number is fixed when a log is made")]
    Partitions {
        /// In the log.
        found: u16,
        /// In the options.
        asked: u16,
    },
    /// The streams hold another log than was asked for.
    #[error("stream {stream} holds log {found}, not {asked}")]
    OtherLog {
        /// The stream.
        stream: String,
        /// Its log.
        found: String,
        /// The log asked for.
        asked: String,
    },
    /// A stream of these names is not a log's, or would lose or change frames.
    #[error("stream {stream} cannot hold a partition of the log: {detail}")]
    Stream {
        /// The stream.
        stream: String,
        /// What is wrong.
        detail: String,
    },
    /// Acknowledgements do not wait for a disk, and that was not accepted.
    #[error(
        "the log's durability would be {class}{why}: set `jetstream {{ sync_interval: always }}` on every server and name its \
         system account (`system=user:password`), or declare it (`sync=always`), or take it as it is (`accept=unsynced`)"
    )]
    Unsynced {
        /// `memory` or `quorum-memory`.
        class: String,
        /// Why nothing better is known.
        why: String,
    },
    /// The machine refused a thread or randomness.
    #[error("log on JetStream: {0}")]
    Io(#[from] std::io::Error),
}

/// What opening gives.
pub(crate) struct Opened {
    pub(crate) meta: LogMeta,
    pub(crate) partitions: Vec<Arc<Partition>>,
}

/// The servers' error numbers.
const NAME_IN_USE: u32 = 10058;
const NO_STREAM: u32 = 10059;

#[derive(Deserialize)]
struct Info {
    config: Value,
    cluster: Option<Cluster>,
}

#[derive(Deserialize)]
struct Cluster {
    leader: Option<String>,
    #[serde(default)]
    replicas: Vec<Replica>,
}

#[derive(Deserialize)]
struct Replica {
    name: String,
}

/// What a log is, as its streams say.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    log_id: LogId,
    generation: u32,
    partitions: u16,
    complete: bool,
}

struct Opening<'a> {
    options: &'a JetStreamOptions,
    wire: Arc<Wire>,
    deadline: Instant,
}

/// Opens or makes a log.
pub(crate) async fn open(options: &JetStreamOptions) -> Result<Opened, OpenError> {
    options.check()?;
    let deadline = Instant::now() + options.open;
    let unreachable = |detail: String| OpenError::Unreachable {
        servers: options.servers.join(", "),
        detail,
    };
    let mut pause = Pause::new(BROKER_PAUSE_MS);
    let wire = loop {
        match Wire::connect(options, None).await {
            Ok(wire) => break Arc::new(wire),
            Err(no) if !no.again || Instant::now() >= deadline => return Err(unreachable(no.detail)),
            Err(_) => tokio::time::sleep(pause.next_wait()).await,
        }
    };
    let server = wire.client.server_info();
    let unfit = |detail: String| OpenError::Server {
        version: server.version.clone(),
        detail,
    };
    if !wire.client.is_server_compatible(SERVER_MIN.0, SERVER_MIN.1, SERVER_MIN.2) {
        return Err(unfit(format!("{}.{} is the oldest that can", SERVER_MIN.0, SERVER_MIN.1)));
    }
    if server.max_payload < FRAME_MAX_BYTES + BROKER_HEADERS_MAX_BYTES {
        let needed = FRAME_MAX_BYTES + BROKER_HEADERS_MAX_BYTES;
        return Err(unfit(format!("max_payload is {}, at least {needed} is needed", server.max_payload)));
    }
    let opening = Opening { options, wire, deadline };
    let (identity, holders) = opening.streams().await?;
    let durability = opening.durability(&holders).await?;
    let partitions = (0..identity.partitions).map(|number| {
        Arc::new(Partition {
            wire: opening.wire.clone(),
            frames: Frames {
                log_id: identity.log_id,
                generation: identity.generation,
                partition: number,
            },
            number,
            stream: options.stream(number),
            subject: options.subject(number),
            outcome: options.outcome,
            marks: Mutex::default(),
        })
    });
    Ok(Opened {
        partitions: partitions.collect(),
        meta: LogMeta {
            log_id: identity.log_id,
            generation: identity.generation,
            partitions: identity.partitions,
            durability,
            backend: "jetstream",
        },
    })
}

impl JetStreamOptions {
    /// Connects what is no log, under this name: servers, login, roots and domain are those of the options, and the deadline of
    /// opening holds. It connects again by itself from then on; `tell` hears what befalls it.
    pub async fn client(&self, name: &str, tell: impl Fn(Event) + Clone + Send + Sync + 'static) -> Result<Client, OpenError> {
        let deadline = Instant::now() + self.open;
        let mut pause = Pause::new(BROKER_PAUSE_MS);
        let client = loop {
            match wire::client(self, None, name, tell.clone()).await {
                Ok(client) => break client,
                Err(no) if !no.again || Instant::now() >= deadline => {
                    return Err(OpenError::Unreachable {
                        servers: self.servers.join(", "),
                        detail: no.detail,
                    });
                }
                Err(_) => tokio::time::sleep(pause.next_wait()).await,
            }
        };
        if !client.is_server_compatible(SERVER_MIN.0, SERVER_MIN.1, SERVER_MIN.2) {
            let detail = format!("{}.{} is the oldest that can", SERVER_MIN.0, SERVER_MIN.1);
            return Err(OpenError::Server {
                version: client.server_info().version,
                detail,
            });
        }
        Ok(client)
    }
}

/// Makes a stream that nodes share beside the log, where it is not there.
pub(crate) async fn make_beside(wire: &Wire, options: &JetStreamOptions, stream: &str, config: &Value) -> Result<(), OpenError> {
    let deadline = Instant::now() + options.open;
    let mut pause = Pause::new(BROKER_PAUSE_MS);
    loop {
        let detail = match wire.ask::<Value>(&format!("STREAM.CREATE.{stream}"), config).await {
            Ok(Answer::Said(_)) => return Ok(()),
            Ok(Answer::Refused(refusal)) if refusal.err_code == NAME_IN_USE => return Ok(()),
            Ok(Answer::Refused(refusal)) => refusal.to_string(),
            Err(silence) => silence.to_string(),
        };
        if Instant::now() >= deadline {
            let stream = stream.to_owned();
            return Err(OpenError::Stream { stream, detail });
        }
        tokio::time::sleep(pause.next_wait()).await;
    }
}

/// Deletes every stream of a log.
pub(crate) async fn remove(options: &JetStreamOptions) -> Result<(), OpenError> {
    options.check()?;
    let unreachable = |detail: String| OpenError::Unreachable {
        servers: options.servers.join(", "),
        detail,
    };
    let wire = Wire::connect(options, None).await.map_err(|no| unreachable(no.detail))?;
    let beside = ["LEASES", "KEYS"].map(|what| format!("QUIPU_{}_{what}", options.prefix));
    for stream in (0..options.partitions).map(|partition| options.stream(partition)).chain(beside) {
        match wire.ask::<Value>(&format!("STREAM.DELETE.{stream}"), &json!({})).await {
            Ok(Answer::Said(_)) => {}
            Ok(Answer::Refused(refusal)) if refusal.err_code == NO_STREAM => {}
            Ok(Answer::Refused(refusal)) => {
                return Err(OpenError::Stream {
                    stream,
                    detail: refusal.to_string(),
                });
            }
            Err(silence) => {
                return Err(OpenError::Stream {
                    stream,
                    detail: silence.to_string(),
                });
            }
        }
    }
    Ok(())
}

impl Opening<'_> {
    /// Makes or checks every stream; what the log is, and who holds it.
    async fn streams(&self) -> Result<(Identity, Vec<String>), OpenError> {
        let asked = self.options.partitions;
        // The first stream decides who made the log; the others are made after it, and then it is marked complete. So a
        // making that was cut short is taken up, and a stream missing from a complete log is a loss that is told.
        let first = match self.info(0).await? {
            Some(info) => info,
            None => {
                let mut id = [0; 16];
                getrandom::fill(&mut id).map_err(|e| std::io::Error::other(e.to_string()))?;
                let identity = Identity {
                    log_id: self.options.log_id.unwrap_or(LogId(id)),
                    generation: self.options.generation,
                    partitions: asked,
                    complete: false,
                };
                self.make(0, &identity).await?
            }
        };
        let identity = self.identity(0, &first)?;
        if identity.partitions != asked {
            return Err(OpenError::Partitions {
                found: identity.partitions,
                asked,
            });
        }
        if let Some(log_id) = self.options.log_id.filter(|id| *id != identity.log_id) {
            return Err(self.other_log(0, identity.log_id, log_id));
        }
        let mut holders = self.check(0, &first)?;
        for partition in 1..asked {
            let info = match self.info(partition).await? {
                Some(info) => info,
                None if identity.complete => return Err(self.unfit(partition, "it is gone, and with it that part of the log".into())),
                None => self.make(partition, &identity).await?,
            };
            let its = self.identity(partition, &info)?;
            if its.log_id != identity.log_id {
                return Err(self.other_log(partition, its.log_id, identity.log_id));
            }
            if (its.generation, its.partitions) != (identity.generation, identity.partitions) {
                return Err(self.unfit(partition, "its generation or number of partitions is not the log's".into()));
            }
            holders.extend(self.check(partition, &info)?);
        }
        if !identity.complete {
            let mut config = first.config;
            config["metadata"]["quipu.complete"] = json!("true");
            self.retry(&format!("STREAM.UPDATE.{}", self.options.stream(0)), &config, 0).await?;
        }
        holders.sort();
        holders.dedup();
        Ok((identity, holders))
    }

    async fn info(&self, partition: u16) -> Result<Option<Info>, OpenError> {
        let what = format!("STREAM.INFO.{}", self.options.stream(partition));
        match self.asked::<Info>(&what, &json!({}), partition).await? {
            Answer::Said(info) => Ok(Some(info)),
            Answer::Refused(refusal) if refusal.err_code == NO_STREAM => Ok(None),
            Answer::Refused(refusal) => Err(self.unfit(partition, refusal.to_string())),
        }
    }

    async fn make(&self, partition: u16, identity: &Identity) -> Result<Info, OpenError> {
        let stream = self.options.stream(partition);
        let config = json!({
            "name": stream,
            "subjects": [self.options.subject(partition)],
            "storage": "file",
            "num_replicas": self.options.replicas,
            "retention": "limits",
            "discard": "new",
            "max_msgs": -1, "max_bytes": -1, "max_age": 0, "max_msgs_per_subject": -1, "max_msg_size": -1,
            "deny_delete": true,
            "deny_purge": true,
            "allow_direct": true,
            "metadata": {
                "quipu.format": FORMAT,
                "quipu.log": hex::encode(identity.log_id.0),
                "quipu.generation": identity.generation.to_string(),
                "quipu.partitions": identity.partitions.to_string(),
            },
        });
        match self.retry(&format!("STREAM.CREATE.{stream}"), &config, partition).await {
            Ok(info) => Ok(info),
            // Another made it meanwhile: theirs is the log.
            Err(OpenError::Stream { detail, .. }) if detail.contains(&format!("error {NAME_IN_USE}")) => {
                self.info(partition).await?.ok_or_else(|| self.unfit(partition, detail))
            }
            Err(e) => Err(e),
        }
    }

    async fn retry(&self, what: &str, body: &Value, partition: u16) -> Result<Info, OpenError> {
        match self.asked(what, body, partition).await? {
            Answer::Said(info) => Ok(info),
            Answer::Refused(refusal) => Err(self.unfit(partition, refusal.to_string())),
        }
    }

    /// Asks until there is an answer: a cluster that elects its leader gives none for some seconds.
    async fn asked<T: serde::de::DeserializeOwned>(&self, what: &str, body: &Value, partition: u16) -> Result<Answer<T>, OpenError> {
        let mut pause = Pause::new(BROKER_PAUSE_MS);
        loop {
            let detail = match self.wire.ask(what, body).await {
                Ok(Answer::Refused(refusal)) if passing(&refusal) => refusal.to_string(),
                Ok(answer) => return Ok(answer),
                Err(Silence::NoResponders) => "JetStream does not answer: is it enabled, and has the cluster a leader?".into(),
                Err(silence) => silence.to_string(),
            };
            if Instant::now() >= self.deadline {
                return Err(self.unfit(partition, detail));
            }
            tokio::time::sleep(pause.next_wait()).await;
        }
    }

    fn unfit(&self, partition: u16, detail: String) -> OpenError {
        OpenError::Stream {
            stream: self.options.stream(partition),
            detail,
        }
    }

    fn other_log(&self, partition: u16, found: LogId, asked: LogId) -> OpenError {
        OpenError::OtherLog {
            stream: self.options.stream(partition),
            found: hex::encode(found.0),
            asked: hex::encode(asked.0),
        }
    }

    fn identity(&self, partition: u16, info: &Info) -> Result<Identity, OpenError> {
        let metadata: BTreeMap<String, String> =
            serde_json::from_value(info.config["metadata"].clone()).map_err(|_| self.unfit(partition, "it is not a log's".into()))?;
        let get = |key: &str| {
            let missing = || self.unfit(partition, format!("its metadata has no `{key}`: it is not a log's"));
            metadata.get(key).map(String::as_str).ok_or_else(missing)
        };
        let bad = |key: &str| self.unfit(partition, format!("`{key}` in its metadata is not valid"));
        if get("quipu.format")? != FORMAT {
            return Err(self.unfit(
                partition,
                format!("it is of format {}, this release reads {FORMAT}", get("quipu.format")?),
            ));
        }
        let id = hex::decode(get("quipu.log")?).ok().and_then(|id| id.try_into().ok());
        Ok(Identity {
            log_id: LogId(id.ok_or_else(|| bad("quipu.log"))?),
            generation: get("quipu.generation")?.parse().map_err(|_| bad("quipu.generation"))?,
            partitions: get("quipu.partitions")?.parse().map_err(|_| bad("quipu.partitions"))?,
            complete: metadata.contains_key("quipu.complete"),
        })
    }

    /// Refuses a stream that would lose or change what is in it; the servers that hold it.
    fn check(&self, partition: u16, info: &Info) -> Result<Vec<String>, OpenError> {
        let config = &info.config;
        let unlimited = |key: &str| config[key].as_i64().unwrap_or(-1) <= 0;
        let wrong = if config["storage"] != "file" {
            "its storage is not in files".into()
        } else if config["retention"] != "limits" || config["discard"] != "new" {
            "it discards old messages".into()
        } else if let Some(key) = ["max_msgs", "max_bytes", "max_age", "max_msgs_per_subject"]
            .iter()
            .find(|key| !unlimited(key))
        {
            format!("it limits {key}")
        } else if config["deny_delete"] != true || config["deny_purge"] != true {
            "its messages may be deleted or purged".into()
        } else if config["allow_direct"] != true {
            "it does not allow direct reads".into()
        } else if config["subjects"] != json!([self.options.subject(partition)]) {
            format!("its subjects are {}", config["subjects"])
        } else if config["num_replicas"].as_u64() != Some(self.options.replicas as u64) {
            format!("it has {} replicas, not {}", config["num_replicas"], self.options.replicas)
        } else if ["mirror", "sources", "subject_transform"].iter().any(|key| !config[*key].is_null()) || config["sealed"] == true {
            "it mirrors, transforms or is sealed".into()
        } else if config["persist_mode"] == "async" {
            "it acknowledges before it writes".into()
        } else {
            let cluster = info.cluster.iter();
            return Ok(cluster
                .flat_map(|c| c.leader.iter().cloned().chain(c.replicas.iter().map(|r| r.name.clone())))
                .collect());
        };
        Err(self.unfit(partition, wrong))
    }

    async fn durability(&self, holders: &[String]) -> Result<Durability, OpenError> {
        let (known, why) = match (&self.options.system, self.options.declared_sync) {
            (Some(system), _) => match durability::ask(self.options, system, &self.holders(holders)).await {
                Ok(mode) => (Known::Told(mode), String::new()),
                Err(why) => (Known::Assumed, format!(" (its servers were asked: {why})")),
            },
            (None, Some(mode)) => (Known::Declared(mode), String::new()),
            (None, None) => (
                Known::Assumed,
                " (nothing says when its servers sync, and by default they do not before they acknowledge)".into(),
            ),
        };
        let class = class(self.options.replicas, known);
        if is_synced(class) || self.options.accept_unsynced {
            return Ok(class);
        }
        Err(OpenError::Unsynced { class: name(class), why })
    }

    /// A server alone names no leader.
    fn holders(&self, named: &[String]) -> Vec<String> {
        if named.is_empty() {
            vec![self.wire.client.server_info().server_name]
        } else {
            named.to_vec()
        }
    }
}

/// Refusals that go away by themselves while a cluster forms or elects.
fn passing(refusal: &Refusal) -> bool {
    // No leader; no peers yet; system unavailable; stream offline; too many requests.
    matches!(refusal.err_code, 10008 | 10009 | 10005 | 10118 | 10167) || refusal.code == 503
}
