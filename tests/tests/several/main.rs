//! Several nodes on one log.

mod cluster;
mod takeover;
