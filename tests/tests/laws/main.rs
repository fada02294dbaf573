//! Laws that need no node: the layout, stored forms, decoders, the model of ownership.

mod bans;
mod circles;
mod fuzz_decoders;
mod golden;
mod kinds;
mod layout;
mod ownership_model;
mod problems;
mod ratchet;
mod samples;
mod threats;
mod tokens;
