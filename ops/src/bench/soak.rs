//! A long run under a steady load: does memory settle, do files grow only with what is stored, do views keep up, do
//! latencies stay? Written as a report with plots.

use super::{
    BenchError, child, http,
    load::{Pace, Plan},
    machine::{MIB, Machine},
    material::{self, ORG},
    plot::{self, Panel, Series},
    report::{Line, Report, count, mean, slope},
    wire::Connection,
};
use serde::Serialize;
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Instant,
};

const CONNECTIONS: usize = 16;
/// Conversations that are spoken in at a time; each slice has its own, so that earlier ones fall asleep.
const CONVERSATIONS: u64 = 100;
const SLICES: u64 = 120;

/// How long, how much, where.
#[derive(Debug, Clone)]
pub struct Soak {
    /// How long, in seconds.
    pub seconds: u64,
    /// Commands a second.
    pub rate: f64,
    /// Where the report goes; created.
    pub out: PathBuf,
    /// Where the data goes (a new directory in it, deleted in the end); the system's temporary directory unless given.
    pub dir: Option<PathBuf>,
    /// The command line, for the report.
    pub command: String,
}

/// One look at the node.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// Seconds since the load began.
    pub at: f64,
    /// Commands answered with success so far.
    pub commands: u64,
    /// Requests that failed in this slice.
    pub errors: u64,
    /// Resident memory of the node, MiB.
    pub memory_mib: f64,
    /// Log, MiB.
    pub log_mib: f64,
    /// Index, MiB.
    pub index_mib: f64,
    /// Views, MiB.
    pub views_mib: f64,
    /// Records that the views are behind when the slice ends.
    pub lag: u64,
    /// Median latency of the slice, milliseconds.
    pub p50_ms: f64,
    /// 99th percentile of the slice, milliseconds.
    pub p99_ms: f64,
}

/// Runs; `progress` hears each sample, and how many there will be. Writes `soak.json`, `soak.svg` and `soak.md` into `out`.
pub async fn run(soak: &Soak, mut progress: impl FnMut(&Sample, u64)) -> Result<Report, BenchError> {
    fs::create_dir_all(&soak.out)?;
    let parent = soak.dir.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = Scratch(parent.join(format!("quipu-soak-{}", std::process::id())));
    fs::create_dir_all(&scratch.0)?;
    let mut machine = Machine::look(&scratch.0);
    let samples = sample(soak, &scratch.0, &mut progress).await?;
    machine.load_after = super::machine::load();
    let report = Report {
        machine,
        command: soak.command.clone(),
        lines: judge(&samples, soak.rate),
    };
    let json = serde_json::json!({ "report": &report, "samples": &samples });
    fs::write(soak.out.join("soak.json"), serde_json::to_vec_pretty(&json)?)?;
    fs::write(soak.out.join("soak.svg"), plot::svg(&panels(&samples)))?;
    fs::write(
        soak.out.join("soak.md"),
        format!("# Soak\n\n{}\n![plots](soak.svg)\n", report.markdown()),
    )?;
    Ok(report)
}

