//! Lines over loopback HTTP: durable commands against the yardstick, views on and off, one hot entity, open loop.

use super::{
    BenchError, Setup,
    child::{self, Server},
    load::{Outcome, Pace, Plan},
    material::{self, Material, ORG},
    report::{Line, count, list, median},
    wire::Connection,
    yardstick,
};
use std::time::{Duration, Instant};

const ENTITIES: u64 = 1_000;
pub(super) const CLIENTS: usize = 64;

/// A measured run with what the server used for it.
pub(super) struct Run {
    pub(super) outcome: Outcome,
    server_cpu_us: f64,
    client_cpu_us: f64,
}

pub(super) async fn run(server: &Server, plan: &Plan) -> Result<Run, BenchError> {
    let before = server.usage().cpu;
    let outcome = plan.run().await?;
    let used = server.usage().cpu - before;
    // Warm-up is in the processor time and not in the requests; it is as long for everybody.
    let share = match plan.pace {
        Pace::Closed { warmup_ms, run_ms } | Pace::Open { warmup_ms, run_ms, .. } => run_ms as f64 / (warmup_ms + run_ms) as f64,
        Pace::Count { .. } => 1.0,
    };
    let each = |us: f64| us * share / outcome.requests.max(1) as f64;
    Ok(Run {
        server_cpu_us: each(used.as_micros() as f64),
        client_cpu_us: each(outcome.client_cpu_ms as f64 * 1_000.0),
        outcome,
    })
}

/// Everything that the lines share.
struct Stage<'a> {
    setup: &'a Setup,
    bare: Server,
    yardstick: Server,
    serial: std::cell::Cell<u32>,
}

impl Stage<'_> {
    fn pace(&self) -> Pace {
        Pace::Closed {
            warmup_ms: self.setup.seconds(1.0),
            run_ms: self.setup.seconds(8.0),
        }
    }

    fn plan(&self, server: &Server, entities: u64, first: u64, pace: Pace) -> Plan {
        self.serial.set(self.serial.get() + 1);
        Plan {
            then: None,
            address: server.address,
            token: server.token.clone(),
            connections: CLIENTS,
            path: format!("/v1/orgs/{ORG}/conversations/c{{n}}/post"),
            entities,
            first,
            body: material::post_body(),
            key: format!("b{}", self.serial.get()),
            pace,
        }
    }

    async fn measure(&self, server: &Server, entities: u64, first: u64) -> Result<Run, BenchError> {
        run(server, &self.plan(server, entities, first, self.pace())).await
    }
}

