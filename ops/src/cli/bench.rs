//! `quipu bench`.

use super::{
    failure::Failure,
    terminal::{Terminal, Tone},
};
use crate::bench::{self, BenchError, Group, Options, child::Role};
use clap::Args;
use std::path::PathBuf;

const AFTER: &str = "\
Examples:
  quipu bench                             every line, about ten minutes; leave the machine alone meanwhile
  quipu bench --quick                     the same in short, about two minutes
  quipu bench --only http --only append   some lines
  quipu bench --markdown                  tables for ops/docs/benchmarks.md

Measured are release builds (cargo build --release). Exit code 1 where a target is missed.";

/// Measure this machine and this build
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct Bench {
    /// Fewer and shorter runs
    #[arg(long)]
    quick: bool,
    /// Answer as tables of Markdown
    #[arg(long)]
    markdown: bool,
    /// Entities in the log of the lines about starting
    #[arg(long, value_name = "N")]
    entities: Option<u64>,
    /// These lines only; may be repeated
    #[arg(long, value_name = "GROUP")]
    only: Vec<Group>,
    /// Directory on the disk to measure; a new one inside it is used and deleted
    #[arg(long)]
    dir: Option<PathBuf>,
    /// What a child process of a measurement is
    #[arg(long = "as", hide = true)]
    role: Option<Role>,
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::Refused(problem) => Failure::Problem(problem),
            other => Failure::Failed(other.to_string()),
        }
    }
}

impl Bench {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        if let Some(role) = self.role {
            return Ok(bench::child::be(role).await?);
        }
        let command = std::env::args().skip(1).fold("quipu".to_owned(), |text, word| text + " " + &word);
        let options = Options {
            quick: self.quick,
            entities: self.entities,
            only: self.only,
            dir: self.dir,
            command,
        };
        let report = bench::run(options, |group| terminal.note(&format!("measuring: {group}"))).await?;
        if self.markdown {
            terminal.line(report.markdown().trim_end())?;
        } else if terminal.json {
            terminal.value(&report)?;
        } else {
            let rows: Vec<Vec<String>> = report
                .lines
                .iter()
                .map(|l| {
                    vec![
                        l.name.clone(),
                        l.target.clone(),
                        l.measured.clone(),
                        l.verdict().to_owned(),
                        l.detail.clone(),
                    ]
                })
                .collect();
            terminal.table(&["line", "target", "measured", "", "detail"], &rows, "nothing measured")?;
            let m = &report.machine;
            let machine = format!(
                "{} cores of {}, {} MiB, {}, {}, load {:.1} to {:.1}",
                m.cores, m.cpu, m.memory_mib, m.disk, m.build, m.load_before, m.load_after
            );
            terminal.line(&terminal.paint(Tone::Faint, &machine))?;
        }
        if report.lines.iter().any(|line| line.pass == Some(false)) {
            Err(Failure::Shown)
        } else {
            Ok(())
        }
    }
}
