//! What is opened before anything runs: the log, its index and its keys.

use super::{NodeConfig, StartError};
use crate::{
    api::Stopped,
    cluster::{NodeKey, PeerTls},
    ingress,
};
use quipu_events::{
    backend::{OpenError, OpenedLog, node_id},
    channel::Channel,
    disk::DiskLock,
    embedded::EmbeddedLog,
    index::{Index, Unreadable, boot_id},
    keyring::Keyring,
    leases::{Leases, Member},
    port::{Log, ReadError},
};
use quipu_schemas::{limits, position::LogId};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// What a node opens before anything runs.
pub(super) struct Parts {
    pub(super) log: Arc<dyn Log>,
    pub(super) embedded: Option<Arc<EmbeddedLog>>,
    pub(super) lock: Option<Box<dyn DiskLock>>,
    pub(super) me: Member,
    pub(super) node_key: Option<NodeKey>,
    pub(super) leases: Arc<dyn Leases>,
    pub(super) channel: Option<Arc<dyn Channel>>,
    pub(super) index: Arc<Index>,
    pub(super) keys: Arc<Keyring>,
    pub(super) unreadable: BTreeMap<u16, Stopped>,
}

/// Opens the log, its index and its keys. Blocks.
pub(super) fn open(config: &NodeConfig, mut progress: impl FnMut(u64)) -> Result<Parts, StartError> {
    let id = ingress::entropy().map_err(StartError::Entropy)?;
    let dir = config.data_dir.as_deref();
    let opened = config.log.open(dir, config.partitions, LogId(id.to_be_bytes()))?;
    let (index, keys) = match dir {
        None => (Index::in_memory(&opened.log.meta())?, Keyring::ephemeral(id as u64)),
        Some(dir) => {
            let keys = opened
                .keys(dir, config.allow_lost_keys)
                .map_err(|e| StartError::Keys(e.to_string()))?;
            (Index::open(&dir.join("index"), &opened.log.meta(), boot_id())?, keys)
        }
    };
    if let Some(blobs) = opened.blobs(dir, &config.blobs)? {
        keys.keep_in(blobs);
    }
    // Where there are no other nodes, nobody asks for it.
    let has_peers = config.log.is_shared() && config.cluster.token.is_some() && config.cluster.tls != PeerTls::Off;
    let node_key = has_peers.then(|| NodeKey::load_or_make(dir)).transpose()?;
    let me = config.cluster.member(node_id(dir).map_err(OpenError::Io)?, node_key.as_ref());
    let life = if config.cluster.lease_ms == 0 {
        limits::LEASE_MS
    } else {
        config.cluster.lease_ms
    };
    let leases = opened.join(me.clone(), Duration::from_millis(life))?;
    let channel = opened.shared.as_ref().and_then(|shared| shared.channel());
    for note in keys.notes() {
        tracing::warn!(note, "something about the keys changed since the last stop");
    }
    let OpenedLog { log, embedded, lock, .. } = opened;
    let (index, keys) = (Arc::new(index), Arc::new(keys));
    let caught = index.catch_up(&*log, &mut |at| progress(at.next))?;
    let unreadable = caught.stopped.into_iter().map(|(partition, why)| {
        let offset = match &why {
            Unreadable::Record { position, .. } => position.offset,
            Unreadable::Log(ReadError::Damaged { offset, .. }) => *offset,
            Unreadable::Log(_) => 0,
        };
        (
            partition,
            Stopped {
                partition,
                offset,
                detail: why.to_string(),
            },
        )
    });
    Ok(Parts {
        unreadable: unreadable.collect(),
        log,
        embedded,
        lock,
        me,
        node_key,
        leases,
        channel,
        index,
        keys,
    })
}
