//! What the actors of a node are told, and how their callers are answered.

use crate::kernel::{
    attempt::AttemptEnd,
    entity::Snapshot,
    ownership::Input,
    refusals::outcome_unknown,
    relay::{Page, Purpose, Row, Standing},
    writer::{Durable, Incarnation},
};
use quipu_events::port::{AppendError, Head};
use quipu_schemas::{
    envelope::{CommandEnvelope, Receipt},
    ids::StreamId,
    problem::Problem,
    reaction::ReactionKey,
    record::Record,
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::oneshot;

/// For an entity.
pub(crate) enum EntityMsg {
    Command {
        envelope: Arc<CommandEnvelope>,
        reply: Reply,
        _waiting: Waiting,
    },
    Durable(Durable),
    /// An append of this entity failed; what was recovered since is of a later incarnation, and not meant.
    Failed(Problem, Incarnation),
    Passivate,
    /// Everything that was sent before the entity left the registry has been answered.
    End,
}

/// Counts one waiting command until it is handled.
pub(crate) struct Waiting([Arc<AtomicUsize>; 2]);

impl Waiting {
    /// Counts it in both.
    pub(crate) fn new(counts: [Arc<AtomicUsize>; 2]) -> Self {
        for count in &counts {
            count.fetch_add(1, Ordering::AcqRel);
        }
        Self(counts)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        for count in &self.0 {
            count.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// For the relay of a partition.
pub(crate) enum RelayMsg {
    /// Durable records with their offsets.
    Records(Vec<(u64, Arc<Record>)>),
    /// What was asked for; `None`: it could not be read.
    Page(Option<Page>),
    Submitted {
        key: ReactionKey,
        purpose: Purpose,
        envelope: Box<CommandEnvelope>,
        answer: Result<Receipt, Problem>,
    },
    Performed {
        key: ReactionKey,
        end: AttemptEnd,
    },
    Step {
        planned: bool,
    },
    Rows(oneshot::Sender<Vec<Row>>),
    Standing(oneshot::Sender<Standing>),
    /// Look into the index again: a dead effect was asked for again.
    Reload,
}

/// For the owner of a partition.
pub(crate) enum PartitionMsg {
    /// For the machine.
    Input(Input),
    /// The claim frame is durable, and this is the end that it made.
    Claimed(Result<Head, AppendError>),
    /// A fresh relay, after the last one crashed.
    RestartRelay,
}

/// A snapshot to be stored; `offset` is that of the last record folded.
pub(crate) struct SnapshotMsg {
    pub(crate) stream: StreamId,
    pub(crate) snapshot: Snapshot,
    pub(crate) offset: u64,
}

/// Answers its caller whatever happens: dropped without an answer, it says that the command crashed its entity (if that
/// was being decided) or that the outcome is unknown (if it was waiting, before or after that).
pub(crate) struct Reply {
    sender: Option<oneshot::Sender<Result<Receipt, Problem>>>,
    is_deciding: bool,
}

impl Reply {
    pub(crate) fn new(sender: oneshot::Sender<Result<Receipt, Problem>>) -> Self {
        Self {
            sender: Some(sender),
            is_deciding: false,
        }
    }

    /// Whether the command is being decided.
    pub(crate) fn is_deciding(&mut self, is_deciding: bool) {
        self.is_deciding = is_deciding;
    }

    pub(crate) fn send(mut self, answer: Result<Receipt, Problem>) {
        if let Some(sender) = self.sender.take() {
            let _ = sender.send(answer);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.take() {
            let problem = if self.is_deciding && std::thread::panicking() {
                Problem::new(
                    500,
                    "command_crashed",
                    "the command crashed its entity; the entity recovers from the log and nothing changed",
                )
                .fix("this is a defect of the kind's rules; report it with the command")
            } else {
                outcome_unknown()
            };
            let _ = sender.send(Err(problem));
        }
    }
}
