//! Values that are kept beside the log.

use super::{tests::OneKey, *};
use parking_lot::Mutex;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

/// One key, and a store.
#[derive(Default)]
struct Kept(Mutex<BTreeMap<Digest, Vec<u8>>>);

impl Kept {
    fn stored(&self) -> usize {
        self.0.lock().len()
    }
}

impl Sealer for Kept {
    fn sealing_key(&self, _: &str) -> Result<DataKey, SealError> {
        Ok(DataKey([7; 32]))
    }
    fn inline_max(&self) -> usize {
        100
    }
    fn keep(&self, _: &str, blob: Vec<u8>) -> Result<Digest, SealError> {
        let name = Digest::of(&[&blob]);
        self.0.lock().insert(name, blob);
        Ok(name)
    }
}
impl Opener for Kept {
    fn opening_key(&self, _: &str) -> Result<Option<DataKey>, SealError> {
        Ok(Some(DataKey([7; 32])))
    }
    fn kept(&self, blob: &BlobRef) -> Result<Vec<u8>, SealError> {
        let found = self.0.lock().get(&blob.digest).cloned();
        found.ok_or(SealError::Missing(blob.digest))
    }
}

fn text(len: usize) -> String {
    "x".repeat(len)
}

#[test]
fn a_large_value_is_named_and_a_small_one_stays() {
    let keys = Kept::default();
    let (small, large) = (
        Personal::seal(&text(98), "acme/ada", &keys).unwrap(),
        Personal::seal(&text(100), "acme/ada", &keys).unwrap(),
    );
    assert!(small.blob().is_none() && large.blob().is_some());
    assert_eq!((small.plain_len(), large.plain_len(), keys.stored()), (100, 101, 1));
    for (value, len) in [(small, 98), (large, 100)] {
        let json = serde_json::to_string(&value).unwrap();
        assert_eq!(serde_json::from_str::<Personal<String>>(&json).unwrap(), value);
        assert_eq!(value.open(&keys).unwrap(), Opened::Value(text(len)));
    }
}

#[test]
fn stored_bytes_must_match_what_their_record_says() {
    let keys = Kept::default();
    let value = Personal::seal(&text(500), "acme/ada", &keys).unwrap();
    let blob = value.blob().unwrap();
    let stored = keys.kept(&blob).unwrap();
    assert_eq!(BlobRef::told_by(blob.digest, &stored), Some(blob.clone()));
    assert_eq!(blob.org().unwrap().as_str(), "acme");
    for wrong in [
        BlobRef { size: 502, ..blob.clone() },
        BlobRef {
            subject: "acme/eve".into(),
            ..blob.clone()
        },
    ] {
        assert!(matches!(Personal::<String>::kept(wrong).open(&keys), Err(SealError::Damaged(_))));
    }
    let number = Personal::<u64>::kept(blob.clone());
    assert!(matches!(number.open(&keys), Err(SealError::Form(..))));
    for torn in 0..stored.len() {
        keys.0.lock().insert(blob.digest, stored[..torn].to_vec());
        assert!(value.open(&keys).is_err(), "{torn} bytes");
    }
    keys.0.lock().clear();
    assert_eq!(value.open(&keys), Err(SealError::Missing(blob.digest)));
    assert_eq!(value.shown(&keys), Ok(Opened::Erased));
    assert_eq!(value.open(&OneKey(None)), Ok(Opened::Erased), "gone with its key, wherever it is");
}

#[test]
fn decisions_find_what_was_brought_and_nothing_else() {
    let keys = Kept::default();
    let (brought, other) = (
        Personal::seal(&text(500), "acme/ada", &keys).unwrap(),
        Personal::seal(&text(600), "acme/ada", &keys).unwrap(),
    );
    let blob = brought.blob().unwrap();
    let opener = Brought::new(&keys, [(blob.digest, keys.kept(&blob))].into());
    assert_eq!(brought.open(&opener).unwrap(), Opened::Value(text(500)));
    assert_eq!(other.open(&opener), Err(SealError::NotBrought(other.blob().unwrap().digest)));
}

