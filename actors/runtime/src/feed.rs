//! The feed: every record that is asked for, in offset order within its partition, catching up and then live. At least once.
//!
//! A feed has no task and no queue: whoever reads it takes the next item when there is room for it. It reads the log (or the
//! index, where few streams are asked for) while it is behind, and takes from the hub what all feeds share once it is not.

pub(crate) mod offers;
pub(crate) mod page;

use crate::{
    api::{FeedEntry, FeedFilter, FeedItem},
    core::Core,
    kernel::hub::{Step, Subscription, Topic, pause_ms},
};
use page::Page;
use quipu_schemas::{
    ids::StreamId,
    limits::{FEED_HELD_BYTES, FEED_LOOKS_PER_S},
    position::Cursor,
};
use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep, sleep_until},
};

/// Pause before a partition is read again whose records the log does not give yet.
const NOT_YET: Duration = Duration::from_millis(50);

/// Makes of a record what its reader will ask for, where it is read and not where it is sent.
pub type Prepare = Arc<dyn Fn(&FeedEntry) + Send + Sync>;

/// One reader's feed. Dropping it ends it.
pub struct Feed {
    core: Arc<Core>,
    filter: Arc<FeedFilter>,
    prepare: Option<Prepare>,
    subscription: Subscription,
    ready: VecDeque<FeedItem>,
    /// A page under way, and the partition that it is of.
    reading: Option<(u16, oneshot::Receiver<Page>)>,
    gone: Arc<AtomicBool>,
    changed: watch::Receiver<()>,
    stopped: watch::Receiver<bool>,
    delivered: Instant,
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("filter", &self.filter).finish_non_exhaustive()
    }
}

impl Feed {
    /// Starts behind `from`.
    pub(crate) fn start(core: Arc<Core>, from: Cursor, filter: FeedFilter) -> Self {
        let topic: Topic = filter.org.clone();
        let wanted = wanted(&core, &filter);
        let changed = core.hub.subscribe(&topic, &core.cursor);
        Self {
            stopped: core.stopped.subscribe(),
            subscription: Subscription::new(topic, from.next, wanted),
            core,
            filter: Arc::new(filter),
            prepare: None,
            ready: VecDeque::new(),
            reading: None,
            gone: Arc::default(),
            changed,
            delivered: Instant::now(),
        }
    }

    /// With what is made of each record while it catches up, on the threads that read.
    #[must_use]
    pub fn preparing(mut self, prepare: Prepare) -> Self {
        self.prepare = Some(prepare);
        self
    }

    /// Where it is, once everything ready was taken.
    pub fn cursor(&self) -> Cursor {
        Cursor {
            log: self.core.meta.log_id,
            generation: self.core.meta.generation,
            next: self.subscription.next().to_vec(),
        }
    }

    /// An item that is there already.
    pub fn ready(&mut self) -> Option<FeedItem> {
        self.ready.pop_front()
    }

