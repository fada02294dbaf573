//! Performs what the hub decides: durable records go to those who follow, and partitions of other nodes are read once for all.

use crate::{
    api::{FeedCounts, FeedEntry, FeedItem},
    feed_readers::Readers,
    kernel::{
        hub::{Hub, Offer, Topic},
        writer::Durable,
    },
};
use parking_lot::{Mutex, MutexGuard};
use quipu_schemas::{limits::FEED_KEPT_BYTES, position::Cursor};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::watch;

/// A record costs more in memory than in the log: decoded, and in up to two public forms.
const COST_OF_BYTE: usize = 3;
const COST_OF_RECORD: usize = 1_024;

/// What a record that is kept costs.
pub(crate) fn cost(stored: usize) -> usize {
    COST_OF_RECORD + COST_OF_BYTE * stored
}

pub(crate) struct State {
    pub(crate) machine: Hub<FeedItem>,
    wakes: BTreeMap<Topic, watch::Sender<()>>,
}

/// The node's hub.
pub(crate) struct Shared {
    /// Locked before the node's cursor where both are.
    state: Mutex<State>,
    /// Reads the log for those who are behind.
    pub(crate) readers: Arc<Readers>,
    pub(crate) catching_up: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(partitions: u16) -> Self {
        let state = State {
            machine: Hub::new(partitions, FEED_KEPT_BYTES),
            wakes: BTreeMap::new(),
        };
        Self {
            state: Mutex::new(state),
            readers: Arc::default(),
            catching_up: AtomicUsize::new(0),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Begins to follow a topic; the receiver ticks when there may be something new.
    pub(crate) fn subscribe(&self, topic: &Topic, cursor: &Mutex<Cursor>) -> watch::Receiver<()> {
        let mut state = self.state();
        let ends = cursor.lock();
        state.machine.subscribe(topic, &ends.next);
        state.wakes.entry(topic.clone()).or_insert_with(|| watch::channel(()).0).subscribe()
    }

    pub(crate) fn unsubscribe(&self, topic: &Topic) {
        let mut state = self.state();
        state.machine.unsubscribe(topic);
        if state.machine.followers(topic) == 0 {
            state.wakes.remove(topic);
        }
    }

    /// Takes what this node has just made durable, and raises the cursor with it: whoever looks sees both or neither.
    pub(crate) fn publish(&self, cursor: &Mutex<Cursor>, partition: u16, durable: &[Durable]) {
        let (Some(first), Some(last)) = (durable.first(), durable.last()) else {
            return;
        };
        let mut state = self.state();
        cursor.lock().advance(last.position);
        let kept = if state.machine.is_idle() { &[] } else { durable };
        let offers = kept.iter().map(|durable| Offer {
            org: durable.decided.record.header.stream.org.clone(),
            offset: durable.position.offset,
            bytes: cost(durable.decided.encoded.bytes.len()),
            item: FeedItem::Record(Arc::new(FeedEntry::new(durable.position, durable.decided.record.clone()))),
        });
        let touched = state
            .machine
            .publish(partition, first.position.offset, last.position.offset + 1, offers);
        state.wake(&touched);
    }

    pub(crate) fn counts(&self) -> FeedCounts {
        let state = self.state();
        FeedCounts {
            open: state.machine.subscribers(),
            catching_up: self.catching_up.load(Ordering::Relaxed),
            kept_bytes: state.machine.bytes(),
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.readers.close();
    }
}

impl State {
    pub(crate) fn wake(&self, topics: &[Topic]) {
        for topic in topics {
            if let Some(wake) = self.wakes.get(topic) {
                wake.send_replace(());
            }
        }
    }
}

impl Shared {
    /// Partitions whose durable end lies beyond what was offered; none where nobody follows.
    pub(crate) fn late(&self, cursor: &Mutex<Cursor>) -> Vec<u16> {
        let state = self.state();
        if state.machine.is_idle() {
            return Vec::new();
        }
        let ends = cursor.lock();
        (0u16..)
            .zip(&ends.next)
            .filter(|(partition, end)| state.machine.next(*partition) < **end)
            .map(|(partition, _)| partition)
            .collect()
    }
}
