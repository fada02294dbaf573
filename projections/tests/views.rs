//! Views from logs: rows, interleavings, the projector's stops, pages, rebuilds.

#[path = "views/fresh.rs"]
mod fresh;
#[path = "views/golden.rs"]
mod golden;
#[path = "views/interleavings.rs"]
mod interleavings;
#[path = "views/pages.rs"]
mod pages;
#[path = "views/projecting.rs"]
mod projecting;
#[path = "views/rebuilding.rs"]
mod rebuilding;
#[path = "views/record_log.rs"]
mod record_log;
#[path = "views/scene.rs"]
mod scene;
