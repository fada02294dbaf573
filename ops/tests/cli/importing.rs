//! Transcripts in and out, over HTTP against a node of its own.

use quipu::{
    client::{Client, Command, FeedQuery},
    config::Config,
    export,
    import::{self, Report, Target},
    serve::{self, Running},
};
use quipu_schemas::ids::{OrgId, PrincipalId, StreamId};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::Path};

#[allow(unreachable_pub, dead_code, reason = "shared by several test programs")]
#[path = "../../../events/tests/servers/skipped.rs"]
mod skipped;

const ORG: OrgId = OrgId::from_static("acme");

/// A node with an org and an owner.
async fn node(data: &Path) -> (Running, Client) {
    let running = serve::start(Config::at(data).unwrap()).await.unwrap();
    let client = Client::new(&running.url(), running.token.expose()).unwrap();
    let create = Command::to(&StreamId::of_org(&ORG), "create", json!({ "name": "Acme" }))
        .id("create-org".parse().unwrap())
        .on_behalf_of(Some(&PrincipalId::from_static("ada")));
    client.command(&create).await.unwrap();
    (running, client)
}

async fn import(client: &Client, file: &str) -> Report {
    let target = Target {
        org: ORG,
        actor: Some(PrincipalId::from_static("ada")),
    };
    import::run(client, &target, file.as_bytes(), &|_| {}).await.unwrap()
}

/// Waits until the last task of a stopped node has let go of the data directory.
async fn released(data: &Path) {
    let lock = fs::File::open(data.join("lock")).unwrap();
    for _ in 0..1_000 {
        if lock.try_lock().is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await; // poll
    }
    panic!("the data directory is still held");
}

async fn transcripts(client: &Client) -> BTreeMap<String, Value> {
    let mut out = Vec::new();
    export::chats(client, &ORG, None, &mut out).await.unwrap();
    messages_of(std::str::from_utf8(&out).unwrap())
}

fn messages_of(file: &str) -> BTreeMap<String, Value> {
    let lines = file.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .map(|line| (line["id"].as_str().unwrap().to_owned(), line["messages"].clone()))
        .collect()
}

