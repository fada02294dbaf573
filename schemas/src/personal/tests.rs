//! What is sealed, opened and shown, and what is refused.

use super::*;
use std::sync::Arc;

pub(super) struct OneKey(pub(super) Option<DataKey>);
impl Sealer for OneKey {
    fn sealing_key(&self, _: &str) -> Result<DataKey, SealError> {
        self.0.clone().ok_or(SealError::Store("none".into()))
    }
}
impl Opener for OneKey {
    fn opening_key(&self, _: &str) -> Result<Option<DataKey>, SealError> {
        Ok(self.0.clone())
    }
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Note {
    body: Personal<String>,
}

#[test]
fn command_is_sealed_while_parsed_and_opens_with_its_key() {
    let keys = Arc::new(OneKey(Some(DataKey([7; 32]))));
    let note: Note = sealing("acme/ada", keys.clone(), || serde_json::from_str(r#"{"body":"secret words"}"#))
        .0
        .unwrap();
    let stored = serde_json::to_string(&note).unwrap();
    assert!(!stored.contains("secret"), "{stored}");
    assert_eq!(serde_json::from_str::<Note>(&stored).unwrap(), note);
    assert_eq!(note.body.open(&*keys).unwrap(), Opened::Value("secret words".into()));
    assert_eq!(note.body.open(&OneKey(None)).unwrap(), Opened::Erased);
    assert!(matches!(
        note.body.open(&OneKey(Some(DataKey([8; 32])))),
        Err(SealError::Damaged(_))
    ));

    let mut json = serde_json::to_value(&note).unwrap();
    open_all(&mut json, &*keys).unwrap();
    assert_eq!(json, serde_json::json!({"body": "secret words"}));
}

#[test]
fn unopenable_data_shows_as_erased_and_fails_in_rules() {
    struct NoStore;
    impl Opener for NoStore {
        fn opening_key(&self, _: &str) -> Result<Option<DataKey>, SealError> {
            Err(SealError::Store("gone".into()))
        }
    }
    let (right, wrong) = (OneKey(Some(DataKey([7; 32]))), OneKey(Some(DataKey([8; 32]))));
    let body = Personal::seal(&"words".to_owned(), "acme/ada", &right).unwrap();
    let stored = serde_json::json!({ "list": [serde_json::to_value(Note { body }).unwrap()], "beside": 1 });
    let shown = |opener: &dyn Opener| {
        let mut value = stored.clone();
        show_all(&mut value, opener).map(|()| value)
    };
    let erased = serde_json::json!({ "list": [{ "body": { "erased": true } }], "beside": 1 });
    assert_eq!(shown(&right).unwrap()["list"][0]["body"], "words");
    assert_eq!(shown(&wrong).unwrap(), erased);
    assert_eq!(shown(&OneKey(None)).unwrap(), erased);
    let body: Personal<String> = serde_json::from_value(stored["list"][0]["body"].clone()).unwrap();
    assert_eq!(body.shown(&right).unwrap(), Opened::Value("words".into()));
    assert_eq!(body.shown(&wrong).unwrap(), Opened::Erased);
    assert_eq!(shown(&NoStore).unwrap_err(), SealError::Store("gone".into()));
    assert_eq!(open_all(&mut stored.clone(), &wrong), Err(SealError::Damaged("acme/ada".into())));
}

#[test]
fn a_value_that_is_withheld_shows_neither_its_size_nor_whose() {
    let keys: Arc<dyn crate::personal::Keys> = Arc::new(OneKey(Some(DataKey([7; 32]))));
    let body = Personal::seal(&"words".to_owned(), "acme/ada", &*keys).unwrap();
    let large = serde_json::json!({ "$blob": Digest::of(&[b"x"]), "$size": 1 << 22, "$subject": "acme/ada" });
    let small = serde_json::json!({ "$blob": Digest::of(&[b"y"]), "$size": 9, "$subject": "acme/ada" });
    let mut stored = serde_json::json!({ "list": [Note { body: body.clone() }, large, small], "beside": 1 });
    let withheld = Withheld(keys);
    show_all(&mut stored, &Within::new(&withheld, 1 << 20)).unwrap();
    let redacted = serde_json::json!({ "redacted": true });
    assert_eq!(
        stored,
        serde_json::json!({ "list": [{ "body": redacted }, redacted, redacted], "beside": 1 })
    );
    assert_eq!(body.open(&withheld), Err(SealError::Withheld));
    assert_eq!(SealError::Withheld.problem().status, 403);
}

#[test]
fn long_texts_are_sealed_without_the_escapes_of_json() {
    let key = OneKey(Some(DataKey([7; 32])));
    for (text, at_most) in [
        ("\"".repeat(65_000), 65_000),
        ("\u{1}\n\\".repeat(20_000), 60_000),
        ("é\"".repeat(20_000), 2 + 80_000),
        ("x".repeat(65_536), 2 + 65_536),
        ("\"".repeat(100), 202),
        ("\0".into(), 8),
    ] {
        let sealed = Personal::seal(&text, "acme/ada", &key).unwrap();
        // Base64 of nonce, tag, mark and text.
        assert!(
            sealed.sealed_len() <= (24 + 16 + 1 + at_most) * 4 / 3 + 4,
            "{}",
            sealed.sealed_len()
        );
        assert_eq!(sealed.open(&key).unwrap(), Opened::Value(text.clone()));
        let mut stored = serde_json::to_value(Note { body: sealed }).unwrap();
        open_all(&mut stored, &key).unwrap();
        assert_eq!(stored["body"], serde_json::Value::from(text));
    }
}

#[test]
fn plaintext_needs_the_sealing_scope_and_ciphertext_must_not() {
    assert!(serde_json::from_str::<Note>(r#"{"body":"plain"}"#).is_err());
    let keys = Arc::new(OneKey(Some(DataKey([7; 32]))));
    let forged = r#"{"body":{"$sealed":"AAAA","$subject":"acme/eve"}}"#;
    assert!(sealing("acme/ada", keys, || serde_json::from_str::<Note>(forged)).0.is_err());
    assert!(!is_sealing());
}