/// A directory that goes when the run ends, however it ends.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be deleted stays where temporary files stay.
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn sample(soak: &Soak, scratch: &Path, progress: &mut impl FnMut(&Sample, u64)) -> Result<Vec<Sample>, BenchError> {
    let data = scratch.join("data");
    let (node, _) = child::node(&data, true, &[]).await?;
    let slices = SLICES.min(soak.seconds / 2).max(4);
    let run_ms = soak.seconds * 1_000 / slices;
    let (mut samples, mut commands, mut spent) = (Vec::new(), 0, 0.0);
    for slice in 0..slices {
        let first = slice * CONVERSATIONS;
        http::create(&node, first, CONVERSATIONS).await?;
        let begun = Instant::now();
        let plan = Plan {
            then: None,
            address: node.address,
            token: node.token.clone(),
            connections: CONNECTIONS,
            path: format!("/v1/orgs/{ORG}/conversations/c{{n}}/post"),
            entities: CONVERSATIONS,
            first,
            body: material::post_body(),
            key: format!("soak{slice}"),
            pace: Pace::Open {
                per_second: soak.rate,
                warmup_ms: 0,
                run_ms,
            },
        };
        let outcome = plan.run().await?;
        let mut connection = Connection::open(node.address).await?;
        commands += outcome.requests;
        spent += begun.elapsed().as_secs_f64();
        let size = |name: &str| bytes_under(&data, name).map(|bytes| bytes as f64 / MIB);
        let sample = Sample {
            at: spent,
            commands,
            errors: outcome.errors,
            memory_mib: node.usage().resident as f64 / MIB,
            log_mib: size("log")?,
            index_mib: size("index")?,
            views_mib: size("views")?,
            lag: http::lag(&mut connection, &node).await?,
            p50_ms: outcome.latency_us.p50 as f64 / 1_000.0,
            p99_ms: outcome.latency_us.p99 as f64 / 1_000.0,
        };
        progress(&sample, slices);
        samples.push(sample);
    }
    node.stop().await?;
    Ok(samples)
}

/// Bytes that files under `data` take whose first directory begins with this name.
pub(super) fn bytes_under(data: &Path, name: &str) -> io::Result<u64> {
    fn tree(path: &Path) -> io::Result<u64> {
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            // Files come and go while we look.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(e) => return Err(e),
        };
        if !found.is_dir() {
            // What is taken, not what is reserved ahead.
            return Ok(std::os::unix::fs::MetadataExt::blocks(&found) * 512);
        }
        fs::read_dir(path)?.try_fold(0, |sum, entry| Ok(sum + tree(&entry?.path())?))
    }
    tree(&data.join(name))
}

/// What the samples say. The first quarter is warm-up: caches of a fixed size fill.
fn judge(samples: &[Sample], rate: f64) -> Vec<Line> {
    let quarter = samples.len() / 4;
    let (early, late) = (&samples[quarter..2 * quarter], &samples[samples.len() - quarter..]);
    let settled = &samples[samples.len() / 2..];
    let hours = (settled[settled.len() - 1].at - settled[0].at) / 3_600.0;
    let memory = slope(&settled.iter().map(|s| (s.at / 3_600.0, s.memory_mib)).collect::<Vec<_>>());
    let resident = mean(settled.iter().map(|s| s.memory_mib));
    let grown = 100.0 * memory * hours / resident;
    let files = |s: &Sample| s.log_mib + s.index_mib + s.views_mib;
    let each = |part: &[Sample]| {
        let (first, last) = (&part[0], &part[part.len() - 1]);
        (files(last) - files(first)) * MIB / (last.commands - first.commands).max(1) as f64
    };
    let (before, after) = (each(&samples[..=samples.len() / 2]), each(settled));
    let lag = |part: &[Sample]| mean(part.iter().map(|s| s.lag as f64));
    let p99 = |part: &[Sample]| super::report::median(&part.iter().map(|s| s.p99_ms).collect::<Vec<_>>());
    let errors: u64 = samples.iter().map(|s| s.errors).sum();
    let last = &samples[samples.len() - 1];
    vec![
        Line::judged(
            "requests that failed",
            "none",
            count(errors as f64),
            errors == 0,
            format!("{} commands in {:.0} s", count(last.commands as f64), last.at),
        ),
        Line::judged(
            "memory over the second half",
            "≤ 10 % more",
            format!("{grown:+.1} %"),
            grown <= 10.0,
            format!("around {resident:.0} MiB"),
        ),
        hourly(memory, last.at),
        Line::judged(
            "bytes on disk for each command",
            "second half ≤ 1.15 × first",
            format!("{:.2} ×", after / before),
            after <= 1.15 * before,
            format!(
                "{before:.0} bytes, then {after:.0}; in the end log {:.0} MiB, index {:.0} MiB, views {:.0} MiB",
                last.log_mib, last.index_mib, last.views_mib
            ),
        ),
        Line::judged(
            "lag of the views",
            "not growing",
            format!("{} records, then {}", count(lag(early)), count(lag(late))),
            // A tenth of a second's commands is noise.
            lag(late) <= 1.25 * lag(early) + rate / 10.0,
            "means of the second and the last quarter".into(),
        ),
        Line::judged(
            "p99",
            "last quarter ≤ 2 × second",
            format!("{:.1} ms, then {:.1} ms", p99(early), p99(late)),
            p99(late) <= 2.0 * p99(early),
            format!("open loop at {}/s; medians of the quarters", count(rate)),
        ),
    ]
}

