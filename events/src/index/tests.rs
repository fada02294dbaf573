//! What the index promises, over random logs and over its own life on disk.

mod catch_up;
mod damage;
mod life;
mod lookup;
mod pages;
mod random;
mod scene;
mod tail;
