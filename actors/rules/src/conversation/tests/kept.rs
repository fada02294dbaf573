//! Many messages: what is packed says the same as a map, and damage is noticed.

use super::super::kept::{Kept, Message};
use quipu_kinds::conversation::ContentType;
use quipu_schemas::{
    digest::Digest,
    ids::{MessageId, PrincipalId},
};
use std::collections::BTreeMap;

fn id(n: usize) -> MessageId {
    // In an order that is not that of insertion.
    MessageId::parse(format!("m{}-{n}", n * 7_919 % 1_000)).expect("an id")
}

fn message(n: usize) -> Message {
    let digest = Digest([(n % 251) as u8; 32]);
    let types = [
        ContentType::Text,
        ContentType::Markdown,
        ContentType::Html,
        ContentType::Json,
        ContentType::Event,
    ];
    match n % 9 {
        7 => Message::Imported { digest },
        8 => Message::Deleted { digest },
        kind => Message::Posted {
            sender: PrincipalId::parse(format!("person-{}", n % 13)).expect("a principal"),
            digest,
            content_type: types[kind % 5],
        },
    }
}

fn both(count: usize) -> (Kept, BTreeMap<MessageId, Message>) {
    let (mut messages, mut map) = (Kept::default(), BTreeMap::new());
    for n in 0..count {
        assert!(!messages.insert(id(n), message(n)));
        map.insert(id(n), message(n));
        if n % 5 == 0 {
            // Something from long ago becomes something else.
            let (old, new) = (id(n / 2), Message::Deleted { digest: Digest([9; 32]) });
            assert!(messages.insert(old.clone(), new.clone()));
            map.insert(old, new);
        }
    }
    (messages, map)
}

fn packed(messages: &Kept) -> Vec<u8> {
    bincode::serde::encode_to_vec(messages, bincode::config::standard()).expect("encodes")
}

fn unpacked(bytes: &[u8]) -> Option<Kept> {
    let (messages, used) = bincode::serde::decode_from_slice(bytes, bincode::config::standard()).ok()?;
    (used == bytes.len()).then_some(messages)
}

#[test]
fn packed_messages_say_what_a_map_says() {
    for count in [0, 1, 511, 512, 513, 4_000] {
        let (messages, map) = both(count);
        assert_eq!((messages.len(), messages.is_empty()), (map.len(), map.is_empty()));
        for n in 0..count {
            assert_eq!(messages.get(&id(n)).as_ref(), map.get(&id(n)));
            assert!(messages.contains_key(&id(n)));
        }
        assert_eq!(messages.get(&id(count)), None);
        let json = serde_json::to_value(&messages).expect("JSON");
        assert_eq!(json, serde_json::to_value(&map).expect("JSON"));
        assert_eq!(serde_json::from_value::<Kept>(json).expect("messages"), messages);
        assert_eq!(unpacked(&packed(&messages)), Some(messages));
    }
}

#[test]
fn equal_messages_have_equal_bytes_however_they_came() {
    let (messages, map) = both(3_000);
    let mut backwards = Kept::default();
    for (id, message) in map.into_iter().rev() {
        backwards.insert(id, message);
    }
    assert_eq!(backwards, messages);
    assert_eq!(packed(&backwards), packed(&messages));
}

#[test]
fn cut_or_changed_structure_is_no_messages() {
    let bytes = packed(&both(300).0);
    for length in 0..bytes.len() {
        assert_eq!(unpacked(&bytes[..length]), None, "{length} of {} bytes", bytes.len());
    }
    // Senders' count, messages' count, the first end: each makes the rest unreadable.
    for at in [3, 4, 5] {
        let mut changed = bytes.clone();
        changed[at] ^= 0x40;
        assert_eq!(unpacked(&changed), None, "byte {at}");
    }
}
