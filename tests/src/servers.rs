//! Servers that tests start and stop: the log's own tests use the same files.

#[path = "../../events/tests/servers/nats.rs"]
pub mod nats;
#[path = "../../events/tests/servers/proxy.rs"]
pub mod proxy;
