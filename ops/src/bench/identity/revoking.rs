//! Keys that are revoked while they are used and while others post: none opens anything behind its receipt.

use super::{ENTITIES, Server, Setup, Talk, key, of, posts};
use crate::bench::{
    BenchError,
    load::Pace,
    material::ORG,
    report::{Line, count},
};
use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::json;
use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

/// In a full run.
const ROUNDS: usize = 10_000;
const AT_ONCE: usize = 16;
/// Clients that post meanwhile.
const POSTING: usize = 16;
/// Requests behind the first refusal: one of them would tell of a key that came back.
const AFTER: usize = 2;

/// What was seen.
#[derive(Default)]
struct Seen {
    opened: u64,
    in_flight: u64,
    wrong: u64,
}

pub(super) async fn line(setup: &Setup, node: &Server, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let rounds = setup.scaled(ROUNDS);
    let pace = Pace::Closed {
        warmup_ms: 0,
        run_ms: 600_000,
    };
    let mut load = posts(node, &node.token, (0, "beside-revoking".into()), pace);
    (load.connections, load.entities) = (POSTING, ENTITIES);
    let beside = tokio::spawn(async move { load.run().await });
    let begun = Instant::now();
    let all = stream::iter((0..rounds).map(|n| round(node, n))).buffer_unordered(AT_ONCE);
    let seen = all
        .try_fold(Seen::default(), |mut seen, one| async move {
            seen.opened += one.opened;
            seen.in_flight += one.in_flight;
            seen.wrong += one.wrong;
            Ok(seen)
        })
        .await;
    let took = begun.elapsed();
    // The load's process is ended with it.
    beside.abort();
    let seen = seen?;
    out.push(Line::judged(
        &format!(
            "{} keys revoked while they are used and others post, one node",
            count(rounds as f64)
        ),
        "nothing opens behind a receipt",
        format!("{} did", seen.wrong),
        seen.wrong == 0 && seen.in_flight > 0,
        format!(
            "{} requests opened before, {} were in flight at the receipt; {:.0} rounds a second, {AT_ONCE} at once",
            count(seen.opened as f64),
            count(seen.in_flight as f64),
            rounds as f64 / took.as_secs_f64()
        ),
    ));
    Ok(())
}

async fn round(node: &Server, n: usize) -> Result<Seen, BenchError> {
    let (mut own, id) = (Talk::open(node).await?, format!("revoked{n}"));
    let text = key(&mut own, &id).await?;
    let told = OnceLock::new();
    let revoke = async {
        own.post(&format!("{}/revoke", of("api-keys", &id)), &json!({ "reason": "a round" }))
            .await?;
        // Set once, here.
        let _ = told.set(Instant::now());
        Ok::<_, BenchError>(())
    };
    let users = [true, false].map(|by_commands| use_until_refused(node, &text, by_commands, &told));
    let [commands, reads] = users;
    let ((), commands, reads) = futures::try_join!(revoke, commands, reads)?;
    Ok(Seen {
        opened: commands.opened + reads.opened,
        in_flight: commands.in_flight + reads.in_flight,
        wrong: commands.wrong + reads.wrong,
    })
}

/// Uses a key, one request after the other, until it was refused some times and its receipt is there.
async fn use_until_refused(node: &Server, text: &str, by_commands: bool, told: &OnceLock<Instant>) -> Result<Seen, BenchError> {
    let (mut seen, mut refused) = (Seen::default(), 0);
    let mut talk = Talk::open(node).await?.showing(text);
    let deadline = Instant::now() + Duration::from_secs(30);
    while refused < AFTER || told.get().is_none() {
        let begun = Instant::now();
        let (status, body) = if by_commands {
            // Changes nothing: whoever may send it is told that there is no such reservation.
            talk.try_post(&format!("/v1/orgs/{ORG}/quotas/all/release"), &json!({ "key": "none" }))
                .await?
        } else {
            talk.send("GET", &format!("{}/state", of("orgs", ORG)), ("application/json", ""))
                .await?
        };
        let is_behind = |at: Instant| told.get().is_some_and(|told| at > *told);
        seen.in_flight += u64::from(!is_behind(begun) && is_behind(Instant::now()));
        match status {
            401 | 403 => refused += 1,
            200 | 404 => {
                seen.opened += 1;
                seen.wrong += u64::from(refused > 0 || is_behind(begun));
            }
            _ => return Err(BenchError::Child(format!("a key is answered {status} {body}"))),
        }
        if Instant::now() > deadline {
            return Err(BenchError::Child("a revoked key is not refused".into()));
        }
    }
    Ok(seen)
}
