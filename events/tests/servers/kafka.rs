//! An Apache Kafka for tests: a real broker with its controller in one process (KRaft) on private loopback ports with
//! throw-away data, killed when dropped.
//!
//! The jars are those in `libs` of what `QUIPU_KAFKA_HOME` names, or they are resolved once under the target directory from
//! Maven Central. The broker has a second listener behind a proxy that can hold, lose or cut requests.

use super::kafka_proxy::Proxy;
use parking_lot::Mutex;
use std::{
    env, fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const VERSION: &str = "4.1.1";
const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion><groupId>quipu</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>VERSION</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
"#;
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
const JVM: [&str; 5] = [
    "-Xms128m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
];
/// Of the throw-away cluster.
const CLUSTER: &str = "cXVpcHUtdGVzdC1rYWZrYQ";
/// Of the listeners that every broker has.
const PROTOCOLS: &str = "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT";
const READY_WITHIN: Duration = Duration::from_secs(90);

/// A running broker.
pub struct Kafka {
    jars: PathBuf,
    dir: tempfile::TempDir,
    port: u16,
    /// What stands before its second listener.
    pub proxy: Proxy,
    child: Option<Child>,
}

/// The broker, or nothing and a line that says what is not checked. `QUIPU_REQUIRE_SERVERS` makes that an error.
/// `flush`: it syncs every message before it acknowledges.
pub fn start_or_skip(flush: bool, what: &str) -> Option<Kafka> {
    or_skip(Kafka::start(flush), what)
}

/// As [`start_or_skip`], of a broker that was started otherwise.
pub fn or_skip(started: Result<Kafka, String>, what: &str) -> Option<Kafka> {
    match started {
        Ok(kafka) => Some(kafka),
        Err(why) => {
            crate::skipped::skipped(&format!("{what} on Apache Kafka"), &why);
            None
        }
    }
}

pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    // Held until all are known, so that they differ.
    let held: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    held.iter().map(|l| l.local_addr().expect("a bound port").port()).collect()
}

impl Kafka {
    /// Starts a broker and waits until it takes connections.
    pub fn start(flush: bool) -> Result<Self, String> {
        Self::start_with(flush, &[], "", |port| port)
    }

    /// As [`Kafka::start`], with more listeners (name and protocol) and more lines of configuration, which count before others.
    /// `before` is given the port of each such listener in turn, and says the port that clients who come there are told: that
    /// one, or that of what stands before it.
    pub fn start_with(flush: bool, more: &[(&str, &str)], lines: &str, mut before: impl FnMut(u16) -> u16) -> Result<Self, String> {
        let (jars, formatted) = program()?;
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let ports = free_ports(3 + more.len());
        let (port, behind, controller) = (ports[0], ports[1], ports[2]);
        let proxy = Proxy::before(behind);
        copy(&formatted, &dir.path().join("data")).map_err(|e| e.to_string())?;
        let mut config = properties(controller, &dir.path().join("data"));
        let mut listeners = format!("PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{behind},CONTROLLER://127.0.0.1:{controller}");
        let mut advertised = format!("PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{}", proxy.port());
        let mut protocols = PROTOCOLS.to_owned();
        for ((name, protocol), port) in more.iter().zip(&ports[3..]) {
            listeners += &format!(",{name}://127.0.0.1:{port}");
            advertised += &format!(",{name}://127.0.0.1:{}", before(*port));
            protocols += &format!(",{name}:{protocol}");
        }
        config += &format!("listeners={listeners}\nadvertised.listeners={advertised}\nlistener.security.protocol.map={protocols}\n{lines}");
        if flush {
            config += "log.flush.interval.messages=1\n";
        }
        fs::write(dir.path().join("server.properties"), config).map_err(|e| e.to_string())?;
        let mut kafka = Self {
            jars,
            dir,
            port,
            proxy,
            child: None,
        };
        kafka.spawn()?;
        kafka.wait_ready()?;
        Ok(kafka)
    }

    fn spawn(&mut self) -> Result<(), String> {
        let log = fs::File::create(self.dir.path().join("log")).map_err(|e| e.to_string())?;
        let child = java(&self.jars)
            .arg("kafka.Kafka")
            .arg(self.dir.path().join("server.properties"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("java: {e}"))?;
        self.child = Some(child);
        Ok(())
    }

    fn wait_ready(&mut self) -> Result<(), String> {
        wait_for_port(self.port, &mut self.child, &self.dir.path().join("log"))
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `host:port` of the listener behind the proxy.
    pub fn proxied(&self) -> String {
        format!("127.0.0.1:{}", self.proxy.port())
    }

    /// Where its programs are.
    pub fn jars(&self) -> &Path {
        &self.jars
    }

    /// Where it keeps its topics.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Lets it shut down in order.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let asked = Command::new("kill").arg(child.id().to_string()).status();
            assert!(asked.is_ok_and(|s| s.success()), "the broker can be asked to end");
            let _ = child.wait();
        }
    }

