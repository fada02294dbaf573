//! The public form of an event: CloudEvents 1.0, JSON.
//!
//! The same event has the same bytes wherever and whenever it is served: nothing in it depends on the reader.

use crate::clock::rfc3339;
use quipu_schemas::{
    ids::StreamId,
    limits::VALUE_SHOWN_MAX_BYTES,
    personal::{self, BlobRef, Opener, SEALED_KEY, SECRET_KEY, SealError},
    position::Position,
    record::{Record, StoredEvent},
};
use serde::Serialize;
use serde_json::value::RawValue;

/// One event.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: String,
    source: String,
    #[serde(rename = "type")]
    name: &'a str,
    subject: &'a str,
    time: String,
    datacontenttype: &'static str,
    streamversion: u64,
    position: String,
    partitionkey: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlationid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causationid: Option<&'a str>,
    principal: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    onbehalfof: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    principalhome: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    data: &'a RawValue,
}

/// The `source` of an entity's events; `plural` is that of its kind.
pub fn source(stream: &StreamId, plural: &str) -> String {
    format!("/orgs/{}/{plural}/{}", stream.org, stream.id)
}

/// The `index`-th event of a record as a CloudEvent, sealed values opened by `opener` where there is one.
///
/// `plural` is that of the stream's kind, `position` is the record's; the event's own has `index` set.
pub fn encode(
    record: &Record,
    plural: &str,
    position: Position,
    index: usize,
    opener: Option<&dyn Opener>,
) -> Result<Box<RawValue>, SealError> {
    let header = &record.header;
    let stream = &header.stream;
    let event = &record.events[index];
    let version = header.first_version + index as u64;
    let opened = match opener {
        Some(opener) => open(event, opener)?,
        None => hidden(event)?,
    };
    let cloud = CloudEvent {
        specversion: "1.0",
        id: format!("{stream}@{version}"),
        source: source(stream, plural),
        name: &event.name,
        subject: stream.id.as_str(),
        time: rfc3339(header.time),
        datacontenttype: "application/json",
        streamversion: version,
        position: Position {
            index: index as u32,
            ..position
        }
        .to_string(),
        partitionkey: stream.to_string(),
        correlationid: header.correlation.as_deref(),
        causationid: header.causation.as_deref(),
        principal: header.principal.as_str(),
        onbehalfof: header.on_behalf_of.as_ref().map(|p| p.as_str()),
        principalhome: header.home.as_ref().map(|org| org.as_str()),
        traceparent: header.traceparent.as_deref(),
        data: opened.as_deref().unwrap_or(&event.data),
    };
    serde_json::value::to_raw_value(&cloud).map_err(|e| SealError::Form(stream.to_string(), e.to_string()))
}

/// The values kept beside the log that the events of a record show in place.
pub fn shown_blobs(record: &Record) -> Vec<BlobRef> {
    let mut found = Vec::new();
    for event in record.events.iter().filter(|event| BlobRef::may_be_in(event.data.get().as_bytes())) {
        if let Ok(value) = serde_json::from_str(event.data.get()) {
            BlobRef::each_in(&value, &mut |blob: BlobRef| {
                if blob.size <= VALUE_SHOWN_MAX_BYTES as u64 {
                    found.push(blob);
                }
            });
        }
    }
    found
}

/// The data with sealed values opened; `None` where nothing is sealed, so that the stored bytes are served.
fn open(event: &StoredEvent, opener: &dyn Opener) -> Result<Option<Box<RawValue>>, SealError> {
    if ![SEALED_KEY, SECRET_KEY].iter().any(|key| event.data.get().contains(key)) && !BlobRef::may_be_in(event.data.get().as_bytes()) {
        return Ok(None);
    }
    let form = |e: serde_json::Error| SealError::Form(event.name.clone(), e.to_string());
    let mut value = serde_json::from_str(event.data.get()).map_err(form)?;
    personal::show_all(&mut value, opener)?;
    serde_json::value::to_raw_value(&value).map(Some).map_err(form)
}

/// The data without secrets; `None` where there are none, so that the stored bytes are served.
fn hidden(event: &StoredEvent) -> Result<Option<Box<RawValue>>, SealError> {
    if !event.data.get().contains(SECRET_KEY) {
        return Ok(None);
    }
    let form = |e: serde_json::Error| SealError::Form(event.name.clone(), e.to_string());
    let mut value = serde_json::from_str(event.data.get()).map_err(form)?;
    if !personal::hide_secrets(&mut value) {
        return Ok(None);
    }
    serde_json::value::to_raw_value(&value).map(Some).map_err(form)
}

