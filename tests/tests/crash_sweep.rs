//! Power is lost at every place of a run, one place a run: before each change of the disk (writes, reservations, syncs,
//! creations, renames, removals of segments, side files and heads, at work and at start), and after each step (request,
//! decision, append, acknowledgement, step of the outbox, attempt, timer, checkpoint, passivation, snapshot). After each the
//! run goes on to its end and every promise is checked.
//!
//! CI takes a sample of the places; `QUIPU_CRASH_POINTS=all cargo test -p quipu-tests --test crash_sweep -- --nocapture`
//! takes all of them.

use parking_lot::Mutex;
use quipu_tests::sim::{self, Strike};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

const STEPS: u64 = 600;
const SEEDS: u64 = 14;
/// Of CI's sample: every n-th place.
const SAMPLE: usize = 53;

#[test]
fn power_lost_anywhere_breaks_no_promise() {
    let started = Instant::now();
    let mut places: Vec<(u64, Strike)> = Vec::new();
    for seed in 0..SEEDS {
        let calm = sim::sweep(seed, STEPS, Strike::Nothing);
        assert!(calm.broken.is_empty(), "seed {seed} without any fault: {:?}", calm.broken);
        // Changes that come after the steps, in the calm end, are the same calls again.
        places.extend((0..calm.counts.disk.changes).map(|change| (seed, Strike::BeforeChange(change))));
        places.extend((0..STEPS).map(|step| (seed, Strike::AfterStep(step))));
    }
    let all = places.len();
    let sampled = match std::env::var("QUIPU_CRASH_POINTS").as_deref() {
        Ok("all") => places,
        _ => places.into_iter().step_by(SAMPLE).collect(),
    };
    let (next, struck) = (AtomicUsize::new(0), Mutex::new(BTreeMap::<String, u64>::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((seed, strike)) = sampled.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let report = sim::sweep(*seed, STEPS, *strike);
                    assert!(
                        report.broken.is_empty(),
                        "seed {seed}, power lost {strike:?} ({}):\n  {}\n{}",
                        report.struck.unwrap_or_default(),
                        report.broken.join("\n  "),
                        report.trace.join("\n  ")
                    );
                    let place = report.struck.unwrap_or_else(|| "in the calm end".into());
                    *struck.lock().entry(place).or_default() += 1;
                }
            });
        }
    });
    let struck = struck.into_inner();
    println!("{} of {all} places in {:.0} s:", sampled.len(), started.elapsed().as_secs_f64());
    for (place, count) in &struck {
        println!("{count:>7}  {place}");
    }
    assert!(all >= 10_000, "only {all} places");
    for place in [
        "an append: before write",
        "an append: before sync",
        "a start: before",
        "after an attempt",
        "after a timer",
        "after a checkpoint",
        "after a passivation",
    ] {
        assert!(struck.keys().any(|struck| struck.contains(place)), "power was never lost {place}");
    }
}
