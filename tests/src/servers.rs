//! Servers that tests start and stop: the log's and the views' own tests use the same files.

#[path = "../../events/tests/servers/kafka.rs"]
pub mod kafka;
#[path = "../../events/tests/servers/kafka_proxy.rs"]
pub mod kafka_proxy;
#[path = "../../events/tests/servers/kafkas.rs"]
pub mod kafkas;
#[path = "../../events/tests/servers/nats.rs"]
pub mod nats;
#[path = "../../projections/tests/servers/postgres.rs"]
pub mod postgres;
#[path = "../../events/tests/servers/proxy.rs"]
pub mod proxy;
#[path = "../../events/tests/servers/tansu.rs"]
pub mod tansu;
