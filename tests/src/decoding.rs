//! What tests and fuzzers do with bytes and texts from anywhere: decode them, and hold what comes out to its word.

use quipu_events::{
    frame::{self, FrameHeader},
    keyring::Keyring,
};
use quipu_rules::{components::Registry, definition::Definition, expression::Expression};
use quipu_runtime::kinds::Kinds;
use quipu_schemas::{
    digest::Digest,
    envelope::DataClass,
    ids::{CommandId, EntityId, Kind, MessageId, OrgId, PrincipalId, StreamId},
    position::{Cursor, LogId, Position},
    reaction::ReactionKey,
    record::{self, Header, Record, StoredEvent},
};
use serde_json::{Value, json, value::RawValue};
use std::{collections::BTreeMap, sync::Arc};

/// A header of this version.
pub fn header(version: u64) -> Header {
    Header {
        stream: "acme/run/r-1".parse().expect("a stream"),
        first_version: version,
        events: 1,
        reactions: 0,
        command_id: CommandId::parse("c-1".to_owned()).expect("an id"),
        digest: Digest([1; 32]),
        time: 1_700_000_000_000,
        principal: PrincipalId::BOOTSTRAP,
        on_behalf_of: None,
        home: None,
        credential: None,
        acts_as: None,
        environment: None,
        data_class: DataClass::None,
        authority: 1,
        correlation: None,
        causation: None,
        traceparent: None,
        schema: 1,
        settlement: None,
        names: Vec::new(),
    }
}

/// A record.
pub fn sample() -> Vec<u8> {
    let event = StoredEvent {
        name: "quipu.test.happened.v1".into(),
        data: RawValue::from_string(r#"{"a":[1,"x"]}"#.into()).expect("JSON"),
    };
    record::encode(&header(1), vec![event], vec![], Digest([9; 32]))
        .expect("a record")
        .bytes
}

/// Record bytes whose checksums are right, whatever header and body say.
pub fn sealed_record(header: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1, 0, 0, 0];
    bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes);
    crc.update(header);
    bytes.extend_from_slice(&crc.finalize().to_le_bytes());
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(body);
    bytes.extend_from_slice(&[0; 32]);
    let hash = Digest::of(&[&bytes]);
    bytes.extend_from_slice(&hash.0);
    bytes
}

/// Reads bytes as a record.
pub fn read_record(bytes: &[u8]) {
    let _ = record::claimed_hash(bytes);
    if let Ok(header) = record::decode_header(bytes) {
        header.last_version();
    }
    if let Ok(record) = record::decode(bytes) {
        record.header.last_version();
    }
}

/// Frame bytes whose checksums are right, whatever the numbers in front say.
pub fn sealed_frame(mut bytes: Vec<u8>) -> Vec<u8> {
    const HASHED: usize = 104;
    if bytes.len() < HASHED + 8 {
        return bytes;
    }
    let owner = usize::from(u16::from_le_bytes([bytes[6], bytes[7]]));
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..HASHED]);
    crc.update(bytes.get(HASHED + 4..HASHED + 4 + owner).unwrap_or_default());
    let crc = crc.finalize().to_le_bytes();
    bytes[HASHED..HASHED + 4].copy_from_slice(&crc);
    let body = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize;
    let end = HASHED + 4 + owner + body;
    if end + 4 <= bytes.len() {
        let crc = crc32fast::hash(&bytes[..end]).to_le_bytes();
        bytes[end..end + 4].copy_from_slice(&crc);
    }
    bytes
}

/// A frame of these records.
pub fn frame_of(records: &[Vec<u8>], owner: Option<&str>) -> Vec<u8> {
    let header = FrameHeader {
        log_id: LogId([7; 16]),
        generation: 2,
        partition: 3,
        epoch: 5,
        batch_id: [8; 16],
        first_offset: 41,
        previous: Digest([9; 32]),
        owner: owner.map(Into::into),
    };
    let mut out = Vec::new();
    frame::encode_onto(&mut out, &header, records.iter().map(Vec::as_slice)).expect("a frame");
    out
}

/// Reads bytes as a frame and what is in it as records.
pub fn read_frame(bytes: &[u8]) {
    if let Ok(peeked) = frame::peek(bytes) {
        assert!(peeked.len >= frame::HEADER_BYTES);
    }
    if let Ok(decoded) = frame::decode(bytes) {
        for range in decoded.records {
            read_record(&bytes[range]);
        }
    }
}

