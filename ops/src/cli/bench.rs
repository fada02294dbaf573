//! `quipu bench`.

use super::{
    failure::Failure,
    terminal::{Terminal, Tone},
};
use crate::bench::{
    self, BenchError, Group, Options,
    child::Role,
    cluster::{self, OnBroker},
    report::Report,
    soak::{self, Soak},
};
use clap::{Args, Subcommand};
use std::path::PathBuf;

const AFTER: &str = "\
Examples:
  quipu bench                             every line; leave the machine alone meanwhile
  quipu bench --quick                     the same in short, about five minutes
  quipu bench --only http --only append   some lines
  quipu bench --markdown                  tables for ops/docs/benchmarks.md
  quipu bench soak                        30 minutes under a steady load, with a report and plots
  quipu bench soak --minutes 2            the same in short
  quipu bench cluster --log nats://…      on a broker's log, over one node and over three

Measured are release builds (cargo build --release). Exit code 1 where a target is missed.";

const SOAK: &str = "\
Examples:
  quipu bench soak                            30 minutes at 500 commands a second, report in quipu-soak/
  quipu bench soak --minutes 2 --rate 2000    shorter and harder
  quipu bench soak --out report --dir /data   the report there, the load on that disk

The report is soak.md with soak.svg; soak.json holds every sample. Exit code 1 where something grows that should not.";

/// Measure this machine and this build
#[derive(Debug, Args)]
#[command(after_help = AFTER, args_conflicts_with_subcommands = true)]
pub(super) struct Bench {
    #[command(subcommand)]
    long: Option<Long>,
    /// Fewer and shorter runs
    #[arg(long)]
    quick: bool,
    /// Answer as tables of Markdown
    #[arg(long, global = true)]
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
    /// Real conversations to measure tool calls over, a JSON object with `messages` a line; made up unless given
    #[arg(long, value_name = "FILE")]
    conversations: Option<PathBuf>,
    /// What a child process of a measurement is
    #[arg(long = "as", hide = true)]
    role: Option<Role>,
}

const CLUSTER: &str = "\
Examples:
  quipu bench cluster
  quipu bench cluster --log 'kafka://127.0.0.1:9092/bench?accept=unsynced' --seconds 5 --runs 3

A log that is named must not exist yet, and stays. Nothing here has a target: what a node does depends on the broker.";

#[derive(Debug, Subcommand)]
enum Long {
    /// The whole path of a command on a broker's log, over one node and over three
    #[command(after_help = CLUSTER)]
    Cluster {
        /// Where the log is, as for `quipu serve`; without one, a nats-server is started for the measurement and ended
        #[arg(long)]
        log: Option<String>,
        /// Length of one run
        #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=600))]
        seconds: u64,
        /// Runs of each kind
        #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=50))]
        runs: u16,
    },
    /// A steady load for half an hour: memory, files, lag and latency over time, as a report with plots
    #[command(after_help = SOAK)]
    Soak {
        /// How long
        #[arg(long, default_value_t = 30.0, value_name = "N")]
        minutes: f64,
        /// Commands a second
        #[arg(long, default_value_t = 500.0, value_name = "N")]
        rate: f64,
        /// Directory for soak.md, soak.svg and soak.json
        #[arg(long, default_value = "quipu-soak")]
        out: PathBuf,
        /// Directory on the disk to use; a new one inside it is used and deleted
        #[arg(long)]
        dir: Option<PathBuf>,
    },
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
            return Ok(bench::life::be(role).await?);
        }
        let command = std::env::args().skip(1).fold("quipu".to_owned(), |text, word| text + " " + &word);
        if let Some(Long::Cluster { log, seconds, runs }) = self.long {
            // Its address may hold a password.
            let shown = match &log {
                None => String::new(),
                Some(log) => {
                    let log = log
                        .parse::<quipu_events::backend::Backend>()
                        .map_err(|e| Failure::Usage(format!("{e}")))?;
                    format!(" --log {log}")
                }
            };
            let command = format!("quipu bench cluster{shown} --seconds {seconds} --runs {runs}");
            let asked = OnBroker {
                log,
                seconds,
                runs: runs.into(),
                command,
            };
            let report = cluster::run(&asked, |what| terminal.note(&format!("measuring: {what}"))).await?;
            return show(terminal, &report, self.markdown);
        }
        if let Some(Long::Soak { minutes, rate, out, dir }) = self.long {
            if !(0.1..=10_080.0).contains(&minutes) || !(1.0..=100_000.0).contains(&rate) {
                return Err(Failure::Failed(
                    "--minutes takes 0.1 to 10080 (a week), --rate 1 to 100000 commands a second".into(),
                ));
            }
            let soak = Soak {
                seconds: (minutes * 60.0) as u64,
                rate,
                out: out.clone(),
                dir,
                command,
            };
            let mut seen = 0;
            let report = soak::run(&soak, |s, slices| {
                seen += 1;
                terminal.note(&format!(
                    "{seen}/{slices}: {:.0} s, {} commands, {:.0} MiB, views {} behind, p99 {:.1} ms",
                    s.at, s.commands, s.memory_mib, s.lag, s.p99_ms
                ));
            })
            .await?;
            show(terminal, &report, self.markdown)?;
            terminal.note(&format!("report: {}", out.join("soak.md").display()));
            return verdict(&report);
        }
        let options = Options {
            quick: self.quick,
            entities: self.entities,
            only: self.only,
            dir: self.dir,
            conversations: self.conversations,
            command,
        };
        let report = bench::run(options, |group| terminal.note(&format!("measuring: {group}"))).await?;
        show(terminal, &report, self.markdown)?;
        verdict(&report)
    }
}

fn show(terminal: &Terminal, report: &Report, markdown: bool) -> Result<(), Failure> {
    if markdown {
        terminal.line(report.markdown().trim_end())?;
    } else if terminal.json {
        terminal.value(report)?;
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
    Ok(())
}

fn verdict(report: &Report) -> Result<(), Failure> {
    if report.lines.iter().any(|line| line.pass == Some(false)) {
        Err(Failure::Shown)
    } else {
        Ok(())
    }
}