/// What memory would grow by in an hour. In a short run caches of a fixed size still fill, and that says nothing about an hour.
fn hourly(mib: f64, seconds: f64) -> Line {
    const WANTED_MIB: f64 = 20.0;
    const FROM_S: f64 = 570.0;
    let (name, measured, detail) = ("memory an hour", format!("{mib:+.1} MiB"), "slope over the second half");
    if seconds < FROM_S {
        return Line::beside(name, measured, format!("{detail}; judged from ten minutes on"));
    }
    Line::judged(name, &format!("≤ {WANTED_MIB} MiB"), measured, mib <= WANTED_MIB, detail.into())
}

fn panels(samples: &[Sample]) -> Vec<Panel> {
    let at: Vec<f64> = samples.iter().map(|s| s.at / 60.0).collect();
    let series = |name: &'static str, of: &dyn Fn(&Sample) -> f64| Series {
        name,
        points: at.iter().copied().zip(samples.iter().map(of)).collect(),
    };
    vec![
        Panel {
            title: "memory, MiB",
            series: vec![series("resident", &|s| s.memory_mib)],
        },
        Panel {
            title: "files, MiB",
            series: vec![
                series("log", &|s| s.log_mib),
                series("index", &|s| s.index_mib),
                series("views", &|s| s.views_mib),
            ],
        },
        Panel {
            title: "lag of the views, records",
            series: vec![series("lag", &|s| s.lag as f64)],
        },
        Panel {
            title: "latency, ms",
            series: vec![series("p50", &|s| s.p50_ms), series("p99", &|s| s.p99_ms)],
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(change: impl Fn(usize, &mut Sample)) -> Vec<bool> {
        let samples: Vec<Sample> = (0..40usize)
            .map(|n| {
                let mut sample = Sample {
                    at: n as f64 * 15.0,
                    commands: n as u64 * 1_000,
                    errors: 0,
                    memory_mib: 100.0,
                    log_mib: n as f64,
                    index_mib: n as f64,
                    views_mib: n as f64,
                    lag: 3,
                    p50_ms: 1.0,
                    p99_ms: 2.0,
                };
                change(n, &mut sample);
                sample
            })
            .collect();
        judge(&samples, 500.0).iter().map(|line| line.pass == Some(true)).collect()
    }

    #[test]
    fn what_stays_passes_and_what_grows_is_told() {
        assert_eq!(run(|_, _| ()), [true; 6]);
        assert_eq!(run(|n, s| s.errors = u64::from(n == 7)), [false, true, true, true, true, true]);
        assert_eq!(run(|n, s| s.memory_mib += n as f64), [true, false, false, true, true, true]);
        // Two MiB in ten minutes are little, and too much for an hour.
        assert_eq!(run(|n, s| s.memory_mib += n as f64 / 10.0), [true, true, false, true, true, true]);
        assert_eq!(run(|n, s| s.views_mib = (n * n) as f64), [true, true, true, false, true, true]);
        assert_eq!(run(|n, s| s.lag = n as u64 * 50), [true, true, true, true, false, true]);
        assert_eq!(run(|n, s| s.p99_ms += n as f64), [true, true, true, true, true, false]);
    }

    #[test]
    fn a_slope_is_that_of_the_line() {
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), 2.0);
        assert_eq!(slope(&[(1.0, 1.0)]), 0.0);
    }
}
