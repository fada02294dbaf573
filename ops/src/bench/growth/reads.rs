//! Reads beside a long history, and a log of a million records behind what is asked for.

use super::{Client, Load, beside};
use crate::bench::{
    BenchError, Setup,
    child::{self, Server},
    http,
    load::Pace,
    material::{self, Material, ORG},
    report::{Line, count, list, median},
    wire,
};
use std::time::Instant;

/// Looks of each kind; the median counts.
const LOOKS: usize = 31;
/// Rows of a page.
const PAGE: u64 = 100;

/// Reads of a conversation of `long` messages (number 0) beside those of a short one.
pub(super) async fn talk_lines(node: &Server, short: u64, long: u64, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let mut client = Client::open(node).await?;
    let asked = [
        ("GET", "history?limit=1", String::new(), "history?limit=1"),
        ("GET", "state?version=50", String::new(), "state?version=50"),
        ("POST", "live", r#"{"typing":true}"#.to_owned(), "typing signal"),
    ];
    for (method, path, body, name) in asked {
        let few = client
            .median_ms(LOOKS, method, &format!("conversations/c{short}/{path}"), &body)
            .await?;
        let many = client.median_ms(LOOKS, method, &format!("conversations/c0/{path}"), &body).await?;
        out.push(beside(
            &format!("{name} at {} messages beside 100", count(long as f64)),
            1.5,
            "ms",
            few,
            many,
            format!("medians of {LOOKS}"),
        ));
    }
    // The state at a late version is refolded from the log: no bound, but a figure.
    let late = client
        .median_ms(3, "GET", &format!("conversations/c0/state?version={}", long - 1), "")
        .await?;
    out.push(Line::beside(
        &format!("state?version= near the end of {} messages", count(long as f64)),
        format!("{late:.1} ms"),
        "median of 3".into(),
    ));
    let (mut took, mut after) = (Vec::new(), String::new());
    for _ in 0..long / PAGE {
        let path = format!("conversations/c0/messages?limit={PAGE}{after}");
        let (page, time) = client.ask("GET", &path, "").await?;
        took.push(time.as_secs_f64() * 1e3);
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    let few = median(&took[..took.len().min(LOOKS)]);
    let many = median(&took[took.len().saturating_sub(LOOKS)..]);
    out.push(beside(
        &format!("page {} of messages beside the first", count(took.len() as f64)),
        1.5,
        "ms",
        few,
        many,
        format!("medians of the first and the last {LOOKS} pages of {PAGE} rows"),
    ));
    Ok(())
}

/// A feed of one conversation, and the tail of latencies, over a log of a million records.
pub(super) async fn log_lines(setup: &Setup, material: &Material, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let (data, records) = (setup.path("aged"), setup.scaled(1_000_000) as u64);
    material.write(&data, records, 0)?;
    let (aged, _) = child::node(&data, false, &[]).await?;
    let (fresh, _) = child::node(&setup.path("fresh"), false, &[]).await?;
    http::create(&fresh, 0, 1_000).await?;
    let body = material::post_body();
    let mut took = Vec::new();
    for node in [&fresh, &aged] {
        let load = Load {
            node,
            path: "conversations/c{n}/post",
            first: 5,
            entities: 1,
            body: &body,
            key: "told",
            clients: 16,
        };
        load.count(1_000).await?;
        took.push(feed(node).await?);
    }
    out.push(Line::judged(
        &format!("feed of 1,001 events of one conversation in a log of {}", count(records as f64)),
        "≤ 200 ms",
        format!("{:.0} ms", took[1]),
        took[1] <= 200.0,
        format!("{:.0} ms in a log of 2,001", took[0]),
    ));
    tail_line(setup, &fresh, &aged, records, out).await?;
    fresh.stop().await?;
    aged.stop().await
}

async fn feed(node: &Server) -> Result<f64, BenchError> {
    let request = format!(
        "GET /v1/orgs/{ORG}/events?kind=conversation&id=c5&follow=false HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nAccept: application/x-ndjson\r\nConnection: close\r\n\r\n",
        node.address, node.token
    );
    let begun = Instant::now();
    let answer = wire::whole(node.address, request.as_bytes()).await?;
    let took = begun.elapsed().as_secs_f64() * 1e3;
    let events = String::from_utf8_lossy(&answer).matches("message_posted").count();
    if events < 1_000 {
        return Err(BenchError::Child(format!("a feed gives {events} posts of 1,000")));
    }
    Ok(took)
}

/// Commands at a steady rate, over a fresh log and an aged one in turns.
async fn tail_line(setup: &Setup, fresh: &Server, aged: &Server, records: u64, out: &mut Vec<Line>) -> Result<(), BenchError> {
    const RATE: f64 = 4_000.0;
    let body = material::post_body();
    let mut p99 = [Vec::new(), Vec::new()];
    for round in 0..setup.pairs() {
        for (node, p99) in [fresh, aged].into_iter().zip(&mut p99) {
            let key = format!("tail-{round}");
            let load = Load {
                node,
                path: "conversations/c{n}/post",
                first: 0,
                entities: 1_000,
                body: &body,
                key: &key,
                clients: 64,
            };
            let pace = Pace::Open {
                per_second: RATE,
                warmup_ms: 500,
                run_ms: setup.seconds(6.0),
            };
            p99.push(load.plan(pace).run().await?.latency_us.p99 as f64 / 1e3);
        }
    }
    let [few, many] = &p99;
    out.push(beside(
        &format!("p99 over a log of {} records beside a fresh one", count(records as f64)),
        1.5,
        "ms",
        median(few),
        median(many),
        format!(
            "{}/s to 1,000 conversations, views off; fresh {}; aged {}",
            count(RATE),
            list(few, 1),
            list(many, 1)
        ),
    ));
    Ok(())
}
