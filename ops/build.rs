//! Tells the binary what it was built from, for `quipu --version`.

use std::{env, fs, path::Path};

fn main() {
    println!("cargo::rerun-if-env-changed=BUILT_FROM_COMMIT");
    let commit = env::var("BUILT_FROM_COMMIT").ok().filter(|commit| !commit.is_empty());
    // Only a release names its commit: otherwise each commit would build the binary again.
    let release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = commit.or_else(|| release.then(checked_out).flatten());
    println!(
        "cargo::rustc-env=BUILT_FROM_COMMIT={}",
        commit.as_deref().unwrap_or("development build")
    );
    let features: Vec<&str> = ["jetstream", "kafka", "postgres"]
        .into_iter()
        .filter(|name| env::var_os(format!("CARGO_FEATURE_{}", name.to_uppercase())).is_some())
        .collect();
    let features = if features.is_empty() {
        "none".to_owned()
    } else {
        features.join(", ")
    };
    println!("cargo::rustc-env=BUILT_WITH_FEATURES={features}");
}

/// The commit of the work tree, read without git; `None` outside of one.
fn checked_out() -> Option<String> {
    let git = Path::new("../.git");
    let head = fs::read_to_string(git.join("HEAD")).ok()?;
    // A path that does not exist would build the binary again each time.
    println!("cargo::rerun-if-changed=../.git/HEAD");
    let commit = match head.trim().strip_prefix("ref: ") {
        None => head.trim().to_owned(),
        Some(name) => {
            let loose = fs::read_to_string(git.join(name)).ok().map(|text| text.trim().to_owned());
            if loose.is_some() {
                println!("cargo::rerun-if-changed=../.git/{name}");
            }
            loose.or_else(|| packed(&git.join("packed-refs"), name))?
        }
    };
    commit.get(..12).map(|short| format!("commit {short}"))
}

fn packed(file: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.ends_with(name))?;
    line.split(' ').next().map(str::to_owned)
}
