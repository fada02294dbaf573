//! What the index promises, over random logs and over its own life on disk.

mod life;
mod scene;
mod random;
