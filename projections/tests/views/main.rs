//! Views from logs: rows, interleavings, the projector's stops, pages, rebuilds.

mod contract;
mod fresh;
mod golden;
mod interleavings;
mod pages;
mod projecting;
mod rebuilding;
mod record_log;
mod scene;
