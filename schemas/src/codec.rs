//! Turning a kind's events into stored events and back.

use crate::{
    record::StoredEvent,
    upcast::{self, UpcastError},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

/// Why a stored event cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// The event does not have the adjacently tagged form `{"type": …, "data": …}`.
    #[error("event {name} does not decode: {detail}")]
    Decode {
        /// Stored name.
        name: String,
        /// The parser's words.
        detail: String,
    },
    /// An upcaster refused it.
    #[error(transparent)]
    Upcast(#[from] UpcastError),
}

/// Encodes an event of a kind whose enum is tagged `#[serde(tag = "type", content = "data")]`.
pub fn encode_event<E: Serialize>(event: &E) -> Result<StoredEvent, EventError> {
    let fail = |detail: String| EventError::Decode { name: "?".into(), detail };
    let text = serde_json::to_string(event).map_err(|e| fail(e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| fail(e.to_string()))
}

/// Decodes a stored event into its kind's enum, through the upcasters.
pub fn decode_event<E: DeserializeOwned>(stored: &StoredEvent) -> Result<E, EventError> {
    #[derive(Serialize)]
    struct Tagged<'a> {
        #[serde(rename = "type")]
        name: &'a str,
        data: &'a RawValue,
    }
    let upcast = upcast::upcast(&stored.name, &stored.data)?;
    let (name, data) = match &upcast {
        Some((name, data)) => (name.as_str(), &**data),
        None => (stored.name.as_str(), &*stored.data),
    };
    let fail = |e: serde_json::Error| EventError::Decode { name: stored.name.clone(), detail: e.to_string() };
    let text = serde_json::to_string(&Tagged { name, data }).map_err(fail)?;
    serde_json::from_str(&text).map_err(fail)
}
