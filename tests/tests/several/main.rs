//! Several nodes on one log.

mod cluster;
mod keys;
mod takeover;
