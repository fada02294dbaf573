//! Performers against real sockets: servers that speak the wire formats, well or badly.

#[path = "performers/fake.rs"]
mod fake;
#[path = "performers/http.rs"]
mod http;
#[path = "performers/llm.rs"]
mod llm;
#[path = "performers/stage.rs"]
mod stage;
#[path = "performers/tool.rs"]
mod tool;
#[path = "performers/webhook.rs"]
mod webhook;
