//! **Who does** it: ractor shells around pure machines, the relay, timers, performers, and the node that holds them.

pub mod abroad;
pub mod api;
mod authority;
pub mod breaker;
pub mod cluster;
mod core;
mod entity_actor;
mod feed;
pub mod ingress;
pub mod kernel;
pub mod kinds;
pub mod node;
mod partition;
mod partition_actor;
pub mod performers;
mod prompts;
pub mod providers;
mod registry;
mod relay_actor;
pub mod replay;
pub mod secrets;
mod shadow;
mod snapshotter;
pub mod tasks;
mod timers;
pub mod volatile;
mod wire;