    /// Starts it again, on its ports and with its data.
    pub fn restart(&mut self) {
        self.spawn()
            .and_then(|()| self.wait_ready())
            .expect("a broker that started once starts again");
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until a broker takes connections; what it said otherwise.
pub(crate) fn wait_for_port(port: u16, child: &mut Option<Child>, log: &Path) -> Result<(), String> {
    let deadline = Instant::now() + READY_WITHIN;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let ended = child.as_mut().is_some_and(|c| c.try_wait().is_ok_and(|s| s.is_some()));
        if ended || Instant::now() > deadline {
            let log = fs::read_to_string(log).unwrap_or_default();
            return Err(format!("Kafka did not start: {log}"));
        }
        thread::sleep(Duration::from_millis(20)); // poll
    }
    Ok(())
}

fn properties(controller: u16, data: &Path) -> String {
    format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
         listener.security.protocol.map={PROTOCOLS}\n\
         inter.broker.listener.name=PLAINTEXT\ncontroller.listener.names=CONTROLLER\nlog.dirs={}\n\
         offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\ntransaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\ntransaction.state.log.num.partitions=4\nauto.create.topics.enable=false\n\
         group.initial.rebalance.delay.ms=0\ngroup.min.session.timeout.ms=500\n\
         num.network.threads=2\nnum.io.threads=4\nlog.cleaner.dedupe.buffer.size=2000000\n",
        data.display()
    )
}

pub(crate) fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

pub(crate) fn java(jars: &Path) -> Command {
    let mut command = Command::new("java");
    command.args(JVM).arg("-cp").arg(jars.join("*"));
    command
}

/// The jars and a formatted data directory, made if need be.
pub(crate) fn program() -> Result<(PathBuf, PathBuf), String> {
    static FOUND: Mutex<Option<Result<(PathBuf, PathBuf), String>>> = Mutex::new(None);
    let mut found = FOUND.lock();
    found.get_or_insert_with(install).clone()
}

fn run(command: &mut Command, what: &str) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{what}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let line = out.lines().chain(err.lines()).find(|l| l.contains("ERROR") || l.contains("Error"));
    Err(format!("{what} failed: {}", line.unwrap_or_default()))
}

/// Resolves the jars beside the build, once for all test programs.
fn install() -> Result<(PathBuf, PathBuf), String> {
    run(Command::new("java").arg("-version"), "java (17 or newer)")?;
    let exe = env::current_exe().map_err(|e| e.to_string())?;
    // target/debug/deps/name-hash
    let target = exe.ancestors().nth(3).ok_or("the test is not in a target directory")?;
    let tools = target.join("tools");
    let named = env::var_os("QUIPU_KAFKA_HOME").map(|home| PathBuf::from(home).join("libs"));
    let home = tools.join(if named.is_some() {
        "kafka-named".to_owned()
    } else {
        format!("kafka-{VERSION}")
    });
    let jars = named.clone().unwrap_or_else(|| home.join("jars"));
    if named.is_none() && home.join("data").is_dir() {
        return Ok((jars, home.join("data")));
    }
    fs::create_dir_all(&tools).map_err(|e| e.to_string())?;
    let fresh = tempfile::tempdir_in(&tools).map_err(|e| e.to_string())?;
    let into = fresh.path().join("home");
    fs::create_dir_all(&into).map_err(|e| e.to_string())?;
    if named.is_none() {
        fs::write(fresh.path().join("pom.xml"), POM.replace("VERSION", VERSION)).map_err(|e| e.to_string())?;
        let mut resolve = Command::new("mvn");
        resolve
            .args(["--quiet", "--batch-mode", "--strict-checksums", COPY])
            .current_dir(fresh.path());
        resolve
            .arg("-DincludeScope=runtime")
            .arg(format!("-DoutputDirectory={}", into.join("jars").display()));
        run(&mut resolve, &format!("mvn for org.apache.kafka:kafka_2.13:{VERSION}"))?;
    }
    let fresh_jars = named.clone().unwrap_or_else(|| into.join("jars"));
    let config = fresh.path().join("format.properties");
    let listeners = "listeners=PLAINTEXT://127.0.0.1:1,PROXIED://127.0.0.1:2,CONTROLLER://127.0.0.1:3\n";
    fs::write(&config, properties(3, &into.join("data")) + listeners).map_err(|e| e.to_string())?;
    let mut format = java(&fresh_jars);
    format.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c"]).arg(&config);
    run(&mut format, "formatting Kafka's data directory")?;
    // Another test program may have been faster: theirs is as good.
    let _ = fs::rename(&into, &home);
    if home.join("data").is_dir() {
        Ok((jars, home.join("data")))
    } else {
        Err(format!("{} cannot be made", home.display()))
    }
}
