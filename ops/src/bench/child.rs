//! Child processes of this same binary: servers and load clients never share a process with what measures them.

use super::{
    BenchError,
    machine::{self, Usage},
};
use crate::token::Token;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    net::SocketAddr,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
};

/// What a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// A load client.
    Load,
    /// The yardstick's server.
    Yardstick,
}

/// A server in a child process; dropping it kills it.
pub(super) struct Server {
    child: Child,
    pub(super) address: SocketAddr,
    pub(super) token: String,
    pid: u32,
    /// Held open: a yardstick ends with its parent.
    _stdin: Option<ChildStdin>,
}

impl Server {
    /// CPU time and memory so far.
    pub(super) fn usage(&self) -> Usage {
        machine::usage(self.pid)
    }

    /// `SIGKILL`.
    pub(super) async fn kill(mut self) -> Result<(), BenchError> {
        self.child.start_kill()?;
        self.child.wait().await?;
        Ok(())
    }

    /// `SIGTERM`, and waits for the end.
    pub(super) async fn stop(mut self) -> Result<(), BenchError> {
        // The standard library sends only SIGKILL; the system's own `kill` sends the other.
        let sent = Command::new("kill").arg("-TERM").arg(self.pid.to_string()).status().await;
        if !sent.is_ok_and(|status| status.success()) {
            self.child.start_kill()?;
        }
        self.child.wait().await?;
        Ok(())
    }
}

fn own(arguments: &[&str]) -> Result<Command, BenchError> {
    let mut command = Command::new(std::env::current_exe()?);
    // The configuration of a person's own node must not reach these.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("QUIPU_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    Ok(command)
}

fn role(role: Role) -> Result<Command, BenchError> {
    own(&["bench", "--as", if role == Role::Load { "load" } else { "yardstick" }])
}

/// Runs a child to its end and parses what it answers.
pub(super) async fn ask<T: DeserializeOwned>(as_role: Role, plan: &impl Serialize) -> Result<T, BenchError> {
    let mut child = role(as_role)?.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(&serde_json::to_vec(plan)?).await?;
    }
    let mut text = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_end(&mut text).await?;
    }
    let status = child.wait().await?;
    if !status.success() {
        return Err(BenchError::Child(format!("{as_role:?} ended with {status}")));
    }
    Ok(serde_json::from_slice(&text)?)
}

/// Starts a child that says where it listens, and goes on.
pub(super) async fn listen(as_role: Role, plan: &impl Serialize) -> Result<Server, BenchError> {
    let mut child = role(as_role)?.spawn()?;
    let mut stdin = child.stdin.take().ok_or_else(|| BenchError::Child("no standard input".into()))?;
    let mut line = serde_json::to_vec(plan)?;
    line.push(b'\n');
    stdin.write_all(&line).await?;
    let said = first_line(&mut child).await?;
    let address = serde_json::from_str(&said)?;
    let pid = child.id().unwrap_or_default();
    Ok(Server {
        child,
        address,
        token: "none".into(),
        pid,
        _stdin: Some(stdin),
    })
}

async fn first_line(child: &mut Child) -> Result<String, BenchError> {
    let stdout = child.stdout.take().ok_or_else(|| BenchError::Child("no standard output".into()))?;
    let mut line = String::new();
    let mut reader = BufReader::new(stdout);
    tokio::time::timeout(Duration::from_secs(600), reader.read_line(&mut line))
        .await
        .map_err(|_| BenchError::Child("a server is not ready after ten minutes".into()))??;
    if line.is_empty() {
        return Err(BenchError::Child(format!("a server ended at once ({})", child.wait().await?)));
    }
    // Nothing more is said; what is must find a reader all the same.
    tokio::spawn(async move {
        let mut rest = Vec::new();
        let _ = reader.read_to_end(&mut rest).await;
    });
    Ok(line)
}

/// Starts a node on `data`; says how long it took until it listened.
pub(super) async fn node(data: &Path, views: bool, set: &[&str]) -> Result<(Server, Duration), BenchError> {
    let begun = Instant::now();
    let data_text = data.display().to_string();
    let views = format!("views.enabled={views}");
    let mut arguments = vec![
        "serve",
        "--data",
        &data_text,
        "--listen",
        "127.0.0.1:0",
        "--set",
        &views,
        "--set",
        "logging.level=error",
        // Logs that were written to be measured come without keys.
        "--set",
        "keys.allow_lost=true",
    ];
    set.iter().for_each(|pair| arguments.extend(["--set", pair]));
    let mut child = own(&arguments)?.stdin(Stdio::null()).spawn()?;
    let said: serde_json::Value = serde_json::from_str(&first_line(&mut child).await?)?;
    let took = begun.elapsed();
    let url = said["url"].as_str().and_then(|url| url.strip_prefix("http://")).unwrap_or_default();
    let address = url.parse().map_err(|_| BenchError::Child(format!("the node says {said}")))?;
    let token = Token::load(data)
        .ok()
        .flatten()
        .map(|token| token.expose().to_owned())
        .unwrap_or_default();
    let pid = child.id().unwrap_or_default();
    Ok((
        Server {
            child,
            address,
            token,
            pid,
            _stdin: None,
        },
        took,
    ))
}
