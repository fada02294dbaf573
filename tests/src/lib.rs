//! **How do we know?** Laws, contracts, end to end, simulation, sweeps: see the files under `tests/tests`.

pub mod caller;
pub mod office;
pub mod process;
pub mod receiver;
pub mod seeded;
pub mod servers;
pub mod sim;
pub mod stored;
