//! Budgets and rates over three nodes: wherever a request comes in, one node decides, and another goes on when it is killed.

use super::{NODES, Trio, node_id, owners, spread};
use futures::future::join_all;
use quipu_tests::{
    caller::{Caller, LOOK_EVERY, PATIENCE, wait},
    receiver::Receiver,
    servers::nats::{self, SYSTEM, Shape},
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

const QUOTA: &str = "/v1/orgs/acme/quotas/all";
const ASKED: usize = 1_000;
const LIMIT: usize = 600;
const AT_ONCE: usize = 100;
const RATE: usize = 60;

/// Reserves under the same command id until there is a final answer, at one node after the other; whether it was made.
async fn reserve(callers: &[Caller], n: usize) -> bool {
    let body = json!({ "key": format!("r{n}"), "ttl_seconds": 3_600, "holds": [{ "unit": "calls", "amount": 1 }] });
    let deadline = Instant::now() + PATIENCE * 2;
    for tried in n.. {
        match callers[tried % NODES]
            .try_command(&format!("{QUOTA}/reserve"), &format!("r{n}"), &body)
            .await
        {
            Ok(answer) if answer.status < 300 => return true,
            Ok(answer) if answer.code() == "budget_exceeded" => return false,
            Ok(answer) if !matches!(answer.status, 429 | 503) => panic!("r{n}: {}", answer.text),
            _ => {}
        }
        assert!(Instant::now() < deadline, "r{n}: no final answer");
        tokio::time::sleep(LOOK_EVERY).await; // poll
    }
    unreachable!("the numbers do not end")
}

/// Which node owns the org's partition, of which `position` is.
async fn owner_of(trio: &Trio, position: &str) -> usize {
    let partition: usize = position
        .trim_start_matches('p')
        .split('.')
        .next()
        .and_then(|number| number.parse().ok())
        .expect("a partition");
    let owners = owners(&trio.callers[0]).await.expect("owners");
    let ids = join_all(trio.callers.iter().map(node_id)).await;
    ids.iter().position(|id| *id == owners[partition]).expect("one of them")
}

/// Reads at once, by turns at each node; how many were let through.
async fn passed(callers: &[Caller]) -> usize {
    let all = (0..AT_ONCE).map(|n| callers[n % NODES].get("/v1/orgs/acme/orgs/acme"));
    let answers = join_all(all).await;
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 404 | 429)));
    answers.iter().filter(|answer| answer.status != 429).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_and_rates_hold_over_three_nodes_and_a_kill() {
    let shape = Shape {
        servers: 1,
        sync_always: true,
    };
    let Some(nats) = nats::start_or_skip(shape, "budgets and rates of nodes on JetStream") else {
        return;
    };
    let log = format!("{}/trio?system={SYSTEM}", nats.url());
    let receiver = Receiver::start().await;
    let mut trio = Trio::start(&vec![log; NODES], &receiver).await;
    let callers = trio.callers.clone();
    spread(&callers[0], NODES).await;
    callers[0].post("/v1/orgs/acme/orgs/acme", json!({ "name": "Acme" })).await.taken();
    callers[0]
        .post(&format!("{QUOTA}/set_rate"), json!({ "by": "principal", "requests": RATE }))
        .await
        .taken();
    for caller in &callers {
        // Somebody else, who counts apart.
        let bob = caller.acting_for("bob");
        wait("every node to know the rate", || async {
            let answer = bob.get("/v1/orgs/acme/orgs/acme").await;
            (!answer.header("ratelimit-limit").is_empty()).then_some(())
        })
        .await;
    }
    let cleo: Vec<Caller> = callers.iter().map(|caller| caller.acting_for("cleo")).collect();
    assert_eq!(passed(&cleo).await, RATE);
    let removed = callers[1].post(&format!("{QUOTA}/remove_rate"), json!({ "by": "principal" })).await;
    let removed = removed.taken().body;
    wait("every node to forget the rate", || async {
        (passed(&cleo).await == AT_ONCE).then_some(())
    })
    .await;

    let limit = json!({ "level": "org", "unit": "calls", "limit": LIMIT });
    callers[2].post(&format!("{QUOTA}/set_limit"), limit).await.taken();
    let answered = Arc::new(AtomicUsize::new(0));
    let asking: Vec<_> = (0..ASKED)
        .map(|n| {
            let (callers, answered) = (callers.clone(), answered.clone());
            tokio::spawn(async move {
                let made = reserve(&callers, n).await;
                answered.fetch_add(1, Ordering::Relaxed);
                made
            })
        })
        .collect();
    let owner = owner_of(&trio, removed["position"].as_str().expect("a position")).await;
    wait("a third of the answers", || async {
        (answered.load(Ordering::Relaxed) >= LIMIT / 3).then_some(())
    })
    .await;
    trio.nodes[owner].take().expect("it runs").kill().await;
    let made = join_all(asking).await.into_iter().filter(|made| *made.as_ref().expect("a client"));
    assert_eq!(made.count(), LIMIT);
    let left = &callers[(owner + 1) % NODES];
    let row: Value = wait("the view to show all of them", || async {
        let page = left.get("/v1/orgs/acme/quotas?level=org").await;
        let row = page.body["items"][0].clone();
        (row["held"] == json!(LIMIT)).then_some(row)
    })
    .await;
    assert_eq!((&row["used"], &row["left"]), (&json!(0), &json!(0)), "{row}");
    for node in trio.nodes.into_iter().flatten() {
        node.stop().await;
    }
}
