//! The world around the ownership machines: nodes with clocks, a lease store, a log, a network that delays, repeats and
//! loses, clients that repeat their commands. A state is a value; every choice of the world is an action.

use parking_lot::Mutex;
use quipu_runtime::kernel::ownership::{AppendOutcome, BatchId, ClaimOutcome, Frame, Ownership, Reader, Reading, Timing};
use std::collections::BTreeMap;

/// How the log keeps stale owners out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broker {
    /// An append names the last sequence that it expects (JetStream).
    CompareAndSet,
    /// A claim fences the producers before it (Kafka's `init_transactions`).
    Producers,
}

/// What the lease store does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leases {
    /// What it should, with answers on their way for any time.
    Kept,
    /// It grants whatever is asked, at once: any number of nodes hold the lease. What must hold of the log then holds
    /// by epochs alone.
    Broken,
}

/// A mistake that the checker must find. Each changes what the machine is told, or what becomes of its actions, so that
/// the node behaves as one whose machine had the mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plant {
    /// None.
    Nothing,
    /// The claim is taken for durable when it is sent.
    AdmitBeforeClaim,
    /// The claim is taken for the end of the restore, and nothing is read.
    SkipRestore,
    /// The log stores whatever arrives, under any epoch.
    StoreAnyEpoch,
    /// The log does not recognise what a producer sends twice (Kafka without `enable.idempotence`).
    NotIdempotent,
    /// A command gets its receipt when its append is sent.
    AcknowledgeBeforeOutcome,
    /// An append of unknown outcome is sent again at the log's end.
    RetryUnknown,
    /// An append of unknown outcome is looked for at once and, if absent, called not stored.
    ReadBackWithoutClaim,
    /// Answers without a record as long as the node believes to own, whatever the lease.
    RefuseWithoutLease,
    /// The holder counts the whole lease, though its clock may fall behind.
    NoMargin,
    /// A claim whose answer is lost is awaited for ever.
    AwaitClaimForEver,
}

/// Bounds and kinds.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) broker: Broker,
    pub(crate) leases: Leases,
    pub(crate) plant: Plant,
    pub(crate) nodes: usize,
    pub(crate) commands: u8,
    /// Ticks by which clocks fall behind, together.
    pub(crate) lags: u8,
    /// Claims in the log.
    pub(crate) claims: u64,
    /// Commands sent, repeats included.
    pub(crate) sends: u8,
    /// Lost answers, repeated requests and crashes, together.
    pub(crate) faults: u8,
    /// Planned handoffs and shutdowns, together.
    pub(crate) handoffs: u8,
}

pub(crate) const LEASE: u64 = 3;

impl World {
    pub(crate) fn timing(&self) -> Timing {
        let margin_ms = if self.plant == Plant::NoMargin { 0 } else { 1 };
        if self.leases == Leases::Broken {
            return Timing {
                lease_ms: 1,
                margin_ms: 0,
                renew_ms: 1,
                drain_ms: 1,
                rest_ms: 1,
            };
        }
        Timing {
            lease_ms: LEASE,
            margin_ms,
            renew_ms: 1,
            drain_ms: 1,
            rest_ms: 1,
        }
    }
}

/// A request on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Request {
    Ask {
        node: usize,
    },
    Renew {
        grant: u64,
    },
    /// Finds the end of the log, and fences where the broker can; then the claim itself is sent.
    Claim,
    ClaimFrame {
        epoch: u64,
        guard: u64,
        offset: u64,
    },
    Append {
        epoch: u64,
        guard: u64,
        offset: u64,
        command: u8,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reply {
    Granted { grant: u64 },
    Held { for_ms: u64 },
    Claimed { outcome: ClaimOutcome, guard: u64 },
    Appended(AppendOutcome),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    There(Request),
    Back(Reply),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) machine: Ownership,
    /// How far its clock is behind.
    pub(crate) lag: u64,
    pub(crate) wanted: bool,
    pub(crate) admitting: bool,
    /// Question to the lease store, with the time of asking.
    pub(crate) lease: Option<(u64, Way)>,
    /// Claim or append.
    pub(crate) log: Option<Way>,
    /// Reading to the end, for this epoch.
    pub(crate) reading: Option<u64>,
    /// What the node knows of each command: its offset.
    pub(crate) known: Vec<Option<u64>>,
    pub(crate) next_offset: u64,
    /// Sequence or producer under which it appends.
    pub(crate) guard: u64,
    pub(crate) in_flight: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Stored {
    pub(crate) epoch: u64,
    pub(crate) offset: u64,
    /// `None`: a claim.
    pub(crate) command: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) now: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) grant: u64,
    /// Holder and end of the lease.
    pub(crate) lease: Option<(usize, u64)>,
    pub(crate) log: Vec<Stored>,
    /// Last producer (Kafka).
    pub(crate) producer: u64,
    /// Requests that nobody waits for; they may arrive at any time, or never.
    pub(crate) strays: Vec<Request>,
    /// First receipt of each command.
    pub(crate) receipts: Vec<Option<u64>>,
    pub(crate) sends: u8,
    pub(crate) faults: u8,
    pub(crate) lags: u8,
    pub(crate) handoffs: u8,
    /// Appends of which was said that they are not stored: epoch and command.
    pub(crate) denied: Vec<(u64, u8)>,
    pub(crate) two_receipts: bool,
    pub(crate) refused_outside_lease: bool,
    pub(crate) refused_stale: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Time passes for all, but for one clock that falls behind.
    Time {
        behind: Option<usize>,
    },
    Tick(usize),
    /// The node hears of the lease as it is.
    See(usize),
    LeaseArrives(usize),
    LeaseAnswers(usize),
    LeaseTimesOut(usize),
    LogArrives(usize),
    LogAnswers(usize),
    LogTimesOut(usize),
    /// The network repeats the request to the log.
    Repeat(usize),
    Stray(usize),
    Read(usize),
    Send(usize, u8),
    Refuse(usize),
    HandOff(usize),
    Own(usize),
    Shutdown(usize),
    Start(usize),
    /// `kill -9` and start.
    Crash(usize),
}

/// Counts of what happened on explored transitions: shows that faults were injected.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<BTreeMap<&'static str, u64>>);

impl Seen {
    pub(crate) fn count(&self, what: &'static str) {
        *self.0.lock().entry(what).or_default() += 1;
    }

    pub(crate) fn take(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut self.0.lock())
    }
}

pub(crate) fn batch(epoch: u64, command: u8) -> BatchId {
    let mut id = [0; 16];
    id[0] = epoch as u8;
    id[1] = command;
    id
}

impl State {
    pub(crate) fn clock(&self, n: usize) -> u64 {
        self.now - self.nodes[n].lag
    }

    /// The log as every reader takes it: offset of each record, or why reading stops.
    pub(crate) fn readable(&self) -> Result<(Reader, Vec<Stored>), String> {
        let mut reader = Reader::default();
        let mut taken = Vec::new();
        for stored in &self.log {
            let frame = Frame {
                epoch: stored.epoch,
                first_offset: stored.offset,
                count: u64::from(stored.command.is_some()),
            };
            match reader.read(frame).map_err(|e| e.to_string())? {
                Reading::Taken => taken.push(*stored),
                Reading::PassedOver => {}
            }
        }
        Ok((reader, taken))
    }

    pub(crate) fn end(&self) -> Reader {
        self.readable().map(|(reader, _)| reader).unwrap_or_default()
    }
}
