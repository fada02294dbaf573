# Conveniences over plain cargo; nothing here is a prerequisite.

# Run the demo scene.
demo *args:
    cargo run --release -- demo {{args}}

# Everything that CI runs.
ci:
    bash .ci/run

# Read only: lints and tests.
check:
    cargo clippy --workspace --all-targets --locked -- -D warnings
    cargo test --workspace --locked

# Write: format, and apply what clippy can.
fix:
    cargo fmt
    cargo clippy --workspace --all-targets --fix --allow-dirty

# Write the generated documents again (OpenAPI, JSON Schemas).
generate:
    QUIPU_BLESS=1 cargo test -p quipu --test http documents
