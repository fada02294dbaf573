//! An import whose node is killed in the middle resumes to the same end.

use parking_lot::Mutex;
use quipu::{
    client::{Client, Command},
    export,
    import::{self, ImportError, Report, Target},
    token::Token,
};
use quipu_schemas::ids::{OrgId, StreamId};
use serde_json::{Value, json};
use std::{
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

const ORG: OrgId = OrgId::from_static("acme");
const CONVERSATIONS: usize = 12;
const MESSAGES: usize = 30;

fn start(data: &Path) -> Child {
    // What an earlier life left behind must not be taken for this one's answer.
    let _ = std::fs::remove_file(data.join("address"));
    std::process::Command::new(env!("CARGO_BIN_EXE_quipu"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

async fn ready(data: &Path) -> Client {
    for _ in 0..3_000 {
        if let Ok(url) = std::fs::read_to_string(data.join("address"))
            && let Ok(Some(token)) = Token::load(data)
            && let Ok(client) = Client::new(url.trim(), token.expose())
            && client.probe("/health/ready").await.is_ok_and(|(status, _)| status == 200)
        {
            return client;
        }
        tokio::time::sleep(Duration::from_millis(10)).await; // poll
    }
    panic!("the node is not ready");
}

fn file() -> String {
    let message =
        |c: usize, n: usize| json!({ "role": if n.is_multiple_of(2) { "user" } else { "assistant" }, "content": format!("{c}.{n}") });
    let line = |c: usize| json!({ "id": format!("c{c}"), "messages": (0..MESSAGES).map(|n| message(c, n)).collect::<Vec<_>>() });
    (0..CONVERSATIONS).map(|c| line(c).to_string() + "\n").collect()
}

async fn run(client: &Client, kill_at: Option<u64>, child: &Mutex<Child>) -> Result<Report, ImportError> {
    let target = Target { org: ORG, actor: None };
    let kill = |tick: import::Tick| {
        if kill_at.is_some_and(|at| tick.messages == at) {
            child.lock().kill().unwrap();
        }
    };
    import::run(client, &target, file().as_bytes(), &kill).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_import_resumes_to_the_same_end() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let mut first = true;
    for kill_at in [3, 71, 200] {
        let child = Mutex::new(start(data));
        let client = ready(data).await;
        if std::mem::take(&mut first) {
            let create = Command::to(&StreamId::of_org(&ORG), "create", json!({ "name": "Acme" }));
            client.command(&create).await.unwrap();
        }
        let stopped = run(&client, Some(kill_at), &child).await;
        assert!(matches!(stopped, Err(ImportError::Client(_))), "{stopped:?}");
        child.lock().wait().unwrap();
    }
    let child = Mutex::new(start(data));
    let client = ready(data).await;
    let report = run(&client, None, &child).await.unwrap();
    assert_eq!(report.conversations as usize, CONVERSATIONS);
    assert_eq!((report.imported + report.already_there) as usize, CONVERSATIONS * MESSAGES);
    assert!(report.already_there >= 200 && report.bad_lines.is_empty(), "{report:?}");
    let again = run(&client, None, &child).await.unwrap();
    assert_eq!((again.imported, again.conversations_created), (0, 0));

    let mut out = Vec::new();
    export::chats(&client, &ORG, None, &mut out).await.unwrap();
    let mut exported: Vec<Value> = String::from_utf8(out)
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let mut given: Vec<Value> = file().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    for lines in [&mut exported, &mut given] {
        lines.sort_by_key(|line| line["id"].to_string());
    }
    assert_eq!(exported, given);
    let mut child = child.into_inner();
    child.kill().unwrap();
    child.wait().unwrap();
    let verify = std::process::Command::new(env!("CARGO_BIN_EXE_quipu"))
        .arg("verify")
        .arg(data)
        .output()
        .unwrap();
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stdout));
}
