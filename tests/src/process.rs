//! The real binary as a child process, so that killing it is a real crash.

pub use crate::built::binary;

use crate::caller::{Caller, LOOK_EVERY, PATIENCE, http_trusting};
use std::{
    fs::{self, OpenOptions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// The node's log lines, beside its data directory.
const LOG_FILE: &str = "node.log";

/// How a node is started, each time alike.
pub struct Launch {
    home: Arc<TempDir>,
    listen: Option<SocketAddr>,
    flags: Vec<String>,
    set: Vec<(String, String)>,
    env: Vec<(String, String)>,
    stderr: Option<fn() -> Stdio>,
    /// Whom its certificate is signed by, where it speaks TLS.
    authority: Option<String>,
}

/// A running node.
pub struct Process {
    child: Child,
    log: PathBuf,
    /// The node's directory, which is to live as long as the node, also where the launch does not.
    _home: Arc<TempDir>,
    /// A client, as the platform.
    pub caller: Caller,
    /// Where it listens.
    pub address: SocketAddr,
    /// From the start of the process to its first answer.
    pub started_in: Duration,
}

impl Default for Launch {
    fn default() -> Self {
        Self::new()
    }
}

impl Launch {
    /// A node on a new data directory and a free port, with a log of its own: where `QUIPU_TEST_LOG` says, if it says
    /// something (`{log}` in it becomes a new name each time), embedded otherwise. `QUIPU_TEST_VIEWS` does the same for views,
    /// `QUIPU_TEST_BLOBS` for values.
    ///
    /// # Panics
    /// If there is no room for temporary files.
    pub fn new() -> Self {
        static LOGS: AtomicU32 = AtomicU32::new(0);
        let home = Arc::new(TempDir::new().expect("a temporary directory"));
        let name = format!("t{}_{}", std::process::id(), LOGS.fetch_add(1, Ordering::Relaxed));
        let mut flags = Vec::new();
        for (flag, variable) in [
            ("--log", "QUIPU_TEST_LOG"),
            ("--views", "QUIPU_TEST_VIEWS"),
            ("--blobs", "QUIPU_TEST_BLOBS"),
        ] {
            if let Ok(address) = std::env::var(variable) {
                flags.extend([flag.to_owned(), address.replace("{log}", &name)]);
            }
        }
        Self {
            home,
            listen: None,
            flags,
            set: Vec::new(),
            env: Vec::new(),
            stderr: None,
            authority: None,
        }
    }

    /// Puts the log there, whatever the environment says.
    pub fn log(mut self, address: &str) -> Self {
        if let Some(at) = self.flags.iter().position(|flag| flag == "--log") {
            self.flags.drain(at..at + 2);
        }
        self.flags.extend(["--log".to_owned(), address.to_owned()]);
        self
    }

    /// Gives this node the token and the master key of another one, which was started before: together they serve one log.
    ///
    /// # Panics
    /// If the other has none yet.
    pub fn beside(self, other: &Launch) -> Self {
        let (from, to) = (other.data(), self.data());
        fs::create_dir_all(to.join("keys")).expect("a data directory");
        fs::set_permissions(to.join("keys"), fs::Permissions::from_mode(0o700)).expect("its mode");
        for file in ["token", "keys/master.key"] {
            fs::copy(from.join(file), to.join(file)).expect("the other's file");
        }
        self
    }

    /// Sends the node's log lines there instead of into the file beside its data directory.
    pub fn lines_to(mut self, make: fn() -> Stdio) -> Self {
        self.stderr = Some(make);
        self
    }

    /// Sets a key of the configuration.
    pub fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        self.set.push((key.to_owned(), value.into()));
        self
    }

    /// Lets effects reach these loopback addresses.
    pub fn reaching(self, addresses: &[SocketAddr]) -> Self {
        let list: Vec<String> = addresses.iter().map(|a| format!("\"{a}\"")).collect();
        self.set("egress.allow", format!("[{}]", list.join(",")))
    }

    /// Has the node speak TLS, by `node.pem` and `node.key` of a directory, which `ca.pem` there has signed.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn secured(mut self, directory: &Path) -> Self {
        self.authority = Some(fs::read_to_string(directory.join("ca.pem")).expect("the authority"));
        let file = |name: &str| directory.join(name).display().to_string();
        self.set("tls.certificate", file("node.pem")).set("tls.key", file("node.key"))
    }

    /// Gives the node a secret.
    pub fn secret(mut self, name: &str, value: &str) -> Self {
        let variable = format!("SECRET_{}", self.env.len());
        self.env.push((variable.clone(), value.to_owned()));
        self.set(&format!("secrets.{name}"), format!("env:{variable}"))
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// A command line of the binary, away from any configuration of the person who runs the tests.
    pub fn quipu(&self) -> Command {
        let mut command = Command::new(binary());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("QUIPU_") || name == "OPENAI_API_KEY" {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).kill_on_drop(true).current_dir(self.home.path());
        command
    }

    /// Runs a subcommand to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn run(&self, args: &[&str]) -> Output {
        self.quipu().args(args).output().await.expect("the binary runs")
    }

    /// Starts the node and waits until it is ready; from the second start on at the same port.
    ///
    /// # Panics
    /// If it does not get ready.
    pub async fn start(&mut self) -> Process {
        let node = self.start_by(self.quipu()).await;
        self.listen = Some(node.address);
        node
    }

    /// Starts the node by a command line of one's own, to which `serve` and its flags are added.
    ///
    /// # Panics
    /// If it does not get ready.
    pub async fn start_by(&self, command: Command) -> Process {
        let started = self.try_start_by(command).await;
        started.unwrap_or_else(|status| panic!("the node ended ({status}):\n{}", tail(&self.home.path().join(LOG_FILE))))
    }

    /// As [`Launch::start_by`], for a node that may end before it is ready; then how it ended.
    ///
    /// # Panics
    /// If it neither ends nor gets ready.
    pub async fn try_start_by(&self, mut command: Command) -> Result<Process, ExitStatus> {
        let data = self.data();
        let begun = Instant::now();
        // What an earlier life left behind would be taken for this one's answer.
        let _ = fs::remove_file(data.join("address"));
        let log = self.home.path().join(LOG_FILE);
        let lines = OpenOptions::new().create(true).append(true).open(&log).expect("the node's log");
        command.arg("serve").arg("--data").arg(&data).arg("--listen");
        command.arg(self.listen.map_or_else(|| "127.0.0.1:0".to_owned(), |a| a.to_string()));
        command.args(&self.flags);
        for (key, value) in &self.set {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        command
            .envs(self.env.iter().map(|(n, v)| (n, v)))
            .stdout(Stdio::null())
            .stderr(self.stderr.map_or_else(|| lines.into(), |make| make()));
        let mut child = command.spawn().expect("the node starts");
        loop {
            if let Some(status) = child.try_wait().expect("the node's status") {
                return Err(status);
            }
            if let Some((address, caller)) = reach(&data, self.authority.as_deref()).await {
                return Ok(Process {
                    child,
                    log,
                    _home: self.home.clone(),
                    caller,
                    address,
                    started_in: begun.elapsed(),
                });
            }
            assert!(begun.elapsed() < PATIENCE, "the node is not ready:\n{}", tail(&log));
            tokio::time::sleep(LOOK_EVERY).await; // poll
        }
    }
}

async fn reach(data: &Path, authority: Option<&str>) -> Option<(SocketAddr, Caller)> {
    let url = fs::read_to_string(data.join("address")).ok()?;
    let token = fs::read_to_string(data.join("token")).ok()?;
    let (_, host) = url.trim().split_once("://")?;
    let address = host.parse().ok()?;
    let caller = Caller::over(http_trusting(authority), url.trim(), token.trim());
    let ready = caller.exchange(caller.request(reqwest::Method::GET, "/health/ready")).await.ok()?;
    (ready.status == 200).then_some((address, caller))
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

impl Drop for Process {
    /// What a case that fails leaves of its node.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the node's log ended with:\n{}", self.log_tail());
        }
    }
}

