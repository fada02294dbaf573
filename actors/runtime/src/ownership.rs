//! How this node's ownership of partitions begins and ends, as their actors change it.

use crate::{
    cluster::Cluster,
    core::Core,
    kernel::{authorities, ownership::Input, writer},
    mailbox::PartitionMsg,
    refusals::not_open,
};
use quipu_events::{
    heads::HeadEntry,
    index::{CaughtUp, IndexError},
    leases::{Change, Leases},
    port::{AppendError, Head},
};
use quipu_schemas::{ids::StreamId, limits, record};
use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

impl Core {
    /// Tells the partition's actor.
    pub(crate) fn tell(&self, partition: u16, input: Input) {
        if let Some(actor) = self.partition(partition).supervisor.lock().as_ref() {
            let _ = actor.send_message(PartitionMsg::Input(input));
        }
    }

    /// Whether a partition could not be indexed to its end when the node started.
    pub(crate) fn is_unreadable(&self, partition: u16) -> bool {
        self.unreadable.contains_key(&partition)
    }

    /// Notes that the first attempt to own a partition came to an end.
    pub(crate) fn opened(&self, partition: u16) {
        self.opened.send_if_modified(|opened| opened.insert(partition));
    }

    /// Says who the others are.
    pub(crate) fn among(&self, cluster: Cluster) {
        // Set once, when the node starts.
        let _ = self.cluster.set(cluster);
    }

    pub(crate) fn cluster(&self) -> Option<&Cluster> {
        self.cluster.get()
    }

    /// Notes that a partition of another node was read to the end that was asked for then.
    pub(crate) fn followed(&self, partition: u16, asked: u64) {
        self.partition(partition).followed.fetch_max(asked, Ordering::AcqRel);
    }

    /// Whether another node may have written to a partition since this one looked.
    pub(crate) fn is_elsewhere(&self, partition: u16) -> bool {
        self.is_shared && !self.is_owner(partition)
    }

    /// Whether what this node knows of a partition is fresh enough to decide by.
    pub(crate) fn is_fresh(&self, partition: u16) -> bool {
        !self.is_shared
            || self.is_owner(partition)
            || self.monotonic() <= self.partition(partition).followed.load(Ordering::Acquire) + limits::AUTHORITY_STALE_MS
    }

    /// Waits until each partition is owned or could not be for now.
    pub(crate) async fn all_opened(&self) {
        let mut opened = self.opened.subscribe();
        // The sender lives in `self`.
        let _ = opened.wait_for(|opened| opened.len() >= usize::from(self.meta.partitions)).await;
    }

    /// Opens admission at the end that the claim made.
    pub(crate) fn admit(&self, partition: u16, head: Head) {
        self.partition(partition).writer.lock().resume(head);
        self.partition(partition).unknown.lock().take();
        self.serving.send_if_modified(|serving| serving.insert(partition));
        self.durable.send_modify(|n| *n += 1);
        self.timers.send_modify(|n| *n += 1);
        self.owners.send_modify(|n| *n += 1);
    }

    /// Until when refusals may be given.
    pub(crate) fn leased(&self, partition: u16, until: Option<u64>) {
        self.partition(partition).refuses_until.store(until.unwrap_or(0), Ordering::Release);
    }

    /// Whether an answer that appends nothing may be given now.
    pub(crate) fn may_refuse(&self, partition: u16) -> bool {
        self.monotonic() < self.partition(partition).refuses_until.load(Ordering::Acquire)
    }

    /// Whether this node takes commands for a partition.
    pub(crate) fn is_owner(&self, partition: u16) -> bool {
        self.partition(partition).writer.lock().refuses().is_none()
    }

    /// Takes no new commands; those that were taken go on.
    pub(crate) fn close_admission(&self, partition: u16) {
        self.partition(partition).writer.lock().close(not_open(partition));
        self.serves_no_more(partition);
    }

    /// Where another node may take over, what is done on behalf of the owner ends here.
    fn serves_no_more(&self, partition: u16) {
        if self.is_shared {
            self.serving.send_if_modified(|serving| serving.remove(&partition));
        }
    }

    /// Says why a partition is not owned.
    pub(crate) fn refuse(&self, partition: u16, error: &AppendError) {
        let problem = writer::stopped(partition, error);
        let mut writer = self.partition(partition).writer.lock();
        // It is tried again and again; the same reason is told once.
        if writer.stopped().is_none_or(|known| known.detail != problem.detail) {
            tracing::error!(partition, %error, "this node cannot own the partition");
        }
        writer.refuse(problem);
    }