    /// The next item; `None` when the node stops. Cancel-safe.
    pub async fn next(&mut self) -> Option<FeedItem> {
        self.find_stops();
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            if *self.stopped.borrow() {
                return None;
            }
            self.page().await;
            if !self.ready.is_empty() {
                continue;
            }
            self.changed.mark_unchanged();
            match self.step() {
                Step::Read { partition, from, until } => self.read(partition, from, until),
                Step::Deliver(items) => {
                    if items.is_empty() {
                        tokio::task::yield_now().await;
                    } else {
                        self.delivered = Instant::now();
                    }
                    self.ready.extend(items);
                }
                Step::CaughtUp => {
                    self.find_stops();
                    self.ready.push_back(FeedItem::CaughtUp(self.cursor()));
                }
                Step::Wait => self.wait().await,
            }
        }
    }

    fn step(&mut self) -> Step<FeedItem> {
        let (core, filter) = (self.core.clone(), &self.filter);
        let state = core.hub.state();
        let ends = core.cursor.lock();
        let takes = |item: &FeedItem| match item {
            FeedItem::Record(entry) => filter.takes_stream(&entry.record.header.stream) && filter.takes_record(&entry.record),
            FeedItem::Parked { stream, .. } => filter.takes_stream(stream),
            FeedItem::CaughtUp(_) | FeedItem::Stopped(_) => false,
        };
        self.subscription.step(&state.machine, &ends.next, FEED_HELD_BYTES, takes)
    }

    /// Says of each partition that ends in damage where it does: its end is none.
    fn find_stops(&mut self) {
        if !self.ready.is_empty() {
            return;
        }
        let open: Vec<u16> = self.subscription.open().collect();
        for partition in open {
            let Some(stopped) = self.core.stopped(partition) else { continue };
            // What lies before it comes first.
            let end = self.core.cursor.lock().next[usize::from(partition)];
            if self.subscription.next()[usize::from(partition)] < end.min(stopped.offset) {
                continue;
            }
            self.subscription.stop(partition);
            self.ready.push_back(FeedItem::Stopped(stopped));
        }
    }

    fn read(&mut self, partition: u16, from: u64, until: u64) {
        let (core, filter, gone) = (self.core.clone(), self.filter.clone(), self.gone.clone());
        let prepare = self.prepare.clone();
        core.hub.catching_up.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(core.clone());
        let (org, readers) = (filter.org.clone(), core.hub.readers.clone());
        let read = move || {
            let _counted = counted;
            if gone.load(Ordering::Acquire) {
                return Page::nothing(from);
            }
            let page = page::read(&core, &filter, partition, from, until, FEED_HELD_BYTES);
            if let Some(prepare) = prepare {
                let entries = page.items.iter().filter_map(|(_, item)| match item {
                    FeedItem::Record(entry) => Some(entry),
                    FeedItem::Parked { .. } | FeedItem::CaughtUp(_) | FeedItem::Stopped(_) => None,
                });
                entries.for_each(|entry| prepare(entry));
            }
            page
        };
        let (done, page) = oneshot::channel();
        match org {
            Some(org) => readers.add(org, Box::new(move || drop(done.send(read())))),
            // Whoever follows all orgs serves the node itself, and waits behind no client.
            None => drop(tokio::task::spawn_blocking(move || drop(done.send(read())))),
        }
        self.reading = Some((partition, page));
    }

    /// Takes in the page under way, if there is one.
    async fn page(&mut self) {
        let Some((partition, reading)) = &mut self.reading else { return };
        let partition = *partition;
        let page = reading.await;
        self.reading = None;
        let before = self.subscription.next()[usize::from(partition)];
        // Where reading crashed, nothing was read.
        let page = page.unwrap_or_else(|_| Page::nothing(before));
        self.subscription.has_read(partition, page.next, !page.items.is_empty());
        self.ready.extend(page.items.into_iter().map(|(_, item)| item));
        match page.stopped {
            Some(stopped) => {
                self.subscription.stop(partition);
                self.ready.push_back(FeedItem::Stopped(stopped));
            }
            None if page.next <= before && self.ready.is_empty() => sleep(NOT_YET).await,
            None => {}
        }
    }

    async fn wait(&mut self) {
        let followers = self.core.hub.state().machine.followers(self.subscription.topic());
        let pause = Duration::from_millis(pause_ms(followers, FEED_LOOKS_PER_S));
        let stops = async {
            // An error means that the node is gone.
            let _ = self.stopped.wait_for(|stopped| *stopped).await;
        };
        let is_new = tokio::select! {
            _ = self.changed.changed() => true,
            () = stops => false,
        };
        if is_new {
            sleep_until(self.delivered + pause).await;
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Release);
        self.core.hub.unsubscribe(self.subscription.topic());
    }
}

struct Counted(Arc<Core>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.hub.catching_up.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Partitions that can hold what is asked for.
fn wanted(core: &Core, filter: &FeedFilter) -> Vec<bool> {
    let partitions = core.meta.partitions;
    let (Some(org), Some(id)) = (&filter.org, &filter.id) else {
        return vec![true; usize::from(partitions)];
    };
    let kinds = match &filter.kind {
        Some(kind) => vec![kind.clone()],
        None => core.kinds.commands().map(|(kind, _)| kind.clone()).collect(),
    };
    let mut wanted = vec![false; usize::from(partitions)];
    for kind in kinds {
        let stream = StreamId::new(org.clone(), kind, id.clone());
        wanted[usize::from(stream.partition(partitions))] = true;
    }
    wanted
}
