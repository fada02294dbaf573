//! Performers against real sockets: servers that speak the wire formats, well or badly.

mod fake;
mod http;
mod llm;
mod stage;
mod tool;
mod webhook;
