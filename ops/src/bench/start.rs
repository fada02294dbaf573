//! Lines about starting: the first command after a start.

use super::{
    BenchError, Setup,
    child::{self, Server},
    load::{Pace, Plan},
    machine::MIB,
    material::{self, Material, ORG},
    report::{Line, count},
    wire::Connection,
};
use std::{
    path::Path,
    time::{Duration, Instant},
};

fn post(node: &Server, entity: u64, entities: u64, key: &str, pace: Pace) -> Plan {
    Plan {
        then: None,
        address: node.address,
        token: node.token.clone(),
        connections: 64,
        path: format!("/v1/orgs/{ORG}/conversations/c{{n}}/post"),
        entities,
        first: entity,
        body: material::post_body(),
        key: key.into(),
        pace,
    }
}

/// One command on a connection of its own.
pub(super) async fn one(node: &Server, entity: u64, key: &str) -> Result<(), BenchError> {
    let body = material::post_body();
    let request = format!(
        "POST /v1/orgs/{ORG}/conversations/c{entity}/post HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nIdempotency-Key: {key}\r\nContent-Length: {}\r\n\r\n{body}",
        node.address,
        node.token,
        body.len()
    );
    let mut connection = Connection::open(node.address).await?;
    let answer = connection.exchange(request.as_bytes()).await?;
    if answer.status != 202 {
        return Err(BenchError::Child(format!(
            "the first command is answered {} {}",
            answer.status,
            String::from_utf8_lossy(answer.body)
        )));
    }
    Ok(())
}

/// Starts a node and sends it one command: from the start of the process to the receipt.
async fn first_command(data: &Path, entity: u64, key: &str) -> Result<(Server, Duration, Duration), BenchError> {
    let begun = Instant::now();
    let (node, listening) = child::node(data, false, &[]).await?;
    one(&node, entity, key).await?;
    Ok((node, listening, begun.elapsed()))
}

/// The first command with many entities in the log: after an orderly stop, and after `kill -9` under load.
pub(super) async fn start_lines(setup: &Setup, material: &Material, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let (data, entities) = (setup.path("entities"), setup.entities);
    let begun = Instant::now();
    let records = material.write(&data, entities, 0)?;
    let written = begun.elapsed();
    let (node, _, cold) = first_command(&data, 1, "cold").await?;
    let rss = node.usage().resident as f64 / MIB;
    out.push(Line::beside(
        &format!("first command with {} entities and no index", count(entities as f64)),
        format!("{:.1} s", cold.as_secs_f64()),
        format!(
            "the index is rebuilt from {} records (written in {:.1} s); {rss:.0} MiB resident after",
            count(records as f64),
            written.as_secs_f64()
        ),
    ));
    node.stop().await?;
    let rounds = if setup.quick { 2 } else { 3 };
    let (mut after_stop, mut after_kill, mut details) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let (node, listening, first) = first_command(&data, 7 + round, &format!("stop-{round}")).await?;
        after_stop.push(first.as_secs_f64());
        details.push(format!("listening after {:.0} ms", listening.as_secs_f64() * 1e3));
        let busy = post(
            &node,
            0,
            entities,
            &format!("busy-{round}"),
            Pace::Closed {
                warmup_ms: 0,
                run_ms: setup.seconds(5.0),
            },
        );
        let load = tokio::spawn(async move { busy.run().await });
        tokio::time::sleep(Duration::from_millis(setup.seconds(5.0) * 3 / 4)).await;
        node.kill().await?;
        // Its clients were cut off in the middle: what they say counts for nothing.
        let _ = load.await;
        let (node, _, first) = first_command(&data, 7 + round, &format!("kill-{round}")).await?;
        after_kill.push(first.as_secs_f64());
        node.stop().await?;
    }
    for (name, times) in [("an orderly stop", after_stop), ("kill -9 under load", after_kill)] {
        let worst = times.iter().copied().fold(0.0, f64::max);
        out.push(Line::judged(
            &format!("first command after {name}, {} entities", count(entities as f64)),
            "≤ 1 s",
            format!("{:.0} ms", worst * 1e3),
            worst <= 1.0,
            format!(
                "worst of {}, from the start of the process to the receipt; views off; {}",
                super::report::list(&times, 2),
                details.join(", ")
            ),
        ));
    }
    Ok(())
}
