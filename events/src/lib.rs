//! **Where** is it written? The log port and its backends, the local index, snapshots, blobs, keys.
//!
//! Nothing here knows an entity kind: records go in and come out encoded.

pub mod backend;
pub mod backup;
pub mod blobs;
#[cfg(any(feature = "jetstream", feature = "kafka"))]
mod broker;
pub mod certify;
pub mod channel;
pub mod contract;
pub mod disk;
pub mod embedded;
pub mod erased;
pub mod frame;
pub mod heads;
pub mod index;
#[cfg(feature = "jetstream")]
pub mod jetstream;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod keyring;
pub mod leases;
pub mod memory;
pub mod migrate;
pub mod pause;
pub mod port;
pub mod snapshots;
pub mod verify;
