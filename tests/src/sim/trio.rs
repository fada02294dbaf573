//! Three nodes over one simulated broker, under a seed: each with its own clock, its own index and views, and the machines
//! of ownership that the product runs. Crashes, pauses, cut networks, lost, late and doubled messages strike at any moment.
//! Equal seeds give equal bytes in the broker's streams. A step draws from a generator of its own, so that steps can be left
//! out.

mod calm;
mod clients;
mod counts;
mod faults;
mod network;
mod verdict;
mod wire;

pub use counts::Counts;
use parking_lot::Mutex;

use super::{
    Rng, Run,
    broker::{Broker, Fence},
    cut_down,
    feed::Feed,
    history::History,
    lessee::LEASE_MS,
    member::{Clock, Member},
    sink::Sink,
    workload::Workload,
};
use network::Event;
use quipu_events::keyring::Keyring;
use quipu_runtime::kinds::Kinds;
use quipu_schemas::{
    context::Millis,
    digest::Digest,
    envelope::{CommandEnvelope, Receipt},
    ids::{CommandId, StreamId},
    reaction::ReactionKey,
};
use std::{collections::BTreeMap, sync::Arc};

pub(crate) const NODES: usize = 3;
pub(crate) const PARTITIONS: u16 = 3;
const TRACE: usize = 100;
const BEGINNING: Millis = 1_800_000_000_000;

/// A planted defect of this world, by which its checks prove that they see. It lives in the simulation's glue alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// None.
    Nothing,
    /// A refusal leaves whatever became of the lease.
    RefusesPastItsLease,
    /// A node admits when its claim is stored, and reads nothing.
    AdmitsBeforeItHasRead,
    /// An append of unknown outcome is sent again behind the next claim, and not looked for.
    SendsUnknownAgain,
    /// Readers take the frames of a replaced owner.
    TakesStaleFrames,
    /// The broker stores an append whatever it expects.
    StoresWhateverArrives,
    /// A command that is forwarded again goes under a new id.
    ForwardsAgainUnderANewId,
    /// What is in memory is kept when a partition is given up.
    KeepsEntities,
    /// A receipt leaves when the append does.
    AcknowledgesBeforeItIsStored,
}

/// All of them.
pub const PLANTS: [Plant; 8] = [
    Plant::RefusesPastItsLease,
    Plant::AdmitsBeforeItHasRead,
    Plant::SendsUnknownAgain,
    Plant::TakesStaleFrames,
    Plant::StoresWhateverArrives,
    Plant::ForwardsAgainUnderANewId,
    Plant::KeepsEntities,
    Plant::AcknowledgesBeforeItIsStored,
];

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What happened.
    pub counts: Counts,
    /// Digest over every message of the broker's streams.
    pub streams: Digest,
    /// Broken promises; empty if all held.
    pub broken: Vec<String>,
    /// The last things that happened, for reading a failure.
    pub trace: Vec<String>,
    /// The steps that were taken, by number.
    pub steps: Vec<u64>,
}

impl Run for Report {
    fn steps(&self) -> &[u64] {
        &self.steps
    }
    fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }
}

struct Sent {
    envelope: Arc<CommandEnvelope>,
    receipts: Vec<Receipt>,
}

/// A node's place in the world, whether a life of it runs or not.
struct Seat {
    member: Option<Member>,
    boots: u64,
    paused_until: Millis,
    /// It does not reach the broker until then.
    cut_until: Millis,
    /// It does not reach other nodes until then.
    alone_until: Millis,
    rate: u64,
    ahead: u64,
    leaves_by: Millis,
}

/// The world.
pub(crate) struct Trio {
    rng: Rng,
    now: Millis,
    broker: Arc<Mutex<Broker>>,
    keys: Arc<Keyring>,
    kinds: Kinds,
    seats: Vec<Seat>,
    queue: BTreeMap<(Millis, u64), Event>,
    events: u64,
    sink: Sink,
    /// How often each attempt at an effect that must not be sent twice was begun.
    begun: BTreeMap<(ReactionKey, u32), u32>,
    workload: Workload,
    sent: BTreeMap<(StreamId, CommandId), Sent>,
    operations: BTreeMap<u64, (StreamId, usize)>,
    history: History,
    /// Streams of the last receipts, the newest last.
    recent: Vec<StreamId>,
    feed: Feed,
    /// Who admitted under each epoch.
    admitted: BTreeMap<(u16, u64), (usize, u64)>,
    last_owner: BTreeMap<u16, (usize, u64)>,
    calm: bool,
    step: u64,
    plant: Plant,
    counts: Counts,
    broken: Vec<String>,
    trace: Vec<String>,
}

/// Runs one seed: `steps` random steps, then a calm end in which everything must come to rest, then the checks.
pub fn run(seed: u64, steps: u64, plant: Plant) -> Report {
    run_steps(seed, &(0..steps).collect::<Vec<_>>(), plant)
}

/// Cuts a failing run down, as [`super::minimise`].
pub fn minimise(failed: &Report, plant: Plant, runs: usize) -> Report {
    cut_down(failed, runs, |steps| run_steps(failed.seed, steps, plant))
}

/// Runs these steps of a seed.
pub fn run_steps(seed: u64, steps: &[u64], plant: Plant) -> Report {
    let mut trio = Trio::new(seed, plant);
    let mut taken = Vec::new();
    for step in steps {
        trio.counts.steps += 1;
        trio.step = *step;
        trio.rng = Rng::new(seed ^ step.wrapping_mul(0xd134_2543_de82_ef95));
        taken.push(*step);
        trio.act();
        if !trio.broken.is_empty() {
            break;
        }
    }
    if trio.broken.is_empty() {
        trio.calm_down();
    }
    if trio.broken.is_empty() {
        trio.check();
    }
    trio.counts.simulated_ms = trio.now - BEGINNING;
    let broker = trio.broker.lock();
    (trio.counts.stale_refused, trio.counts.stale_passed_over) = (broker.stale_refused, broker.stale_kept);
    let streams = broker.digest();
    drop(broker);
    Report {
        seed,
        counts: trio.counts,
        streams,
        broken: trio.broken,
        trace: trio.trace,
        steps: taken,
    }
}

