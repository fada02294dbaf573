//! A whole node on one thread under a seed: the same machines that the shells drive, on a simulated disk, with a clock
//! that only the simulation moves. Crashes, delays, duplicates, failed and unknown appends, full disks and clock jumps
//! strike between any two actions. Equal seeds give equal bytes on the disk.

mod checks;
mod log;
mod node;
mod sink;
mod workload;

pub use node::Mutant;

use log::SimLog;
use node::{Answer, SimNode};
use quipu_events::{disk::SimDisk, keyring::Keyring};
use quipu_runtime::kinds::Kinds;
use quipu_schemas::{
    context::Millis,
    digest::Digest,
    envelope::{CommandEnvelope, Receipt},
    ids::{CommandId, StreamId},
};
use sink::Sink;
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};
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

/// How often each thing happened in a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Actions taken.
    pub steps: u64,
    /// Commands sent, repetitions included.
    pub sent: u64,
    /// Receipts.
    pub acknowledged: u64,
    /// Refusals.
    pub refused: u64,
    /// Answers that say that nobody knows.
    pub unknown: u64,
    /// Repetitions of a command.
    pub repeated: u64,
    /// Deliveries of one command twice.
    pub duplicated: u64,
    /// Crashes of the node.
    pub crashes: u64,
    /// Syncs made to fail.
    pub failed_syncs: u64,
    /// Times the disk was full.
    pub full: u64,
    /// Clock jumps.
    pub jumps: u64,
    /// Effects that reached the sink.
    pub delivered: u64,
    /// Timers fired.
    pub fired: u64,
    /// Entities put to sleep.
    pub passivated: u64,
    /// Simulated time that passed, milliseconds.
    pub simulated_ms: u64,
    /// Records in the log at the end.
    pub records: u64,
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
}

pub(crate) struct Sent {
    pub(crate) envelope: CommandEnvelope,
    pub(crate) receipts: Vec<Receipt>,
}

const PARTITIONS: u16 = 2;
const TRACE: usize = 60;

/// The world around the node: disk, clock, clients, receivers.
pub(crate) struct World {
    rng: Rng,
    now: Millis,
    disk: SimDisk,
    keys: Arc<Keyring>,
    kinds: Kinds,
    node: Option<SimNode>,
    sink: Sink,
    workload: Workload,
    sent: BTreeMap<(StreamId, CommandId), Sent>,
    counts: Counts,
    broken: Vec<String>,
    trace: Vec<String>,
    mutant: Option<Mutant>,
}

