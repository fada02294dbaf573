//! What this process's allocator has given out: exact, where resident memory also counts what is free and not yet given back.

use tikv_jemalloc_ctl::{epoch, stats};

/// Bytes, now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heap {
    /// In use by the program, rounded up to the allocator's sizes. SQLite's memory is not among it.
    pub allocated: usize,
    /// What the allocator keeps of physical memory, the free part of it included.
    pub resident: usize,
}

/// What the allocator holds; nothing in a program that uses another allocator.
pub fn held() -> Option<Heap> {
    // The figures are those of the last epoch.
    epoch::advance().ok()?;
    let heap = Heap {
        allocated: stats::allocated::read().ok()?,
        resident: stats::resident::read().ok()?,
    };
    // The library's own first pages; a running node has given out megabytes.
    (heap.allocated > 128 * 1024).then_some(heap)
}
