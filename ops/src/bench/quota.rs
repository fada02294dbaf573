//! An org's quota as one hot entity.

use super::{
    BenchError, Setup,
    child::{self, Server},
    http::{CLIENTS, create, rates, ratios, run, sides},
    load::{Pace, Plan},
    material::{self, ORG},
    report::{Line, count, list, median},
};

/// Each reservation has a number of its own.
const NUMBERS: u64 = 1 << 40;

fn plan(node: &Server, path: String, body: String, pace: Pace) -> Plan {
    Plan {
        then: None,
        address: node.address,
        token: node.token.clone(),
        connections: CLIENTS,
        path,
        entities: 1,
        first: 0,
        body,
        key: "q".into(),
        pace,
    }
}

/// Reserving and settling in one org's quota beside posting to one conversation: each is one entity that everybody commands.
pub(super) async fn line(setup: &Setup, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let (node, _) = child::node(&setup.path("quota"), false, &[]).await?;
    create(&node, 0, 1).await?;
    let quota = format!("/v1/orgs/{ORG}/quotas/all");
    for level in ["org", "project/p", "agent/a"] {
        let body = format!(r#"{{"level":"{level}","unit":"tokens","window":"month","limit":562949953421312}}"#);
        let limit = Plan {
            connections: 1,
            key: format!("limit-{}", level.len()),
            ..plan(&node, format!("{quota}/set_limit"), body, Pace::Count { requests: 1 })
        };
        run(&node, &limit).await?;
    }
    let pace = Pace::Closed {
        warmup_ms: setup.seconds(0.5),
        run_ms: setup.seconds(2.5),
    };
    let (mut reserving, mut hot) = (Vec::new(), Vec::new());
    for pair in 0..setup.pairs() as u64 {
        // A fresh conversation each time: one takes 100,000 messages.
        create(&node, 1 + pair, 1).await?;
        let post = plan(
            &node,
            format!("/v1/orgs/{ORG}/conversations/c{{n}}/post"),
            material::post_body(),
            pace,
        );
        let post = Plan { first: 1 + pair, ..post };
        hot.push(run(&node, &post).await?);
        let hold = r#"{"levels":["project/p","agent/a"],"unit":"tokens","amount":500}"#;
        let body = format!(r#"{{"key":"r{{n}}","ttl_seconds":60,"holds":[{hold}]}}"#);
        let settle = r#"{"key":"r{n}","used":[{"unit":"tokens","amount":420}]}"#;
        let reserve = Plan {
            then: Some((format!("{quota}/settle"), settle.to_owned())),
            entities: NUMBERS,
            first: pair * NUMBERS,
            key: format!("q{pair}"),
            ..plan(&node, format!("{quota}/reserve"), body, pace)
        };
        reserving.push(run(&node, &reserve).await?);
    }
    let ratio = median(&ratios(&reserving, &hot));
    out.push(Line::judged(
        "reserve and settle, three levels of one org's quota, 64 clients, views off",
        "≥ 0.5 × one hot conversation",
        format!("{}/s = {ratio:.2} × it", count(median(&rates(&reserving)))),
        ratio >= 0.5,
        format!(
            "commands, half of them reservations; ratios {}; {}; {}",
            list(&ratios(&reserving, &hot), 2),
            sides("quota", &reserving),
            sides("conversation", &hot)
        ),
    ));
    node.stop().await
}
