//! Seeded simulation of a whole node. `QUIPU_SEEDS=5000 cargo test -p quipu-tests --test simulation` runs more seeds;
//! `QUIPU_SEED=17 cargo test -p quipu-tests --test simulation one_seed -- --nocapture` replays one.

use quipu_tests::sim::{self, Counts, Report};
use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Instant,
};

const STEPS: u64 = 600;

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn explain(report: &Report) -> String {
    let least = sim::minimise(report, None, 200);
    format!(
        "seed {} broke a promise:\n  {}\nthe fewest actions found that break one ({} of {} steps: {}):\n  {}\nreplay: QUIPU_SEED={} cargo test -p quipu-tests --test simulation one_seed -- --nocapture",
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
fn every_seed_keeps_every_promise() {
    let seeds = from_env("QUIPU_SEEDS").unwrap_or(2_000);
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
    let (took, simulated) = (started.elapsed().as_secs_f64(), total.simulated_ms as f64 / 1_000.0);
    // Two threads, so half of what one core would take alone.
    let ratio = simulated / (2.0 * took);
    println!("{seeds} seeds in {took:.1} s, {simulated:.0} s of simulated time: {ratio:.0} times real time per core\n{total:#?}");
    assert!(ratio >= 200.0, "only {ratio:.0} times real time");
    // Every kind of fault and event really happened, and every public command of every kind was accepted somewhere.
    for (what, count) in total.named() {
        assert!(count > 0, "no {what} in {seeds} seeds: the simulation does not do what it says");
    }
    let missing: Vec<String> = sim::public_commands()
        .into_iter()
        .filter(|name| !total.accepted.contains_key(name))
        .collect();
    assert!(missing.is_empty(), "never accepted in {seeds} seeds: {missing:?}");
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

/// Each planted defect is found within five hundred seeds, and its run is cut down to a few steps. `QUIPU_MUTANT` names one alone.
#[test]
fn planted_defects_are_found() {
    let only = std::env::var("QUIPU_MUTANT").ok();
    let is_asked = |mutant: &sim::Mutant| only.as_ref().is_none_or(|name| format!("{mutant:?}") == *name);
    let mutants: Vec<_> = sim::MUTANTS.into_iter().filter(is_asked).collect();
    assert!(!mutants.is_empty(), "no defect is called {only:?}");
    let next = AtomicUsize::new(0);
    let search = || {
        while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
            let begun = Instant::now();
            let found = find(*mutant);
            println!("{:4.0} s  {found}", begun.elapsed().as_secs_f64());
        }
    };
    std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(search));
        for thread in threads {
            thread.join().unwrap_or_else(|e| std::panic::resume_unwind(e));
        }
    });
}

/// Where a planted defect is found, and the shortest run that shows it.
fn find(mutant: sim::Mutant) -> String {
    let Some(report) = (0..500)
        .map(|seed| sim::run(seed, STEPS, Some(mutant)))
        .find(|report| !report.broken.is_empty())
    else {
        panic!("{mutant:?} went unnoticed in 500 seeds")
    };
    let least = sim::minimise(&report, Some(mutant), 12);
    assert!(!least.broken.is_empty() && least.steps.len() <= report.steps.len());
    format!(
        "{mutant:?}: seed {}, {} steps of {}: {}",
        report.seed,
        least.steps.len(),
        report.steps.len(),
        least.broken[0]
    )
}
