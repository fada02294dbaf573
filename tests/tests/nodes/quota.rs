//! Budgets on a real node: many reserve at once while it is killed, and nothing is spent twice.

use quipu_tests::{
    caller::{Caller, LOOK_EVERY, PATIENCE, wait},
    process::Launch,
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

/// Sends a command until there is an answer that is final: the same command id, so it is decided once.
async fn until_final(caller: &Caller, command: &str, id: &str, body: &Value) -> (u16, String) {
    let deadline = Instant::now() + PATIENCE * 2;
    loop {
        match caller.try_command(&format!("{QUOTA}/{command}"), id, body).await {
            Ok(answer) if matches!(answer.status, 200..=202 | 402) => return (answer.status, answer.code().to_owned()),
            Ok(answer) if !matches!(answer.status, 429 | 503) => panic!("{id}: {}", answer.text),
            _ => {}
        }
        assert!(Instant::now() < deadline, "{id}: no final answer");
        tokio::time::sleep(LOOK_EVERY).await; // poll
    }
}

/// Sends all of them at once; their statuses. Each answer is counted as it comes.
async fn all_at_once(caller: &Caller, command: &'static str, bodies: Vec<Value>, answered: Arc<AtomicUsize>) -> Vec<u16> {
    let sent = bodies.into_iter().enumerate().map(|(n, body)| {
        let (caller, answered) = (caller.clone(), answered.clone());
        tokio::spawn(async move {
            let (status, code) = until_final(&caller, command, &format!("{command}-{n}"), &body).await;
            assert!(status < 300 || code == "budget_exceeded", "{status} {code}");
            answered.fetch_add(1, Ordering::Relaxed);
            status
        })
    });
    let sent: Vec<_> = sent.collect();
    let mut statuses = Vec::new();
    for one in sent {
        statuses.push(one.await.expect("a client"));
    }
    statuses
}

async fn row(caller: &Caller, at: &str) -> Value {
    let page = caller.fresh(&format!("/v1/orgs/acme/quotas?level={at}")).await.taken();
    page.body["items"][0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_reservations_never_pass_a_limit_across_a_kill() {
    let mut launch = Launch::new();
    let node = launch.start().await;
    let ada = node.caller.acting_for("ada");
    node.caller
        .post("/v1/orgs/acme/orgs/acme", json!({ "name": "Acme", "owner": "ada" }))
        .await
        .taken();
    for (level, limit) in [("org", LIMIT), ("agent/bot", ASKED)] {
        let body = json!({ "level": level, "unit": "calls", "limit": limit });
        ada.post(&format!("{QUOTA}/set_limit"), body).await.taken();
    }
    let hold = json!({ "levels": ["agent/bot"], "unit": "calls", "amount": 1 });
    let reserve = |n: usize| json!({ "key": format!("r{n}"), "ttl_seconds": 3_600, "holds": [hold] });
    let answered = Arc::new(AtomicUsize::new(0));
    let asking = tokio::spawn({
        let (ada, answered) = (ada.clone(), answered.clone());
        let bodies = (0..ASKED).map(reserve).collect();
        async move { all_at_once(&ada, "reserve", bodies, answered).await }
    });
    wait("a third of the answers", || async {
        (answered.load(Ordering::Relaxed) >= LIMIT / 3).then_some(())
    })
    .await;
    node.kill().await;
    let node = launch.start().await;
    let statuses = asking.await.expect("the clients");
    let passed: Vec<usize> = (0..ASKED).filter(|n| statuses[*n] < 300).collect();
    assert_eq!((passed.len(), statuses.len()), (LIMIT, ASKED));
    let org = row(&ada, "org").await;
    assert_eq!(
        (&org["held"], &org["left"], &org["percent"]),
        (&json!(LIMIT), &json!(0), &json!(100)),
        "{org}"
    );

    let settle = |n: &usize| json!({ "key": format!("r{n}"), "used": [{ "unit": "calls", "amount": n % 2 }] });
    let odd = passed.iter().filter(|n| *n % 2 == 1).count();
    all_at_once(&ada, "settle", passed.iter().map(settle).collect(), Arc::default()).await;
    for level in ["org", "agent/bot"] {
        let row = row(&ada, level).await;
        assert_eq!((&row["held"], &row["used"]), (&json!(0), &json!(odd)), "{row}");
    }
    // What nobody settles lapses by its timer.
    let short = json!({ "key": "short", "ttl_seconds": 1, "holds": [hold] });
    ada.post(&format!("{QUOTA}/reserve"), short).await.taken();
    wait("the reservation to lapse", || async {
        let open = ada.fresh("/v1/orgs/acme/reservations").await.taken();
        open.body["items"].as_array().is_some_and(Vec::is_empty).then_some(())
    })
    .await;
    assert_eq!(row(&ada, "org").await["held"], json!(0));
    node.stop().await;
}
