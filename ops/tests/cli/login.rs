//! Logging in on the terminal: from then on it acts as that person, by files that nobody else can read.

use quipu::{
    config::{Config, Flags},
    serve::{self, Running},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

/// A person at a terminal.
struct Person<'a> {
    data: &'a Path,
    profiles: &'a Path,
    url: String,
}

impl Person<'_> {
    fn command(&self, args: &[&str], password: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quipu"));
        for name in ["QUIPU_TOKEN", "QUIPU_ORG", "QUIPU_CONFIG", "QUIPU_ON_BEHALF_OF"] {
            command.env_remove(name);
        }
        command
            .args(args)
            .env("QUIPU_DATA", self.data)
            .env("QUIPU_URL", &self.url)
            .env("QUIPU_PROFILES", self.profiles)
            .env("QUIPU_PASSWORD", password)
            .stdin(std::process::Stdio::null());
        command
    }

    async fn run(&self, args: &[&str], password: &str) -> (i32, Value) {
        // Off the runtime's own threads, which serve the node.
        let output = tokio::task::block_in_place(|| self.command(args, password).output().unwrap());
        let text = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
        let shown = String::from_utf8_lossy(text).into_owned();
        assert!(!shown.contains(password), "{args:?}: {shown}");
        let value = serde_json::from_slice(text).unwrap_or_else(|e| panic!("{args:?}: {e}: {shown}"));
        (output.status.code().unwrap(), value)
    }

    async fn done(&self, args: &[&str]) -> Value {
        let (code, value) = self.run(args, PASSWORD).await;
        assert_eq!(code, 0, "{args:?}: {value}");
        value
    }

    fn profile(&self) -> (std::path::PathBuf, Value) {
        let files = fs::read_dir(self.profiles).unwrap().map(|entry| entry.unwrap().path());
        let mut files = files.filter(|path| path.extension().is_some_and(|ending| ending == "json"));
        let path = files.next().expect("a profile");
        let profile = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        (path, profile)
    }
}

const PASSWORD: &str = "correct horse battery";

async fn node(data: &Path) -> Running {
    let flags = Flags {
        listen: Some("127.0.0.1:0".into()),
        data: Some(data.display().to_string()),
        ..Flags::default()
    };
    serve::start(Config::from_layers(None, BTreeMap::new(), flags).unwrap())
        .await
        .unwrap()
}

