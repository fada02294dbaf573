//! Requests of any shape, sent.

use super::{
    end,
    requests::{Request, request},
};
use proptest::{prelude::*, test_runner::TestRunner};
use quipu_tests::{caller::Answer, office::Office};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Sends a case; the answer, and the log's end before and after it. `None` where the client itself refuses to send it.
async fn exchange(office: &Office, case: &Request) -> Result<Option<(Value, Answer, Value)>, String> {
    let before = end(office).await;
    let mut request = office
        .ada
        .request(Method::from_bytes(case.method.as_bytes()).expect("a method"), &case.path);
    for (name, value) in &case.headers {
        request = request.header(*name, value);
    }
    if let Some(body) = &case.body {
        request = request.header("content-type", "application/json").body(body.clone());
    }
    match office.ada.exchange(request).await {
        Ok(answer) => Ok(Some((before, answer, end(office).await))),
        Err(e) if e.is_builder() => Ok(None),
        Err(e) => Err(format!("no answer: {e}")),
    }
}

#[test]
fn no_request_gets_5xx_and_no_refusal_changes_anything() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let office = runtime.block_on(async {
        let office = Office::open().await;
        office.room("desk", &[], 0).await;
        office.agent("scout", "hello", json!([])).await;
        office
    });
    let cases = std::env::var("QUIPU_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(4_000);
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        max_shrink_iters: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let answered = std::cell::RefCell::new(BTreeMap::<String, u32>::new());
    let result = runner.run(&request(), |case| {
        // What an earlier command set going may move the log meanwhile; then the refused request is sent once more.
        for attempt in 1.. {
            let Some((before, answer, after)) = runtime.block_on(exchange(&office, &case)).map_err(TestCaseError::fail)? else {
                return Ok(());
            };
            *answered
                .borrow_mut()
                .entry(format!("{} {}", answer.status, answer.code()))
                .or_default() += 1;
            prop_assert!(answer.status < 500, "{} {}", answer.status, answer.text);
            if answer.status < 400 {
                break;
            }
            if case.method != "HEAD" {
                prop_assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.text);
            }
            if before == after {
                break;
            }
            prop_assert!(attempt < 5, "a refusal changed the log: {} {}", answer.status, answer.text);
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}\n{}", office.node().log_tail());
    }
    println!("{cases} requests: {:?}", answered.borrow());
    assert!(
        answered.borrow().keys().any(|status| status.starts_with('2')),
        "some requests are good enough to be taken"
    );
    assert!(!office.node().log_text().contains("panicked"), "{}", office.node().log_tail());
    runtime.block_on(async {
        let room = json!({ "type": "group" });
        office.node().caller.post("/v1/orgs/acme/conversations/after", room).await.taken();
        let job = office.node().caller.views_job("verify").await;
        assert_eq!(job["equal"], Value::Bool(true), "{job}");
    });
    drop(runtime);
}
