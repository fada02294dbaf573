//! A whole node on one thread under a seed: the same machines that the shells drive, on a simulated disk, with a clock
//! that only the simulation moves. Crashes, delays, duplicates, failed and unknown appends, full disks, clock jumps, lost
//! requests and answers, network partitions and bursts strike between any two actions. Equal seeds give equal bytes on the
//! disk. Each step draws from a generator of its own, so that steps can be left out: a failing run is cut down to the few
//! steps that it takes.

mod acts;
mod appender;
mod broker;
mod checks;
mod clients;
mod counts;
mod feed;
mod history;
mod lessee;
mod log;
mod member;
mod node;
mod node_log;
mod quota;
mod reading;
mod rights;
mod sink;
pub mod trio;
mod workload;

pub use counts::Counts;
pub use node::{MUTANTS, Mutant};
pub use workload::public_commands;

use feed::Feed;
use history::History;
use log::SimLog;
use node::SimNode;
use quipu_events::{blobs::MemoryBlobs, disk::SimDisk, keyring::Keyring};
use quipu_runtime::kinds::Kinds;
use quipu_schemas::{
    context::Millis,
    digest::Digest,
    envelope::{CommandEnvelope, Receipt},
    ids::{CommandId, StreamId},
};
use sink::Sink;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use workload::Workload;

/// splitmix64: small, seedable, and the same on every machine.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A generator.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }
    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Below `n` (0 for 0).
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.draw() % n }
    }
    /// True in `percent` of 100.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What happened.
    pub counts: Counts,
    /// Digest over every file of the simulated disk.
    pub disk: Digest,
    /// Broken promises; empty if all held.
    pub broken: Vec<String>,
    /// The last actions, for reading a failure.
    pub trace: Vec<String>,
    /// The steps that were taken, by number.
    pub steps: Vec<u64>,
    /// Of a single power loss: what it came before, or what it came after.
    pub struck: Option<String>,
}

pub(crate) struct Sent {
    pub(crate) envelope: CommandEnvelope,
    pub(crate) receipts: Vec<Receipt>,
}

/// The counters, once: their names, and where they stand.
macro_rules! counters {
    ($($field:ident $(. $of:ident)?),* $(,)?) => {
        impl Counts {
            fn cells(&mut self) -> Vec<&mut u64> {
                vec![$(&mut self.$field $(.$of)?),*]
            }
            /// Every counter with its name.
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((concat!(stringify!($field) $(, ".", stringify!($of))?), self.$field $(.$of)?)),*]
            }
        }
    };
}
counters!(
    values_named,
    values_unnamed,
    steps,
    sent,
    acknowledged,
    refused,
    unknown,
    repeated,
    duplicated,
    crashes,
    failed_syncs,
    full,
    jumps,
    lost_requests,
    lost_answers,
    partitions,
    bursts,
    fed,
    own_writes_read,
    versions_refused,
    woken,
    flips_found,
    disk.crashes,
    disk.sectors_lost,
    disk.sectors_kept,
    disk.names_lost,
    disk.syncs_failed,
    disk.writes_failed,
    disk.full,
    disk.bits_flipped,
    disk.changes,
    delivered,
    fired,
    spoken_for,
    passivated,
    simulated_ms,
    records
);

/// What strikes a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    /// Everything, at random.
    Anything,
    /// Nothing.
    Nothing,
    /// One power loss, before the n-th change of the disk.
    BeforeChange(u64),
    /// One power loss, after this step.
    AfterStep(u64),
}

/// Draws from here on are faults.
const CALM: u64 = 975;
/// Names of the actions, by the draws that lead to them.
const ACTIONS: [(u64, &str); 12] = [
    (260, "a request"),
    (440, "a decision"),
    (450, "a read of the feed"),
    (460, "a read of a view"),
    (600, "an append"),
    (700, "an acknowledgement"),
    (780, "a step of the outbox"),
    (840, "an attempt"),
    (900, "a while"),
    (930, "a timer"),
    (960, "a checkpoint of views or index"),
    (CALM, "a passivation or snapshot"),
];

const PARTITIONS: u16 = 2;
const TRACE: usize = 60;
const MINIMISE_FOR: Duration = Duration::from_secs(30);

/// The world around the node: disk, clock, clients, receivers.
pub(crate) struct World {
    rng: Rng,
    /// Time as it passes, whatever the wall clock says.
    now: Millis,
    /// What the wall clock is ahead of it.
    off: i64,
    disk: SimDisk,
    keys: Arc<Keyring>,
    kinds: Kinds,
    node: Option<SimNode>,
    sink: Sink,
    workload: Workload,
    sent: BTreeMap<(StreamId, CommandId), Sent>,
    history: History,
    feed: Feed,
    /// Clients are cut off until then.
    cut_off_until: Millis,
    step: u64,
    counts: Counts,
    broken: Vec<String>,
    trace: Vec<String>,
    mutant: Option<Mutant>,
    strike: Strike,
    /// What the step did, for telling where a single power loss came.
    did: &'static str,
    struck: Option<String>,
}

/// Runs one seed: `steps` random actions, then a calm end in which everything must come to rest, then the checks.
pub fn run(seed: u64, steps: u64, mutant: Option<Mutant>) -> Report {
    run_steps(seed, &(0..steps).collect::<Vec<_>>(), mutant)
}