/// By links of the node's own token somebody else joins, and a password that was lost is set.
async fn lost_and_invited(ada: &Person<'_>, id: &str) {
    let link = ada.done(&["account", "link", "reset-password", id]).await;
    let code = link["code"].as_str().unwrap();
    assert!(link["link"].as_str().is_some_and(|link| link.ends_with(code)), "{link}");
    let invite = ada
        .done(&["invites", "create", "acme", "bob@example.com", "--role", "viewer"])
        .await;
    let invite = invite["stream"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    assert_eq!(ada.done(&["invites", "list", "acme"]).await[0]["role"], "viewer");
    let to_bob = ada.done(&["invites", "link", "acme", &invite]).await;
    let joined = ada
        .done(&[
            "invites",
            "accept",
            to_bob["code"].as_str().unwrap(),
            "--by-password",
            "--name",
            "Bob",
        ])
        .await;
    assert_eq!((&joined["org"], &joined["role"]), (&json!("acme"), &json!("viewer")), "{joined}");
    assert_eq!(ada.done(&["account", "reset", code]).await["status"], "changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_logs_in_acts_as_themselves_until_they_log_out() {
    let dir = tempfile::tempdir().unwrap();
    let (data, profiles) = (dir.path().join("data"), dir.path().join("profiles"));
    let running = node(&data).await;
    let ada = Person {
        data: &data,
        profiles: &profiles,
        url: running.url(),
    };
    assert_eq!(ada.done(&["whoami"]).await["principal"], "bootstrap");
    let first = ada.done(&["login", "--first", "--address", "ada@example.com"]).await;
    let id = first["principal"].as_str().unwrap();
    assert!(id.starts_with("usr_"), "{first}");
    // The first is made once.
    let (code, refused) = ada.run(&["login", "--first", "--address", "eve@example.com"], PASSWORD).await;
    assert_eq!((code, &refused["error"]["code"]), (3, &json!("not_first")), "{refused}");
    let me = ada.done(&["whoami"]).await;
    assert_eq!((&me["principal"], &me["operator"]), (&json!(id), &json!(true)), "{me}");

    // An org, whose owner they are, and a key there.
    ada.done(&["send", "acme", "org", "acme", "create", r#"{"name":"Acme"}"#]).await;
    let made = ada
        .done(&["keys", "create", "acme", "CI", "--scope", "cap:run.*", "--days", "30"])
        .await;
    assert!(made["shown"].as_str().is_some_and(|text| text.starts_with("qpk_acme.")), "{made}");
    let key = made["stream"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let rotated = ada.done(&["keys", "rotate", "acme", &key, "--grace-hours", "1"]).await;
    assert_ne!(rotated["shown"], made["shown"]);
    ada.done(&["keys", "revoke", "acme", &key, "--reason", "lost"]).await;
    let keys = ada.done(&["keys", "list", "acme"]).await;
    assert_eq!((&keys[0]["id"], &keys[0]["principal"]), (&json!(key), &json!(id)), "{keys}");

    // What is about to end is made new, by one of several programs.
    let (path, mut profile) = ada.profile();
    let before = profile["refresh_token"].clone();
    profile["ends_at"] = json!(1);
    fs::write(&path, profile.to_string()).unwrap();
    let several: Vec<_> = (0..3).map(|_| ada.command(&["whoami"], PASSWORD).spawn().unwrap()).collect();
    for mut one in several {
        let status = tokio::task::block_in_place(|| one.wait().unwrap());
        assert!(status.success());
    }
    let (_, profile) = ada.profile();
    assert_ne!(profile["refresh_token"], before);
    ada.done(&["whoami"]).await;

    let (code, refused) = ada.run(&["login", "--address", "ada@example.com"], "wrong horse battery").await;
    assert_eq!((code, &refused["error"]["code"]), (3, &json!("wrong_login")), "{refused}");
    lost_and_invited(&ada, id).await;
    // The session of before is over; nobody is logged in any more, and what is sent goes by the node's token: that is said.
    assert_eq!(ada.done(&["logout"]).await["acts_as"], "bootstrap");
    assert_eq!(ada.done(&["whoami"]).await["principal"], "bootstrap");
    assert!(!path.exists());
    running.stop().await;
}

/// A form, as a page sends it.
async fn page(url: &str, fields: &[(&str, &str)]) -> String {
    let mut form = reqwest::Url::parse("http://form.invalid/").unwrap();
    form.query_pairs_mut().extend_pairs(fields);
    // Fails only where another test of this process installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let request = reqwest::Client::new()
        .post(format!("{url}/oauth/device"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form.query().unwrap().to_owned());
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    answer.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_terminal_is_let_in_by_somebody_in_a_browser() {
    let dir = tempfile::tempdir().unwrap();
    let (data, profiles) = (dir.path().join("data"), dir.path().join("profiles"));
    let running = node(&data).await;
    let ada = Person {
        data: &data,
        profiles: &profiles,
        url: running.url(),
    };
    let first = ada.done(&["login", "--first", "--address", "ada@example.com"]).await;
    ada.done(&["logout"]).await;
    let mut child = ada
        .command(&["login", "--device"], PASSWORD)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    tokio::task::block_in_place(|| BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap());
    let code = said.trim().rsplit(' ').next().unwrap().to_owned();
    assert!(said.contains("/oauth/device") && code.len() == 9, "{said}");
    let signed_in = [("user_code", code.as_str()), ("address", "ada@example.com"), ("password", PASSWORD)];
    let shown = page(&running.url(), &signed_in).await;
    assert!(shown.contains("everything that you may"), "{shown}");
    let (_, rest) = shown.split_once("name=\"ticket\" value=\"").unwrap();
    let ticket = rest.split('"').next().unwrap();
    page(&running.url(), &[("ticket", ticket), ("decision", "allow")]).await;
    let output = tokio::task::block_in_place(|| child.wait_with_output().unwrap());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let me = ada.done(&["whoami"]).await;
    assert_eq!((&me["principal"], &me["operator"]), (&first["principal"], &json!(true)), "{me}");
    // It goes on like any other.
    let (path, mut profile) = ada.profile();
    profile["ends_at"] = json!(1);
    fs::write(&path, profile.to_string()).unwrap();
    ada.done(&["whoami"]).await;
    running.stop().await;
}
