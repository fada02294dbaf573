//! What the index promises, over random logs and over its own life on disk.

mod damage;
mod life;
mod random;
mod scene;
