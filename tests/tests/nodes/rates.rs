//! Rates on a real node: so many come at once, so many pass, and every answer says how things stand.

use futures::future::join_all;
use quipu_tests::{
    caller::{Answer, Caller},
    process::{Launch, Process},
};
use serde_json::{Value, json};

const AT_ONCE: usize = 100;
const LIMIT: usize = 60;

async fn node_with(rates: &[Value], launch: &mut Launch) -> Process {
    let node = launch.start().await;
    let body = json!({ "name": "Acme", "owner": "ada" });
    node.caller.post("/v1/orgs/acme/orgs/acme", body).await.taken();
    for rate in rates {
        node.caller.post("/v1/orgs/acme/quotas/all/set_rate", rate.clone()).await.taken();
    }
    node
}

async fn key_of(caller: &Caller, id: &str, principal: &str) -> Caller {
    let body = json!({ "name": id, "principal": principal });
    let made = caller.post(&format!("/v1/orgs/acme/api-keys/{id}/create"), body).await.taken();
    Caller::new(caller.base(), made.body["shown"].as_str().expect("a key"))
}

/// Reads at once with each of these; the answers.
async fn at_once(callers: &[&Caller], each: usize) -> Vec<Answer> {
    let all = callers
        .iter()
        .flat_map(|caller| (0..each).map(move |_| caller.get("/v1/orgs/acme/orgs/acme")));
    join_all(all).await
}

/// Whether a request was let through, whatever became of it then: the views may not know the org yet.
fn is_let_through(answer: &&Answer) -> bool {
    answer.status != 429
}

fn passed(answers: &[Answer]) -> usize {
    answers.iter().filter(is_let_through).count()
}

/// What a refusal must say.
fn is_refused_by(answer: &Answer, by: &str) {
    let answer = answer.clone().refused(429, "rate_limited");
    assert!(
        answer.body["detail"].as_str().is_some_and(|detail| detail.contains(by)),
        "{}",
        answer.text
    );
    let wait: u64 = answer.header("retry-after").parse().expect("seconds");
    assert!((1..=61).contains(&wait), "{wait}");
    for (name, value) in [("limit", LIMIT.to_string()), ("remaining", "0".into()), ("reset", wait.to_string())] {
        assert_eq!(answer.header(&format!("ratelimit-{name}")), value);
        assert_eq!(answer.header(&format!("x-ratelimit-{name}")), value);
    }
    assert_eq!(answer.header("ratelimit-policy"), format!("\"{by}\";q={LIMIT};w=60"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_at_once_sixty_pass_a_rate_of_sixty() {
    let mut launch = Launch::new();
    let node = node_with(&[json!({ "by": "credential", "requests": LIMIT })], &mut launch).await;
    let (first, second) = (key_of(&node.caller, "k1", "ada").await, key_of(&node.caller, "k2", "ada").await);
    let answers = at_once(&[&first], AT_ONCE).await;
    assert_eq!(passed(&answers), LIMIT);
    for answer in &answers {
        match answer.status {
            200 | 404 => assert_eq!((answer.header("ratelimit-limit"), answer.header("x-ratelimit-limit")), ("60", "60")),
            _ => is_refused_by(answer, "credential"),
        }
    }
    let mut remaining: Vec<usize> = answers
        .iter()
        .filter(is_let_through)
        .map(|answer| answer.header("ratelimit-remaining").parse().expect("a number"))
        .collect();
    remaining.sort_unstable();
    assert_eq!(remaining, (0..LIMIT).collect::<Vec<_>>(), "each answer tells its own place");
    // Another credential of the same principal is counted by itself, until the principal and the org are counted.
    assert_eq!(passed(&at_once(&[&second], 10).await), 10);
    let set = |by: &str, requests: usize| json!({ "by": by, "requests": requests });
    let quota = "/v1/orgs/acme/quotas/all";
    node.caller
        .post(&format!("{quota}/remove_rate"), json!({ "by": "credential" }))
        .await
        .taken();
    node.caller
        .post(&format!("{quota}/set_rate"), set("principal", LIMIT))
        .await
        .taken();
    let answers = at_once(&[&first, &second], AT_ONCE / 2).await;
    assert_eq!(passed(&answers), LIMIT);
    node.caller
        .post(&format!("{quota}/remove_rate"), json!({ "by": "principal" }))
        .await
        .taken();
    node.caller.post(&format!("{quota}/set_rate"), set("org", LIMIT)).await.taken();
    let ada = node.caller.acting_for("ada");
    let answers = at_once(&[&first, &ada], AT_ONCE / 2).await;
    assert_eq!(passed(&answers), LIMIT);
    is_refused_by(answers.iter().find(|answer| answer.status == 429).expect("one was refused"), "org");
    // Whoever operates the node is not locked out, and what is changed holds at once.
    node.caller
        .post(&format!("{quota}/remove_rate"), json!({ "by": "org" }))
        .await
        .taken();
    assert_eq!(passed(&at_once(&[&first], 5).await), 5);
    assert_eq!(at_once(&[&first], 1).await[0].header("ratelimit-limit"), "");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nodes_own_rate_counts_requests_to_every_org() {
    let mut launch = Launch::new().set("limits.requests_per_minute", LIMIT.to_string());
    let node = node_with(&[], &mut launch).await;
    // Making the org was one.
    let answers = at_once(&[&node.caller], AT_ONCE).await;
    assert_eq!(passed(&answers), LIMIT - 1);
    is_refused_by(answers.iter().find(|answer| answer.status == 429).expect("one was refused"), "node");
    node.caller.get("/v1/ops/cluster").await.taken();
    node.stop().await;
}
