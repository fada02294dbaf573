//! What an acknowledgement of a broker is worth.

use quipu_schemas::envelope::Durability;

/// When a broker syncs its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// Before each acknowledgement.
    Always,
    /// Every now and then: an acknowledged append may be lost with the machine's power.
    Interval,
}

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

/// A class as it is written.
pub(crate) fn name(class: Durability) -> String {
    let name = serde_json::to_value(class).ok().and_then(|v| v.as_str().map(str::to_owned));
    name.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_name() {
        use Known::{Assumed, Declared, Told};
        use SyncMode::{Always, Interval};
        let name = |replicas, known| name(class(replicas, known));
        assert_eq!(name(1, Told(Always)), "fsync");
        assert_eq!(name(2, Told(Always)), "quorum-fsync");
        assert_eq!(name(3, Told(Always)), "quorum-fsync");
        assert_eq!(name(1, Declared(Always)), "declared:fsync");
        assert_eq!(name(3, Declared(Always)), "declared:quorum-fsync");
        for known in [Told(Interval), Declared(Interval), Assumed] {
            assert_eq!((name(1, known), name(3, known)), ("memory".into(), "quorum-memory".into()));
            assert!(!is_synced(class(1, known)) && !is_synced(class(3, known)));
        }
        assert!(is_synced(class(1, Told(Always))) && is_synced(class(3, Declared(Always))));
    }
}
