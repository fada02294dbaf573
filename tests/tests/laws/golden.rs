//! Stored forms that were once written stay readable: one golden sample each, append-only, under `tests/golden`.
//!
//! A new stored form (a new event, or a new version of one) comes with a sample; samples are never changed or deleted. An
//! older form decodes through its upcaster, and what decodes encodes again to the newest form.

use super::samples::sample;
use quipu_runtime::kinds::Kinds;
use quipu_schemas::{
    digest::Digest,
    envelope::DataClass,
    ids::{CommandId, CredentialId, Kind, OrgId, PrincipalId, StreamId},
    json::Json,
    reaction::{Dispatch, Effect, HttpRequest, Perform, Reaction, ReactionKey, Retry, Settled, Settlement, WebhookCall},
    record::{self, Acting, Header, Record, StoredEvent, StoredReaction},
};
use serde_json::{Value, json, value::RawValue};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn names(directory: &Path) -> BTreeSet<String> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect()
}

/// A sample through its kind's types and back.
fn through(kinds: &Kinds, sample: &StoredEvent) -> Result<StoredEvent, String> {
    let kind = sample.name.split('.').nth(1).and_then(|kind| Kind::parse(kind).ok());
    let kind = kind.and_then(|kind| kinds.get(&kind)).ok_or("no such kind")?;
    kind.recode(sample).map_err(|e| e.to_string())
}

/// A sample of a stored event that follows from its JSON Schema and encodes to itself.
fn made(kinds: &Kinds, name: &str) -> Option<StoredEvent> {
    let schema = fs::read_to_string(published().join(format!("{name}.json"))).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    // Which variants and texts fit together is for the types to say.
    (0..24).find_map(|draw| {
        let data = RawValue::from_string(sample(&schema, draw).to_string()).unwrap();
        let drawn = StoredEvent { name: name.into(), data };
        let encoded = through(kinds, &drawn).ok()?;
        let again = through(kinds, &encoded).ok()?;
        (encoded.name == name && encoded.data.get() == again.data.get()).then_some(encoded)
    })
}

fn published() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/json/events")
}

/// `QUIPU_BLESS=1` writes samples that are missing; one that is there stays as it is.
#[test]
fn every_stored_event_has_a_sample() {
    let missing: Vec<String> = names(&published()).difference(&names(&golden().join("events"))).cloned().collect();
    if std::env::var_os("QUIPU_BLESS").is_some() {
        let kinds = Kinds::builtin();
        for name in &missing {
            let event = made(&kinds, name).unwrap_or_else(|| panic!("no sample of {name} follows from its schema: write one"));
            let data: Value = serde_json::from_str(event.data.get()).unwrap();
            let text = serde_json::to_string_pretty(&json!({ "type": name, "data": data })).unwrap();
            fs::write(golden().join("events").join(format!("{name}.json")), text + "\n").unwrap();
        }
        return;
    }
    assert!(
        missing.is_empty(),
        "run QUIPU_BLESS=1 cargo test -p quipu-tests --test laws golden: tests/golden/events lacks {missing:?}"
    );
}

/// Where a schema tells too little (signed or hashed texts, units), the sample is written by hand: that is the exception.
#[test]
fn samples_of_most_events_follow_from_their_schemas() {
    let kinds = Kinds::builtin();
    let all = names(&published());
    let without: Vec<&String> = all.iter().filter(|name| made(&kinds, name).is_none()).collect();
    assert!(without.len() * 5 < all.len(), "no sample follows from the schemas of {without:?}");
}

