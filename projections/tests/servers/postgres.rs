//! A PostgreSQL server for tests: a real process on a private loopback port with throw-away data, stopped when dropped.
//!
//! The programs are those of the directory that `QUIPU_POSTGRES_BIN` names, or on the `PATH`, or where distributions put
//! them; root installs the distribution's package where there are none. The server itself never runs as root.

use parking_lot::Mutex;
use std::{
    env, fs,
    io::{ErrorKind, Write},
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Of a certificate that is its own root.
const REQUEST: &str = "[req]\ndistinguished_name = name\nx509_extensions = server\nprompt = no\n[name]\nCN = tests\n\
                       [server]\nsubjectAltName = IP:127.0.0.1\nbasicConstraints = critical, CA:FALSE\n";
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running server. Its superuser is `postgres`, without a password.
pub struct Postgres {
    programs: PathBuf,
    account: Option<(u32, u32)>,
    dir: tempfile::TempDir,
    port: u16,
    synced: bool,
    child: Option<Child>,
}

/// The server, or nothing and a line that says what is not checked. `QUIPU_REQUIRE_SERVERS` makes that an error.
pub fn start_or_skip(what: &str) -> Option<Postgres> {
    match Postgres::start(false) {
        Ok(postgres) => Some(postgres),
        Err(why) => {
            crate::skipped::skipped(what, &why);
            None
        }
    }
}

impl Postgres {
    /// Starts a server and waits until it takes connections; `synced` as one that people rely on, with its default
    /// settings, and otherwise without waiting for the disk.
    pub fn start(synced: bool) -> Result<Self, String> {
        let programs = programs()?;
        let account = account()?;
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        if let Some((uid, gid)) = account {
            chown(dir.path(), Some(uid), Some(gid)).map_err(|e| e.to_string())?;
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .map_err(|e| e.to_string())?
            .port();
        let mut postgres = Self {
            programs,
            account,
            dir,
            port,
            synced,
            child: None,
        };
        let data = postgres.data();
        let mut initdb = postgres.command("initdb");
        initdb
            .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"])
            .arg(data);
        succeeded(initdb.output(), "initdb")?;
        postgres.spawn()?;
        postgres.wait_ready()?;
        Ok(postgres)
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        if let Some((uid, gid)) = self.account {
            command.uid(uid).gid(gid);
        }
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    fn spawn(&mut self) -> Result<(), String> {
        let log = fs::File::options().create(true).append(true).open(self.dir.path().join("log"));
        let log = log.map_err(|e| e.to_string())?;
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.dir.path())
            .args(["-p", &self.port.to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"]);
        if !self.synced {
            command.args(["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "autovacuum=off"]);
        }
        command.stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().map_err(|e| format!("postgres: {e}"))?);
        Ok(())
    }

    fn wait_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let ready = self
                .command("pg_isready")
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                .status();
            if ready.is_ok_and(|status| status.success()) {
                return Ok(());
            }
            let ended = self.child.as_mut().is_some_and(|c| c.try_wait().is_ok_and(|s| s.is_some()));
            if ended || Instant::now() > deadline {
                let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                return Err(format!("postgres did not start: {log}"));
            }
            thread::sleep(Duration::from_millis(10)); // poll
        }
    }

    /// Has the server take TLS from its next start on, for `127.0.0.1`; the file of the root to trust.
    pub fn take_tls(&mut self) -> Result<PathBuf, String> {
        let (certificate, key) = (self.data().join("server.crt"), self.data().join("server.key"));
        let asked = self.dir.path().join("request.cnf");
        fs::write(&asked, REQUEST).map_err(|e| e.to_string())?;
        let mut openssl = Command::new("openssl");
        openssl
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-config"])
            .arg(&asked);
        openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
        succeeded(openssl.output(), "openssl")?;
        let rights = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&key, rights).map_err(|e| e.to_string())?;
        for file in [&certificate, &key] {
            if let Some((uid, gid)) = self.account {
                chown(file, Some(uid), Some(gid)).map_err(|e| e.to_string())?;
            }
        }
        let settings = fs::File::options().append(true).open(self.data().join("postgresql.conf"));
        settings
            .and_then(|mut file| file.write_all(b"ssl = on\n"))
            .map_err(|e| e.to_string())?;
        Ok(certificate)
    }

    /// The server with its superuser and its first database.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The server's first database as another user.
    pub fn url_of(&self, user: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/postgres", self.port)
    }

    /// Ends the server at once, as a crash of it would: without a checkpoint, and without what was not yet written.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
            let _ = child.wait();
        }
    }

    /// Starts a killed server again, on its port and with its data.
    pub fn restart(&mut self) {
        self.spawn()
            .and_then(|()| self.wait_ready())
            .expect("a server that started once starts again");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

fn succeeded(output: std::io::Result<Output>, what: &str) -> Result<String, String> {
    let output = output.map_err(|e| format!("{what}: {e}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(format!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// Whom root runs the server as.
fn account() -> Result<Option<(u32, u32)>, String> {
    let id = |args: &[&str]| {
        let shown = succeeded(Command::new("id").args(args).output(), "id")?;
        shown.parse::<u32>().map_err(|e| format!("id: {e}"))
    };
    if id(&["-u"])? != 0 {
        return Ok(None);
    }
    Ok(Some((id(&["-u", "postgres"])?, id(&["-g", "postgres"])?)))
}

/// The directory of the server's programs, installed if need be.
fn programs() -> Result<PathBuf, String> {
    static FOUND: Mutex<Option<Result<PathBuf, String>>> = Mutex::new(None);
    let mut found = FOUND.lock();
    found
        .get_or_insert_with(|| find().or_else(|| install().ok().and_then(|()| find())).ok_or_else(missing))
        .clone()
}

fn missing() -> String {
    "no initdb and postgres in QUIPU_POSTGRES_BIN, on the PATH or under /usr/lib/postgresql, and none could be installed".into()
}

fn find() -> Option<PathBuf> {
    let whole = |dir: &Path| {
        ["initdb", "postgres", "pg_isready"]
            .iter()
            .all(|program| dir.join(program).is_file())
    };
    if let Some(named) = env::var_os("QUIPU_POSTGRES_BIN") {
        return Some(PathBuf::from(named)).filter(|dir| whole(dir));
    }
    let mut installed: Vec<_> = match fs::read_dir("/usr/lib/postgresql") {
        Ok(entries) => entries.flatten().map(|entry| entry.path().join("bin")).collect(),
        Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
        Err(_) => return None,
    };
    installed.sort();
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(installed.into_iter().rev()).find(|dir| whole(dir))
}

fn install() -> Result<(), String> {
    let apt = |args: &[&str]| {
        let output = Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(args).output();
        succeeded(output, "apt-get").map(|_| ())
    };
    // A fresh machine has no lists of packages.
    apt(&["update", "-q"])?;
    apt(&["install", "-y", "-q", "postgresql"])
}
