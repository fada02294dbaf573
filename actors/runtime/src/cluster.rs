//! The other nodes: who owns what, and commands on their way to their owner.

use crate::{
    core::Core,
    kernel::{entity::outcome_unknown, ownership::Input},
    partition::{NOT_OPEN, not_open},
};
use quipu_events::leases::{Change, Leases, Member};
use quipu_schemas::{
    envelope::{CommandEnvelope, Receipt},
    limits,
    problem::Problem,
};
use std::{
    fmt,
    sync::{Arc, Weak, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// Where a node takes commands that others forward, below its address.
pub const FORWARD_PATH: &str = "/internal/v1/commands";

/// Where a node takes what others say on the volatile channel, below its address.
pub const VOLATILE_PATH: &str = "/internal/v1/volatile";

/// How this node appears to others.
#[derive(Clone, Default)]
pub struct ClusterConfig {
    /// Where other nodes reach it, `http://host:port`.
    pub address: String,
    /// What nodes show each other; without it commands are not forwarded.
    pub token: Option<String>,
    /// Life of a lease, milliseconds; 0: [`limits::LEASE_MS`].
    pub lease_ms: u64,
}

impl fmt::Debug for ClusterConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterConfig")
            .field("address", &self.address)
            .field("lease_ms", &self.lease_ms)
            .finish_non_exhaustive()
    }
}

/// A partition as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionStatus {
    /// Its number.
    pub partition: u16,
    /// Who holds its lease, as last seen.
    pub owner: Option<Member>,
    /// Whether this node takes its commands.
    pub here: bool,
    /// Its epoch, where this node owns it.
    pub epoch: Option<u64>,
    /// Records that this node knows.
    pub records: u64,
    /// Why it is not served, if it is not.
    pub trouble: Option<String>,
}

/// This node among the others.
pub(crate) struct Cluster {
    pub(crate) me: Member,
    pub(crate) leases: Arc<dyn Leases>,
    pub(crate) token: Option<String>,
    pub(crate) client: reqwest::Client,
}

impl Cluster {
    pub(crate) fn new(me: Member, leases: Arc<dyn Leases>, token: Option<String>) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .timeout(Duration::from_millis(limits::FORWARD_MS))
            .connect_timeout(Duration::from_millis(limits::FORWARD_CONNECT_MS))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { me, leases, token, client })
    }

    /// The owner of a partition, where it is another node that commands can be forwarded to.
    pub(crate) fn elsewhere(&self, partition: u16) -> Option<Member> {
        self.token.as_ref()?;
        self.leases.holder(partition).filter(|holder| holder.node != self.me.node)
    }

    /// Whether another node holds a partition's lease.
    pub(crate) fn is_anothers(&self, partition: u16) -> bool {
        self.leases.holder(partition).is_some_and(|holder| holder.node != self.me.node)
    }

    /// Sends a command to the node that owns its partition. The owner answers once its record is durable there.
    pub(crate) async fn forward(&self, owner: &Member, envelope: &CommandEnvelope) -> Result<Receipt, Problem> {
        let unreachable = |what: String| {
            Problem::new(
                503,
                "owner_unreachable",
                format!("{}, which owns this partition, does not answer: {what}", owner.address),
            )
            .fix("send the command again with the same id")
            .retry_after(1)
        };
        let request = self
            .client
            .post(format!("{}{FORWARD_PATH}", owner.address))
            .bearer_auth(self.token.as_deref().unwrap_or_default());
        let answer = match request.json(envelope).send().await {
            Ok(answer) => answer,
            // It never left.
            Err(error) if error.is_connect() => return Err(unreachable(error.without_url().to_string())),
            Err(_) => return Err(outcome_unknown()),
        };
        let status = answer.status();
        let body = answer.bytes().await.map_err(|_| outcome_unknown())?;
        // Whoever answers in other words may have passed the command on.
        if status.is_success() {
            serde_json::from_slice(&body).map_err(|_| outcome_unknown())
        } else {
            Err(serde_json::from_slice(&body).unwrap_or_else(|_| outcome_unknown()))
        }
    }
}

