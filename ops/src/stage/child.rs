//! A node of a scene: this same binary as a real child process, so that killing it is a real crash.

use super::error::StageError;
use crate::{client::Client, serve::ADDRESS_FILE, token::Token};
use std::{
    fs::{self, File, OpenOptions},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tokio::process::{Child, Command};

const READY_WITHIN: Duration = Duration::from_secs(60);
const STOPS_WITHIN: Duration = Duration::from_secs(40);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The child's log lines go here, inside the data directory.
pub(crate) const LOG_FILE: &str = "demo-node.log";

/// How the node is started, each time alike.
pub(crate) struct Launch {
    pub(crate) data: PathBuf,
    /// Set from the second start on: the same port as before.
    pub(crate) listen: Option<SocketAddr>,
    /// Keys of the configuration.
    pub(crate) set: Vec<(String, String)>,
    /// Environment of the node, for secrets.
    pub(crate) env: Vec<(&'static str, String)>,
}

/// A node that runs.
pub(crate) struct Node {
    child: Child,
    pub(crate) client: Client,
    pub(crate) address: SocketAddr,
    pub(crate) pid: u32,
    /// From the start of the process to its first answer.
    pub(crate) started_in: Duration,
}

impl Launch {
    /// Starts the node and waits until it takes commands.
    pub(crate) async fn start(&self) -> Result<Node, StageError> {
        let begun = Instant::now();
        // What an earlier life left behind would be taken for this one's answer.
        let address_file = self.data.join(ADDRESS_FILE);
        if let Err(e) = fs::remove_file(&address_file)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            return Err(e.into());
        }
        let mut child = self.command()?.spawn()?;
        let pid = child.id().unwrap_or_default();
        let deadline = tokio::time::Instant::now() + READY_WITHIN;
        loop {
            if let Some(status) = child.try_wait()? {
                return Err(self.died(status));
            }
            if let Some((address, client)) = self.reach(&address_file).await {
                return Ok(Node {
                    child,
                    client,
                    address,
                    pid,
                    started_in: begun.elapsed(),
                });
            }
            if tokio::time::Instant::now() > deadline {
                return Err(StageError::Scene(format!(
                    "the node is not ready after {READY_WITHIN:?}; see {}",
                    self.log().display()
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn command(&self) -> Result<Command, StageError> {
        let log: File = OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").arg("--data").arg(&self.data).arg("--listen");
        command.arg(self.listen.map_or_else(|| "127.0.0.1:0".to_owned(), |address| address.to_string()));
        for (key, value) in &self.set {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        // The person's own node is configured by these; the demo's is not.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("QUIPU_") && name != "QUIPU_OPENAI_BASE_URL" {
                command.env_remove(&*name);
            }
        }
        command.envs(self.env.iter().map(|(name, value)| (*name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        // A signal to the terminal's group is the demo's to handle: it stops the node in order.
        #[cfg(unix)]
        command.process_group(0);
        Ok(command)
    }

    async fn reach(&self, address_file: &Path) -> Option<(SocketAddr, Client)> {
        let url = fs::read_to_string(address_file).ok()?;
        let url = url.trim();
        // Not by way of QUIPU_TOKEN, which may be another node's.
        let token = Token::load(&self.data).ok()??;
        let client = Client::new(url, token.expose()).ok()?;
        let (status, _) = client.probe("/health/ready").await.ok()?;
        let address = url.strip_prefix("http://")?.parse().ok()?;
        (status == 200).then_some((address, client))
    }

    fn log(&self) -> PathBuf {
        self.data.join(LOG_FILE)
    }

    fn died(&self, status: ExitStatus) -> StageError {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(5).collect();
        StageError::Scene(format!(
            "the node ended at once ({status}): {}",
            last.into_iter().rev().collect::<Vec<_>>().join(" | ")
        ))
    }
}

impl Node {
    /// `SIGKILL`: nothing of the process runs after this.
    pub(crate) async fn kill(mut self) -> Result<(), StageError> {
        self.child.start_kill()?;
        self.child.wait().await?;
        Ok(())
    }

    /// `SIGTERM`: the node stops in order.
    pub(crate) async fn stop(mut self) -> Result<(), StageError> {
        // The standard library sends only SIGKILL; the system's own `kill` sends the other.
        let sent = Command::new("kill").arg("-TERM").arg(self.pid.to_string()).status().await;
        if !sent.is_ok_and(|status| status.success()) {
            self.child.start_kill()?;
        }
        match tokio::time::timeout(STOPS_WITHIN, self.child.wait()).await {
            Ok(status) => {
                status?;
                Ok(())
            }
            Err(_) => Err(StageError::Scene("the node did not stop in order".into())),
        }
    }

    /// Waits for the process to end by itself.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus, StageError> {
        Ok(self.child.wait().await?)
    }
}
