//! Performers against real sockets: servers that speak the wire formats, well or badly.

mod fake;
mod http;
mod llm;
mod mail;
mod smtp;
mod stage;
mod tool;
mod webhook;
