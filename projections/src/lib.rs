//! **Who reads?** Views, the projectors that keep them, and the stores that hold them.
//!
//! A view is made by pure reducers ([`families::Families::reduce`]) from records to statements; a sans-I/O machine a partition
//! ([`projector::Projector`]) turns frames into batches; a store ([`store::ViewStore`]) commits a batch and its
//! checkpoint at once. Nothing here can dispatch a command or perform an effect.

pub mod activity;
pub mod agents;
pub mod aliases;
pub mod api_keys;
pub mod applications;
pub mod approvals;
#[cfg(feature = "postgres")]
pub mod callbacks;
pub mod certify;
pub mod columns;
pub mod contract;
pub mod conversation_rows;
pub mod conversations;
pub mod deliveries;
pub mod denials;
pub mod directory;
pub mod entities;
pub mod error;
pub mod families;
pub mod family;
pub mod follower;
pub mod grants;
pub mod invites;
pub mod messages;
pub mod orgs;
pub mod pace;
pub mod parked;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod principals;
pub mod progress;
pub mod projector;
pub mod projects;
pub mod query;
pub mod quotas;
pub mod readiness;
pub mod reading;
pub mod roles;
pub mod runs;
pub mod scope;
pub mod secrets;
pub mod shelf;
pub mod sqlite;
pub mod statement;
pub mod store;
pub mod table;
pub mod timers;
pub mod turns;
pub mod verify;
pub mod views;

mod absent;
mod gathered;
mod late;
mod row_digest;
mod sqlite_families;
mod sqlite_write;

/// Every family of the house. A new one is its `pub mod` above and a line here, the last. The order is that of tables and views, and of
/// statements of one record.
pub static FAMILIES: &[&family::Family] = &[
    &orgs::FAMILY,
    &agents::FAMILY,
    &conversations::FAMILY,
    &runs::FAMILY,
    &deliveries::FAMILY,
    &activity::FAMILY,
    &parked::FAMILY,
    &grants::FAMILY,
    &roles::FAMILY,
    &api_keys::FAMILY,
    &applications::FAMILY,
    &quotas::FAMILY,
    &principals::FAMILY,
    &secrets::FAMILY,
    &entities::FAMILY,
    &aliases::FAMILY,
    &callbacks::FAMILY,
    &projects::FAMILY,
    &approvals::FAMILY,
    &denials::FAMILY,
    &invites::FAMILY,
];
