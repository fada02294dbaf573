//! Which refusals a client waits out, and under which identity it asks again.

use super::*;
use parking_lot::Mutex;
use serde_json::json;
use std::sync::Arc;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// A node that gives these answers one after the other, the last one for ever; where it is, and the ids that it was sent.
async fn node(answers: Vec<(u16, Value)>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("a bound port"));
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ids = heard.clone();
    tokio::spawn(async move {
        for n in 0.. {
            let Ok((mut socket, _)) = listener.accept().await else { return };
            let mut bytes = Vec::new();
            // Commands of these tests have the body `{}`.
            while !bytes.ends_with(b"\r\n\r\n{}") && socket.read_buf(&mut bytes).await.is_ok_and(|n| n > 0) {}
            let head = String::from_utf8_lossy(&bytes).to_lowercase();
            let id = head
                .lines()
                .find_map(|line| line.strip_prefix("idempotency-key: "))
                .unwrap_or_default();
            ids.lock().push(id.to_owned());
            let (status, body) = &answers[n.min(answers.len() - 1)];
            let body = body.to_string();
            let answer = format!(
                "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            // Whoever asked may be gone.
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    (url, heard)
}

fn refused(code: &str, retry_after: Option<u32>) -> (u16, Value) {
    let mut problem = Problem::new(503, code, "in a test");
    problem.retry_after = retry_after;
    (503, serde_json::to_value(problem).expect("JSON"))
}

fn taken() -> (u16, Value) {
    let receipt = json!({
        "command_id": "k-1", "stream": "acme/conversation/c", "version": 1, "position": "p0.0.0", "durability": "memory"
    });
    (200, receipt)
}

/// What the client gets, and the ids under which it asked.
async fn ask(answers: Vec<(u16, Value)>) -> (Result<Receipt, ClientError>, Vec<String>) {
    let (url, heard) = node(answers).await;
    let client = Client::new(&url, "token").expect("a client");
    let stream: StreamId = "acme/conversation/c".parse().expect("a stream");
    let answer = client.command(&Command::to(&stream, "create", json!({}))).await;
    let ids = heard.lock().clone();
    (answer, ids)
}

#[tokio::test]
async fn a_partition_without_an_owner_is_waited_out_under_one_id() {
    let (answer, ids) = ask(vec![refused("partition_stopped", None), refused("not_stored", None), taken()]).await;
    assert_eq!(answer.expect("a receipt").version, 1);
    assert!(
        ids.len() == 3 && !ids[0].is_empty() && ids.iter().all(|id| *id == ids[0]),
        "{ids:?}"
    );
}

#[tokio::test]
async fn partition_that_stays_stopped_fails_after_bounded_attempts() {
    let (answer, ids) = ask(vec![refused("partition_stopped", None)]).await;
    let problem = answer.expect_err("no receipt");
    assert_eq!(problem.problem().map(|problem| problem.code.as_str()), Some("partition_stopped"));
    assert_eq!(ids.len(), limits::CLIENT_ATTEMPTS as usize);
}

#[tokio::test]
async fn what_waits_for_a_person_is_told_at_once() {
    for answer in [refused("partition_stopped", Some(60)), refused("stream_parked", None)] {
        let (refused, ids) = ask(vec![answer]).await;
        assert!(refused.is_err() && ids.len() == 1, "{refused:?}: {ids:?}");
    }
}
