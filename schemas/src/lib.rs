//! **What** can be said: ids, commands, events, reactions, and their stored form.
//!
//! Every other crate depends on this one and on nothing below it. Nothing here does I/O.

pub mod agent;
pub mod chat;
pub mod codec;
pub mod context;
pub mod conversation;
pub mod digest;
pub mod envelope;
pub mod ids;
pub mod json;
pub mod kind;
pub mod limits;
pub mod org;
pub mod personal;
pub mod position;
pub mod problem;
pub mod reaction;
pub mod record;
pub mod run;
pub mod text;
pub mod upcast;