/// JSON Schema of the public form.
pub fn schema() -> serde_json::Value {
    serde_json::json!({
        "type": "object",
        "description": "An event as CloudEvents 1.0 JSON; `data` is as stored, personal values opened.",
        "required": ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "streamversion", "position", "partitionkey", "principal", "data"],
        "properties": {
            "specversion": { "const": "1.0" },
            "id": { "type": "string", "description": "org/kind/id@version" },
            "source": { "type": "string", "description": "/orgs/{org}/{kinds}/{id}" },
            "type": { "type": "string", "description": "The stored name, quipu.<kind>.<event>.v<n>." },
            "subject": { "type": "string", "description": "The entity's id." },
            "time": { "type": "string", "format": "date-time" },
            "datacontenttype": { "const": "application/json" },
            "streamversion": { "type": "integer", "minimum": 1 },
            "position": { "type": "string", "pattern": "^p[0-9]+\\.[0-9]+\\.[0-9]+$" },
            "partitionkey": { "type": "string" },
            "correlationid": { "type": "string" },
            "causationid": { "type": "string" },
            "principal": { "type": "string" },
            "onbehalfof": { "type": "string" },
            "principalhome": { "type": "string", "description": "The org that `principal` and `onbehalfof` belong to, where that is not the event's. People belong to none." },
            "traceparent": { "type": "string" },
            "data": {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quipu_schemas::{
        digest::Digest,
        envelope::DataClass,
        ids::{CommandId, PrincipalId},
        personal::{DataKey, Personal, Sealer},
        record::Header,
    };

    struct OneKey(bool);
    impl Sealer for OneKey {
        fn sealing_key(&self, _: &str) -> Result<DataKey, SealError> {
            Ok(DataKey([3; 32]))
        }
    }
    impl Opener for OneKey {
        fn opening_key(&self, _: &str) -> Result<Option<DataKey>, SealError> {
            Ok(self.0.then_some(DataKey([3; 32])))
        }
    }

    fn record(data: &str) -> Record {
        let header = Header {
            stream: "acme/conversation/cnv_1".parse().unwrap(),
            first_version: 3,
            events: 2,
            reactions: 0,
            command_id: CommandId::parse("c-1").unwrap(),
            digest: Digest::ZERO,
            time: 1_700_000_000_000,
            principal: PrincipalId::BOOTSTRAP,
            on_behalf_of: None,
            home: None,
            credential: None,
            acts_as: None,
            environment: None,
            data_class: DataClass::None,
            authority: 1,
            correlation: Some("co".into()),
            causation: None,
            traceparent: None,
            schema: 1,
            settlement: None,
            names: Vec::new(),
        };
        let event = |data: &str| StoredEvent {
            name: "quipu.x.y.v1".into(),
            data: RawValue::from_string(data.into()).unwrap(),
        };
        Record {
            header,
            events: vec![event("{}"), event(data)],
            reactions: vec![],
            previous: Digest::ZERO,
            hash: Digest::ZERO,
        }
    }

    #[test]
    fn foreign_actor_is_served_with_its_home() {
        let mut record = record("{}");
        record.header.principal = PrincipalId::parse("scout").unwrap();
        let shown = |record: &Record| {
            let text = encode(record, "conversations", Position::default(), 0, None).unwrap();
            serde_json::from_str::<serde_json::Value>(text.get()).unwrap()
        };
        assert!(shown(&record).get("principalhome").is_none());
        record.header.home = Some("beta".parse().unwrap());
        let shown = shown(&record);
        assert_eq!((&shown["principal"], &shown["principalhome"]), (&"scout".into(), &"beta".into()));
    }

    #[test]
    fn an_event_is_served_as_written() {
        let position = Position {
            partition: 3,
            offset: 9,
            index: 0,
        };
        let text = encode(&record(r#"{"b": 1,"a":2}"#), "conversations", position, 1, Some(&OneKey(true))).unwrap();
        assert_eq!(
            text.get(),
            r#"{"specversion":"1.0","id":"acme/conversation/cnv_1@4","source":"/orgs/acme/conversations/cnv_1","type":"quipu.x.y.v1","subject":"cnv_1","time":"2023-11-14T22:13:20.000Z","datacontenttype":"application/json","streamversion":4,"position":"p3.9.1","partitionkey":"acme/conversation/cnv_1","correlationid":"co","principal":"bootstrap","data":{"b": 1,"a":2}}"#
        );
    }

    #[test]
    fn personal_data_is_opened_by_right_and_stays_sealed_without() {
        let sealed = Personal::seal(&"hello".to_owned(), "acme/ada", &OneKey(true)).unwrap();
        let data = serde_json::json!({ "body": sealed }).to_string();
        let show = |opener: Option<&dyn Opener>| {
            encode(&record(&data), "conversations", Position::default(), 1, opener)
                .unwrap()
                .get()
                .to_owned()
        };
        assert!(show(Some(&OneKey(true))).contains(r#""data":{"body":"hello"}"#));
        assert!(show(Some(&OneKey(false))).contains(r#""data":{"body":{"erased":true}}"#));
        assert!(show(None).contains(SEALED_KEY) && !show(None).contains("hello"));
    }
}
