//! Lines about memory: an idle node, sleeping entities, and what is left after a burst.
//!
//! What an entity costs is counted by the node's allocator, in bytes that are in use: resident memory also holds what is free
//! and will be used again, which is more than the line looks for. That memory is given back has a line of its own.

use super::{
    BenchError, Setup,
    child::{self, Server},
    http,
    load::{Pace, Plan},
    machine::MIB,
    material::ORG,
    report::{Line, count, list, slope},
    start::one,
    wire::Connection,
};
use crate::metrics::{ENTITIES_ACTIVE, HEAP_ALLOCATED};
use std::time::{Duration, Instant};

/// Waves of sleepers before those that are counted: they fill caches of a fixed size.
const WAVES_BEFORE: usize = 2;
/// Waves that are counted.
const WAVES: usize = 5;
/// How long entities may take to fall asleep.
const ASLEEP_WITHIN: Duration = Duration::from_secs(60);
/// The allocator gives memory back a second after it was freed; a bit more than that.
pub(super) const GIVEN_BACK: Duration = Duration::from_secs(4);
/// Threads that brought entities back end ten seconds later, and with them what the allocator kept at hand for each.
const THREADS_END: Duration = Duration::from_secs(11);

/// One number of the node's metrics.
pub(super) async fn metric(node: &Server, name: &str) -> Result<f64, BenchError> {
    let mut connection = Connection::open(node.address).await?;
    let request = format!(
        "GET /metrics HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
        node.address, node.token
    );
    let answer = connection.exchange(request.as_bytes()).await?;
    let page = String::from_utf8_lossy(answer.body);
    let value = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.ok_or_else(|| BenchError::Child(format!("its metrics do not name {name}")))
}

/// Waits until nothing is awake any more.
pub(super) async fn all_sleep(node: &Server) -> Result<(), BenchError> {
    let begun = Instant::now();
    while metric(node, ENTITIES_ACTIVE).await? > 0.0 {
        if begun.elapsed() > ASLEEP_WITHIN {
            return Err(BenchError::Child("its entities do not fall asleep".into()));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// A node whose entities fall asleep soon.
pub(super) async fn sleepy(setup: &Setup, name: &str, views: bool) -> Result<Server, BenchError> {
    let (node, _) = child::node(&setup.path(name), views, &["limits.passivate_after_ms=500"]).await?;
    Ok(node)
}

/// Memory of a node that has nothing to do.
pub(super) async fn idle_line(setup: &Setup, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let (node, _) = child::node(&setup.path("idle"), true, &[]).await?;
    http::create(&node, 0, 1).await?;
    one(&node, 0, "idle").await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let resident = node.usage().resident as f64 / MIB;
    out.push(Line::judged(
        "resident memory of an idle node",
        "≤ 40 MiB",
        format!("{resident:.1} MiB"),
        resident <= 40.0,
        "views on, defaults, after its first commands".into(),
    ));
    node.stop().await
}

/// Memory that sleeping entities take: by how much what is allocated grows when as many again have been awake and sleep.
pub(super) async fn sleeping_line(setup: &Setup, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let each = setup.scaled(20_000) as u64;
    let node = sleepy(setup, "sleeping", false).await?;
    let (mut allocated, mut resident) = (Vec::new(), Vec::new());
    for wave in 0..(WAVES_BEFORE + WAVES) as u64 {
        http::create(&node, wave * each, each).await?;
        all_sleep(&node).await?;
        tokio::time::sleep(THREADS_END).await;
        allocated.push(((wave * each) as f64, metric(&node, HEAP_ALLOCATED).await?));
        resident.push(node.usage().resident as f64 / MIB);
    }
    node.stop().await?;
    let grown = slope(&allocated[WAVES_BEFORE..]);
    let heap: Vec<f64> = allocated.iter().map(|(_, bytes)| bytes / MIB).collect();
    out.push(Line::judged(
        "memory of a sleeping entity",
        "≤ 100 B",
        format!("{:.0} B", grown.max(0.0)),
        grown <= 100.0,
        format!(
            "slope of the bytes allocated after each {} entities made and asleep, the first {WAVES_BEFORE} left out, MiB: {}; resident MiB: {}",
            count(each as f64),
            list(&heap, 2),
            list(&resident, 1)
        ),
    ));
    Ok(())
}

/// A run that waits, as most runs do most of the time.
const RUN: &str = r#"{"definition":{"name":"waiting","inputs":{"order":{}},"nodes":[{"id":"wait","component":"wait_signal","config":{"signal":"go","timeout_ms":86400000}}],"edges":[{"from":"input.order","to":"wait.in"}]},"input":{"order":{"number":4711,"item":"a thing that somebody ordered"}},"start":true}"#;

/// What a burst of runs leaves when all of them sleep.
pub(super) async fn runs_line(setup: &Setup, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let runs = setup.scaled(100_000) as u64;
    let node = sleepy(setup, "runs", true).await?;
    http::create(&node, 0, 1).await?;
    let plan = Plan {
        then: None,
        address: node.address,
        token: node.token.clone(),
        connections: 64,
        path: format!("/v1/orgs/{ORG}/runs/r{{n}}"),
        entities: runs,
        first: 0,
        body: RUN.into(),
        key: "runs".into(),
        pace: Pace::Count { requests: runs },
    };
    let outcome = plan.run().await?;
    let busy = node.usage().resident as f64 / MIB;
    all_sleep(&node).await?;
    tokio::time::sleep(GIVEN_BACK).await;
    let (left, heap) = (node.usage().resident as f64 / MIB, metric(&node, HEAP_ALLOCATED).await? / MIB);
    let begun = Instant::now();
    one(&node, 0, "after-runs").await?;
    let took = begun.elapsed();
    node.stop().await?;
    out.push(Line::judged(
        &format!("resident memory after {} runs have started and sleep", count(runs as f64)),
        "≤ 128 MiB",
        format!("{left:.0} MiB"),
        left <= 128.0,
        format!(
            "{busy:.0} MiB at the end of the load, {}/s; {heap:.1} MiB allocated in the end; views on; a command after it took {:.1} ms",
            count(outcome.per_second()),
            took.as_secs_f64() * 1e3
        ),
    ));
    Ok(())
}
