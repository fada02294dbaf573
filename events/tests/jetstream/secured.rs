//! Servers with TLS, and who may connect to them: by certificate, by password, by a token, by credentials.

use super::certificates::Authority;
use super::*;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use nkeys::KeyPair;
use quipu_events::jetstream::Login;
use serde_json::json;
use std::path::Path;

/// Opens a log at this address and writes to it: why it does not, otherwise.
fn opens(options: &JetStreamOptions) -> Result<(), String> {
    let options = JetStreamOptions {
        accept_unsynced: true,
        open: Duration::from_millis(1_500),
        partitions: 1,
        ..options.clone()
    };
    let log = JetStreamLog::open(&options).map_err(|e| e.to_string())?;
    assert_eq!(log.meta().partitions, 1);
    Ok(())
}

fn at(text: &str) -> JetStreamOptions {
    text.parse().expect("an address")
}

#[test]
fn servers_and_nodes_prove_themselves_by_certificates() {
    let what = "TLS to NATS";
    let dir = tempfile::tempdir().expect("a directory");
    let certificates = Authority::make(dir.path(), "ours").and_then(|ours| {
        let (server, node) = (ours.issue("server")?, ours.issue("node")?);
        Ok((ours, server, node, Authority::make(dir.path(), "theirs")?))
    });
    let (ours, server, node, theirs) = match certificates {
        Ok(certificates) => certificates,
        Err(why) => return skipped::skipped(what, &why),
    };
    let shown = |path: &Path| path.display().to_string();
    let config = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: true }}\n\
         authorization {{ users: [{{ user: quipu, password: \"p w\" }}] }}\n",
        shown(&server.certificate),
        shown(&server.key),
        shown(&ours.certificate()),
    );
    let nats = match Nats::start_with(&config) {
        Ok(nats) => nats,
        Err(why) => return skipped::skipped(what, &why),
    };
    let authority = shown(&ours.certificate());
    let own = format!("certificate={}&key={}", shown(&node.certificate), shown(&node.key));
    let address = |login: &str, keys: &str| at(&format!("tls://{login}@127.0.0.1:{}/secured?{keys}", nats.port(0)));
    assert_eq!(opens(&address("quipu:p w", &format!("ca={authority}&{own}"))), Ok(()));
    // The same by a secret.
    let mut by_secret = at(&format!(
        "tls://127.0.0.1:{}/secured?secret=nats&ca={authority}&{own}",
        nats.port(0)
    ));
    let refused = opens(&by_secret).expect_err("nobody looked the secret up");
    assert!(refused.contains("`nats`"), "{refused}");
    by_secret.login = Some(Login("quipu:p w".into()));
    assert_eq!(opens(&by_secret), Ok(()));
    for (what, options) in [
        ("no authority", address("quipu:p w", &own)),
        (
            "another authority",
            address("quipu:p w", &format!("ca={}&{own}", shown(&theirs.certificate()))),
        ),
        ("no certificate", address("quipu:p w", &format!("ca={authority}"))),
        ("another password", address("quipu:wrong-word", &format!("ca={authority}&{own}"))),
    ] {
        let refused = opens(&options).expect_err(what);
        assert!(!refused.contains("p w") && !refused.contains("wrong-word"), "{what}: {refused}");
    }
}

#[test]
fn token_opens_and_is_not_told() {
    let nats = match Nats::start_with("authorization { token: \"a-token-of-tests\" }\n") {
        Ok(nats) => nats,
        Err(why) => return skipped::skipped("tokens of NATS", &why),
    };
    let address = |token: &str| at(&format!("nats://{token}@127.0.0.1:{}/token", nats.port(0)));
    assert_eq!(opens(&address("a-token-of-tests")), Ok(()));
    let refused = opens(&address("another-token")).expect_err("it is another one");
    assert!(!refused.contains("another-token"), "{refused}");
}

/// What somebody says of a key, as NATS signs it.
fn claims(by: &KeyPair, of: &KeyPair, name: &str, nats: serde_json::Value) -> String {
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let body =
        part(&json!({ "jti": name, "iat": 1_700_000_000, "iss": by.public_key(), "name": name, "sub": of.public_key(), "nats": nats }));
    let said = format!("{header}.{body}");
    let signed = URL_SAFE_NO_PAD.encode(by.sign(said.as_bytes()).expect("a signature"));
    format!("{said}.{signed}")
}

/// A `.creds` file.
fn creds(jwt: &str, user: &KeyPair) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        user.seed().expect("a seed")
    )
}

#[test]
fn credentials_open_from_a_file_and_from_a_secret() {
    let (operator, system, account) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
    let limits = |storage: i64| {
        json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
            "mem_storage": storage, "disk_storage": storage, "streams": -1, "consumer": -1 })
    };
    let of_account = |key: &KeyPair, name, storage| {
        let nats = json!({ "limits": limits(storage), "type": "account", "version": 2 });
        claims(&operator, key, name, nats)
    };
    let own = claims(
        &operator,
        &operator,
        "operator",
        json!({ "type": "operator", "version": 2, "system_account": system.public_key() }),
    );
    let config = format!(
        "operator: {own}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {}, {}: {} }}\n",
        system.public_key(),
        system.public_key(),
        of_account(&system, "system", 0),
        account.public_key(),
        of_account(&account, "quipu", -1),
    );
    let nats = match Nats::start_with(&config) {
        Ok(nats) => nats,
        Err(why) => return skipped::skipped("credentials of NATS", &why),
    };
    let user = KeyPair::new_user();
    let of_user = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
    let text = creds(&claims(&account, &user, "node", of_user.clone()), &user);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("node.creds");
    fs::write(&file, &text).expect("the credentials");
    let address = |keys: &str| at(&format!("nats://127.0.0.1:{}/creds?{keys}", nats.port(0)));
    assert_eq!(opens(&address(&format!("credentials={}", file.display()))), Ok(()));
    let by_secret = |text: &str| JetStreamOptions {
        login: Some(Login(text.into())),
        ..address("secret=nats")
    };
    assert_eq!(opens(&by_secret(&text)), Ok(()));
    // Signed by an account that the operator does not know.
    let stranger = KeyPair::new_account();
    let foreign = creds(&claims(&stranger, &user, "node", of_user.clone()), &user);
    // Of somebody else's key.
    let stolen = creds(&claims(&account, &user, "node", of_user), &KeyPair::new_user());
    for refused in [foreign, stolen] {
        let told = opens(&by_secret(&refused)).expect_err("they are not the account's");
        assert!(!told.contains(&user.seed().expect("a seed")), "{told}");
    }
}
