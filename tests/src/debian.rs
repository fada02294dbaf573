//! Programs of Debian packages for tests, unpacked under `.tools` and not installed into the system.

use crate::venv::run;
use parking_lot::Mutex;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The root of an unpacked package, fetched once; or why there is none. Its dependencies are not fetched.
///
/// # Errors
/// Where there is no apt, or no Debian to ask.
pub fn unpacked(package: &str) -> Result<PathBuf, String> {
    // Tests of one program ask at the same time.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock();
    let tools = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the root")
        .join(".tools");
    let home = tools.join("debian").join(package);
    if home.is_dir() {
        return Ok(home);
    }
    fs::create_dir_all(tools.join("debian")).map_err(|e| e.to_string())?;
    let fresh = tempfile::tempdir_in(&tools).map_err(|e| e.to_string())?;
    let download = || run(Command::new("apt-get").current_dir(fresh.path()).args(["download", "-q", package]));
    // A machine that never asked has no list of packages; only root may fetch it.
    download().or_else(|_| run(Command::new("apt-get").args(["update", "-q"])).and_then(|_| download()))?;
    let found = fs::read_dir(fresh.path())
        .map_err(|e| e.to_string())?
        .flatten()
        .map(|entry| entry.path());
    let archive = found
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e == "deb"))
        .ok_or("apt-get left no package")?;
    let into = fresh.path().join("root");
    run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&into))?;
    // Another test program may have been faster: theirs is as good.
    if let Err(error) = fs::rename(&into, &home)
        && !home.is_dir()
    {
        return Err(format!("{}: {error}", home.display()));
    }
    Ok(home)
}
