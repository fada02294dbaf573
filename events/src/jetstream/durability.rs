//! When these servers sync: asked of them, where they tell.

use super::{
    options::{JetStreamOptions, Login},
    wire::Wire,
};
use crate::broker::durability::SyncMode;
use serde::Deserialize;

#[derive(Deserialize)]
struct Reply {
    data: Varz,
}

#[derive(Deserialize)]
struct Varz {
    server_name: String,
    #[serde(default)]
    jetstream: JetStream,
}

#[derive(Deserialize, Default)]
struct JetStream {
    #[serde(default)]
    config: Config,
}

#[derive(Deserialize, Default)]
struct Config {
    #[serde(default)]
    sync_always: bool,
}

/// Asks every server of the cluster through the system account; `holders` are those that hold the log.
pub(crate) async fn ask(options: &JetStreamOptions, system: &Login, holders: &[String]) -> Result<SyncMode, String> {
    let wire = Wire::connect(options, Some(system)).await.map_err(|e| e.detail)?;
    let replies = wire
        .ask_all("$SYS.REQ.SERVER.PING.VARZ", holders.len().max(1))
        .await
        .map_err(|e| e.to_string())?;
    let mut told = Vec::new();
    for reply in replies {
        let reply: Reply = serde_json::from_slice(&reply).map_err(|e| format!("a server's answer to VARZ: {e}"))?;
        told.push(reply.data);
    }
    if let Some(silent) = holders.iter().find(|name| !told.iter().any(|varz| varz.server_name == **name)) {
        return Err(format!("server {silent} did not report its sync mode"));
    }
    let always = told
        .iter()
        .filter(|varz| holders.contains(&varz.server_name))
        .all(|varz| varz.jetstream.config.sync_always);
    Ok(if always && !told.is_empty() {
        SyncMode::Always
    } else {
        SyncMode::Interval
    })
}
