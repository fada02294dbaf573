//! A conversation through HTTP: who has the turn, who stops it, and who takes over.

mod messages;

use quipu_tests::{
    caller::{PATIENCE, is, wait},
    office::{Office, path},
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Best claim: priority, then confidence, then earliest, then id.
fn best(events: &[(String, Value)], turn: &Value) -> String {
    let rank = |priority: &Value| {
        ["low", "normal", "high", "critical"]
            .iter()
            .position(|p| priority == p)
            .unwrap_or_default()
    };
    let claims: Vec<&Value> = events
        .iter()
        .filter(|(n, d)| is(n, "conversation.turn_claimed") && d["turn"] == *turn)
        .map(|(_, d)| d)
        .collect();
    let mut winner = claims[0];
    for claim in &claims[1..] {
        let key = |c: &Value| (rank(&c["priority"]), c["confidence"].as_f64().unwrap_or_default());
        // Events stand in the order in which the claims came.
        if key(claim) > key(winner) {
            winner = claim;
        }
    }
    winner["agent"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_agents_exactly_one_wins_by_the_recorded_rule() {
    let office = Office::open().await;
    office.agent("scout", "scripted: reply From scout.", json!([])).await;
    office.agent("clerk", "scripted: reply From clerk.", json!([])).await;
    office.room("desk", &["scout", "clerk"], 10_000).await;
    let desk = path("conversation", "desk");
    let bids = [
        (("scout", 0.9, "normal"), ("clerk", 0.5, "normal")),
        (("scout", 0.9, "normal"), ("clerk", 0.1, "high")),
        (("scout", 0.5, "normal"), ("clerk", 0.5, "normal")),
        (("scout", 0.2, "low"), ("clerk", 0.2, "low")),
    ];
    for (n, (a, b)) in bids.into_iter().enumerate() {
        let question = format!("q{n}");
        office.say("desk", &question, "who?").await;
        let opened = office
            .ada
            .await_event(&desk, "conversation.turn_opened", |data| data["message_id"] == *question)
            .await;
        assert_eq!(opened["eligible"], json!(["clerk", "scout"]));
        let claim = |(who, confidence, priority): (&str, f64, &str)| {
            let body = json!({ "turn": opened["turn"], "reason": "mine", "confidence": confidence, "priority": priority });
            let caller = office.by(who);
            let at = format!("{desk}/claim");
            async move { caller.post(&at, body).await }
        };
        let (first, second) = tokio::join!(claim(a), claim(b));
        first.taken();
        second.taken();
        let decided = office
            .ada
            .await_event(&desk, "conversation.turn_decided", |data| data["turn"] == opened["turn"])
            .await;
        assert_eq!(decided["method"], "best_claim", "{decided}");
        assert_eq!(
            decided["bids"].as_array().map(Vec::len),
            Some(2),
            "the decision holds everybody's word"
        );
        assert!(!decided["why"].as_str().unwrap_or_default().is_empty(), "a person can read why");
        office
            .ada
            .await_event(&desk, "conversation.turn_finished", |data| data["turn"] == opened["turn"])
            .await;
        let events = office.ada.events(&desk).await;
        assert_eq!(decided["winner"], best(&events, &opened["turn"]), "{decided}");
        let answers: Vec<_> = events
            .iter()
            .filter(|(name, data)| is(name, "conversation.message_posted") && data["turn"] == opened["turn"])
            .collect();
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0].1["sender"], decided["winner"]);
        assert_eq!(
            answers[0].1["body"],
            format!("From {}.", decided["winner"].as_str().unwrap_or_default())
        );
        let late = office
            .by("clerk")
            .post(
                &format!("{desk}/claim"),
                json!({ "turn": opened["turn"], "reason": "late", "confidence": 1.0 }),
            )
            .await;
        assert_eq!(late.status, 409, "{}", late.text);
    }
}

#[tokio::test]
async fn silent_claims_end_with_the_window_and_deferring_yields() {
    let office = Office::open().await;
    office.agent("scout", "scripted: reply From scout.", json!([])).await;
    office.agent("clerk", "scripted: reply From clerk.", json!([])).await;
    office.room("desk", &["scout", "clerk"], 300).await;
    let desk = path("conversation", "desk");
    office.say("desk", "q0", "anybody?").await;
    let decided = office.ada.await_event(&desk, "conversation.turn_decided", |_| true).await;
    assert_eq!(
        (decided["method"].as_str(), decided["winner"].as_str()),
        (Some("fallback"), Some("clerk")),
        "{decided}"
    );
    office.ada.await_event(&desk, "conversation.turn_finished", |_| true).await;
    office.say("desk", "q1", "again?").await;
    let opened = office
        .ada
        .await_event(&desk, "conversation.turn_opened", |data| data["message_id"] == "q1")
        .await;
    office
        .by("clerk")
        .post(&format!("{desk}/defer"), json!({ "turn": opened["turn"], "reason": "not mine" }))
        .await
        .taken();
    let decided = office
        .ada
        .await_event(&desk, "conversation.turn_decided", |data| data["turn"] == opened["turn"])
        .await;
    assert_eq!(decided["winner"], "scout", "{decided}");
}

#[tokio::test]
async fn the_only_eligible_agent_does_not_wait() {
    let office = Office::open().await;
    office.agent("scout", "scripted: reply At once.", json!([])).await;
    office.agent("clerk", "scripted: reply Never.", json!([])).await;
    office.room("desk", &["scout", "clerk"], 60_000).await;
    let desk = path("conversation", "desk");
    office
        .send(
            "conversation",
            "desk",
            "post",
            json!({ "message_id": "q", "body": "scout?", "mentions": ["scout"] }),
        )
        .await
        .taken();
    let records = office.ada.records(&desk).await;
    let asked = records
        .iter()
        .find(|record| {
            record["events"]
                .as_array()
                .is_some_and(|e| e.iter().any(|e| e["data"]["message_id"] == "q"))
        })
        .expect("the question");
    let decided = asked["events"]
        .as_array()
        .expect("events")
        .iter()
        .find(|e| e["type"] == "quipu.conversation.turn_decided.v1");
    let decided = &decided.expect("the turn is decided in the record of the question itself")["data"];
    assert_eq!(
        (decided["method"].as_str(), decided["winner"].as_str()),
        (Some("only_eligible"), Some("scout")),
        "{decided}"
    );
    let answer = office
        .ada
        .await_event(&desk, "conversation.message_posted", |data| data["sender"] == "scout")
        .await;
    assert_eq!(answer["body"], "At once.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel_and_preempt_abort_within_a_second_and_keep_text() {
    let office = Office::open().await;
    let words: String = (0..200).map(|n| format!("word{n} ")).collect();
    office
        .agent(
            "scout",
            &format!("scripted: delay_ms 50 per token\nscripted: reply {words}"),
            json!([]),
        )
        .await;
    office.room("desk", &["scout"], 0).await;
    let desk = path("conversation", "desk");
    for (n, command) in ["cancel", "preempt"].into_iter().enumerate() {
        let mut live = listen(&office).await;
        let question = format!("q{n}");
        office.say("desk", &question, "tell me everything").await;
        let decided = office
            .ada
            .await_event(&desk, "conversation.turn_decided", |data| data["message_id"] == *question)
            .await;
        // Stop it in the middle: some of the answer was sent.
        let heard = hear(&mut live, 5).await;
        let run = path("run", decided["run"].as_str().expect("a run"));
        let begun = Instant::now();
        office
            .send("conversation", "desk", command, json!({ "reason": "enough" }))
            .await
            .taken();
        let stopped = office.ada.await_event(&run, "run.effect_stopped", |_| true).await;
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(1), "{command} took {took:?}");
        assert_eq!(stopped["came_to"], "cancelled", "{stopped}");
        let partial = stopped["partial"].as_str().expect("what was sent");
        assert!(
            partial.starts_with(&heard) && partial.len() < words.len(),
            "heard {heard:?}, recorded {partial:?}"
        );
        let interrupted = office
            .ada
            .await_event(&desk, "conversation.turn_interrupted", |data| data["turn"] == decided["turn"])
            .await;
        assert_eq!(interrupted["reason"], "enough");
        wait("the outbox to be empty", || async {
            let rows = office.ada.get("/v1/ops/outbox?org=acme").await.taken().body;
            rows["items"]
                .as_array()?
                .iter()
                .all(|row| row["status"] == "delivered")
                .then_some(())
        })
        .await;
        wait("the view to say so", || async {
            let rows = office.ada.get(&format!("{run}/deliveries")).await.taken().body;
            let cancelled = rows["items"]
                .as_array()?
                .iter()
                .any(|row| row["status"] == "cancelled" && row["effect"] == "llm.invoke");
            cancelled.then_some(())
        })
        .await;
        assert_eq!(
            office
                .ada
                .count(&desk, "conversation.message_posted", |data| data["sender"] == "scout")
                .await,
            0,
            "no reply comes after all"
        );
        office
            .send("conversation", "desk", "cancel", json!({}))
            .await
            .refused(409, "no_turn");
    }
}

/// Opens the volatile channel; once this returns, nothing that is said is missed.
async fn listen(office: &Office) -> reqwest::Response {
    let request = office
        .ada
        .request(reqwest::Method::GET, &format!("{}/live", path("conversation", "desk")));
    let mut response = request
        .header("accept", "text/event-stream")
        .send()
        .await
        .expect("the live channel");
    assert_eq!(response.status(), 200);
    response.chunk().await.expect("a greeting");
    response
}

/// Reads this many deltas; their text.
async fn hear(live: &mut reqwest::Response, deltas: usize) -> String {
    let (mut buffer, mut text, mut heard) = (String::new(), String::new(), 0);
    while heard < deltas {
        let chunk = tokio::time::timeout(PATIENCE, live.chunk())
            .await
            .expect("deltas come")
            .expect("the channel")
            .expect("it goes on");
        buffer.push_str(&String::from_utf8_lossy(&chunk));
        while let Some((block, rest)) = buffer.split_once("\n\n").map(|(b, r)| (b.to_owned(), r.to_owned())) {
            buffer = rest;
            if block.lines().any(|line| line == "event: delta") {
                let data = block.lines().find_map(|line| line.strip_prefix("data: ")).expect("data");
                let data: Value = serde_json::from_str(data).expect("JSON");
                text.push_str(data["text"].as_str().unwrap_or_default());
                heard += 1;
            }
        }
    }
    text
}

#[tokio::test]
async fn a_person_takes_over_and_gives_back() {
    let office = Office::open().await;
    office.agent("scout", "scripted: reply Hello.", json!([])).await;
    office.member("bob", "member").await;
    office.member("eve", "member").await;
    office.room("desk", &["scout"], 0).await;
    let bob = json!({ "principal": "bob", "kind": "person" });
    office.send("conversation", "desk", "add_participant", bob).await.taken();
    let desk = path("conversation", "desk");
    let answers = || {
        office
            .ada
            .count(&desk, "conversation.message_posted", |data| data["sender"] == "scout")
    };
    office.say("desk", "q0", "hello").await;
    office.ada.await_event(&desk, "conversation.turn_finished", |_| true).await;
    assert_eq!(answers().await, 1);
    office
        .send(
            "conversation",
            "desk",
            "handoff",
            json!({ "reason": "a person, please", "to": "bob" }),
        )
        .await
        .taken();
    office.send("conversation", "desk", "handoff", json!({})).await;
    let eve = office.by("eve");
    eve.post(&format!("{desk}/accept_handoff"), json!({}))
        .await
        .refused(403, "not_assignee");
    let bob = office.by("bob");
    bob.post(&format!("{desk}/accept_handoff"), json!({})).await.taken();
    office.say("desk", "q1", "are you a person?").await;
    bob.post(&format!("{desk}/post"), json!({ "body": "I am." })).await.taken();
    assert_eq!(
        office
            .ada
            .count(&desk, "conversation.turn_decided", |data| data["message_id"] == "q1")
            .await,
        0,
        "agents keep silent"
    );
    bob.post(&format!("{desk}/return_handoff"), json!({ "reason": "solved" }))
        .await
        .taken();
    office.say("desk", "q2", "and now?").await;
    office
        .ada
        .await_event(&desk, "conversation.turn_finished", |data| {
            data["outcome"]["is"] == "answered" && data["turn"] != Value::Null
        })
        .await;
    wait("the second answer", || async { (answers().await >= 2).then_some(()) }).await;
    let phases: Vec<Value> = office
        .ada
        .events(&desk)
        .await
        .into_iter()
        .filter(|(n, _)| is(n, "conversation.phase_changed"))
        .map(|(_, d)| d["to"].clone())
        .collect();
    for phase in ["ai_active", "waiting_for_user", "handoff_pending", "agent_active"] {
        assert!(phases.contains(&json!(phase)), "{phase} in {phases:?}");
    }
}
