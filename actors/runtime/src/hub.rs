//! Performs what the hub decides: durable records go to those who follow, and partitions of other nodes are read once for all.

use crate::{
    api::{FeedCounts, FeedEntry, FeedItem},
    core::{Core, lock},
    feed::page,
    kernel::{
        hub::{Hub, Offer, Topic},
        writer::Durable,
    },
};
use quipu_schemas::{
    limits::{FEED_HELD_BYTES, FEED_KEPT_BYTES, FEED_READERS_MAX},
    position::{Cursor, Position},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::{Semaphore, watch};

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
    /// Followers that read the log, at a time.
    pub(crate) readers: Arc<Semaphore>,
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
            readers: Arc::new(Semaphore::new(FEED_READERS_MAX)),
            catching_up: AtomicUsize::new(0),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Begins to follow a topic; the receiver ticks when there may be something new.
    pub(crate) fn subscribe(&self, topic: &Topic, cursor: &Mutex<Cursor>) -> watch::Receiver<()> {
        let mut state = self.state();
        let ends = lock(cursor);
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
        lock(cursor).advance(last.position);
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

impl State {
    fn wake(&self, topics: &[Topic]) {
        for topic in topics {
            if let Some(wake) = self.wakes.get(topic) {
                wake.send_replace(());
            }
        }
    }
}

/// Reads what nobody offered, as long as somebody follows: the records of partitions that other nodes own. Runs until the node
/// stops.
pub(crate) async fn follow(core: Arc<Core>) {
    let mut durable = core.durable.subscribe();
    let mut stopped = core.stopped.subscribe();
    loop {
        durable.mark_unchanged();
        let reader = core.clone();
        let late = core.hub.late(&core.cursor);
        let more = !late.is_empty();
        let read = tokio::task::spawn_blocking(move || late.into_iter().any(|partition| offer(&reader, partition)));
        // A crash of one round was logged; the next one goes on.
        if more && read.await.unwrap_or(false) {
            continue;
        }
        tokio::select! {
            changed = durable.changed() => if changed.is_err() { return },
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}

impl Shared {
    /// Partitions whose durable end lies beyond what was offered; none where nobody follows.
    fn late(&self, cursor: &Mutex<Cursor>) -> Vec<u16> {
        let state = self.state();
        if state.machine.is_idle() {
            return Vec::new();
        }
        let ends = lock(cursor);
        (0u16..)
            .zip(&ends.next)
            .filter(|(partition, end)| state.machine.next(*partition) < **end)
            .map(|(partition, _)| partition)
            .collect()
    }
}

/// Offers the next page of a partition; whether there may be more.
fn offer(core: &Core, partition: u16) -> bool {
    let from = core.hub.state().machine.next(partition);
    let until = lock(&core.cursor).next[usize::from(partition)];
    let page = page::by_log(core, &Default::default(), partition, from, until, FEED_HELD_BYTES);
    let mut state = core.hub.state();
    if page.stopped.is_some() || page.next <= from {
        // Each follower reads on by itself, and says what it meets.
        let touched = state.machine.lose_sight(partition);
        state.wake(&touched);
        return false;
    }
    let offers = page.items.into_iter().filter_map(|(bytes, item)| {
        let (org, Position { offset, .. }) = match &item {
            FeedItem::Record(entry) => (entry.record.header.stream.org.clone(), entry.position),
            FeedItem::Parked { stream, position, .. } => (stream.org.clone(), *position),
            FeedItem::CaughtUp(_) | FeedItem::Stopped(_) => return None,
        };
        Some(Offer {
            org,
            offset,
            bytes: cost(bytes),
            item,
        })
    });
    let touched = state.machine.publish(partition, from, page.next, offers);
    state.wake(&touched);
    page.next < until
}