#[test]
fn every_sample_decodes_and_a_current_one_encodes_to_itself() {
    let current = names(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/json/events"));
    let kinds = Kinds::builtin();
    let mut broken = Vec::new();
    for name in names(&golden().join("events")) {
        let text = fs::read_to_string(golden().join("events").join(format!("{name}.json"))).unwrap();
        let sample: StoredEvent = serde_json::from_str(&text).unwrap();
        assert_eq!(sample.name, name, "the file is named as the form");
        let encoded = through(&kinds, &sample);
        match encoded {
            Err(error) => broken.push(format!("{name}: {error}")),
            Ok(encoded) => {
                let value = |event: &StoredEvent| serde_json::from_str::<Value>(event.data.get()).unwrap();
                if current.contains(&name) && (encoded.name != name || value(&encoded) != value(&sample)) {
                    broken.push(format!("{name}: encodes to {} {}", encoded.name, encoded.data.get()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// A later sample of an event whose fields may hold what they did not: `<name>+<what>.json` under `tests/golden/forms`.
#[test]
fn later_forms_of_stored_events_encode_to_themselves() {
    let samples: Vec<String> = names(&golden().join("forms"))
        .into_iter()
        .filter(|name| name.starts_with("quipu."))
        .collect();
    assert!(samples.len() >= 5, "{samples:?}");
    let kinds = Kinds::builtin();
    for file in samples {
        let text = fs::read_to_string(golden().join("forms").join(format!("{file}.json"))).unwrap();
        let sample: StoredEvent = serde_json::from_str(&text).unwrap();
        assert_eq!(Some(sample.name.as_str()), file.split('+').next());
        let encoded = through(&kinds, &sample);
        let value = |event: &StoredEvent| serde_json::from_str::<Value>(event.data.get()).unwrap();
        assert_eq!(
            value(&encoded.unwrap_or_else(|error| panic!("{file}: {error}"))),
            value(&sample),
            "{file}"
        );
    }
}

/// A record that uses every field of the header and every form of reaction.
fn record_of_the_first_release() -> (Header, Vec<StoredEvent>, Vec<StoredReaction>) {
    let stream: StreamId = "acme/run/r1".parse().unwrap();
    let event = StoredEvent {
        name: "quipu.run.cancelled.v1".into(),
        data: RawValue::from_string(r#"{"by":"ada","reason":"enough"}"#.into()).unwrap(),
    };
    let perform = |effect: Effect| {
        Reaction::Perform(Perform {
            name: "call-1".into(),
            effect,
            retry: Retry::default(),
        })
    };
    let reactions = [
        Reaction::Dispatch(Dispatch::new(
            "acme/conversation/c1".parse().unwrap(),
            Json(json!({ "finish_turn": { "turn": "t1" } })),
        )),
        perform(Effect::Webhook(WebhookCall {
            url: "https://hooks.example/in".into(),
            sealed_url: None,
            event_type: "order.placed".into(),
            data: Json(json!({ "total": 12.5, "items": ["a", null] })),
            secret: "acme/hook".into(),
        })),
        perform(Effect::Http(HttpRequest {
            method: "GET".into(),
            url: "https://api.example/v1".into(),
            sealed_url: None,
            headers: [("accept".to_owned(), "application/json".to_owned())].into(),
            composed_headers: Default::default(),
            body: None,
            idempotency_header: Some("Idempotency-Key".into()),
            timeout_ms: Some(5_000),
        })),
        Reaction::WakeAt {
            name: "turn".into(),
            due: 1_780_000_000_000,
        },
        Reaction::CancelWake { name: "idle".into() },
        Reaction::CancelEffect { name: "call-0".into() },
    ];
    let reactions: Vec<_> = (0..)
        .zip(reactions)
        .map(|(ordinal, reaction)| StoredReaction {
            version: 7,
            ordinal,
            reaction,
        })
        .collect();
    let header = Header {
        stream: stream.clone(),
        first_version: 7,
        events: 1,
        reactions: reactions.len() as u32,
        command_id: CommandId::parse("rx:0123:a0.1").unwrap(),
        digest: Digest([7; 32]),
        time: 1_779_999_999_999,
        principal: PrincipalId::BOOTSTRAP,
        on_behalf_of: Some(PrincipalId::parse("ada").unwrap()),
        home: None,
        credential: None,
        acts_as: None,
        environment: Some("staging".into()),
        data_class: DataClass::Pii,
        authority: 3,
        correlation: Some("order-1".into()),
        causation: Some("acme/run/r1@6.0".into()),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        schema: 1,
        settlement: Some(Settlement {
            key: ReactionKey {
                stream,
                version: 6,
                ordinal: 0,
            },
            outcome: Settled::Dead {
                attempts: 3,
                code: "status_503".into(),
                detail: "gone".into(),
            },
        }),
        names: Vec::new(),
    };
    (header, vec![event], reactions)
}

/// The record's bytes, header and hashes included, are a promise to every log on every disk.
#[test]
fn a_stored_record_keeps_its_bytes() {
    keeps_its_bytes("record.v1.hex", record_of_the_first_release());
}

/// As a run writes it since its reactions are carried out in its creator's name.
#[test]
fn a_record_that_acts_for_another_keeps_its_bytes() {
    let (header, events, reactions) = record_of_the_first_release();
    let acts_as = Some(Acting {
        principal: PrincipalId::BOOTSTRAP,
        on_behalf_of: Some(PrincipalId::parse("bob").unwrap()),
        credential: None,
    });
    keeps_its_bytes("record.v1.acts_as.hex", (Header { acts_as, ..header }, events, reactions));
}

/// As it is written since records name the credential that they were made by. A record that names none keeps the bytes that it
/// had before.
#[test]
fn a_record_by_a_credential_keeps_its_bytes() {
    let (header, events, reactions) = record_of_the_first_release();
    let credential: Option<CredentialId> = Some("api-key/key_01jxxxxxxxxxxxxxxxxxxxxxxx".parse().unwrap());
    let acts_as = Some(Acting {
        principal: PrincipalId::parse("importer").unwrap(),
        on_behalf_of: None,
        credential: Some("api-key/key_01jyyyyyyyyyyyyyyyyyyyyyyy".parse().unwrap()),
    });
    let header = Header {
        credential,
        acts_as,
        ..header
    };
    keeps_its_bytes("record.v2.hex", (header, events, reactions));
}

/// As it is written since records name what their events are found by.
#[test]
fn a_record_with_names_keeps_its_bytes() {
    let (header, events, reactions) = record_of_the_first_release();
    let names = vec!["m1".to_owned(), "m2".to_owned()];
    keeps_its_bytes("record.v3.hex", (Header { names, ..header }, events, reactions));
}

/// As it is written since records name the home of who acts in another org.
#[test]
fn a_record_of_a_foreign_actor_keeps_its_bytes() {
    let (header, events, reactions) = record_of_the_first_release();
    let home = Some(OrgId::parse("beta").unwrap());
    keeps_its_bytes("record.v4.hex", (Header { home, ..header }, events, reactions));
}

fn keeps_its_bytes(sample: &str, (header, events, reactions): (Header, Vec<StoredEvent>, Vec<StoredReaction>)) {
    let encoded = record::encode(&header, &events, &reactions, Digest([9; 32])).unwrap();
    let text: String = encoded.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let golden = fs::read_to_string(golden().join(sample)).unwrap_or_default();
    assert_eq!(text, golden.trim(), "the stored form has changed: no older log can be read");
    let decoded: Record = record::decode(&hex(golden.trim())).unwrap();
    assert_eq!((decoded.header, decoded.events, decoded.reactions), (header, events, reactions));
    assert_eq!((decoded.previous, decoded.hash), (Digest([9; 32]), encoded.hash));
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// Parts of a record that came later, each as it is stored.
#[test]
fn forms_that_came_later_keep_their_text() {
    let text = |name: &str| fs::read_to_string(golden().join("forms").join(format!("{name}.json"))).unwrap();
    let command = |to: &str, command: Value| Dispatch::new(to.parse().unwrap(), Json(command));
    let awaited = command("acme/conversation/c1", json!({ "post": { "body": "hi" } })).awaiting("m#1");
    let heeded = command("acme/run/r1", json!({ "create_turn": {} })).heeding_refusal("turn:t1");
    for (name, dispatch) in [("dispatch_awaited", awaited), ("dispatch_heeded", heeded)] {
        let (reaction, text) = (Reaction::Dispatch(dispatch), text(&format!("reaction.{name}")));
        assert_eq!(serde_json::to_string(&reaction).unwrap(), text.trim());
        assert_eq!(serde_json::from_str::<Reaction>(&text).unwrap(), reaction);
    }
    let told = Settlement {
        key: "acme/run/r1@6.0".parse().unwrap(),
        outcome: Settled::Told,
    };
    assert_eq!(serde_json::to_string(&told).unwrap(), text("settlement.told").trim());
    assert_eq!(serde_json::from_str::<Settlement>(&text("settlement.told")).unwrap(), told);
}