/// Runs one seed: `steps` random actions, then a calm end in which everything must come to rest, then the checks.
pub fn run(seed: u64, steps: u64, mutant: Option<Mutant>) -> Report {
    let mut world = World {
        rng: Rng::new(seed),
        now: 1_800_000_000_000,
        disk: SimDisk::new(seed),
        keys: Arc::new(Keyring::ephemeral(seed)),
        kinds: Kinds::builtin(),
        node: None,
        sink: Sink::default(),
        workload: Workload::default(),
        sent: BTreeMap::new(),
        counts: Counts::default(),
        broken: Vec::new(),
        trace: Vec::new(),
        mutant,
    };
    let started = world.now;
    for _ in 0..steps {
        world.counts.steps += 1;
        world.act();
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
    world.counts.simulated_ms = world.now.saturating_sub(started);
    let files = world.disk.files();
    let parts: Vec<Vec<u8>> = files.into_iter().flat_map(|(path, bytes)| [path.to_string_lossy().into_owned().into_bytes(), bytes]).collect();
    let disk = Digest::of(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
    Report { seed, counts: world.counts, disk, broken: world.broken, trace: world.trace }
}

impl World {
    fn note(&mut self, what: String) {
        if self.trace.len() == TRACE {
            self.trace.remove(0);
        }
        self.trace.push(format!("{:>6} {what}", self.counts.steps));
    }

    fn start(&mut self) {
        let seed = self.rng.draw();
        let log = match SimLog::open(Arc::new(self.disk.clone()), &PathBuf::from("/data"), PARTITIONS) {
            Ok(log) => log,
            // A full or failing disk may refuse a start; the next try comes later.
            Err(error) => {
                self.note(format!("start refused: {error}"));
                self.disk.crash();
                return;
            }
        };
        match SimNode::start(log, self.keys.clone(), self.kinds.clone(), seed, self.mutant) {
            Ok(node) => self.node = Some(node),
            Err(error) => {
                self.note(format!("start failed: {error}"));
                self.disk.crash();
            }
        }
    }

    fn act(&mut self) {
        if self.node.is_none() {
            self.disk.inject(|faults| faults.capacity_bytes = None);
            return self.start();
        }
        match self.rng.below(1000) {
            0..=229 => self.client_sends(),
            230..=259 => self.client_repeats(),
            260..=459 => self.deliver(),
            460..=599 => self.with_node(|node, rng, now| node.flush(rng, now)),
            600..=699 => self.with_node(|node, rng, now| node.complete(rng, now)),
            700..=779 => self.with_node(|node, rng, now| node.relay(rng, now)),
            780..=839 => self.perform(),
            840..=899 => {
                let by = 1 + self.rng.below(2_000);
                self.now += by;
            }
            900..=929 => self.fire(),
            930..=959 => self.with_node(|node, rng, now| node.project_or_index(rng, now)),
            960..=974 => {
                if self.with_node(|node, rng, now| node.passivate(rng, now)) {
                    self.counts.passivated += 1;
                }
            }
            975..=984 => self.crash(),
            985..=988 => {
                self.note("next sync fails".into());
                self.counts.failed_syncs += 1;
                self.disk.inject(|faults| faults.fail_next_sync = true);
            }
            989..=991 => {
                let after = self.rng.below(6);
                self.note(format!("power loss {after} writes from now"));
                self.disk.inject(|faults| faults.power_loss_after = Some(after));
            }
            992..=993 => {
                self.note("disk full".into());
                self.counts.full += 1;
                self.disk.inject(|faults| faults.capacity_bytes = Some(1));
            }
            994..=995 => self.disk.inject(|faults| faults.capacity_bytes = None),
            996..=997 => {
                self.note("clock jumps an hour ahead".into());
                self.counts.jumps += 1;
                self.now += 3_600_000;
            }
            _ => {
                self.note("clock jumps an hour back".into());
                self.counts.jumps += 1;
                self.now -= 3_600_000;
            }
        }
        self.settle();
    }

    fn with_node<T: Default>(&mut self, act: impl FnOnce(&mut SimNode, &mut Rng, Millis) -> T) -> T {
        match &mut self.node {
            Some(node) => act(node, &mut self.rng, self.now),
            None => T::default(),
        }
    }

    /// Takes the node's answers to its clients; a node that found its log failing is started again.
    fn settle(&mut self) {
        let Some(node) = &mut self.node else { return };
        let answers = std::mem::take(&mut node.answers);
        let broken = std::mem::take(&mut node.broken);
        let failing = node.is_failing();
        self.broken.extend(broken);
        for answer in answers {
            self.hear(answer);
        }
        if failing {
            self.note("the log failed: restart".into());
            self.crash();
        }
    }

    fn hear(&mut self, Answer { stream, command_id, result }: Answer) {
        let Some(sent) = self.sent.get_mut(&(stream.clone(), command_id.clone())) else { return };
        match result {
            Ok(receipt) => {
                self.counts.acknowledged += 1;
                self.workload.learn(&sent.envelope);
                if let Some(first) = sent.receipts.first()
                    && (first.version, first.position) != (receipt.version, receipt.position)
                {
                    self.broken.push(format!("{stream} {command_id}: two receipts, {first:?} and {receipt:?}"));
                }
                sent.receipts.push(receipt);
            }
            Err(problem) if problem.code == "outcome_unknown" => self.counts.unknown += 1,
            Err(problem) if problem.status >= 500 && problem.status != 503 && problem.status != 507 => {
                self.broken.push(format!("{stream} {command_id}: {problem}"));
            }
            Err(_) => self.counts.refused += 1,
        }
    }

    fn client_sends(&mut self) {
        let Some(request) = self.workload.next(&mut self.rng) else { return };
        let seed = (u128::from(self.rng.draw()) << 64) | u128::from(self.rng.draw());
        match quipu_runtime::ingress::admit(request, &self.kinds, &self.keys, seed, self.now) {
            Ok(envelope) => {
                let key = (envelope.stream.clone(), envelope.command_id.clone());
                self.counts.sent += 1;
                self.sent.insert(key, Sent { envelope: envelope.clone(), receipts: Vec::new() });
                self.put(envelope);
            }
            Err(problem) => self.broken.push(format!("workload sent what ingress refuses: {problem}")),
        }
    }

    fn client_repeats(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        let at = self.rng.below(self.sent.len() as u64) as usize;
        let envelope = self.sent.values().nth(at).expect("within bounds").envelope.clone();
        self.counts.repeated += 1;
        self.put(envelope);
    }

    fn put(&mut self, envelope: CommandEnvelope) {
        let twice = self.rng.chance(5);
        let Some(node) = &mut self.node else { return };
        if twice {
            self.counts.duplicated += 1;
            node.inbox.push(envelope.clone());
        }
        node.inbox.push(envelope);
    }

    fn deliver(&mut self) {
        let line = match &mut self.node {
            Some(node) => node.deliver(&mut self.rng, self.now),
            None => None,
        };
        if let Some(line) = line {
            self.note(line);
        }
    }

    fn perform(&mut self) {
        let Some(node) = &mut self.node else { return };
        if let Some(line) = node.perform(&mut self.rng, self.now, &mut self.sink, &self.keys) {
            self.counts.delivered = self.sink.delivered();
            self.note(line);
        }
    }

    fn fire(&mut self) {
        let now = self.now;
        let Some(node) = &mut self.node else { return };
        self.counts.fired += node.fire_timers(now);
    }

    fn crash(&mut self) {
        self.note("crash".into());
        self.counts.crashes += 1;
        // Whatever was not answered is forgotten with the node; clients may repeat it.
        self.node = None;
        self.disk.crash();
    }

    /// No more faults and no new commands: everything pending must settle, every view catch up.
    fn calm_down(&mut self) {
        self.disk.crash();
        self.node = None;
        self.disk.inject(|faults| *faults = Default::default());
        self.start();
        for _ in 0..20_000 {
            if self.node.is_none() {
                self.broken.push("the node does not start on a healthy disk".into());
                return;
            }
            self.deliver();
            let now = self.now;
            self.with_node(|node, rng, now| node.flush_all(rng, now));
            self.with_node(|node, rng, now| node.relay(rng, now));
            self.perform();
            self.fire();
            self.settle();
            if !self.broken.is_empty() {
                return;
            }
            let Some(node) = &self.node else { continue };
            if node.is_quiet() {
                match node.next_due() {
                    // Timers a day away (handoffs) may stay; anything nearer is waited for.
                    Some(at) if at < now + 7_200_000 => self.now = self.now.max(at),
                    _ => return,
                }
            } else {
                // After clock jumps a retry may be due an hour from now.
                self.now = node.next_retry().unwrap_or(self.now).max(self.now + 7);
            }
        }
        self.broken.push("the node does not come to rest".into());
    }
}
