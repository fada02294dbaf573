//! **What** the kernel can say of any kind: ids, envelopes, records, positions, reactions, sealed values, problems, limits.
//!
//! Every other crate depends on this one and on nothing below it. Nothing here does I/O. What the kinds of the house say
//! themselves, their commands and events, is in `quipu-kinds`, which the log does not know.

pub mod address;
pub mod chat;
pub mod client_secret;
pub mod codec;
pub mod constant_time;
pub mod context;
pub mod digest;
pub mod envelope;
pub mod gates;
pub mod host;
pub mod idempotency;
pub mod ids;
pub mod json;
pub mod jwk;
pub mod key_text;
pub mod kind;
pub mod limits;
pub mod mail;
mod marks;
pub mod network;
pub mod pause;
pub mod personal;
pub mod position;
pub mod problem;
pub mod quota;
pub mod reaction;
pub mod record;
pub mod redirect;
pub mod retention;
pub mod rights;
pub mod role;
pub mod secret_text;
pub mod session_text;
pub mod signature;
pub mod text;
pub mod upcast;
