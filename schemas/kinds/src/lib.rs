//! **What** the kinds of the house can say: their commands and events, a file for each kind.
//!
//! Stored and sent in the forms of `quipu-schemas`. The log does not know this crate: a new command does not build it again.

pub mod agent;
pub mod alias;
pub mod api_key;
pub mod application;
pub mod approval;
pub mod callback;
pub mod conversation;
pub mod denial;
pub mod entity;
pub mod grant;
pub mod invite;
pub mod org;
pub mod principal;
pub mod project;
pub mod quota;
pub mod role;
pub mod run;
pub mod secret;
