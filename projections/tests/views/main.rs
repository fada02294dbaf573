//! Views from logs: rows, interleavings, the projector's stops, pages, rebuilds.

mod contract;
mod families;
mod fresh;
mod golden;
mod interleavings;
mod pages;
mod projecting;
mod raised;
mod rebuilding;
mod record_log;
mod scene;
