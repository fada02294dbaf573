//! Measurements: how fast the node is, beside what the machine and bare code could do in the same run.
//!
//! Numbers of different runs are not compared: a disk's speed changes by the hour, so targets are ratios to a yardstick
//! measured in turns with us. Clients and servers are processes of their own. `ops/docs/benchmarks.md` keeps a run.

pub mod child;
pub mod cluster;
mod growth;
mod histogram;
mod http;
mod identity;
mod in_process;
pub(crate) mod life;
mod load;
pub mod machine;
mod material;
mod memory;
mod plot;
mod quota;
pub mod report;
pub mod soak;
mod start;
mod wire;
mod yardstick;

use machine::Machine;
use material::Material;
use quipu_schemas::problem::Problem;
use report::Report;
use std::{fs, io, path::PathBuf};

/// Groups of lines, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Group {
    /// Durable commands over HTTP
    Http,
    /// Reservations in one org's quota
    Quota,
    /// Keys, tokens, logins and revocation
    Identity,
    /// Appends in process
    Append,
    /// Recovery of an entity
    Recover,
    /// Replay and verification
    Replay,
    /// Memory, idle and asleep
    Memory,
    /// The first command after a start
    Start,
    /// The same work beside little and beside much
    Growth,
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// Fewer pairs and shorter runs: to see that everything works, not to publish.
    pub quick: bool,
    /// Entities in the log of the `start` lines.
    pub entities: Option<u64>,
    /// These groups only; all if empty.
    pub only: Vec<Group>,
    /// Where the data goes (a new directory in it, deleted in the end); the system's temporary directory unless given.
    pub dir: Option<PathBuf>,
    /// Real conversations for the line about tool calls: a JSON object with `messages` a line. Made up unless given.
    pub conversations: Option<PathBuf>,
    /// The command line, for the report.
    pub command: String,
}

/// Why a measurement failed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The machine.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Between parent and child.
    #[error("unexpected output of a child process: {0}")]
    Json(#[from] serde_json::Error),
    /// A child.
    #[error("child process: {0}")]
    Child(String),
    /// Requests failed.
    #[error("{errors} of the requests failed, {requests} did not; the first: {why}")]
    Load {
        /// Failed.
        errors: u64,
        /// Answered.
        requests: u64,
        /// The first failure.
        why: String,
    },
    /// Records to measure with could not be made or read.
    #[error("material: {0}")]
    Material(String),
    /// The node refused.
    #[error("the node refused: {}", .0.detail)]
    Refused(Box<Problem>),
}

impl From<Problem> for BenchError {
    fn from(problem: Problem) -> Self {
        Self::Refused(Box::new(problem))
    }
}

/// How long and where.
struct Setup {
    quick: bool,
    entities: u64,
    dir: PathBuf,
    conversations: Option<PathBuf>,
}

impl Setup {
    fn pairs(&self) -> usize {
        if self.quick { 3 } else { 5 }
    }

    /// Milliseconds of a phase that takes so many seconds in a full run.
    fn seconds(&self, full: f64) -> u64 {
        (full * if self.quick { 400.0 } else { 1_000.0 }) as u64
    }

    fn scaled(&self, full: usize) -> usize {
        if self.quick { full / 5 } else { full }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        // What cannot be deleted stays where temporary files stay.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Measures; `progress` hears the name of each group before it begins.
pub async fn run(options: Options, mut progress: impl FnMut(&str)) -> Result<Report, BenchError> {
    let parent = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let dir = parent.join(format!("quipu-bench-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let setup = Setup {
        quick: options.quick,
        entities: options.entities.unwrap_or(if options.quick { 50_000 } else { 1_000_000 }),
        dir,
        conversations: options.conversations,
    };
    let mut machine = Machine::look(&setup.dir);
    let wanted = |group: Group| options.only.is_empty() || options.only.contains(&group);
    let material = Material::make(99).await?;
    let mut lines = Vec::new();
    if wanted(Group::Http) {
        progress("durable commands over HTTP");
        http::lines(&setup, &material, &mut lines).await?;
    }
    if wanted(Group::Quota) {
        progress("reservations in one org's quota");
        quota::line(&setup, &mut lines).await?;
    }
    if wanted(Group::Identity) {
        progress("keys, tokens, logins and revocation");
        identity::lines(&setup, &material, &mut lines).await?;
    }
    if wanted(Group::Append) {
        progress("appends in process");
        tokio::task::block_in_place(|| in_process::append_lines(&setup, &material, &mut lines))?;
    }
    if wanted(Group::Recover) {
        progress("recovery of an entity");
        in_process::recover_lines(&setup, &mut lines).await?;
    }
    if wanted(Group::Replay) {
        progress("replay and verification");
        tokio::task::block_in_place(|| in_process::replay_lines(&setup, &material, &mut lines))?;
    }
    if wanted(Group::Memory) {
        progress("memory");
        memory::idle_line(&setup, &mut lines).await?;
        memory::sleeping_line(&setup, &mut lines).await?;
        memory::runs_line(&setup, &mut lines).await?;
    }
    if wanted(Group::Start) {
        progress("the first command after a start");
        start::start_lines(&setup, &material, &mut lines).await?;
    }
    if wanted(Group::Growth) {
        progress("what does not grow");
        growth::lines(&setup, &material, &mut lines).await?;
    }
    machine.load_after = machine::load();
    Ok(Report {
        machine,
        command: options.command,
        lines,
    })
}
