//! The other nodes: commands that they forward, and what this one knows of them.

use super::{Answer, App, json, params::Params, request::Forwarded};
use axum::{
    extract::State,
    http::{HeaderMap, Uri, header},
};
use quipu_schemas::{envelope::CommandEnvelope, problem::Problem};
use serde_json::json as value;
use sha2::{Digest, Sha256};

/// Paths that nodes call and nobody else, by the cluster's secret instead of the token.
pub(crate) const INTERNAL: &str = "/internal/";

/// Refuses whoever does not show the cluster's secret; everybody, where there is none.
pub(crate) fn check_secret(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.strip_prefix("Bearer "));
    // Digests, so that the time of the comparison tells nothing of the secret.
    let digest = |text: &str| <[u8; 32]>::from(Sha256::digest(text.as_bytes()));
    match (&app.access.cluster, given) {
        (Some(secret), Some(given)) if digest(secret) == digest(given) => Ok(()),
        (None, _) => Err(Problem::new(403, "no_cluster", "this node takes no commands from other nodes")
            .fix("set `cluster.secret` to the same secret on every node")),
        (Some(_), _) => Err(Problem::new(401, "unauthenticated", "this is not the cluster's secret").field("Authorization")),
    }
}

/// `POST /internal/v1/commands`: a command in stored form, which another node has admitted.
pub async fn forwarded(State(app): State<App>, Forwarded(body): Forwarded) -> Answer {
    let envelope: CommandEnvelope = serde_json::from_slice(&body)
        .map_err(|e| Problem::new(400, "bad_envelope", format!("a forwarded command cannot be decoded: {e}")))?;
    json(&app.node.forwarded(envelope).await?)
}

/// `POST /internal/v1/volatile`: what another node says on the volatile channel.
pub async fn volatile(State(app): State<App>, Forwarded(body): Forwarded) -> Answer {
    let said =
        serde_json::from_slice(&body).map_err(|e| Problem::new(400, "bad_envelope", format!("what a node sent cannot be decoded: {e}")))?;
    app.node.heard(said);
    json(&value!({}))
}

/// `GET /v1/ops/cluster`: nodes, and who owns which partition, as this node sees them.
pub async fn cluster(State(app): State<App>, uri: Uri) -> Answer {
    Params::parse(&uri, &[])?;
    let (me, node) = (app.node.me(), app.node.clone());
    let ends = tokio::task::spawn_blocking(move || node.ends()).await.unwrap_or_default();
    let partitions: Vec<_> = app
        .node
        .partitions()
        .into_iter()
        .map(|p| {
            let end = ends.get(usize::from(p.partition)).copied().flatten();
            value!({
                "partition": p.partition,
                "owner": p.owner.as_ref().map(|member| &member.node),
                "here": p.here,
                "epoch": end.map(|end| end.epoch).or(p.epoch),
                "records": p.records,
                "behind": end.map(|end| end.next_offset.saturating_sub(p.records)),
                "trouble": p.trouble.filter(|_| p.owner.is_none()),
            })
        })
        .collect();
    json(&value!({ "node": me, "members": app.node.members(), "partitions": partitions }))
}
