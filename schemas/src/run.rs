//! Words of a run (being written).
