//! Logins: as many as the machine can hash passwords, and commands that hardly notice.

use super::{Server, Setup, Talk, plan, posts};
use crate::bench::{
    BenchError,
    http::{Run, rates, run},
    load::{Outcome, Pace, Plan},
    report::{Line, count, list, median},
};
use quipu_runtime::accounts::{Password, passwords::Passwords};
use serde_json::json;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const PASSWORD: &str = "correct horse battery staple";
/// A person has at most so many sessions that one login hardly ever ends another one of the same run.
const PEOPLE: u64 = 32;
/// Clients that log in without a pause: enough that a thread never waits for the next one, few enough that none is refused.
const LOGGING_IN: usize = 16;

/// How many hashes a second these threads make, with nothing around them.
async fn raw(run: Duration) -> Result<f64, BenchError> {
    let threads = threads();
    let passwords = Arc::new(Passwords::new(&[7; 32], threads));
    let password = Password::new(PASSWORD);
    let stored = passwords.hash(&password).await?;
    let begun = Instant::now();
    let one = async || {
        let mut done = 0u64;
        while begun.elapsed() < run {
            passwords.verify(&password, Some(&stored)).await?;
            done += 1;
        }
        Ok::<_, BenchError>(done)
    };
    let all = futures::future::try_join_all((0..threads).map(|_| one())).await?;
    Ok(all.iter().sum::<u64>() as f64 / begun.elapsed().as_secs_f64())
}

/// As many as a node uses.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).saturating_sub(1).max(1)
}

pub(super) async fn line(setup: &Setup, node: &Server, talk: &mut Talk, most: f64, out: &mut Vec<Line>) -> Result<(), BenchError> {
    for n in 0..PEOPLE {
        let person = json!({ "address": format!("p{n}@example.com"), "name": "Ada", "password": PASSWORD });
        talk.post("/v1/auth/register", &person).await?;
    }
    let run_ms = setup.seconds(4.0);
    let body = format!(r#"{{"address":"p{{n}}@example.com","password":"{PASSWORD}"}}"#);
    let logins = |pair: usize| Plan {
        connections: LOGGING_IN,
        entities: PEOPLE,
        key: format!("login-{pair}"),
        ..plan(
            node,
            "none",
            "/v1/auth/login".into(),
            body.clone(),
            Pace::Closed { warmup_ms: 0, run_ms },
        )
    };
    let quarter = |name: String| {
        let pace = Pace::Open {
            per_second: most / 4.0,
            warmup_ms: setup.seconds(0.5),
            run_ms,
        };
        posts(node, &node.token, (0, name), pace)
    };
    let (mut alone, mut hashes, mut calm, mut beside) = (Vec::<Run>::new(), Vec::new(), Vec::new(), Vec::new());
    let mut meanwhile = Vec::new();
    for pair in 0..setup.pairs() {
        hashes.push(raw(Duration::from_millis(run_ms)).await?);
        alone.push(run(node, &logins(pair)).await?);
        calm.push(quarter(format!("calm-{pair}")).run().await?);
        let both = [logins(1_000 + pair), quarter(format!("busy-{pair}"))];
        let [others, busy] = &both;
        let (others, busy) = tokio::try_join!(others.run(), busy.run())?;
        meanwhile.push(others.per_second());
        beside.push(busy);
    }
    out.push(beside_raw(&rates(&alone), &hashes));
    let p99 = |outcomes: &[Outcome]| -> Vec<f64> { outcomes.iter().map(|one| one.latency_us.p99 as f64 / 1_000.0).collect() };
    let grown: Vec<f64> = p99(&beside).iter().zip(p99(&calm)).map(|(busy, calm)| busy / calm).collect();
    let grown_by = median(&grown);
    out.push(Line::judged(
        "p99 of commands at a quarter of our maximum, while people log in as fast as they can",
        "≤ 2 × without logins",
        format!("{:.1} ms = {grown_by:.2} × {:.1} ms", median(&p99(&beside)), median(&p99(&calm))),
        grown_by <= 2.0,
        format!(
            "{}/s, latency from when a request was due; p99 {} and without {} ms; {} logins a second meanwhile",
            count(most / 4.0),
            list(&p99(&beside), 1),
            list(&p99(&calm), 1),
            list(&meanwhile, 1)
        ),
    ));
    Ok(())
}

/// Logins a second beside Argon2id alone.
fn beside_raw(logins: &[f64], hashes: &[f64]) -> Line {
    let ratio_of: Vec<f64> = logins.iter().zip(hashes).map(|(ours, raw)| ours / raw).collect();
    let ratio = median(&ratio_of);
    Line::judged(
        &format!("logins with a password, {LOGGING_IN} clients, {} threads that hash", threads()),
        "≥ 0.9 × Argon2id alone on as many threads",
        format!("{:.1}/s = {ratio:.2} × it", median(logins)),
        ratio >= 0.9,
        format!(
            "each starts a durable session; ratios {}; logins {}; Argon2id alone {} a second",
            list(&ratio_of, 2),
            list(logins, 1),
            list(hashes, 1)
        ),
    )
}
