//! Wrapped data keys on JetStream, for nodes that share a log: a stream of its own, one subject a key, each set once.

use super::{
    OpenError,
    open::make_beside,
    options::JetStreamOptions,
    wait,
    wire::{Answer, Place, Silence, Wire},
};
use crate::keyring::KeyStore;
use quipu_schemas::digest::Digest;
use serde_json::json;
use std::sync::Arc;
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
        let stream = format!("QUIPU_{}_KEYS", options.prefix);
        let prefix = format!("quipu.key.{}", options.prefix);
        let config = json!({
            "name": stream,
            "subjects": [format!("{prefix}.*")],
            "storage": "file",
            "num_replicas": options.replicas,
            "retention": "limits",
        });
        make_beside(&wire, options, &stream, &config).await?;
        Ok(Self {
            wire,
            stream,
            prefix,
            handle,
        })
    }

    /// Names of people are no business of the servers.
    fn subject(&self, name: &str) -> String {
        format!(
            "{}.{}",
            self.prefix,
            hex::encode(Digest::of(&[b"quipu key name\0", name.as_bytes()]).0)
        )
    }

    fn wait<T: Send + 'static>(&self, work: impl Future<Output = Result<T, Silence>> + Send + 'static) -> Result<T, String> {
        wait(&self.handle, work).map_or_else(|| Err("the log's runtime ended".into()), |done| done.map_err(|e| e.to_string()))
    }
}

impl KeyStore for JetStreamKeys {
    fn get(&self, name: &str) -> Result<Option<String>, String> {
        let (wire, stream, subject) = (self.wire.clone(), self.stream.clone(), self.subject(name));
        let found = self.wait(async move {
            wire.at_leader(
                &Place {
                    stream: &stream,
                    subject: &subject,
                },
                None,
            )
            .await
        })?;
        found
            .map(|stored| String::from_utf8(stored.payload.to_vec()).map_err(|e| e.to_string()))
            .transpose()
    }

    fn add(&self, name: &str, wrapped: &str) -> Result<bool, String> {
        let (wire, stream, subject) = (self.wire.clone(), self.stream.clone(), self.subject(name));
        let payload = wrapped.to_owned();
        let answer = self.wait(async move {
            wire.replace(
                &Place {
                    stream: &stream,
                    subject: &subject,
                },
                0,
                payload.into(),
            )
            .await
        })?;
        Ok(matches!(answer, Answer::Said(_)))
    }

    fn place(&self) -> String {
        format!("the stream {}", self.stream)
    }
}
