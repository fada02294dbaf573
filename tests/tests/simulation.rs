//! Seeded simulation of a whole node. `QUIPU_SEEDS=5000 cargo test -p quipu-tests --test simulation` runs more seeds;
//! `QUIPU_SEED=17 cargo test -p quipu-tests --test simulation one_seed -- --nocapture` replays one.

use quipu_tests::sim::{self, Counts, Mutant, Report};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

const STEPS: u64 = 600;

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn explain(report: &Report) -> String {
    format!(
        "seed {} broke a promise:\n  {}\nthe last actions:\n  {}\nreplay: QUIPU_SEED={} cargo test -p quipu-tests --test simulation one_seed -- --nocapture",
        report.seed,
        report.broken.join("\n  "),
        report.trace.join("\n  "),
        report.seed
    )
}

fn add(total: &mut Counts, counts: &Counts) {
    total.steps += counts.steps;
    total.sent += counts.sent;
    total.acknowledged += counts.acknowledged;
    total.refused += counts.refused;
    total.unknown += counts.unknown;
    total.repeated += counts.repeated;
    total.duplicated += counts.duplicated;
    total.crashes += counts.crashes;
    total.failed_syncs += counts.failed_syncs;
    total.full += counts.full;
    total.jumps += counts.jumps;
    total.delivered += counts.delivered;
    total.fired += counts.fired;
    total.passivated += counts.passivated;
    total.simulated_ms += counts.simulated_ms;
    total.records += counts.records;
}

#[test]
fn every_seed_keeps_every_promise() {
    let seeds = from_env("QUIPU_SEEDS").unwrap_or(500);
    let (next, started) = (AtomicU64::new(0), Instant::now());
    let totals: Vec<Counts> = std::thread::scope(|scope| {
        let work = || {
            let mut total = Counts::default();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds {
                    return total;
                }
                let report = sim::run(seed, STEPS, None);
                assert!(report.broken.is_empty(), "{}", explain(&report));
                add(&mut total, &report.counts);
            }
        };
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|e| std::panic::resume_unwind(e))).collect()
    });
    let mut total = Counts::default();
    totals.iter().for_each(|counts| add(&mut total, counts));
    println!("{seeds} seeds in {:.1} s: {total:?}", started.elapsed().as_secs_f64());
    // Every kind of fault and event really happened.
    for (what, count) in [
        ("acknowledged", total.acknowledged),
        ("unknown outcomes", total.unknown),
        ("repetitions", total.repeated),
        ("duplicates", total.duplicated),
        ("crashes", total.crashes),
        ("failed syncs", total.failed_syncs),
        ("full disks", total.full),
        ("clock jumps", total.jumps),
        ("effects", total.delivered),
        ("timers", total.fired),
        ("passivations", total.passivated),
    ] {
        assert!(count > 0, "no {what} in {seeds} seeds: the simulation does not do what it says");
    }
}

#[test]
fn one_seed() {
    let seed = from_env("QUIPU_SEED").unwrap_or(1);
    let report = sim::run(seed, STEPS, None);
    println!("{report:#?}");
    assert!(report.broken.is_empty(), "{}", explain(&report));
}

#[test]
fn a_seed_replays_to_the_same_bytes() {
    for seed in [3, 14, 159] {
        let (first, second) = (sim::run(seed, STEPS, None), sim::run(seed, STEPS, None));
        assert_eq!(first.disk, second.disk, "seed {seed}");
        assert_eq!(first.counts, second.counts, "seed {seed}");
    }
}

#[test]
fn planted_defects_are_found() {
    for mutant in [Mutant::AnswersEarly, Mutant::ForgetsReceipts, Mutant::DropsEffects] {
        let found = (0..60).find(|seed| !sim::run(*seed, STEPS, Some(mutant)).broken.is_empty());
        assert!(found.is_some(), "{mutant:?} went unnoticed in 60 seeds");
    }
}
