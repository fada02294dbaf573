//! What an acknowledgement of these servers is worth: asked of the servers where they tell, declared where they do not.

use super::{
    options::{JetStreamOptions, Login, SyncMode},
    wire::Wire,
};
use quipu_schemas::envelope::Durability;
use serde::Deserialize;

/// A sync mode and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Every server that holds the log said so.
    Told(SyncMode),
    /// The configuration said so.
    Declared(SyncMode),
    /// Nobody did: the servers' default is taken.
    Assumed,
}

/// The class of a log in files of `replicas` servers.
pub(crate) fn class(replicas: usize, known: Known) -> Durability {
    let one = replicas < 2;
    match known {
        Known::Told(SyncMode::Always) if one => Durability::Fsync,
        Known::Told(SyncMode::Always) => Durability::QuorumFsync,
        Known::Declared(SyncMode::Always) if one => Durability::DeclaredFsync,
        Known::Declared(SyncMode::Always) => Durability::DeclaredQuorumFsync,
        _ if one => Durability::Memory,
        _ => Durability::QuorumMemory,
    }
}

/// Whether an acknowledgement waits for a disk.
pub(crate) fn is_synced(class: Durability) -> bool {
    !matches!(class, Durability::Memory | Durability::QuorumMemory)
}

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
        return Err(format!("server {silent} did not tell its sync mode"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_name() {
        use Known::{Assumed, Declared, Told};
        use SyncMode::{Always, Interval};
        let name = |replicas, known| serde_json::to_string(&class(replicas, known)).unwrap();
        assert_eq!(name(1, Told(Always)), "\"fsync\"");
        assert_eq!(name(3, Told(Always)), "\"quorum-fsync\"");
        assert_eq!(name(1, Declared(Always)), "\"declared:fsync\"");
        assert_eq!(name(3, Declared(Always)), "\"declared:quorum-fsync\"");
        for known in [Told(Interval), Declared(Interval), Assumed] {
            assert_eq!((name(1, known), name(3, known)), ("\"memory\"".into(), "\"quorum-memory\"".into()));
            assert!(!is_synced(class(1, known)) && !is_synced(class(3, known)));
        }
        assert!(is_synced(class(1, Told(Always))) && is_synced(class(3, Declared(Always))));
    }
}
