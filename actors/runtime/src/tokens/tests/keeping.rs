//! Which keys sign when, and what is remembered.

use super::*;
use quipu_schemas::limits::{SIGNING_KEY_LEAD_MS, TOKENS_CHECKED_MAX};

#[test]
fn keys_are_published_before_and_after_they_sign() {
    let tokens = tokens();
    let ids = |now| -> Vec<String> { tokens.keys.published(now).unwrap().iter().map(|key| key.id().to_owned()).collect() };
    let signing = |now| tokens.keys.signing(now).unwrap().id().to_owned();
    let turn = 41 * SIGNING_KEY_MS;
    let (old, new) = (signing(turn - 1), signing(turn));
    assert_ne!(old, new);
    assert_eq!(ids(turn - SIGNING_KEY_LEAD_MS - 1), std::slice::from_ref(&old));
    assert_eq!(ids(turn - SIGNING_KEY_LEAD_MS), [old.clone(), new.clone()]);
    assert_eq!(ids(turn + TOKEN_LIFETIME_MAX_MS - 1), [old.clone(), new.clone()]);
    assert_eq!(ids(turn + TOKEN_LIFETIME_MAX_MS), [new]);
    // The last token of the old key lives its whole life.
    let last = AccessClaims {
        iat: turn / 1_000 - 1,
        exp: turn / 1_000 - 1 + 3_600,
        ..claims()
    };
    let text = tokens.issue(&last, turn - 1).unwrap();
    assert!(tokens.read(&text, For::Node, turn + 60_000).is_ok());
}

#[test]
fn nodes_that_share_keys_read_each_others_tokens() {
    let keyring = Arc::new(Keyring::ephemeral(7));
    let node = |series| {
        let config = TokensConfig {
            series,
            ..config(Algorithm::Es256)
        };
        Tokens::new(&config, keyring.clone())
    };
    let text = node(1).issue(&claims(), NOW).unwrap();
    assert_eq!(*node(1).read(&text, For::Node, NOW).unwrap(), claims());
    // Another series of keys ends all tokens of the one before.
    assert_eq!(refused(&node(2), &text), TokenRefused::UnknownKey);
}

#[test]
fn a_remembered_signature_decides_nothing_else() {
    let tokens = tokens();
    let text = tokens.issue(&claims(), NOW).unwrap();
    assert!(tokens.read(&text, For::Node, NOW).is_ok());
    assert_eq!(tokens.checked.len(), 1);
    assert_eq!(
        tokens.read(&text, For::Audience("other"), NOW).err(),
        Some(TokenRefused::OtherAudience)
    );
    assert_eq!(tokens.read(&text, For::Node, NOW + 900_000).err(), Some(TokenRefused::Expired));
    // Its key is withdrawn by then.
    let later = NOW + SIGNING_KEY_MS + TOKEN_LIFETIME_MAX_MS;
    assert_eq!(tokens.read(&text, For::Node, later).err(), Some(TokenRefused::UnknownKey));
    // Forged ones are not remembered.
    let forged = format!("{}A", &text[..text.len() - 1]);
    let _ = tokens.read(&forged, For::Node, NOW);
    let _ = tokens.read(&text[..text.len() - 2], For::Node, NOW);
    assert_eq!(tokens.checked.len(), 1);
}

#[test]
fn remembered_signatures_are_bounded() {
    let checked = Checked::default();
    let token = Arc::new(checked::Token {
        key: "k".into(),
        issuer: ISSUER.into(),
        not_before: None,
        claims: Arc::new(claims()),
    });
    for n in 0..TOKENS_CHECKED_MAX + 5_000 {
        checked.keep(Digest::of(&[&n.to_le_bytes()]).0, token.clone());
    }
    assert!(checked.len() <= TOKENS_CHECKED_MAX, "{}", checked.len());
    assert!(checked.get(&Digest::of(&[&(TOKENS_CHECKED_MAX + 4_999).to_le_bytes()]).0).is_some());
}
