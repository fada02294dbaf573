//! **Where** is it written? The log port and its backends, the local index, snapshots, blobs, keys.
//!
//! Nothing here knows an entity kind: records go in and come out encoded.

pub mod port;
