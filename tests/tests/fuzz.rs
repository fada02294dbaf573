//! Coverage-guided fuzzing on the stable toolchain. `cargo test -p quipu-tests --test fuzz` feeds every kept input
//! (`tests/tests/__fuzz__`) and some thousands of mutated ones to each target. To search on, with the compiler's coverage as
//! guide (needs `cargo install cargo-bolero`):
//!
//! `cargo bolero test -p quipu-tests --rustc-bootstrap --sanitizer NONE -T 10m record`
//!
//! What it finds lands beside the kept inputs, and fails `cargo test` until it is mended.

use quipu_runtime::kinds::Kinds;
use quipu_schemas::{
    digest::Digest,
    position::Position,
    record::{self, StoredEvent},
};
use quipu_tests::decoding::{
    evaluate, fold, header, load, parse_command, read_frame, read_record, read_texts, sealed_frame, sealed_record,
};
use serde_json::{Value, value::RawValue};
use std::sync::LazyLock;

/// Every kind. In the order of the alphabet: a new one gives kept inputs to another kind, which does no harm.
static KINDS: LazyLock<Vec<String>> = LazyLock::new(|| Kinds::builtin().commands().map(|(kind, _)| kind.to_string()).collect());

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// The first byte names a kind; the rest is for it.
fn of_kind(bytes: &[u8]) -> Option<(&'static str, &str)> {
    let (first, rest) = bytes.split_first()?;
    Some((KINDS[usize::from(*first) % KINDS.len()].as_str(), text(rest)?))
}

#[test]
fn record() {
    bolero::check!().for_each(|bytes: &[u8]| {
        read_record(bytes);
        // Past the checksums, which no mutation finds: the header up to the first line's end, then the body.
        let at = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
        read_record(&sealed_record(&bytes[..at], bytes.get(at + 1..).unwrap_or_default()));
    });
}

#[test]
fn frame() {
    bolero::check!().for_each(|bytes: &[u8]| {
        read_frame(bytes);
        read_frame(&sealed_frame(bytes.to_vec()));
    });
}

#[test]
fn identifiers() {
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Some(text) = text(bytes) {
            read_texts(text);
        }
    });
}

#[test]
fn expression() {
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Some(text) = text(bytes) {
            evaluate(text);
        }
    });
}

#[test]
fn run_definition() {
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Some(text) = text(bytes) {
            load(text);
        }
    });
}

/// Stored events through upcasters and folds: the first byte is the kind, each line an event.
#[test]
fn stored_events() {
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Some((kind, lines)) = of_kind(bytes) {
            fold(kind, lines);
        }
    });
}

/// Bodies of commands as HTTP hands them on: the first byte is the kind, the first line the command, the rest its body.
#[test]
fn command_body() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let Some((kind, rest)) = of_kind(bytes) else { return };
        let Some((command, body)) = rest.split_once('\n') else { return };
        if let Ok(body) = serde_json::from_str::<Value>(body) {
            parse_command(kind, command, body);
        }
    });
}

/// Whatever an event's data is, its CloudEvent has what the specification asks for, and the same data.
#[test]
fn cloud_event() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let Some((name, data)) = text(bytes).and_then(|text| text.split_once(' ')) else {
            return;
        };
        let (Ok(raw), Ok(value)) = (RawValue::from_string(data.to_owned()), serde_json::from_str::<Value>(data)) else {
            return;
        };
        // Names come from the kinds, and none is empty.
        if name.is_empty() {
            return;
        }
        let event = StoredEvent {
            name: name.into(),
            data: raw,
        };
        let Ok(encoded) = record::encode(&header(1), vec![event], vec![], Digest([9; 32])) else {
            return;
        };
        let record = record::decode(&encoded.bytes).expect("what was encoded is decoded");
        let position = Position {
            partition: 0,
            offset: 7,
            index: 0,
        };
        let cloud = quipu::cloudevents::encode(&record, "conversations", position, 0, None).expect("nothing sealed is opened");
        let cloud: Value = serde_json::from_str(cloud.get()).expect("JSON");
        for name in ["specversion", "id", "source", "type", "time", "datacontenttype"] {
            assert!(cloud[name].as_str().is_some_and(|value| !value.is_empty()), "{name} of {cloud}");
        }
        let names = cloud.as_object().expect("an object").keys();
        assert!(
            names
                .into_iter()
                .all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())),
            "{cloud}"
        );
        assert_eq!(cloud["data"], value);
    });
}
