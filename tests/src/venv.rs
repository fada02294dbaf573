//! Python tools for tests, installed once under `.tools` by `python3 -m venv` and pip.

use parking_lot::Mutex;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Runs a command; what it said last where it fails.
///
/// # Errors
/// If it cannot be started or fails.
pub fn run(command: &mut Command) -> Result<Output, String> {
    let shown = format!("{command:?}");
    let output = command.output().map_err(|e| format!("{shown}: {e}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("{shown}: {}", words.lines().rev().take(3).collect::<Vec<_>>().join(" | ")))
}

/// The virtual environment of this name with these packages (`name==version`), installed if need be; or why there is none.
///
/// # Errors
/// Where there is no Python with venv, or no package index.
pub fn venv(name: &str, packages: &[&str]) -> Result<PathBuf, String> {
    // Tests of one program ask at the same time.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the root");
    let home = root.join(".tools").join(name);
    let (list, wanted) = (home.join("installed.txt"), packages.join("\n"));
    if fs::read_to_string(&list).is_ok_and(|found| found == wanted) {
        return Ok(home);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home)).map_err(|e| format!("no Python with venv: {e}"))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(Command::new(home.join("bin/python")).args(pip).args(packages))
        .map_err(|e| format!("{} cannot be installed: {e}", packages.join(", ")))?;
    fs::write(&list, wanted).map_err(|e| format!("{}: {e}", list.display()))?;
    Ok(home)
}

pub use crate::skipped::skipped;

/// The Python of such an environment, or nothing and a line that says what is not checked.
pub fn python_or_skip(name: &str, packages: &[&str], what: &str) -> Option<PathBuf> {
    match venv(name, packages) {
        Ok(home) => Some(home.join("bin/python")),
        Err(why) => {
            skipped(what, &why);
            None
        }
    }
}

/// Runs a client of the bus to its end; the JSON that it printed.
///
/// # Errors
/// What it complained of where it fails.
///
/// # Panics
/// If it cannot be started, or says something else.
pub async fn client(python: &Path, name: &str, env: &[(&str, &str)]) -> Result<Value, String> {
    let mut command = tokio::process::Command::new(python);
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("bus").join(name))
        .envs(env.iter().copied())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .kill_on_drop(true);
    let output = command.output().await.expect("Python runs");
    let words = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(words.into_owned());
    }
    Ok(serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {words}")))
}