/// Creates the org and conversations of these numbers.
pub(super) async fn create(server: &Server, first: u64, entities: u64) -> Result<(), BenchError> {
    let plan = |path: String, body: &str, requests: u64| Plan {
        then: None,
        address: server.address,
        token: server.token.clone(),
        connections: CLIENTS.min(requests as usize),
        path,
        entities: requests,
        first,
        body: body.into(),
        key: format!("create-{first}"),
        pace: Pace::Count { requests },
    };
    if first == 0 {
        plan(format!("/v1/orgs/{ORG}/orgs/{ORG}"), r#"{"name":"Bench"}"#, 1).run().await?;
    }
    plan(format!("/v1/orgs/{ORG}/conversations/c{{n}}"), material::CREATE, entities)
        .run()
        .await?;
    Ok(())
}

pub(super) fn sides(name: &str, runs: &[Run]) -> String {
    let rates: Vec<f64> = runs.iter().map(|r| r.outcome.per_second()).collect();
    let server = median(&runs.iter().map(|r| r.server_cpu_us).collect::<Vec<_>>());
    let client = median(&runs.iter().map(|r| r.client_cpu_us).collect::<Vec<_>>());
    let p99 = median(&runs.iter().map(|r| r.outcome.latency_us.p99 as f64 / 1_000.0).collect::<Vec<_>>());
    format!(
        "{name} {}/s, p99 {p99:.1} ms, processor µs per command {server:.0} in the server and {client:.0} in the client",
        list(&rates, 0)
    )
}

pub(super) fn rates(runs: &[Run]) -> Vec<f64> {
    runs.iter().map(|r| r.outcome.per_second()).collect()
}

pub(super) fn ratios(ours: &[Run], theirs: &[Run]) -> Vec<f64> {
    ours.iter()
        .zip(theirs)
        .map(|(a, b)| a.outcome.per_second() / b.outcome.per_second())
        .collect()
}

/// Measures all lines.
pub(super) async fn lines(setup: &Setup, material: &Material, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let record_bytes = material.post_bytes()?;
    let stage = Stage {
        setup,
        bare: yardstick::start(None, record_bytes).await?,
        yardstick: yardstick::start(Some(&setup.path("yardstick")), record_bytes).await?,
        serial: Default::default(),
    };
    out.push(fsync_line(setup, record_bytes)?);
    let data = setup.path("views-off");
    let (node, _) = child::node(&data, false, &[]).await?;
    create(&node, 0, ENTITIES).await?;
    let most = off_lines(&stage, &node, record_bytes, out).await?;
    hot_line(&stage, &node, out).await?;
    open_line(&stage, &node, most, out).await?;
    node.stop().await?;
    on_lines(&stage, out).await
}

/// A loop of one write and one sync for each record.
fn fsync_line(setup: &Setup, record_bytes: usize) -> Result<Line, BenchError> {
    let file = super::in_process::reserved(&setup.path("raw"))?;
    let bytes = vec![7u8; record_bytes];
    let (begun, mut done, run) = (Instant::now(), 0u64, Duration::from_millis(setup.seconds(4.0)));
    while begun.elapsed() < run {
        file.write_all_at(done * record_bytes as u64, &bytes)?;
        file.sync_data()?;
        done += 1;
    }
    let rate = done as f64 / begun.elapsed().as_secs_f64();
    Ok(Line::beside(
        "raw append + fdatasync, one at a time",
        format!("{}/s", count(rate)),
        format!("{record_bytes} bytes each, as a post is stored; {:.0} µs each", 1e6 / rate),
    ))
}

async fn off_lines(stage: &Stage<'_>, node: &Server, record_bytes: usize, out: &mut Vec<Line>) -> Result<f64, BenchError> {
    let (mut ours, mut theirs, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..stage.setup.pairs() {
        // Each side goes first in turn.
        if pair % 2 == 0 {
            theirs.push(stage.measure(&stage.yardstick, ENTITIES, 0).await?);
        }
        ours.push(stage.measure(node, ENTITIES, 0).await?);
        if pair % 2 == 1 {
            theirs.push(stage.measure(&stage.yardstick, ENTITIES, 0).await?);
        }
        bare.push(stage.measure(&stage.bare, ENTITIES, 0).await?);
    }
    let (most, ratio) = (median(&rates(&ours)), median(&ratios(&ours, &theirs)));
    out.push(Line::beside(
        "bare HTTP, 64 clients",
        format!("{}/s", count(median(&rates(&bare)))),
        sides("runs", &bare),
    ));
    out.push(Line::beside(
        "yardstick S, 64 clients",
        format!("{}/s", count(median(&rates(&theirs)))),
        format!("{record_bytes} bytes stored for each command; {}", sides("runs", &theirs)),
    ));
    out.push(Line::judged(
        "durable commands, 64 clients, 1,000 entities, views off",
        "≥ 0.4 × S",
        format!("{}/s = {ratio:.2} × S", count(most)),
        ratio >= 0.4,
        format!(
            "command: conversation `post`, no agents; ratios {}; {}",
            list(&ratios(&ours, &theirs), 2),
            sides("runs", &ours)
        ),
    ));
    Ok(most)
}

async fn hot_line(stage: &Stage<'_>, node: &Server, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let (mut many, mut hot) = (Vec::new(), Vec::new());
    for pair in 0..stage.setup.pairs() as u64 {
        // A fresh entity each time, and not for long: a conversation takes 100,000 messages.
        let number = ENTITIES + pair;
        let pace = Pace::Closed {
            warmup_ms: stage.setup.seconds(0.5),
            run_ms: stage.setup.seconds(2.5),
        };
        create(node, number, 1).await?;
        many.push(run(node, &stage.plan(node, ENTITIES, 0, pace)).await?);
        hot.push(run(node, &stage.plan(node, 1, number, pace)).await?);
    }
    let ratio = median(&ratios(&hot, &many));
    out.push(Line::judged(
        "one hot entity, 64 clients, views off",
        "≥ 0.5 × ours over 1,000",
        format!("{}/s = {ratio:.2} × ours", count(median(&rates(&hot)))),
        ratio >= 0.5,
        format!(
            "ratios {}; {}; {}",
            list(&ratios(&hot, &many), 2),
            sides("hot", &hot),
            sides("over 1,000", &many)
        ),
    ));
    Ok(())
}

async fn open_line(stage: &Stage<'_>, node: &Server, most: f64, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let pace = Pace::Open {
        per_second: most / 2.0,
        warmup_ms: stage.setup.seconds(1.0),
        run_ms: stage.setup.seconds(8.0),
    };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..stage.setup.pairs() {
        theirs.push(run(&stage.yardstick, &stage.plan(&stage.yardstick, ENTITIES, 0, pace)).await?);
        ours.push(run(node, &stage.plan(node, ENTITIES, 0, pace)).await?);
    }
    let p99 = |runs: &[Run]| runs.iter().map(|r| r.outcome.latency_us.p99 as f64 / 1_000.0).collect::<Vec<_>>();
    let p50 = |runs: &[Run]| median(&runs.iter().map(|r| r.outcome.latency_us.p50 as f64 / 1_000.0).collect::<Vec<_>>());
    let ratio = median(&p99(&ours).iter().zip(p99(&theirs)).map(|(a, b)| a / b).collect::<Vec<_>>());
    out.push(Line::judged(
        "open loop at half of our maximum, views off",
        "p99 ≤ 3 × S's",
        format!(
            "p99 {:.1} ms = {ratio:.1} × S's {:.1} ms",
            median(&p99(&ours)),
            median(&p99(&theirs))
        ),
        ratio <= 3.0,
        format!(
            "{}/s to both, latency from when a request was due; p50 {:.1} ms, S's {:.1} ms; p99 {} and S's {}",
            count(most / 2.0),
            p50(&ours),
            p50(&theirs),
            list(&p99(&ours), 1),
            list(&p99(&theirs), 1)
        ),
    ));
    Ok(())
}

async fn on_lines(stage: &Stage<'_>, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let (node, _) = child::node(&stage.setup.path("views-on"), true, &[]).await?;
    create(&node, 0, ENTITIES).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..stage.setup.pairs() {
        caught_up(&node).await?;
        theirs.push(stage.measure(&stage.yardstick, ENTITIES, 0).await?);
        ours.push(stage.measure(&node, ENTITIES, 0).await?);
    }
    let ratio = median(&ratios(&ours, &theirs));
    out.push(Line::judged(
        "durable commands, 64 clients, 1,000 entities, views on",
        "≥ 0.25 × S",
        format!("{}/s = {ratio:.2} × S", count(median(&rates(&ours)))),
        ratio >= 0.25,
        format!("ratios {}; {}", list(&ratios(&ours, &theirs), 2), sides("runs", &ours)),
    ));
    caught_up(&node).await?;
    out.push(lag_line(stage, &node).await?);
    node.stop().await
}

/// Records that the views are behind.
pub(super) async fn lag(connection: &mut Connection, node: &Server) -> Result<u64, BenchError> {
    let request = format!("GET /health HTTP/1.1\r\nHost: {}\r\n\r\n", node.address);
    let answer = connection.exchange(request.as_bytes()).await?;
    let health: serde_json::Value = serde_json::from_slice(answer.body)?;
    let views = health["parts"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|part| part["name"] == "views");
    let detail = views.and_then(|part| part["detail"].as_str()).unwrap_or_default();
    detail
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .ok_or_else(|| BenchError::Child(format!("the views say: {detail}")))
}

/// Waits until the views have seen everything; how long that took.
pub(super) async fn caught_up(node: &Server) -> Result<Duration, BenchError> {
    let begun = Instant::now();
    let mut connection = Connection::open(node.address).await?;
    while lag(&mut connection, node).await? > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(begun.elapsed())
}

async fn lag_line(stage: &Stage<'_>, node: &Server) -> Result<Line, BenchError> {
    let seconds = if stage.setup.quick { 10 } else { 60 };
    let plan = stage.plan(
        node,
        ENTITIES,
        0,
        Pace::Closed {
            warmup_ms: 0,
            run_ms: seconds * 1_000,
        },
    );
    let load = tokio::spawn(async move { plan.run().await });
    let mut connection = Connection::open(node.address).await?;
    let mut lags = Vec::new();
    while !load.is_finished() {
        tokio::time::sleep(Duration::from_millis(500)).await;
        lags.push(lag(&mut connection, node).await? as f64);
    }
    let outcome = load.await.map_err(|e| BenchError::Child(e.to_string()))??;
    let drained = caught_up(node).await?;
    let third = lags.len() / 3;
    let middle = lags[third..2 * third].iter().sum::<f64>() / third.max(1) as f64;
    let last = lags[lags.len() - third..].iter().sum::<f64>() / third.max(1) as f64;
    // A tenth of a second's commands is noise.
    let grows = last > 1.25 * middle + outcome.per_second() / 10.0;
    Ok(Line::judged(
        &format!("lag of the views over {seconds} s of the same load"),
        "not growing",
        format!("{} records in the middle third, {} in the last", count(middle), count(last)),
        !grows,
        format!(
            "{}/s meanwhile; most {}; caught up {} ms after the end",
            count(outcome.per_second()),
            count(lags.iter().copied().fold(0.0, f64::max)),
            drained.as_millis()
        ),
    ))
}
