//! Opening: the servers are asked what they are, the streams are made or checked, the durability class is found.

mod checks;
mod error;

use super::{
    connect,
    options::JetStreamOptions,
    partition::Partition,
    wire::{Answer, Refusal, Silence, Wire},
};
use crate::pause::Pause;
use crate::{broker::frames::Frames, port::LogMeta};
use async_nats::{Client, Event};
pub use error::OpenError;
use parking_lot::Mutex;
use quipu_schemas::{
    limits::{BROKER_HEADERS_MAX_BYTES, BROKER_PAUSE_MS, FRAME_MAX_BYTES},
    position::LogId,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::time::Instant;

/// Oldest server that does what the log needs.
const SERVER_MIN: (i64, i64, i64) = (2, 12, 0);
const FORMAT: &str = "1";

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
            match connect::client(self, None, name, tell.clone()).await {
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
}

/// Refusals that go away by themselves while a cluster forms or elects.
fn passing(refusal: &Refusal) -> bool {
    // No leader; no peers yet; system unavailable; stream offline; too many requests.
    matches!(refusal.err_code, 10008 | 10009 | 10005 | 10118 | 10167) || refusal.code == 503
}
