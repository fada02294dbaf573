# Conveniences over plain cargo; nothing here is a prerequisite.

# Run the demo scene.
demo *args:
    cargo run --release -- demo {{args}}

# Everything that CI runs.
ci:
    bash .ci/run

# Read only: lints and tests.
check:
    cargo fmt --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    cargo test --workspace --locked

# Licences, advisories, bans and sources of all dependencies, under all features (`cargo install --locked cargo-deny`).
deny:
    cargo deny --all-features check
    cargo deny --config deny.toml --manifest-path tests/oracle/Cargo.toml check

# The evaluator of rights beside Cedar: a workspace of its own, so that Cedar's features change nothing here.
oracle:
    cargo test --locked --manifest-path tests/oracle/Cargo.toml --target-dir target/oracle

# Write: format, and apply what clippy can.
fix:
    cargo fmt
    cargo clippy --workspace --all-targets --fix --allow-dirty

# Write the generated documents again (OpenAPI, JSON Schemas).
generate:
    QUIPU_BLESS=1 cargo test -p quipu --test http documents

# The long forms of sweeps and simulation: hours.
nightly:
    QUIPU_SEEDS=20000 cargo test -p quipu-tests --test simulation -- --nocapture
    QUIPU_CRASH_POINTS=all cargo test -p quipu-tests --test crash_sweep --test process_sweep -- --nocapture
    QUIPU_CORRUPTION=all cargo test -p quipu-events --test embedded corruption_sweep -- --nocapture
    QUIPU_MODEL_DEEP=1 cargo test --release -p quipu-tests --test laws ownership_model
    QUIPU_ROUNDS=200 cargo test -p quipu-tests --test nodes kill9 -- --nocapture
