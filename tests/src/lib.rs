//! **How do we know?** Laws, contracts, end to end, simulation, sweeps: see the files under `tests/tests`.

pub mod broker;
pub mod built;
pub mod bus;
pub mod caller;
pub mod debian;
pub mod decoding;
pub mod kafka_bus;
pub mod link;
pub mod load;
pub mod office;
pub mod process;
pub mod receiver;
pub mod revoking;
pub mod s3;
pub mod script;
pub mod seeded;
pub mod servers;
pub mod sim;
#[path = "../../events/tests/servers/skipped.rs"]
pub mod skipped;
pub mod stop_at;
pub mod stored;
pub mod venv;
