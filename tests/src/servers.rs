//! Servers that tests start and stop: the log's and the views' own tests use the same files.

#[path = "../../events/tests/servers/nats.rs"]
pub mod nats;
#[path = "../../projections/tests/servers/postgres.rs"]
pub mod postgres;
#[path = "../../events/tests/servers/proxy.rs"]
pub mod proxy;
