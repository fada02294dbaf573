//! A step of a run, by the size of its definition.

use super::{Load, beside};
use crate::bench::{BenchError, Setup, child, http, report::Line};
use quipu_schemas::limits::NODES_MAX;
use serde_json::json;

const FEW: usize = 10;

/// A run whose nodes wait for one signal after the other.
fn body(nodes: usize) -> String {
    let listed: Vec<_> = (0..nodes)
        .map(|n| json!({ "id": format!("n{n}"), "component": "wait_signal", "config": { "signal": "go", "timeout_ms": 86_400_000 } }))
        .collect();
    let from = |n: usize| if n == 0 { "input.in".to_owned() } else { format!("n{}.out", n - 1) };
    let edges: Vec<_> = (0..nodes).map(|n| json!({ "from": from(n), "to": format!("n{n}.in") })).collect();
    let definition = json!({ "name": "steps", "inputs": { "in": {} }, "nodes": listed, "edges": edges });
    json!({ "definition": definition, "input": { "in": 1 } }).to_string()
}

/// Each signal ends one wait and begins the next.
pub(super) async fn lines(setup: &Setup, out: &mut Vec<Line>) -> Result<(), BenchError> {
    let (node, _) = child::node(&setup.path("steps"), false, &[]).await?;
    http::create(&node, 0, 1).await?;
    let steps = setup.scaled(40_000) as u64;
    let mut costs = Vec::new();
    for (round, nodes) in [FEW, NODES_MAX].into_iter().enumerate() {
        // All but the last node are passed in steps that are counted.
        let each = nodes as u64 - 1;
        let runs = steps / each;
        let (made, key) = (format!("made-{nodes}"), format!("steps-{nodes}"));
        let create = Load {
            node: &node,
            path: "runs/r{n}",
            first: round as u64 * 1_000_000,
            entities: runs,
            body: &body(nodes),
            key: &made,
            clients: 16,
        };
        create.count(runs).await?;
        let signal = Load {
            path: "runs/r{n}/signal",
            body: r#"{"name":"go","payload":{}}"#,
            key: &key,
            ..create
        };
        costs.push(signal.cost(runs * each).await?);
    }
    node.stop().await?;
    out.push(beside(
        &format!("step of a run of {NODES_MAX} nodes beside one of {FEW}"),
        1.2,
        "µs of processor time",
        costs[0],
        costs[1],
        format!("a signal over HTTP; {NODES_MAX} nodes are the most that a run may have"),
    ));
    Ok(())
}
