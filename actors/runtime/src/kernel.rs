//! The kernel's machines: pure, sans I/O. Shells perform what they ask for; simulation drives the same code.

pub mod clock;
pub mod decided;
pub mod entity;
pub mod hub;
pub mod orgs;
pub mod ownership;
pub mod relay;
pub mod timers;
pub mod vitals;
pub mod writer;
