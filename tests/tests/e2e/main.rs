//! What a client sees of a whole node, kind by kind.

mod agent;
mod conversation;
mod history;
mod org;
mod run;
mod turn;