impl Core {
    /// Sends a command in stored form to its entity, on whichever node that is, and waits for the answer. While the entity's
    /// partition changes hands the command waits, at most [`limits::HANDOFF_WAIT_MS`]: it goes to the next owner under the
    /// same id, so that one that the last owner had decided gets its first receipt.
    pub(crate) async fn submit(self: &Arc<Self>, envelope: CommandEnvelope) -> Result<Receipt, Problem> {
        let partition = envelope.stream.partition(self.meta.partitions);
        let envelope = Arc::new(envelope);
        let deadline = Instant::now() + Duration::from_millis(limits::HANDOFF_WAIT_MS);
        let mut owners = self.owners.subscribe();
        loop {
            owners.mark_unchanged();
            let elsewhere = self
                .cluster
                .get()
                .filter(|_| !self.is_owner(partition))
                .and_then(|cluster| Some((cluster, cluster.elsewhere(partition)?)));
            let answer = match elsewhere {
                None => self.submit_here(envelope.clone()).await,
                Some((cluster, owner)) => tokio::select! {
                    answer = cluster.forward(&owner, &envelope) => answer,
                    () = self.held_by_another(partition, &owner) => Err(outcome_unknown()),
                },
            };
            let again = answer.as_ref().is_err_and(|problem| match problem.code.as_str() {
                NOT_OPEN => true,
                // Its owner, here or elsewhere, could not go on; damage, which stays, was met when this node started.
                "partition_stopped" => self.is_shared && !self.is_unreadable(partition),
                code => self.is_shared && OWNER_GOES.contains(&code),
            });
            if !again || self.stopping.load(Ordering::Acquire) || Instant::now() >= deadline {
                return answer.map_err(|problem| if again { for_now(partition, problem) } else { problem });
            }
            // What the owner itself sees of its lease reaches nobody else: looked at now and then.
            let _ = timeout(OWNER_LOOK_EVERY, owners.changed()).await;
        }
    }

    /// Waits until a partition's lease is another node's.
    async fn held_by_another(&self, partition: u16, owner: &Member) {
        let mut owners = self.owners.subscribe();
        while self
            .cluster
            .get()
            .and_then(|cluster| cluster.leases.holder(partition))
            .is_none_or(|holder| holder.node == owner.node)
        {
            if owners.changed().await.is_err() {
                return;
            }
        }
    }
}

/// What an owner says, or what is said of it, when it may no longer be one: the command is sent again, to whoever is.
const OWNER_GOES: [&str; 6] = [
    "owner_unreachable",
    "outcome_unknown",
    "not_stored",
    "stopping",
    "lease_ended",
    "authority_stale",
];
const OWNER_LOOK_EVERY: Duration = Duration::from_millis(20);

/// What was waited out in vain may still pass: whoever has a queue of commands keeps this one.
fn for_now(partition: u16, problem: Problem) -> Problem {
    if problem.code != "partition_stopped" {
        return problem;
    }
    let mut passing = not_open(partition);
    passing.detail = format!("{}: {}", passing.detail, problem.detail);
    passing
}

/// Passes on what the lease store says to the actors of the partitions.
pub(crate) fn listen(core: &Arc<Core>, leases: &dyn Leases) {
    let core: Weak<Core> = Arc::downgrade(core);
    leases.on_change(Box::new(move |change| {
        let Some(core) = core.upgrade() else { return };
        match change {
            Change::Wanted { partition, wanted: true } => core.tell(partition, Input::Own),
            Change::Wanted { partition, wanted: false } => core.tell(partition, Input::HandOff),
            Change::Lease { partition, seen } => {
                let now = core.monotonic();
                core.tell(partition, Input::LeaseSeen(seen.map(|(grant, left)| (grant, now + left))));
                core.owners.send_modify(|n| *n += 1);
            }
        }
    }));
}

#[cfg(test)]
mod tests;