fn small() -> String {
    let call = json!({ "id": "t1", "type": "function", "function": { "name": "look", "arguments": "{\"a\": 1}" } });
    let lines = [
        json!({ "id": "one", "reward": 0.5, "messages": [
            { "role": "system", "content": "Be kind." },
            { "role": "user", "content": "" },
            { "role": "assistant", "content": null, "tool_calls": [call] },
            { "role": "tool", "content": "7", "tool_call_id": "t1", "name": "look" },
            { "role": "assistant", "content": "Seven. \u{1F511}\n" },
        ]}),
        json!({ "id": "two", "messages": [{ "role": "user", "content": "hello" }] }),
    ];
    lines.map(|line| line.to_string()).join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_import_changes_nothing_and_exports_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (running, client) = node(dir.path()).await;
    let file = small();
    let first = import(&client, &file).await;
    assert_eq!(
        (
            first.conversations,
            first.conversations_created,
            first.imported,
            first.already_there
        ),
        (2, 2, 6, 0)
    );
    assert_eq!(first.bad_lines, []);
    let end = running.node.cursor();
    let again = import(&client, &file).await;
    assert_eq!(
        (
            again.conversations,
            again.conversations_created,
            again.imported,
            again.already_there
        ),
        (2, 0, 0, 6)
    );
    assert_eq!(running.node.cursor(), end, "a repetition appends nothing");
    assert_eq!(transcripts(&client).await, messages_of(&file));

    let mut events = Vec::new();
    let query = FeedQuery {
        kind: Some("conversation".into()),
        ..FeedQuery::default()
    };
    let count = export::cloudevents(&client, &ORG, &query, &mut events).await.unwrap();
    let text = String::from_utf8(events).unwrap();
    assert_eq!(text.lines().count() as u64, count);
    assert_eq!(text.lines().filter(|line| line.contains("message_imported.v1")).count(), 6);
    assert!(
        text.lines()
            .all(|line| serde_json::from_str::<Value>(line).unwrap()["specversion"] == "1.0")
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn export_imports_with_senders_titles_and_empty_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (running, client) = node(dir.path()).await;
    let ada = PrincipalId::from_static("ada");
    let send = async |stream: &str, name: &str, body: Value, by: &PrincipalId| {
        let command = Command::to(&stream.parse().unwrap(), name, body).on_behalf_of(Some(by));
        client.command(&command).await.unwrap()
    };
    let bob = PrincipalId::from_static("bob");
    send("acme/org/acme", "add_member", json!({ "principal": "bob", "role": "member" }), &ada).await;
    send("acme/conversation/empty", "create", json!({ "type": "group" }), &ada).await;
    let people = json!([{ "principal": "bob", "kind": "person" }]);
    let lunch = json!({ "type": "group", "title": "Lunch", "participants": people });
    send("acme/conversation/lunch", "create", lunch, &ada).await;
    send("acme/conversation/lunch", "post", json!({ "body": "Soup?" }), &ada).await;
    send("acme/conversation/lunch", "post", json!({ "body": "Soup." }), &bob).await;
    let exported = async |org: &OrgId| {
        let mut out = Vec::new();
        export::chats(&client, org, None, &mut out).await.unwrap();
        String::from_utf8(out).unwrap()
    };
    let file = exported(&ORG).await;
    let lines: Vec<Value> = file.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines,
        [
            json!({ "id": "empty", "messages": [] }),
            json!({ "id": "lunch", "title": "Lunch", "messages": [
                { "role": "user", "name": "ada", "content": "Soup?" },
                { "role": "user", "name": "bob", "content": "Soup." },
            ]}),
        ]
    );
    let other = OrgId::from_static("other");
    send("other/org/other", "create", json!({ "name": "Other" }), &ada).await;
    let target = Target {
        org: other.clone(),
        actor: Some(ada),
    };
    let report = import::run(&client, &target, file.as_bytes(), &|_| {}).await.unwrap();
    assert_eq!(
        (report.conversations, report.imported, report.bad_lines.len()),
        (2, 2, 0),
        "{report:?}"
    );
    assert_eq!(exported(&other).await, file);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_goes_on_where_another_ended_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let file = small();
    // The first run sees a file that ends in the middle, as one does that was killed there.
    let mut cut: Value = serde_json::from_str(file.lines().next().unwrap()).unwrap();
    cut["messages"].as_array_mut().unwrap().truncate(2);
    let (running, client) = node(dir.path()).await;
    assert_eq!(import(&client, &cut.to_string()).await.imported, 2);
    running.stop().await;
    released(dir.path()).await;

    let (running, client) = node(dir.path()).await;
    let report = import(&client, &file).await;
    assert_eq!((report.imported, report.already_there, report.conversations_created), (4, 2, 1));
    assert_eq!(transcripts(&client).await, messages_of(&file));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_lines_are_told_by_number_and_send_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (running, client) = node(dir.path()).await;
    let file = [
        r#"{"id":"good","messages":[{"role":"user","content":"x"}]}"#,
        "not json",
        r#"{"id":"half","messages":[{"role":"user","content":"x"},{"role":"robot","content":"y"}]}"#,
    ]
    .join("\n");
    let report = import(&client, &file).await;
    assert_eq!(report.bad_lines.iter().map(|bad| bad.line).collect::<Vec<_>>(), [2, 3]);
    assert!(report.bad_lines[1].reason.contains("messages[1]"), "{:?}", report.bad_lines);
    assert_eq!(transcripts(&client).await.keys().collect::<Vec<_>>(), ["good"]);

    // The same id with another message is a conflict, told with its line, and changes nothing.
    let other = import(&client, r#"{"id":"good","messages":[{"role":"user","content":"other"}]}"#).await;
    assert_eq!((other.imported, other.bad_lines[0].line), (0, 1));
    assert_eq!(transcripts(&client).await["good"][0]["content"], "x");
    running.stop().await;
}

/// Conversations in the shape of real transcripts of agents with tools: a policy, a person, calls with null and with spoken
/// content, tools that answer with text and with nothing, and fields of the line that are no messages.
fn transcripts_of_agents(conversations: usize) -> (String, u64) {
    let mut lines = String::new();
    let mut count = 0;
    for c in 0..conversations {
        let mut messages = vec![json!({ "role": "system", "content": format!("# Policy\n\nBe brief ({c}).") })];
        for n in 0..2 + c % 7 {
            let call = |tool: &str| json!({ "id": format!("call_{c}_{n}"), "type": "function", "function": { "name": tool, "arguments": format!("{{\"n\": {n}}}") } });
            messages.push(json!({ "role": "user", "content": format!("question {n}, \"quoted\" \u{1F6EB}") }));
            match (c + n) % 4 {
                0 => messages.push(json!({ "role": "assistant", "content": format!("answer {n}") })),
                1 => {
                    messages.push(json!({ "role": "assistant", "content": null, "tool_calls": [call("look_up")] }));
                    messages.push(json!({ "role": "tool", "content": "", "tool_call_id": format!("call_{c}_{n}"), "name": "look_up" }));
                }
                2 => {
                    messages.push(json!({ "role": "assistant", "content": "One moment.", "tool_calls": [call("book"), call("pay")] }));
                    messages.push(
                        json!({ "role": "tool", "content": "{\"ok\": true}", "tool_call_id": format!("call_{c}_{n}"), "name": "book" }),
                    );
                }
                _ => messages.push(json!({ "role": "assistant", "content": "" })),
            }
        }
        count += messages.len() as u64;
        let line = json!({ "id": format!("line-{c:03}-0"), "task_id": c, "trial": 0, "reward": 0.0, "messages": messages });
        lines.push_str(&line.to_string());
        lines.push('\n');
    }
    (lines, count)
}

/// Imports a file twice: the second time nothing is appended, and what comes out is what went in.
async fn comes_out_as_it_went_in(file: &str, conversations: u64, messages: u64) {
    let dir = tempfile::tempdir().unwrap();
    let (running, client) = node(dir.path()).await;
    let first = import(&client, file).await;
    assert_eq!(first.bad_lines, []);
    assert_eq!(
        (first.conversations, first.imported, first.already_there),
        (conversations, messages, 0)
    );
    let end = running.node.cursor();
    let again = import(&client, file).await;
    assert_eq!(
        (again.conversations, again.imported, again.already_there),
        (conversations, 0, messages)
    );
    assert_eq!(running.node.cursor(), end, "a repetition appends nothing");
    assert_eq!(transcripts(&client).await, messages_of(file));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_conversations_come_out_as_they_went_in() {
    let (file, messages) = transcripts_of_agents(30);
    for part in [
        r#""content":null"#,
        r#""content":"","name":"look_up""#,
        r#""content":"","role":"assistant""#,
        r#""tool_calls""#,
    ] {
        assert!(file.contains(part), "{part} belongs to the shape");
    }
    comes_out_as_it_went_in(&file, 30, messages).await;
}

/// The data lies beside the repository, not in it; the test above stands in where it is absent.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_real_conversations_come_out_as_they_went_in() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/airline-conversations.jsonl");
    match fs::read_to_string(&path) {
        Ok(file) => comes_out_as_it_went_in(&file, 100, 2_962).await,
        Err(e) => skipped::skipped(
            "a hundred real conversations through import and export",
            &format!("{} cannot be read: {e}", path.display()),
        ),
    }
}

/// What is kept beside the log is exported in full, wherever a reader is; what is gone or damaged is said to be.
#[tokio::test(flavor = "multi_thread")]
async fn large_values_are_exported_in_full_or_said_to_be_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (running, client) = node(dir.path()).await;
    let ada = PrincipalId::from_static("ada");
    let send = async |name: &str, body: Value| {
        let command = Command::to(&"acme/conversation/long".parse().unwrap(), name, body).on_behalf_of(Some(&ada));
        client.command(&command).await.unwrap()
    };
    send("create", json!({ "type": "group" })).await;
    let long = |word: &str| format!("{word} ").repeat(30_000);
    for word in ["whole", "missing"] {
        send("post", json!({ "body": long(word) })).await;
    }
    let exported = async || {
        let mut out = Vec::new();
        let done = export::chats(&client, &ORG, None, &mut out).await.unwrap();
        let line: Value = serde_json::from_slice(&out).unwrap();
        (done.erased, line["messages"].clone())
    };
    let (erased, messages) = exported().await;
    assert_eq!((erased, messages[0]["content"].as_str()), (0, Some(&*long("whole"))));
    assert_eq!(messages[1]["content"].as_str(), Some(&*long("missing")));
    let mut events = Vec::new();
    export::cloudevents(&client, &ORG, &FeedQuery::default(), &mut events)
        .await
        .unwrap();
    let events = String::from_utf8(events).unwrap();
    let last = events.lines().rev().find(|line| line.contains("message_posted")).unwrap();
    let body = serde_json::from_str::<Value>(last).unwrap()["data"]["body"].clone();
    assert_eq!(body["$size"], json!(long("missing").len() + 1), "events name it: {body}");
    let name = body["$blob"].as_str().unwrap().parse().unwrap();
    running.node.blobs().unwrap().delete(&ORG, &[name]).unwrap();
    let (erased, messages) = exported().await;
    assert_eq!((erased, messages[0]["content"].as_str()), (1, Some(&*long("whole"))));
    assert_eq!(
        (&messages[1]["content"], &messages[1]["quipu_erased"]),
        (&json!(null), &json!(true))
    );
    running.stop().await;
}
