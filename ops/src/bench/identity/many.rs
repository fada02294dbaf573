//! Many principals and keys in one org: how soon a node that starts takes commands of one of them, and what each costs in memory.

use super::{Setup, Talk, key, of, plan};
use crate::bench::{
    BenchError,
    child::{self, Server},
    load::{Pace, Plan},
    machine::MIB,
    material::{CREATE, ORG},
    memory::{GIVEN_BACK, all_sleep, metric},
    report::{Line, count},
};
use crate::metrics::HEAP_ALLOCATED;
use serde_json::json;
use std::time::{Duration, Instant};

/// Of each, in a full run.
const MANY: usize = 100_000;
/// Keys that are used before what each one costs is counted, and as many again that are counted.
const USED: usize = 10_000;
/// Connections that make and use them.
const AT_ONCE: usize = 64;
/// So that what was made falls asleep soon.
const SLEEPY: &str = "limits.passivate_after_ms=500";

pub(super) async fn lines(setup: &Setup, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let (data, many) = (setup.path("many"), setup.scaled(MANY) as u64);
    let (node, _) = child::node(&data, false, &[SLEEPY]).await?;
    let mut talk = Talk::open(&node).await?;
    talk.post(&of("orgs", ORG), &json!({ "name": "Bench", "owner": super::MEMBER }))
        .await?;
    let fill = |path: String, body: &str, name: &str| Plan {
        entities: many,
        key: name.to_owned(),
        ..plan(&node, &node.token, path, body.to_owned(), Pace::Count { requests: many })
    };
    let begun = Instant::now();
    fill(of("principals", "svc_{n}"), r#"{"name":"Service","owner":"ada"}"#, "principal")
        .run()
        .await?;
    fill(of("api-keys", "k{n}"), r#"{"name":"key","principal":"ada"}"#, "key")
        .run()
        .await?;
    let filled = begun.elapsed();
    let last = key(&mut talk, "last").await?;
    node.stop().await?;
    let mut took = Vec::new();
    for round in 0..3 {
        let begun = Instant::now();
        let (node, _) = child::node(&data, false, &[SLEEPY]).await?;
        let mut talk = Talk::open(&node).await?.showing(&last);
        talk.post(&of("conversations", &format!("first{round}")), &serde_json::from_str(CREATE)?)
            .await?;
        took.push(begun.elapsed());
        if round == 2 {
            let resident = node.usage().resident as f64 / MIB;
            out.push(first_line(many, &took, filled, resident));
            used_line(setup, &node, out).await?;
        }
        node.stop().await?;
    }
    Ok(())
}

fn first_line(many: u64, took: &[Duration], filled: Duration, resident: f64) -> Line {
    let worst = took.iter().max().copied().unwrap_or_default();
    let each: Vec<String> = took.iter().map(|took| format!("{:.0} ms", took.as_secs_f64() * 1e3)).collect();
    Line::judged(
        &format!(
            "first command by a key after a start, {0} principals and {0} keys in the org",
            count(many as f64)
        ),
        "≤ 1 s",
        format!("{:.0} ms", worst.as_secs_f64() * 1e3),
        worst <= Duration::from_secs(1),
        format!(
            "worst of {}, from the start of the process to the receipt; views off; {resident:.1} MiB resident after it; made in {:.0} s",
            each.join(", "),
            filled.as_secs_f64()
        ),
    )
}

/// Makes so many keys and uses each once.
async fn use_keys(node: &Server, from: usize, keys: usize) -> Result<(), BenchError> {
    let one = async |at: usize| {
        let mut talk = Talk::open(node).await?;
        for n in (from + at..from + keys).step_by(AT_ONCE) {
            // Each principal has one key, and both are known once the key was shown.
            let (id, who) = (format!("used{n}"), format!("svc_{}", n % keys));
            let made = talk
                .post(&of("api-keys", &id), &json!({ "name": "used", "principal": who }))
                .await?;
            let text = super::text(&made, "shown")?;
            let own = talk.token.clone();
            talk = talk.showing(&text);
            // Whoever is no member is told so once the key was found to be theirs.
            talk.try_post(&format!("{}/post", of("conversations", "first0")), &json!({ "body": "hello" }))
                .await?;
            talk = talk.showing(&own);
        }
        Ok::<_, BenchError>(())
    };
    futures::future::try_join_all((0..AT_ONCE).map(one)).await?;
    Ok(())
}

async fn used_line(setup: &Setup, node: &Server, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let keys = setup.scaled(USED);
    let mut seen = Vec::new();
    for wave in 0..3 {
        use_keys(node, wave * keys, keys).await?;
        all_sleep(node).await?;
        tokio::time::sleep(GIVEN_BACK).await;
        seen.push((metric(node, HEAP_ALLOCATED).await?, node.usage().resident as f64 / MIB));
    }
    // The first wave makes the principals known as well; those behind it keys alone.
    let [first, second, third] = seen[..] else {
        return Err(BenchError::Child("three waves".into()));
    };
    let each = (third.0 - first.0) / (2 * keys) as f64;
    out.push(Line::judged(
        "memory of a key that was used",
        "≤ 200 B",
        format!("{:.0} B", each.max(0.0)),
        each <= 200.0,
        format!(
            "bytes allocated after {} keys each, made, used and asleep, MiB: {:.2} {:.2} {:.2}; resident MiB: {:.1} {:.1} {:.1}; what is known of rights is \
             bounded, and forgotten beyond it",
            count(keys as f64),
            first.0 / MIB,
            second.0 / MIB,
            third.0 / MIB,
            first.1,
            second.1,
            third.1
        ),
    ));
    Ok(())
}
