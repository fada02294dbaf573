//! Views on a real PostgreSQL server: the contract, the rows, and what only a server can do: be shared, be killed, keep
//! orgs apart by itself.

mod fresh;
#[path = "../views/golden.rs"]
mod golden;
#[path = "../views/interleavings.rs"]
mod interleavings;
mod keeping;
mod owners;
#[path = "../views/pages.rs"]
mod pages;
#[path = "../views/projecting.rs"]
mod projecting;
#[path = "../views/raised.rs"]
mod raised;
#[path = "../views/record_log.rs"]
mod record_log;
#[path = "../views/scene.rs"]
mod scene;
#[allow(unreachable_pub, dead_code, reason = "shared by several test programs")]
#[path = "../../../events/tests/servers/skipped.rs"]
mod skipped;

#[allow(unreachable_pub, dead_code, reason = "shared by several test programs")]
#[path = "../servers/postgres.rs"]
mod server;
mod shelf;
mod tenants;
