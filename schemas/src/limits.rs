//! Every limit of the system, in one place: a file for each room of the house, unit last in the name.
//!
//! A limit that a person may configure has its default here; everything else is fixed.

mod agent;
mod application;
mod broker;
mod bus;
mod callback;
mod client;
mod cluster;
mod conversation;
mod directory;
mod effects;
mod http;
mod log;
mod login;
mod mail;
mod node;
mod org;
mod outbox;
mod principal;
mod quota;
mod reads;
mod rights;
mod run;
mod secret;
mod tokens;
mod values;
mod views;
mod words;

// Names tell their room: whoever needs a limit asks for it here.
pub use agent::*;
pub use application::*;
pub use broker::*;
pub use bus::*;
pub use callback::*;
pub use client::*;
pub use cluster::*;
pub use conversation::*;
pub use directory::*;
pub use effects::*;
pub use http::*;
pub use log::*;
pub use login::*;
pub use mail::*;
pub use node::*;
pub use org::*;
pub use outbox::*;
pub use principal::*;
pub use quota::*;
pub use reads::*;
pub use rights::*;
pub use run::*;
pub use secret::*;
pub use tokens::*;
pub use values::*;
pub use views::*;
pub use words::*;
