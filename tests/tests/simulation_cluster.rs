//! Seeded simulation of three nodes over one broker. `QUIPU_TRIO_SEEDS=5000 cargo test -p quipu-tests --test simulation_cluster`
//! runs more seeds; `QUIPU_SEED=17 cargo test -p quipu-tests --test simulation_cluster one_seed -- --nocapture` replays one.

use quipu_tests::sim::trio::{self, Counts, Plant, Report};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

const STEPS: u64 = 300;
const SEEDS: u64 = 60;

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn explain(report: &Report) -> String {
    let least = trio::minimise(report, Plant::Nothing, 120);
    format!(
        "seed {} broke a promise:\n  {}\nthe fewest steps found that break one ({} of {}: {}):\n  {}\nreplay: QUIPU_SEED={} cargo test -p quipu-tests --test simulation_cluster one_seed -- --nocapture",
        report.seed,
        report.broken.join("\n  "),
        least.steps.len(),
        report.steps.len(),
        least.broken.join("; "),
        least.trace.join("\n  "),
        report.seed
    )
}

#[test]
fn every_seed_keeps_every_promise_on_three_nodes() {
    let seeds = from_env("QUIPU_TRIO_SEEDS").unwrap_or(SEEDS);
    let from = from_env("QUIPU_TRIO_FROM").unwrap_or(0);
    let (next, started) = (AtomicU64::new(from), Instant::now());
    let totals: Vec<Counts> = std::thread::scope(|scope| {
        let work = || {
            let mut total = Counts::default();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= from + seeds {
                    return total;
                }
                let report = trio::run(seed, STEPS, Plant::Nothing);
                assert!(report.broken.is_empty(), "{}", explain(&report));
                total.add(&report.counts);
            }
        };
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|t| t.join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
            .collect()
    });
    let mut total = Counts::default();
    totals.iter().for_each(|counts| total.add(counts));
    println!(
        "{seeds} seeds in {:.1} s, {:.0} s of simulated time\n{total:#?}",
        started.elapsed().as_secs_f64(),
        total.simulated_ms as f64 / 1_000.0
    );
    for (what, count) in total.named() {
        assert!(count > 0, "no {what} in {seeds} seeds: the simulation does not do what it says");
    }
}

#[test]
fn one_seed() {
    let seed = from_env("QUIPU_SEED").unwrap_or(1);
    let report = trio::run(seed, STEPS, Plant::Nothing);
    println!("{report:#?}");
    assert!(report.broken.is_empty(), "{}", explain(&report));
}

#[test]
fn a_seed_replays_to_the_same_bytes_in_the_streams() {
    for seed in [3, 14, 159] {
        let (first, second) = (trio::run(seed, STEPS, Plant::Nothing), trio::run(seed, STEPS, Plant::Nothing));
        assert_eq!(first.streams, second.streams, "seed {seed}");
        assert_eq!(first.counts, second.counts, "seed {seed}");
    }
}

/// Each planted defect is found within eighty seeds, and its run is cut down.
#[test]
fn planted_defects_are_found() {
    for plant in trio::PLANTS {
        let found = (0..80)
            .map(|seed| trio::run(seed, STEPS, plant))
            .find(|report| !report.broken.is_empty());
        let Some(report) = found else {
            panic!("{plant:?} went unnoticed in 80 seeds")
        };
        let least = trio::minimise(&report, plant, 20);
        println!(
            "{plant:?}: seed {}, {} steps of {}: {}",
            report.seed,
            least.steps.len(),
            report.steps.len(),
            least.broken[0]
        );
        assert!(!least.broken.is_empty() && least.steps.len() <= report.steps.len());
    }
}
