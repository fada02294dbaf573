//! Wrapped data keys on JetStream, for nodes that share a log: a stream of its own, one subject a key, each set once.

use super::{
    OpenError,
    options::JetStreamOptions,
    partition::Pause,
    wait,
    wire::{Answer, Place, Silence, Wire},
};
use crate::keyring::KeyStore;
use quipu_schemas::digest::Digest;
use serde_json::json;
use std::{sync::Arc, time::Instant};
use tokio::runtime::Handle;

/// The keys of a log's subjects, wrapped under a master key that the servers never see.
pub struct JetStreamKeys {
    wire: Arc<Wire>,
    stream: String,
    prefix: String,
    handle: Handle,
}

impl JetStreamKeys {
    pub(super) async fn open(wire: Arc<Wire>, options: &JetStreamOptions, handle: Handle) -> Result<Self, OpenError> {
        const NAME_IN_USE: u32 = 10058;
        let stream = format!("QUIPU_{}_KEYS", options.prefix);
        let prefix = format!("quipu.key.{}", options.prefix);
        let config = json!({
            "name": stream,
            "subjects": [format!("{prefix}.*")],
            "storage": "file",
            "num_replicas": options.replicas,
            "retention": "limits",
        });
        let deadline = Instant::now() + options.open;
        let mut pause = Pause::new();
        loop {
            let detail = match wire.ask::<serde_json::Value>(&format!("STREAM.CREATE.{stream}"), &config).await {
                Ok(Answer::Said(_)) => break,
                Ok(Answer::Refused(refusal)) if refusal.err_code == NAME_IN_USE => break,
                Ok(Answer::Refused(refusal)) => refusal.to_string(),
                Err(silence) => silence.to_string(),
            };
            if Instant::now() >= deadline {
                return Err(OpenError::Stream { stream, detail });
            }
            pause.wait().await;
        }
        Ok(Self { wire, stream, prefix, handle })
    }

    /// Names of people are no business of the servers.
    fn subject(&self, name: &str) -> String {
        format!("{}.{}", self.prefix, hex::encode(Digest::of(&[b"quipu key name\0", name.as_bytes()]).0))
    }

    fn wait<T: Send + 'static>(&self, work: impl Future<Output = Result<T, Silence>> + Send + 'static) -> Result<T, String> {
        wait(&self.handle, work).map_or_else(|| Err("the log's runtime ended".into()), |done| done.map_err(|e| e.to_string()))
    }
}

impl KeyStore for JetStreamKeys {
    fn get(&self, name: &str) -> Result<Option<String>, String> {
        let (wire, stream, subject) = (self.wire.clone(), self.stream.clone(), self.subject(name));
        let found = self.wait(async move { wire.at_leader(&Place { stream: &stream, subject: &subject }, None).await })?;
        found.map(|stored| String::from_utf8(stored.payload.to_vec()).map_err(|e| e.to_string())).transpose()
    }

    fn add(&self, name: &str, wrapped: &str) -> Result<bool, String> {
        let (wire, stream, subject) = (self.wire.clone(), self.stream.clone(), self.subject(name));
        let payload = wrapped.to_owned();
        let answer = self.wait(async move { wire.replace(&Place { stream: &stream, subject: &subject }, 0, payload.into()).await })?;
        Ok(matches!(answer, Answer::Said(_)))
    }

    fn place(&self) -> String {
        format!("the stream {}", self.stream)
    }
}