/// Reads a text as every id, position and key there is; what parses is written as it was read.
pub fn read_texts(text: &str) {
    let owned = || text.to_owned();
    if let Ok(position) = text.parse::<Position>() {
        assert_eq!(position.to_string().parse::<Position>(), Ok(position), "{text:?}");
    }
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string().parse::<Cursor>().as_ref(), Ok(&cursor), "{text:?}");
        cursor.covers(Position {
            partition: u16::MAX,
            offset: u64::MAX,
            index: u32::MAX,
        });
    }
    if let Ok(stream) = text.parse::<StreamId>() {
        assert_eq!(stream.to_string(), text);
    }
    if let Ok(key) = text.parse::<ReactionKey>() {
        assert_eq!(key.to_string().parse::<ReactionKey>(), Ok(key.clone()), "{text:?}");
        key.command_id("1");
        key.message_id();
    }
    let _ = (
        OrgId::parse(owned()),
        EntityId::parse(owned()),
        PrincipalId::parse(owned()),
        CommandId::parse(owned()),
        MessageId::parse(owned()),
        Kind::parse(owned()),
    );
    let _ = text.parse::<Digest>();
}

/// Parses and evaluates an expression, twice with one result.
pub fn evaluate(source: &str) {
    let Ok(expression) = Expression::parse(source) else { return };
    let _ = expression.check_names(&["input", "inputs", "run", "texts"]);
    let nested =
        json!({ "a": { "b": [1, 2.5, "x", null, true, { "c": "ü" }] }, "n": i64::MIN, "m": u64::MAX, "s": "text", "e": [], "z": 0 });
    let variables: BTreeMap<String, Value> = ["input", "inputs", "run", "texts"]
        .into_iter()
        .map(|name| (name.to_owned(), nested.clone()))
        .collect();
    let first = expression.evaluate(&variables);
    assert_eq!(first, expression.evaluate(&variables), "{source:?} gives the same every time");
}

/// Loads a definition; what is taken is taken again in its canonical form.
pub fn load(text: &str) {
    if let Ok(definition) = Definition::from_text(text, Registry::builtin()) {
        // What was taken is taken again in its canonical form, under the same digest.
        let again = Definition::load(&definition.canonical().0, Registry::builtin()).expect("the canonical form loads");
        assert_eq!(again.digest(), definition.digest());
    }
}

/// Parses the body of a command; it is taken in one word or refused as invalid.
pub fn parse_command(kind: &str, command: &str, body: Value) {
    let kinds = Kinds::builtin();
    let handler = kinds
        .get(&Kind::parse(kind.to_owned()).expect("a kind"))
        .expect("a built-in kind")
        .clone();
    let _ = handler.data_subject(command, &body);
    match handler.parse(command, body.clone(), "acme/ada", Arc::new(Keyring::ephemeral(7))) {
        Ok(stored) => assert_eq!(stored.0.as_object().map(serde_json::Map::len), Some(1), "{kind}.{command} {body}"),
        Err(problem) => assert_eq!(
            (problem.status, problem.code.as_str()),
            (422, "invalid_command"),
            "{kind}.{command} {body}: {problem}"
        ),
    }
}

/// Folds stored events as the records of one stream of a kind, one record each; whatever they are, the stream folds or is
/// parked with a reason. A line is the name of an event, a blank, and its data.
pub fn fold(kind: &str, lines: &str) {
    let kinds = Kinds::builtin();
    let Some(handler) = Kind::parse(kind.to_owned()).ok().and_then(|kind| kinds.get(&kind).cloned()) else {
        return;
    };
    let stream: StreamId = format!("acme/{kind}/x-1").parse().expect("a stream");
    let mut previous = Digest([9; 32]);
    let mut records: Vec<Record> = Vec::new();
    for line in lines.lines().take(64) {
        let Some((name, data)) = line.split_once(' ') else { continue };
        let Ok(data) = RawValue::from_string(data.to_owned()) else {
            continue;
        };
        let mut header = header(records.len() as u64 + 1);
        header.stream = stream.clone();
        let Ok(encoded) = record::encode(&header, vec![StoredEvent { name: name.into(), data }], vec![], previous) else {
            continue;
        };
        previous = encoded.hash;
        records.push(record::decode(&encoded.bytes).expect("what was encoded is decoded"));
    }
    match handler.recover(&stream, None, &mut records.into_iter()) {
        Ok(entity) => drop(entity.state()),
        Err(parked) => assert!(!parked.to_string().is_empty()),
    }
}