impl Trio {
    fn new(seed: u64, plant: Plant) -> Self {
        let mut rng = Rng::new(seed ^ 0x0074_7269_6f00);
        let fence = if rng.chance(35) || plant == Plant::TakesStaleFrames {
            Fence::Producers
        } else {
            Fence::LastSequence
        };
        let mut broker = Broker::new(fence, PARTITIONS);
        broker.stores_all = plant == Plant::StoresWhateverArrives;
        broker.takes_stale = plant == Plant::TakesStaleFrames;
        // Within the lease's margin, but for one clock in some runs.
        let drifting = rng.chance(20) && plant == Plant::Nothing;
        let slowest = rng.below(NODES as u64) as usize;
        let seat = |rng: &mut Rng, node: usize| Seat {
            member: None,
            boots: 0,
            paused_until: 0,
            cut_until: 0,
            alone_until: 0,
            rate: if drifting && node == slowest { 700 } else { 955 + rng.below(90) },
            ahead: rng.below(400),
            leaves_by: 0,
        };
        let seats: Vec<Seat> = (0..NODES).map(|node| seat(&mut rng, node)).collect();
        let mut trio = Self {
            now: BEGINNING,
            broker: Arc::new(Mutex::new(broker)),
            keys: crate::sim::values_beside(seed),
            kinds: Kinds::builtin(),
            seats,
            queue: BTreeMap::new(),
            events: 0,
            sink: Sink::default(),
            begun: BTreeMap::new(),
            workload: Workload::default(),
            sent: BTreeMap::new(),
            operations: BTreeMap::new(),
            history: History::with_refusals_stale_by(if drifting { LEASE_MS } else { 0 }),
            recent: Vec::new(),
            feed: Feed::new(PARTITIONS),
            admitted: BTreeMap::new(),
            last_owner: BTreeMap::new(),
            calm: false,
            step: 0,
            plant,
            counts: Counts {
                drifts_past_the_margin: u64::from(drifting),
                ..Counts::default()
            },
            broken: Vec::new(),
            trace: Vec::new(),
            rng,
        };
        for node in 0..NODES {
            // The last one may join running ones.
            let after = if node + 1 < NODES {
                trio.rng.below(300)
            } else {
                trio.rng.below(6_000)
            };
            trio.later(after, Event::Start { node });
        }
        trio
    }

    fn note(&mut self, what: &str) {
        if self.trace.len() == TRACE {
            self.trace.remove(0);
        }
        let (step, at) = (self.step, self.now - BEGINNING);
        self.trace.push(format!("{step:>5} {at:>7} ms {what}"));
    }

    fn later(&mut self, after_ms: u64, event: Event) {
        self.events += 1;
        self.queue.insert((self.now + after_ms, self.events), event);
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.rng.below(below)
    }

    fn chance(&mut self, percent: u64) -> bool {
        !self.calm && self.rng.chance(percent)
    }

    /// Lets time pass, and happen what is due.
    fn pass(&mut self, ms: u64) {
        let until = self.now + ms;
        while let Some(((at, _), _)) = self.queue.first_key_value() {
            if *at > until || !self.broken.is_empty() {
                break;
            }
            let Some(((at, _), event)) = self.queue.pop_first() else { break };
            self.now = self.now.max(at);
            self.history.now = self.now;
            self.happen(event);
        }
        self.now = self.now.max(until);
        self.history.now = self.now;
    }

    fn act(&mut self) {
        let ms = 15 + self.rng.below(90);
        self.pass(ms);
        match self.rng.below(1000) {
            0..=459 => self.client_sends(),
            460..=549 => self.client_probes(),
            550..=649 => self.client_repeats(),
            650..=699 => self.consume(),
            700..=729 => self.read_own_write(),
            730..=944 => {}
            945..=954 => {
                let ms = self.rng.below(3_000);
                self.pass(ms);
            }
            _ => self.strike(),
        }
    }

    fn start(&mut self, node: usize) {
        if self.seats[node].member.is_some() {
            return;
        }
        if self.now < self.seats[node].cut_until {
            // It finds no log to read.
            return self.later(300, Event::Start { node });
        }
        let others = self.seats.iter().filter(|seat| seat.member.is_some()).count() as u64;
        let seat = &mut self.seats[node];
        seat.boots += 1;
        (seat.paused_until, seat.leaves_by) = (0, 0);
        let clock = Clock {
            booted: self.now,
            rate: seat.rate,
            ahead: seat.ahead,
            off: 0,
        };
        // No two lives of any node share an id.
        let boot = seat.boots * NODES as u64 + node as u64;
        match Member::start(node, boot, clock, &self.broker, self.keys.clone(), self.kinds.clone(), self.plant) {
            Ok(member) => {
                seat.member = Some(member);
                self.counts.joined += u64::from(others > 0);
                self.note(&format!("node {node} starts"));
                self.beat(node, true, false);
                self.later(150, Event::Routine { node, boot, round: 0 });
            }
            Err(error) => self.broken.push(format!("node {node} does not start: {error}")),
        }
    }

    fn is_up(&self, node: usize) -> bool {
        self.seats[node].member.is_some()
    }
}