/// A run that can be made again with fewer steps.
pub(crate) trait Run: Clone {
    fn steps(&self) -> &[u64];
    fn is_broken(&self) -> bool;
}

impl Run for Report {
    fn steps(&self) -> &[u64] {
        &self.steps
    }
    fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }
}

/// Cuts a failing run down: the fewest of its steps (as far as `runs` attempts go) that still break a promise.
/// A run that never comes to rest takes long, so there is an end to the time as well.
pub fn minimise(failed: &Report, mutant: Option<Mutant>, runs: usize) -> Report {
    cut_down(failed, runs, |steps| run_steps(failed.seed, steps, mutant))
}

pub(crate) fn cut_down<R: Run>(failed: &R, runs: usize, again: impl Fn(&[u64]) -> R) -> R {
    let (mut best, mut left, begun) = (failed.clone(), runs, Instant::now());
    let mut chunk = best.steps().len().div_ceil(2);
    while chunk > 0 && left > 0 && begun.elapsed() < MINIMISE_FOR {
        let mut from = 0;
        while from < best.steps().len() && left > 0 && begun.elapsed() < MINIMISE_FOR {
            left -= 1;
            let to = (from + chunk).min(best.steps().len());
            let fewer: Vec<u64> = best.steps()[..from].iter().chain(&best.steps()[to..]).copied().collect();
            let report = again(&fewer);
            if report.is_broken() {
                best = report;
            } else {
                from = to;
            }
        }
        chunk /= 2;
    }
    best
}

/// Runs these steps of a seed.
pub fn run_steps(seed: u64, steps: &[u64], mutant: Option<Mutant>) -> Report {
    run_struck(seed, steps, mutant, Strike::Anything)
}

/// Runs one seed with a single power loss, or none.
pub fn sweep(seed: u64, steps: u64, strike: Strike) -> Report {
    run_struck(seed, &(0..steps).collect::<Vec<_>>(), None, strike)
}

/// Keys with a store of values that outlives every crash, as a disk or a bucket does.
pub(crate) fn values_beside(seed: u64) -> Arc<Keyring> {
    let keys = Keyring::ephemeral(seed);
    keys.keep_in(Arc::new(MemoryBlobs::with_clock(|| 1)));
    Arc::new(keys)
}

fn run_struck(seed: u64, steps: &[u64], mutant: Option<Mutant>, strike: Strike) -> Report {
    let mut world = World {
        rng: Rng::new(seed),
        now: 1_800_000_000_000,
        off: 0,
        disk: SimDisk::new(seed),
        keys: values_beside(seed),
        kinds: quota::kinds(mutant),
        node: None,
        sink: Sink::default(),
        workload: Workload::with_strangers(seed),
        sent: BTreeMap::new(),
        history: History::default(),
        feed: Feed::new(PARTITIONS),
        cut_off_until: 0,
        step: 0,
        counts: Counts::default(),
        broken: Vec::new(),
        trace: Vec::new(),
        mutant,
        strike,
        did: "a start",
        struck: None,
    };
    if let Strike::BeforeChange(changes) = strike {
        world.disk.inject(|faults| faults.power_loss_after = Some(changes));
    }
    let (started, mut taken) = (world.now, Vec::new());
    for step in steps {
        world.counts.steps += 1;
        world.step = *step;
        world.rng = Rng::new(seed ^ step.wrapping_mul(0xd134_2543_de82_ef95));
        taken.push(*step);
        world.act();
        if strike == Strike::AfterStep(*step) && world.broken.is_empty() {
            world.struck = Some(format!("after {}", world.did));
            world.crash();
        }
        if !world.broken.is_empty() {
            break;
        }
    }
    if world.broken.is_empty() {
        world.calm_down();
    }
    if world.broken.is_empty() {
        world.check();
    }
    let files = world.disk.files();
    let parts: Vec<Vec<u8>> = files
        .into_iter()
        .flat_map(|(path, bytes)| [path.to_string_lossy().into_owned().into_bytes(), bytes])
        .collect();
    let disk = Digest::of(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
    if world.broken.is_empty() {
        world.rot();
    }
    world.counts.disk = world.disk.counts();
    world.counts.simulated_ms = world.now - started;
    Report {
        seed,
        counts: world.counts,
        disk,
        broken: world.broken,
        trace: world.trace,
        steps: taken,
        struck: world.struck,
    }
}

impl World {
    fn note(&mut self, what: String) {
        if self.trace.len() == TRACE {
            self.trace.remove(0);
        }
        self.trace.push(format!("{:>6} {what}", self.step));
    }

    fn start(&mut self) {
        let seed = self.rng.draw();
        let log = match SimLog::open(Arc::new(self.disk.clone()), &PathBuf::from("/data"), PARTITIONS) {
            Ok(log) => log,
            // A full or failing disk may refuse a start; the next try comes later.
            Err(error) => {
                self.note(format!("start refused: {error}"));
                self.did = "a start";
                self.lose_power();
                return;
            }
        };
        match SimNode::start(log, self.keys.clone(), self.kinds.clone(), seed, self.reading(), self.mutant) {
            Ok(node) => self.node = Some(node),
            Err(error) => {
                self.note(format!("start failed: {error}"));
                self.did = "a start";
                self.lose_power();
            }
        }
    }
}
