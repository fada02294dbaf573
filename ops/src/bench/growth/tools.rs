//! A turn of a hundred tool calls over a long history: what it adds to the log.

use super::Client;
use crate::bench::{BenchError, Setup, child, http, report::Line};
use serde_json::{Value, json};
use std::{
    fs, io,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const CALLS: usize = 100;
/// Text of the history, about 209,000 tokens at four bytes a token.
const HISTORY_BYTES: usize = 836_000;
/// Every tenth result is as large as a file; the others are as answers of services are.
const LARGE: usize = 1_000_000;
const SMALL: usize = 2_000;
const LOG_BYTES: f64 = 2_000_000.0;

/// What was said, as role and text.
fn history(setup: &Setup) -> Result<Vec<(String, String)>, BenchError> {
    let mut said = Vec::new();
    let mut bytes = 0;
    let real = setup
        .conversations
        .as_ref()
        .map(fs::read_to_string)
        .transpose()?
        .unwrap_or_default();
    for line in real.lines() {
        let conversation: Value = serde_json::from_str(line)?;
        for message in conversation["messages"].as_array().into_iter().flatten() {
            let (role, text) = (message["role"].as_str(), message["content"].as_str());
            if let (Some(role @ ("user" | "assistant")), Some(text)) = (role, text)
                && !text.is_empty()
            {
                bytes += text.len();
                said.push((role.to_owned(), text.to_owned()));
            }
        }
        if bytes >= HISTORY_BYTES {
            return Ok(said);
        }
    }
    while bytes < HISTORY_BYTES {
        let number = said.len();
        let text = format!(
            "Message {number}: {}",
            "what somebody says about a flight, at some length. ".repeat(10)
        );
        bytes += text.len();
        said.push((["user", "assistant"][number % 2].to_owned(), text));
    }
    Ok(said)
}

/// Answers every request; each tenth at length.
async fn service(listener: TcpListener) -> io::Result<()> {
    let mut served = 0usize;
    loop {
        let (mut stream, _) = listener.accept().await?;
        served += 1;
        let length = if served.is_multiple_of(10) { LARGE } else { SMALL };
        tokio::spawn(async move {
            let mut request = Vec::new();
            let mut buffer = [0; 8 * 1024];
            // The request is short; what it says does not matter, only that it is whole.
            loop {
                let read = stream.read(&mut buffer).await?;
                request.extend_from_slice(&buffer[..read]);
                if read == 0 || request.ends_with(b"}") {
                    break;
                }
            }
            let body = format!("{served} ").repeat(length / 4);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
            stream.shutdown().await
        });
    }
}

/// Bytes of stored records of the whole node, by its own streams.
async fn log_bytes(client: &mut Client<'_>, run: &str) -> Result<(f64, bool), BenchError> {
    let (mut bytes, mut after, mut done) = (0.0, String::new(), false);
    loop {
        let (page, _) = client.ask("GET", &format!("runs/{run}/history?limit=200{after}"), "").await?;
        for item in page["items"].as_array().into_iter().flatten() {
            bytes += item.to_string().len() as f64;
            done |= item["events"].as_array().into_iter().flatten().any(|event| {
                event["type"]
                    .as_str()
                    .is_some_and(|name| name.contains("run.completed") || name.contains("run.failed"))
            });
        }
        let Some(next) = page["next"].as_str() else {
            return Ok((bytes, done));
        };
        after = format!("&after={next}");
    }
}

pub(super) async fn line(setup: &Setup, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let served = tokio::spawn(service(listener));
    let allow = format!("egress.allow=[\"{address}\"]");
    let (node, _) = child::node(&setup.path("tools"), false, &[&allow]).await?;
    http::create(&node, 0, 1).await?;
    let mut client = Client::open(&node).await?;
    let calls: String = (0..CALLS).map(|id| format!("scripted: tool lookup {{\"id\": {id}}}\n")).collect();
    let agent = json!({
        "name": "scout", "model": { "provider": "scripted", "model": "bench" }, "directive": format!("{calls}scripted: reply done"),
        "tools": [{ "name": "lookup", "description": "Looks an order up.",
            "parameters": { "type": "object", "properties": { "id": { "type": "integer" } } },
            "run": { "by": "http", "url": format!("http://{address}/lookup"), "idempotent": true } }],
    });
    client.ask("POST", "agents/scout", &agent.to_string()).await?;
    let room = json!({ "type": "group", "participants": [{ "principal": "scout", "kind": "agent" }], "claim_window_ms": 0 });
    client.ask("POST", "conversations/desk", &room.to_string()).await?;
    let said = history(setup)?;
    for (number, (role, text)) in said.iter().enumerate() {
        let message = json!({ "message_id": format!("old-{number}"), "role": role, "content": { "content": text } });
        client
            .ask("POST", "conversations/desk/import_message", &message.to_string())
            .await?;
    }
    let before = disk(&setup.path("tools"))?;
    let begun = Instant::now();
    client
        .ask("POST", "conversations/desk/post", r#"{"body":"look everything up"}"#)
        .await?;
    let run = turn(&mut client).await?;
    let bytes = loop {
        let (bytes, done) = log_bytes(&mut client, &run).await?;
        if done {
            break bytes;
        }
        if begun.elapsed() > Duration::from_secs(120) {
            return Err(BenchError::Child(format!(
                "a turn of {CALLS} calls does not end within two minutes"
            )));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let took = begun.elapsed();
    let grown = disk(&setup.path("tools"))? - before;
    served.abort();
    node.stop().await?;
    out.push(Line::judged(
        &format!("{CALLS} tool calls over a history of {} messages, bytes of log", said.len()),
        "≤ 2 MB",
        format!("{:.2} MB", bytes / 1e6),
        bytes <= LOG_BYTES,
        format!(
            "the run's history; {} kB of text before it, every tenth result 1 MB; {:.1} MB more on disk, kept values among them; {:.1} s",
            said.iter().map(|(_, text)| text.len()).sum::<usize>() / 1_000,
            grown / 1e6,
            took.as_secs_f64()
        ),
    ));
    Ok(())
}

/// The run that answers.
async fn turn(client: &mut Client<'_>) -> Result<String, BenchError> {
    for _ in 0..200 {
        let (state, _) = client.ask("GET", "conversations/desk/state", "").await?;
        let text = state.to_string();
        if let Some((_, rest)) = text.split_once("\"run\":\"") {
            return Ok(rest.split('"').next().unwrap_or_default().to_owned());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(BenchError::Child("no run answers".into()))
}

fn disk(data: &std::path::Path) -> Result<f64, BenchError> {
    Ok(crate::bench::soak::bytes_under(data, "")? as f64)
}
