//! Many at a time: entities that fall asleep together, members of one org.

use super::{Client, Load, beside};
use crate::bench::{
    BenchError, Setup, child, http,
    load::Pace,
    material, memory,
    report::{Line, count},
};
use crate::metrics::ENTITIES_ACTIVE;
use quipu_schemas::limits::MEMBERS_MAX;
use std::time::{Duration, Instant};

/// Seconds after which an entity that nobody speaks to sleeps, here.
const TIRED_S: u64 = 15;

/// Posts to one conversation go on while all others fall asleep. What they take before that is what the machine is good for.
pub(super) async fn sleep_line(setup: &Setup, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let entities = setup.scaled(40_000) as u64;
    let tired = format!("limits.passivate_after_ms={}", TIRED_S * 1_000);
    let (node, _) = child::node(&setup.path("tired"), false, &[&tired]).await?;
    http::create(&node, 0, entities).await?;
    let made = Instant::now();
    let body = material::post_body();
    let posts = |key| Load {
        node: &node,
        path: "conversations/c{n}/post",
        first: 0,
        entities: 1,
        body: &body,
        key,
        clients: 8,
    };
    let pace = |run_ms| Pace::Open {
        per_second: 200.0,
        warmup_ms: 0,
        run_ms,
    };
    let before = posts("awake").plan(pace(5_000)).run().await?.latency_us;
    let awake = memory::metric(&node, ENTITIES_ACTIVE).await?;
    // The last of them falls asleep a quarter late at the most.
    let rest = Duration::from_secs(TIRED_S * 5 / 4 + 2).saturating_sub(made.elapsed());
    let meanwhile = posts("tired").plan(pace(rest.as_millis() as u64)).run().await?.latency_us;
    let slept = awake - memory::metric(&node, ENTITIES_ACTIVE).await?;
    node.stop().await?;
    let worst = meanwhile.max as f64 / 1e3;
    out.push(Line::judged(
        &format!("longest post while {} entities fall asleep together", count(slept)),
        "≤ 250 ms",
        format!("{worst:.0} ms"),
        worst <= 250.0 && slept > 0.5 * entities as f64,
        format!(
            "200/s; p99 {:.1} ms; before they fell asleep {:.0} ms and p99 {:.1} ms",
            meanwhile.p99 as f64 / 1e3,
            before.max as f64 / 1e3,
            before.p99 as f64 / 1e3
        ),
    ));
    Ok(())
}

/// An org of as many members as it may have.
pub(super) async fn org_lines(setup: &Setup, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let node = memory::sleepy(setup, "members", false).await?;
    http::create(&node, 0, 101).await?;
    let body = material::post_body();
    let posts = |key| Load {
        node: &node,
        path: "conversations/c{n}/post",
        first: 0,
        entities: 100,
        body: &body,
        key,
        clients: 64,
    };
    let members = (setup.scaled(MEMBERS_MAX) - 2) as u64;
    let added = |first, key| Load {
        node: &node,
        path: "orgs/bench/add_member",
        first,
        entities: members,
        body: r#"{"principal":"member-{n}","role":"member"}"#,
        key,
        clients: 16,
    };
    let counted = members / 5;
    let before = posts("few").cost(10_000).await?;
    let first = added(0, "first").cost(counted).await?;
    added(counted, "more").count(members - 2 * counted).await?;
    let last = added(members - counted, "last").cost(counted).await?;
    let after = posts("many").cost(10_000).await?;
    let all = count(members as f64);
    out.push(beside(
        &format!("a member added to an org of {all} beside the first ones"),
        1.5,
        "µs of processor time",
        first,
        last,
        format!("{counted} each"),
    ));
    out.push(beside(
        &format!("post in an org of {all} members beside one of 1"),
        1.5,
        "µs of processor time",
        before,
        after,
        "10,000 each".into(),
    ));
    memory::all_sleep(&node).await?;
    let mut client = Client::open(&node).await?;
    let (_, woken) = client.ask("POST", "orgs/bench/rename", r#"{"name":"Large"}"#).await?;
    node.stop().await?;
    let woken = woken.as_secs_f64() * 1e3;
    out.push(Line::judged(
        &format!("first command to a sleeping org of {all} members"),
        "≤ 100 ms",
        format!("{woken:.1} ms"),
        woken <= 100.0,
        "once".into(),
    ));
    Ok(())
}
