//! Turning a kind's events into stored events and back.

use crate::{
    record::StoredEvent,
    upcast::{self, UpcastError},
};
use serde::{
    Serialize,
    de::{
        DeserializeOwned, DeserializeSeed, MapAccess,
        value::{BorrowedStrDeserializer, MapAccessDeserializer},
    },
};
use serde_json::value::RawValue;

/// Why a stored event cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// The event does not have the adjacently tagged form `{"type": …, "data": …}`.
    #[error("event {name} cannot be decoded: {detail}")]
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
    let fail = |e: serde_json::Error| EventError::Decode {
        name: "?".into(),
        detail: e.to_string(),
    };
    serde_json::to_string(event)
        .and_then(|text| serde_json::from_str(&text))
        .map_err(fail)
}

/// Decodes a stored event into its kind's enum, through the upcasters.
pub fn decode_event<E: DeserializeOwned>(stored: &StoredEvent) -> Result<E, EventError> {
    let upcast = upcast::upcast(&stored.name, &stored.data)?;
    let (name, data) = match &upcast {
        Some((name, data)) => (name.as_str(), &**data),
        None => (stored.name.as_str(), &*stored.data),
    };
    let fail = |e: serde_json::Error| EventError::Decode {
        name: stored.name.clone(),
        detail: e.to_string(),
    };
    E::deserialize(MapAccessDeserializer::new(Tagged { name, data, seen: 0 })).map_err(fail)
}

/// `{"type": name, "data": data}` as a parser would see it, without writing it down first.
struct Tagged<'a> {
    name: &'a str,
    data: &'a RawValue,
    seen: u8,
}

impl<'a> MapAccess<'a> for Tagged<'a> {
    type Error = serde_json::Error;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Self::Error> {
        let key = match self.seen {
            0 => "type",
            1 => "data",
            _ => return Ok(None),
        };
        seed.deserialize(BorrowedStrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Self::Error> {
        self.seen += 1;
        if self.seen == 1 {
            return seed.deserialize(BorrowedStrDeserializer::new(self.name));
        }
        let mut data = serde_json::Deserializer::from_str(self.data.get());
        let value = seed.deserialize(&mut data)?;
        data.end()?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type", content = "data")]
    enum Event {
        #[serde(rename = "quipu.test.said.v1")]
        Said {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            text: Option<String>,
            many: Vec<u64>,
        },
        #[serde(rename = "quipu.test.wrapped.v1")]
        Wrapped(Inner),
        #[serde(rename = "quipu.test.bare.v1")]
        Bare,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Inner {
        a: f64,
    }

    #[test]
    fn events_are_stored_as_they_are_written_and_read_back() {
        for event in [
            Event::Said {
                text: Some("a \"quoted\" \u{1F9F6}".into()),
                many: vec![1, u64::MAX],
            },
            Event::Said { text: None, many: vec![] },
            Event::Wrapped(Inner { a: 0.5 }),
        ] {
            let stored = encode_event(&event).unwrap();
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::to_string(&stored).unwrap(), text);
            assert_eq!(decode_event::<Event>(&stored).unwrap(), event);
        }
    }

    #[test]
    fn what_is_no_event_is_refused() {
        assert!(encode_event(&Event::Bare).is_err(), "an event has data");
        assert!(encode_event(&"text").is_err());
        let stored = encode_event(&Event::Wrapped(Inner { a: 1.0 })).unwrap();
        assert!(
            decode_event::<Event>(&StoredEvent {
                name: "quipu.test.other.v1".into(),
                ..stored.clone()
            })
            .is_err()
        );
        let data = RawValue::from_string(r#"{"many":"x"}"#.into()).unwrap();
        assert!(
            decode_event::<Event>(&StoredEvent {
                name: "quipu.test.said.v1".into(),
                data
            })
            .is_err()
        );
    }
}
