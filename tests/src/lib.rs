//! **How do we know?** Laws, contracts, end to end, simulation, sweeps: see the files under `tests/tests`.
