//! The kernel's machines: pure, sans I/O. Shells perform what they ask for; simulation drives the same code.

pub mod admission;
pub mod attempt;
pub mod authorities;
pub mod cause;
pub mod clock;
pub mod denials;
pub mod entity;
pub mod hub;
pub mod instances;
pub mod limiter;
pub mod ownership;
pub mod principals;
pub mod refusals;
pub mod relay;
pub mod rights;
pub mod seen_commands;
pub mod stops;
pub mod timers;
pub mod turns;
pub mod vitals;
pub mod writer;
