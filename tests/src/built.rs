//! The binary that tests start, built as the tests themselves are, and nothing twice.

use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The cargo of this test, in the environment of the person who runs the tests.
///
/// What cargo tells a test of its package would change what the build scripts of dependencies look at: these, and all that is built on
/// them, would be built a second time, and a third time by the person's next cargo.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        if is_told_by_cargo(&name.to_string_lossy()) {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Whether cargo sets this variable for a test.
fn is_told_by_cargo(name: &str) -> bool {
    let starts = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
    let whole = ["CARGO", "CARGO_PRIMARY_PACKAGE", "CARGO_TARGET_TMPDIR", "OUT_DIR"];
    whole.contains(&name) || starts.iter().any(|start| name.starts_with(start))
}

/// What cargo tells of each crate of the binary, which it builds with the profile of this test where it is not built yet.
fn build() -> Vec<Value> {
    let own = std::env::current_exe().expect("the test's own path");
    // target/<profile>/deps/<test>
    let profile = own.ancestors().nth(2).and_then(Path::file_name);
    let mut cargo = cargo();
    // As `cargo test --workspace` resolves features: otherwise each would build again what the other built.
    cargo.args(["build", "--quiet", "--workspace", "--bin", "quipu", "--message-format", "json"]);
    if profile.is_some_and(|name| name == "release") {
        cargo.arg("--release");
    }
    let built = cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(built.status.success(), "the binary does not build");
    let told = String::from_utf8_lossy(&built.stdout).into_owned();
    told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Builds the binary `quipu` once, with the cargo and the profile of this test, and tells where it is.
///
/// `QUIPU_BIN` names another one, which is then not built.
///
/// # Panics
/// If it does not build.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = std::env::var_os("QUIPU_BIN") {
            return PathBuf::from(given);
        }
        let executable = build().iter().find_map(|message| {
            let ours = message["target"]["name"] == "quipu" && message["target"]["kind"][0] == "bin";
            message["executable"].as_str().filter(|_| ours).map(PathBuf::from)
        });
        executable.expect("cargo names the binary that it built")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The build script of `ring` looks at each of the first three.
    #[test]
    fn what_cargo_tells_a_test_is_not_handed_on() {
        let cargo = cargo();
        let removed: Vec<_> = cargo
            .get_envs()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| name)
            .collect();
        for told in [
            "CARGO_MANIFEST_DIR",
            "CARGO_PKG_NAME",
            "CARGO_PKG_VERSION_MAJOR",
            "CARGO_MANIFEST_PATH",
        ] {
            assert!(std::env::var_os(told).is_some(), "cargo does not tell {told} any more");
            assert!(
                removed.iter().any(|name| *name == told),
                "{told} is handed on: what is built on ring is built twice"
            );
        }
    }

    #[test]
    fn what_a_person_sets_for_cargo_stays() {
        for told in [
            "CARGO_MANIFEST_DIR",
            "CARGO_MANIFEST_LINKS",
            "CARGO_PKG_NAME",
            "CARGO_BIN_EXE_quipu",
            "OUT_DIR",
        ] {
            assert!(is_told_by_cargo(told), "{told}");
        }
        for set in [
            "CARGO_HOME",
            "CARGO_TARGET_DIR",
            "CARGO_INCREMENTAL",
            "CARGO_BUILD_JOBS",
            "RUSTFLAGS",
        ] {
            assert!(!is_told_by_cargo(set), "{set}");
        }
    }
}
