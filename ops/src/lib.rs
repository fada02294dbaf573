//! **How** does it run? HTTP, configuration, views' shell, and the composition root; the binary `quipu` is a thin main over it.

pub mod asyncapi;
pub mod bench;
pub mod bus;
pub mod cli;
pub mod client;
pub mod cloudevents;
pub mod config;
pub mod demo;
pub mod dev_cluster;
pub mod export;
pub mod failure;
pub mod http;
pub mod import;
pub mod json;
pub mod log_lines;
pub mod metrics;
pub mod openapi;
pub mod serve;
mod stage;
pub mod terminal;
pub mod token;
pub mod views;
pub mod views_in;