    /// Waits until nothing that was admitted is undecided or on its way to the log.
    pub(crate) async fn drained(&self, partition: u16) {
        let mut durable = self.durable.subscribe();
        let busy = || self.registry.waiting(partition, self.meta.partitions) > 0 || self.partition(partition).writer.lock().depth() > 0;
        while busy() {
            // A refusal makes no frame durable, so it is looked at from time to time.
            let _ = tokio::time::timeout(Duration::from_millis(20), durable.changed()).await;
        }
    }

    /// Forgets everything about a partition that only its owner may know.
    pub(crate) fn abandon(&self, partition: u16) {
        // The writer first: from then on nothing starts an entity.
        {
            let mut writer = self.partition(partition).writer.lock();
            // A reason that was given before says more.
            let problem = writer.stopped().cloned().unwrap_or_else(|| not_open(partition));
            writer.abandon(problem);
            self.partition(partition).appending_since(None);
        }
        *self.partition(partition).relay.lock() = None;
        self.vitals
            .lock()
            .forget(|stream| stream.partition(self.meta.partitions) == partition);
        self.serves_no_more(partition);
        for actor in self.registry.remove_partition(partition, self.meta.partitions) {
            actor.stop(None);
        }
        self.durable.send_modify(|n| *n += 1);
    }

    /// Reads a partition on into the index, as far as the log can be read. What is known of rights is kept up with it, record by
    /// record and by one reader at a time, so that whoever finds nothing more to read finds that too. Blocks.
    pub(crate) fn read_on_to_end(&self, partition: u16, caught: &mut CaughtUp) -> Result<(), IndexError> {
        let _reader = self.partition(partition).reading.lock();
        let mut each = |stream: &StreamId, offset: u64, bytes: &[u8]| {
            self.rates.followed(stream, bytes);
            if !authorities::is_about(&stream.kind) {
                return;
            }
            match record::decode(bytes) {
                Ok(record) => {
                    self.authority.record(partition, &record);
                    self.accounts.book.record(&*self.keys, offset, &record);
                }
                // Its stream was parked; what was known of it counts no longer.
                Err(_) => {
                    self.authority.forget(partition, stream);
                    self.accounts.book.forget(stream);
                }
            }
        };
        let read = self.index.follow_partition(&*self.log, partition, &mut each, caught);
        if read.is_err() {
            self.authority.read_further(partition);
            self.rates.read_further();
        }
        read
    }

    /// The index has read a partition to its end: what was read is known from now on.
    pub(crate) fn caught_up(&self, partition: u16, records: u64) {
        let next = self.index.next_offset(partition);
        {
            let mut cursor = self.cursor.lock();
            let known = &mut cursor.next[usize::from(partition)];
            *known = next.max(*known);
        }
        if records > 0 {
            self.durable.send_modify(|n| *n += 1);
            self.timers.send_modify(|n| *n += 1);
        }
    }

    /// Whether a batch of unknown outcome is in the log; to be asked behind a claim. `None` if the log does not say.
    pub(crate) fn is_stored(&self, partition: u16, batch: [u8; 16]) -> Option<bool> {
        let Some((_, first)) = self.partition(partition).unknown.lock().filter(|(id, _)| *id == batch) else {
            return Some(false);
        };
        let mut from = first;
        loop {
            let frames = self.log.read(partition, from, limits::FRAME_MAX_BYTES).ok()?;
            if frames.iter().any(|frame| frame.batch_id == batch) {
                return Some(true);
            }
            let next = frames.last().map(|frame| frame.first_offset + frame.records.len() as u64);
            match next {
                Some(next) if next > from => from = next,
                _ => return Some(false),
            }
        }
    }

    /// Ends of the partitions that this node owns or has owned since it started, as far as it saw them durable: for the heads file.
    /// A partition that was handed over keeps what it had, as a node that stops has handed over all of them.
    pub(crate) fn owned_heads(&self) -> Vec<HeadEntry> {
        (0..self.meta.partitions)
            .filter_map(|partition| {
                let writer = self.partition(partition).writer.lock();
                let head = writer.head();
                let entry = HeadEntry {
                    generation: self.meta.generation,
                    partition,
                    offset: head.next_offset,
                    frame_hash: head.frame_hash,
                };
                (writer.epoch() > 0).then_some(entry)
            })
            .collect()
    }
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
