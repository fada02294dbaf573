//! Keys that are revoked while they are used, round after round and many at once: what is told of each request that began before
//! and behind the receipt, at the node that gave it and at others.

use crate::caller::{Answer, Caller, PATIENCE, wait};
use futures::stream::{self, StreamExt};
use serde_json::json;
use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

/// What a key reads in each round.
pub const READS: &str = "/v1/orgs/acme/orgs/acme/state";
/// A command that changes nothing, so that whoever may send it is told so and no record is written.
const COMMAND: &str = "/v1/orgs/acme/quotas/all/release";
/// Requests behind the first one that was refused, at each node: one of them would tell of a key that came back.
const AFTER: usize = 3;

/// Keys that are made until one is shown.
const ATTEMPTS: usize = 5;

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Requests that keys opened.
    pub opened: usize,
    /// Requests that began before a receipt and ended behind it.
    pub in_flight: usize,
    /// From a receipt to the first refusal at another node.
    pub applied: Vec<Duration>,
    /// What must not be.
    pub wrong: Vec<String>,
}

impl Seen {
    fn with(mut self, other: Self) -> Self {
        self.opened += other.opened;
        self.in_flight += other.in_flight;
        self.applied.extend(other.applied);
        self.wrong.extend(other.wrong);
        self
    }

    /// The time within which so many of a hundred revocations were applied at other nodes.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.applied.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted.get(at).copied().unwrap_or_default()
    }
}

/// Makes the org that the rounds are in.
///
/// # Panics
/// If the node refuses.
pub async fn set_up(caller: &Caller) {
    let org = json!({ "name": "Acme", "owner": "ada" });
    caller.post("/v1/orgs/acme/orgs/acme", org).await.taken();
}

/// So many rounds, some at once; each at one of the nodes in turn.
///
/// # Panics
/// If a key cannot be made or revoked.
pub async fn rounds(callers: &[Caller], rounds: usize, at_once: usize) -> Seen {
    let all = stream::iter((0..rounds).map(|n| round(callers, n)));
    all.buffer_unordered(at_once)
        .fold(Seen::default(), |seen, one| async { seen.with(one) })
        .await
}

/// A key of this id that one node made and every node takes: its path, and callers that show it.
///
/// # Panics
/// If it cannot be made, or a node does not take it in time.
pub async fn key_that_opens(callers: &[Caller], here: usize, id: &str) -> (String, Vec<Caller>) {
    let (path, text) = made_key(&callers[here], id).await;
    let keys: Vec<Caller> = callers.iter().map(|caller| caller.showing(&text)).collect();
    for (at, key) in keys.iter().enumerate() {
        wait(&format!("key {id} to open node {at}"), || async {
            (key.get(READS).await.status == 200).then_some(())
        })
        .await;
    }
    (path, keys)
}

/// A key and its text. An answer that was lost and is given again shows none: that key is left, and another one is made.
async fn made_key(caller: &Caller, id: &str) -> (String, String) {
    for attempt in 0..ATTEMPTS {
        let path = format!("/v1/orgs/acme/api-keys/{id}-{attempt}");
        let made = caller.post(&path, json!({ "name": "round", "principal": "ada" })).await.taken();
        if let Some(text) = made.body["shown"].as_str() {
            return (path, text.to_owned());
        }
    }
    panic!("no key {id} was shown in {ATTEMPTS} attempts");
}

/// Whether a request by this key is refused.
pub async fn is_refused_now(key: &Caller) -> bool {
    is_refused(&key.get(READS).await)
}

/// One key: made at a node, used everywhere, revoked at that node.
async fn round(callers: &[Caller], n: usize) -> Seen {
    let here = n % callers.len();
    let (path, keys) = key_that_opens(callers, here, &format!("k{n}")).await;
    let told = OnceLock::new();
    let revoke = async {
        callers[here]
            .post(&format!("{path}/revoke"), json!({ "reason": "a round" }))
            .await
            .taken();
        told.set(Instant::now()).expect("one receipt");
        let mut seen = Seen::default();
        for answer in [keys[here].get(READS).await, command(&keys[here]).await] {
            if !is_refused(&answer) && !decides_nothing(&answer) {
                seen.wrong.push(format!(
                    "key {n} opens its node behind the receipt: {} {}",
                    answer.status, answer.text
                ));
            }
        }
        seen
    };
    let commands = use_until_refused(&keys[here], true, &told, (n, true));
    let reads = keys
        .iter()
        .enumerate()
        .map(|(at, key)| use_until_refused(key, false, &told, (n, at == here)));
    let (seen, commands, reads) = futures::join!(revoke, commands, futures::future::join_all(reads));
    reads.into_iter().fold(seen.with(commands), Seen::with)
}

async fn command(key: &Caller) -> Answer {
    key.post(COMMAND, json!({ "key": "none" })).await
}

/// Whether an answer says that the key is not taken, or not any more.
pub fn is_refused(answer: &Answer) -> bool {
    matches!((answer.status, answer.code()), (401, "unauthenticated") | (403, "credential_ended"))
}

/// Whether a node says that what it knows is too old to decide by: the key opens nothing, and nothing is told of it.
fn decides_nothing(answer: &Answer) -> bool {
    (answer.status, answer.code()) == (503, "authority_stale")
}

/// Uses a key at one node, one request after the other, until it is refused and some more.
async fn use_until_refused(key: &Caller, by_commands: bool, told: &OnceLock<Instant>, (n, is_here): (usize, bool)) -> Seen {
    let mut seen = Seen::default();
    let (mut first, mut behind) = (None, 0);
    let deadline = Instant::now() + PATIENCE;
    while behind < AFTER || told.get().is_none() {
        let begun = Instant::now();
        let answer = if by_commands { command(key).await } else { key.get(READS).await };
        let ended = Instant::now();
        let is_behind = |at: Instant| told.get().is_some_and(|told| at > *told);
        seen.in_flight += usize::from(!is_behind(begun) && is_behind(ended));
        if is_refused(&answer) {
            first.get_or_insert(ended);
            behind += 1;
            continue;
        }
        if decides_nothing(&answer) && Instant::now() < deadline {
            continue;
        }
        if !matches!((answer.status, answer.code()), (200, _) | (404, "unknown_reservation")) {
            seen.wrong.push(format!("key {n}: {} {}", answer.status, answer.text));
        }
        if first.is_some() {
            seen.wrong.push(format!("key {n} came back"));
        }
        if is_here && is_behind(begun) {
            seen.wrong.push(format!("key {n} opens its node behind the receipt"));
        }
        if Instant::now() > deadline {
            seen.wrong.push(format!("key {n} is not refused"));
            break;
        }
        seen.opened += 1;
    }
    if let (Some(first), Some(told), false) = (first, told.get(), is_here) {
        seen.applied.push(first.saturating_duration_since(*told));
    }
    seen
}
