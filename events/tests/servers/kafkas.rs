//! Three Apache Kafka brokers for tests, each with a controller, which together form a cluster that outlives any one of them.

use super::kafka::{copy, free_ports, java, program, wait_for_port};
use std::{
    fs,
    path::PathBuf,
    process::{Child, Stdio},
};

/// Brokers of a cluster.
pub const BROKERS: usize = 3;

/// A running cluster; its members are killed when it is dropped.
pub struct Kafkas {
    jars: PathBuf,
    dir: tempfile::TempDir,
    ports: Vec<u16>,
    children: Vec<Option<Child>>,
}

/// The cluster, or nothing and a line that says what is not checked. `QUIPU_REQUIRE_SERVERS` makes that an error.
pub fn start_or_skip(what: &str) -> Option<Kafkas> {
    match Kafkas::start() {
        Ok(kafkas) => Some(kafkas),
        Err(why) => {
            crate::skipped::skipped(&format!("{what} on three brokers"), &why);
            None
        }
    }
}

impl Kafkas {
    /// Starts the brokers and waits until all take connections. They sync before they acknowledge.
    pub fn start() -> Result<Self, String> {
        let (jars, formatted) = program()?;
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let all = free_ports(BROKERS * 2);
        let (ports, controllers) = all.split_at(BROKERS);
        let voters: Vec<String> = (1..).zip(controllers).map(|(id, port)| format!("{id}@127.0.0.1:{port}")).collect();
        for (n, (port, controller)) in ports.iter().zip(controllers).enumerate() {
            let (id, data) = (n + 1, dir.path().join(format!("data{n}")));
            copy(&formatted, &data).map_err(|e| e.to_string())?;
            // Formatted for one; each is another of the same cluster.
            let meta = data.join("meta.properties");
            let text = fs::read_to_string(&meta).map_err(|e| e.to_string())?;
            let mine = |line: &str| match line.split('=').next() {
                Some("node.id") => format!("node.id={id}\n"),
                Some("directory.id") => String::new(),
                _ => format!("{line}\n"),
            };
            fs::write(&meta, text.lines().map(mine).collect::<String>()).map_err(|e| e.to_string())?;
            let config = format!(
                "process.roles=broker,controller\nnode.id={id}\ncontroller.quorum.voters={}\n\
                 listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\nadvertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
                 listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\ninter.broker.listener.name=PLAINTEXT\n\
                 controller.listener.names=CONTROLLER\nlog.dirs={}\noffsets.topic.replication.factor=3\noffsets.topic.num.partitions=1\n\
                 transaction.state.log.replication.factor=3\ntransaction.state.log.min.isr=2\ntransaction.state.log.num.partitions=4\n\
                 auto.create.topics.enable=false\ngroup.initial.rebalance.delay.ms=0\ngroup.min.session.timeout.ms=500\n\
                 broker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500\nreplica.lag.time.max.ms=3000\n\
                 log.flush.interval.messages=1\nnum.network.threads=2\nnum.io.threads=4\nlog.cleaner.dedupe.buffer.size=2000000\n",
                voters.join(","),
                data.display()
            );
            fs::write(dir.path().join(format!("server{n}.properties")), config).map_err(|e| e.to_string())?;
        }
        let mut kafkas = Self {
            jars,
            dir,
            ports: ports.to_vec(),
            children: (0..BROKERS).map(|_| None).collect(),
        };
        for n in 0..BROKERS {
            kafkas.spawn(n)?;
        }
        for n in 0..BROKERS {
            kafkas.wait_ready(n)?;
        }
        Ok(kafkas)
    }

    fn spawn(&mut self, n: usize) -> Result<(), String> {
        let log = fs::File::create(self.dir.path().join(format!("log{n}"))).map_err(|e| e.to_string())?;
        let child = java(&self.jars)
            .arg("kafka.Kafka")
            .arg(self.dir.path().join(format!("server{n}.properties")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("java: {e}"))?;
        self.children[n] = Some(child);
        Ok(())
    }

    fn wait_ready(&mut self, n: usize) -> Result<(), String> {
        wait_for_port(self.ports[n], &mut self.children[n], &self.dir.path().join(format!("log{n}")))
    }

    /// `host:port` of every broker.
    pub fn addresses(&self) -> String {
        let hosts: Vec<String> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        hosts.join(",")
    }

    /// Ends a broker as `kill -9` does.
    pub fn kill(&mut self, n: usize) {
        if let Some(mut child) = self.children[n].take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts a killed broker again, on its port and with its data.
    pub fn restart(&mut self, n: usize) {
        self.spawn(n)
            .and_then(|()| self.wait_ready(n))
            .expect("a broker that started once starts again");
    }
}

impl Drop for Kafkas {
    fn drop(&mut self) {
        for n in 0..BROKERS {
            self.kill(n);
        }
    }
}