#[test]
fn names_are_found_in_stored_json_and_nowhere_else() {
    let keys = Kept::default();
    let value = Personal::seal(&text(500), "acme/ada", &keys).unwrap();
    let stored = json!({ "list": [{ "deep": value }], "text": r#"{"$blob":"not a key"}"# });
    assert!(BlobRef::may_be_in(stored.to_string().as_bytes()) && contains_blob(&stored));
    let mut found = Vec::new();
    BlobRef::each_in(&stored, &mut |blob| found.push(blob));
    assert_eq!(found, [value.blob().unwrap()]);
    for none in [
        json!({ "$sealed": "x", "$subject": "acme/ada" }),
        json!({ "text": "\"$blob\":\"x\"", "price": "$5" }),
        json!({ "blob": "$" }),
    ] {
        let text = none.to_string();
        assert!(!BlobRef::may_be_in(text.as_bytes()) || text.contains("\\\"$blob\\\""), "{text}");
        BlobRef::each_in(&none, &mut |blob| panic!("{blob:?}"));
    }
}

#[test]
fn readers_see_what_is_small_names_of_the_rest_and_what_is_gone() {
    let keys = Kept::default();
    let seal = |len| Personal::seal(&text(len), "acme/ada", &keys).unwrap();
    let (shown, named, gone) = (seal(300), seal(crate::limits::VALUE_SHOWN_MAX_BYTES), seal(400));
    keys.0.lock().remove(&gone.blob().unwrap().digest);
    let mut stored = json!([shown, named, gone]);
    show_all(&mut stored, &keys).unwrap();
    assert_eq!(stored[0], text(300));
    assert_eq!(stored[1], serde_json::to_value(&named).unwrap());
    assert_eq!((&stored[2]["unavailable"], &stored[2]["$size"]), (&json!("missing"), &json!(401)));
    let mut strict = json!([gone]);
    assert!(matches!(open_all(&mut strict, &keys), Err(SealError::Missing(_))));
}

#[test]
fn a_client_may_name_what_its_org_uploaded() {
    let keys = Arc::new(Kept::default());
    let named = serde_json::to_value(Personal::seal(&text(500), "acme/bob", &*keys).unwrap()).unwrap();
    let take = |subject: &str, sent: &serde_json::Value| {
        let (parsed, failed) = sealing(subject, keys.clone(), || Personal::<String>::deserialize(sent));
        (parsed.ok(), failed)
    };
    let (taken, failed) = take("acme/ada", &named);
    assert_eq!((taken.unwrap().subject(), failed), ("acme/bob", None), "it stays whose it was");
    let digest = named["$blob"].as_str().unwrap().parse().unwrap();
    assert_eq!(take("other/ada", &named).1, Some(SealError::Missing(digest)));
    let mut more = named.clone();
    more["beside"] = json!(1);
    assert_eq!(take("acme/ada", &more), (None, None), "a mistake of the client's");
    let large = json!(text(1_000));
    let (sealed, failed) = take("acme/ada", &large);
    assert!(sealed.unwrap().blob().is_some() && failed.is_none());
}

#[test]
fn without_a_store_a_large_value_is_refused_by_code() {
    struct Alone;
    impl Sealer for Alone {
        fn sealing_key(&self, _: &str) -> Result<DataKey, SealError> {
            Ok(DataKey([7; 32]))
        }
        fn inline_max(&self) -> usize {
            100
        }
    }
    let error = Personal::seal(&text(200), "acme/ada", &Alone).unwrap_err();
    assert_eq!((error.problem().status, error.problem().code.as_str()), (422, "blobs_not_shared"));
    let huge = Personal::seal(&text(crate::limits::VALUE_ENCODED_MAX_BYTES), "acme/ada", &Alone);
    assert_eq!(huge.unwrap_err().problem().code, "value_too_large");
}

#[test]
fn stored_forms_of_both_kinds_never_change() {
    // Golden: a change here is a change of the stored form.
    let sealed = r#"{"$sealed":"AAAA","$subject":"acme/ada"}"#;
    let digest = "ab".repeat(32);
    let named = format!(r#"{{"$blob":"{digest}","$size":70000,"$subject":"acme/ada"}}"#);
    for stored in [sealed, named.as_str()] {
        let value: Personal<String> = serde_json::from_str(stored).unwrap();
        assert_eq!(serde_json::to_string(&value).unwrap(), stored);
    }
    for bad in [
        format!(r#"{{"$blob":"{digest}","$subject":"acme/ada"}}"#),
        format!(r#"{{"$blob":"{digest}","$sealed":"AAAA","$size":1,"$subject":"acme/ada"}}"#),
        format!(r#"{{"$blob":"{digest}","$size":1,"$subject":"acme/ada","x":1}}"#),
    ] {
        assert!(serde_json::from_str::<Personal<String>>(&bad).is_err(), "{bad}");
    }
    assert_eq!(blob::enclose("a/b", b"xyz"), b"QVAL1\x03\x00a/bxyz");
}

#[test]
fn a_page_fetches_what_it_has_room_for_and_names_the_rest() {
    let keys = Kept::default();
    let seal = |len| Personal::seal(&text(len), "acme/ada", &keys).unwrap();
    let mut stored = json!([seal(400), seal(500), seal(300)]);
    show_all(&mut stored, &Within::new(&keys, 702)).unwrap();
    assert_eq!((&stored[0], &stored[2]), (&json!(text(400)), &json!(text(300))));
    assert_eq!(stored[1]["$size"], 501);
}