impl Process {
    /// `SIGKILL`: nothing of the process runs after this.
    ///
    /// # Panics
    /// If the system refuses.
    pub async fn kill(mut self) {
        self.child.start_kill().expect("SIGKILL");
        self.child.wait().await.expect("the node ends");
    }

    /// Sends a signal by its name.
    ///
    /// # Panics
    /// If it cannot be sent.
    pub async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(pid)
            .status()
            .await
            .expect("kill runs");
        assert!(sent.success(), "SIG{name}");
    }

    /// `SIGTERM`: the node stops in order.
    ///
    /// # Panics
    /// If it does not.
    pub async fn stop(mut self) {
        self.signal("TERM").await;
        let status = tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .expect("the node stops in time")
            .expect("its status");
        assert!(status.success(), "the node stopped with {status}:\n{}", self.log_tail());
    }

    /// `SIGTERM` to a node that may end otherwise before, or in between; how it ended.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn end(mut self) -> ExitStatus {
        if let Some(status) = self.child.try_wait().expect("the node's status") {
            return status;
        }
        let pid = self.child.id().expect("it runs").to_string();
        // It may be gone by now.
        let _ = Command::new("kill").arg("-TERM").arg(pid).stderr(Stdio::null()).status().await;
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended.expect("the node ends in time").expect("its status")
    }

    /// Whether the process still runs.
    ///
    /// # Panics
    /// If the system does not tell.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the node's status").is_none()
    }

    /// The whole log of the node's lives so far.
    pub fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of the node's log.
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }
}
