//! One node in trouble: crashes, damage, a full disk, hostile input.

mod clients;
mod damaged_node;
mod disk_full;
mod http_hostile;
mod kill9;
mod libraries;
mod migrate;
mod parking;
mod quota;
mod rates;
mod rebuild;
mod revocation;
mod schemathesis;
mod secrets;
mod ticket;
