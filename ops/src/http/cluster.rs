//! The other nodes: commands that they forward, and what this one knows of them.

use super::{Answer, App, json, params::Params, request::Forwarded};
use crate::{
    caller::{Operator, Peer},
    told::{ClusterSeen, PartitionSeen},
};
use axum::{extract::State, http::Uri};
use quipu_events::leases::Member;
use quipu_schemas::{envelope::CommandEnvelope, problem::Problem};
use serde_json::json as value;

/// `POST /internal/v1/commands`: a command in stored form, which another node has admitted.
pub async fn forwarded(State(app): State<App>, peer: Peer, Forwarded(body): Forwarded) -> Answer {
    let envelope: CommandEnvelope = serde_json::from_slice(&body)
        .map_err(|e| Problem::new(400, "bad_envelope", format!("a forwarded command cannot be decoded: {e}")))?;
    json(&app.forwarded(&peer, envelope).await?)
}

/// `POST /internal/v1/volatile`: what another node says on the volatile channel.
pub async fn volatile(State(app): State<App>, peer: Peer, Forwarded(body): Forwarded) -> Answer {
    let said =
        serde_json::from_slice(&body).map_err(|e| Problem::new(400, "bad_envelope", format!("what a node sent cannot be decoded: {e}")))?;
    app.heard(&peer, said);
    json(&value!({}))
}

/// `POST /internal/v1/known`: whether this node knows all up to a position; it waits for it a while.
pub async fn known(State(app): State<App>, peer: Peer, Forwarded(body): Forwarded) -> Answer {
    let position = serde_json::from_slice(&body)
        .map_err(|e| Problem::new(400, "bad_envelope", format!("what a node asked cannot be decoded: {e}")))?;
    json(&app.knows(&peer, position).await)
}

/// `POST /internal/v1/rates`: a request that came to another node, counted at the rates of an org that this node owns.
pub async fn rates(State(app): State<App>, peer: Peer, Forwarded(body): Forwarded) -> Answer {
    let asking = serde_json::from_slice(&body)
        .map_err(|e| Problem::new(400, "bad_envelope", format!("what a node asked cannot be decoded: {e}")))?;
    json(&app.let_through_here(&peer, &asking)?)
}

/// `GET /v1/ops/cluster`: nodes, and who owns which partition, as this node sees them.
pub async fn cluster(State(app): State<App>, operator: Operator, uri: Uri) -> Answer {
    Params::parse(&uri, &[])?;
    let node = app.node(&operator);
    let asked = node.clone();
    let ends = tokio::task::spawn_blocking(move || asked.ends()).await.unwrap_or_default();
    let partitions: Vec<_> = node
        .partitions()
        .into_iter()
        .map(|p| {
            let end = ends.get(usize::from(p.partition)).copied().flatten();
            PartitionSeen {
                partition: p.partition,
                here: p.here,
                epoch: end.map(|end| end.epoch).or(p.epoch),
                records: p.records,
                behind: end.map(|end| end.next_offset.saturating_sub(p.records)),
                trouble: p.trouble.filter(|_| p.owner.is_none()),
                owner: p.owner.map(|member| member.node),
            }
        })
        .collect();
    // What vouches for a key is for nodes.
    let shown = |member: Member| Member { proof: None, ..member };
    json(&ClusterSeen {
        node: node.me().map(shown),
        members: node.members().into_iter().map(shown).collect(),
        partitions,
    })
}
