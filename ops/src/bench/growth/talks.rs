//! A long conversation beside a short one: posts, waking up, reads, pages; and where a value is kept.

use super::{Client, Load, beside, reads};
use crate::bench::{
    BenchError, Setup,
    child::Server,
    http, material, memory,
    report::{Line, count, median},
};
use quipu_schemas::limits::{MESSAGES_MAX, VALUE_INLINE_MAX_BYTES};
use serde_json::json;

/// Messages of a short conversation.
const SHORT: u64 = 100;
/// Short conversations, which are spoken in one after the other.
const SHORTS: u64 = 12;
/// Posts that are counted.
const POSTS: u64 = 12_000;

fn posts<'a>(node: &'a Server, conversation: u64, body: &'a str, key: &'a str) -> Load<'a> {
    Load {
        node,
        path: "conversations/c{n}/post",
        first: conversation,
        entities: 1,
        body,
        key,
        clients: 64,
    }
}

pub(super) async fn lines(setup: &Setup, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let node = memory::sleepy(setup, "talks", true).await?;
    http::create(&node, 0, 1 + 2 * SHORTS).await?;
    // What is said to it later fits too.
    let long = setup.scaled(MESSAGES_MAX) as u64 - POSTS - 100;
    let body = material::post_body();
    posts(&node, 0, &body, "long").count(long).await?;
    for conversation in 1..=2 * SHORTS {
        posts(&node, conversation, &body, &format!("short-{conversation}"))
            .count(SHORT)
            .await?;
    }
    http::caught_up(&node).await?;
    // Before more is said: the second half of the short ones stays as short as it is.
    let short = 1 + SHORTS;
    woken(&node, short, long, out).await?;
    reads::talk_lines(&node, short, long, out).await?;
    said(&node, long, out).await?;
    node.stop().await?;
    kept(setup, out).await
}

/// Processor time of a post, snapshots included; views follow.
async fn said(node: &Server, long: u64, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let body = material::post_body();
    let each = POSTS / SHORTS;
    let mut few = Vec::new();
    for conversation in 1..=SHORTS {
        few.push(posts(node, conversation, &body, &format!("more-{conversation}")).cost(each).await?);
    }
    http::caught_up(node).await?;
    let many = posts(node, 0, &body, "more-long").cost(POSTS).await?;
    http::caught_up(node).await?;
    let mean = few.iter().sum::<f64>() / few.len() as f64;
    out.push(beside(
        &format!("post at {} messages beside one at {SHORT}", count(long as f64)),
        1.5,
        "µs of processor time",
        mean,
        many,
        format!("views on; {POSTS} posts each, snapshots among them"),
    ));
    Ok(())
}

/// The first post to a conversation that sleeps.
async fn woken(node: &Server, short: u64, long: u64, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let mut client = Client::open(node).await?;
    let body = material::post_body();
    let (mut few, mut many) = (Vec::new(), Vec::new());
    for round in 0..5 {
        memory::all_sleep(node).await?;
        for (conversation, into) in [(short + round, &mut few), (0, &mut many)] {
            let (_, took) = client.ask("POST", &format!("conversations/c{conversation}/post"), &body).await?;
            into.push(took.as_secs_f64() * 1e3);
        }
    }
    out.push(beside(
        &format!(
            "first post to a sleeping conversation of {} messages beside {SHORT}",
            count(long as f64)
        ),
        1.5,
        "ms",
        median(&few),
        median(&many),
        "its snapshot is read, and what was said since".into(),
    ));
    Ok(())
}

/// What it costs to keep a body in its record, and beside the log, on both sides of the bound.
async fn kept(setup: &Setup, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let (node, _) = crate::bench::child::node(&setup.path("kept"), false, &[]).await?;
    http::create(&node, 0, 100).await?;
    let requests = setup.scaled(10_000) as u64;
    let mut said = Vec::new();
    for (round, bytes) in [256, 512, 1_024, 1_536, 1_900, 2_560, 4_096, 8_192].into_iter().enumerate() {
        let body = json!({ "body": "x".repeat(bytes) }).to_string();
        let key = format!("kept-{round}");
        let load = Load {
            node: &node,
            path: "conversations/c{n}/post",
            first: 0,
            entities: 100,
            body: &body,
            key: &key,
            clients: 64,
        };
        let before = node.usage().cpu;
        let outcome = load.count(requests).await?;
        let each = (node.usage().cpu - before).as_secs_f64() * 1e6 / outcome.requests.max(1) as f64;
        said.push(format!("{bytes} B {each:.0} µs p50 {:.1} ms", outcome.latency_us.p50 as f64 / 1e3));
    }
    node.stop().await?;
    out.push(crate::bench::report::Line::beside(
        "bodies in their record, and beside the log",
        format!("bound {VALUE_INLINE_MAX_BYTES} B"),
        format!(
            "processor time and median of a post with a body of so many bytes, 64 clients: {}",
            said.join(", ")
        ),
    ));
    Ok(())
}
