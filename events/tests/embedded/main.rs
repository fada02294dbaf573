//! The embedded log: its contract, backups, damage.

mod backup;
mod contract;
mod corruption_sweep;
mod damage;
mod verify_log;
