//! The hub: one live reader of the log for everybody who follows it, and each follower's way to it.
//!
//! What becomes durable is offered once ([`Hub::publish`]) and kept for a while, by org, within a bound of bytes that all
//! followers share. A [`Subscription`] that is behind what is kept reads the log itself ([`Step::Read`]) until it has caught
//! up, and then takes what is kept ([`Step::Deliver`]); one that was too slow is behind again, and reads again. Nothing waits
//! for a slow follower, and none has a queue of its own.
//!
//! Within a partition a subscription never passes over an offset: places are told by offset alone, so whether a record comes
//! from the log or from the hub makes no difference.

use quipu_schemas::{ids::OrgId, limits::FEED_LOOKS_MAX};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// What is followed: one org, or all of them.
pub type Topic = Option<OrgId>;

/// A durable record, as it is offered.
#[derive(Debug, Clone)]
pub struct Offer<T> {
    /// Its org.
    pub org: OrgId,
    /// Its offset.
    pub offset: u64,
    /// What keeping it costs.
    pub bytes: usize,
    /// The record.
    pub item: T,
}

#[derive(Debug)]
struct Kept<T> {
    /// Its place among all that was ever kept.
    number: u64,
    partition: u16,
    offset: u64,
    bytes: usize,
    item: T,
}

/// What is kept for one topic.
#[derive(Debug)]
struct Ring<T> {
    subscribers: usize,
    /// By partition: everything of the topic at or above this offset is kept, up to the hub's end.
    floor: Vec<u64>,
    kept: VecDeque<Arc<Kept<T>>>,
}

/// The shared part.
#[derive(Debug)]
pub struct Hub<T> {
    /// By partition: the first offset that was not offered yet.
    next: Vec<u64>,
    /// Partitions that nobody offers for now: each follower reads them itself.
    blind: Vec<bool>,
    topics: BTreeMap<Topic, Ring<T>>,
    /// All that is kept, oldest first.
    order: VecDeque<(OrgId, Arc<Kept<T>>)>,
    bytes: usize,
    bytes_max: usize,
    numbers: u64,
}

impl<T> Hub<T> {
    /// A hub without followers, which keeps at most so many bytes.
    pub fn new(partitions: u16, bytes_max: usize) -> Self {
        Self {
            next: vec![0; usize::from(partitions)],
            blind: vec![false; usize::from(partitions)],
            topics: BTreeMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            bytes_max,
            numbers: 0,
        }
    }

    /// Whether nobody follows.
    pub fn is_idle(&self) -> bool {
        self.topics.is_empty()
    }

    /// How many follow, in all.
    pub fn subscribers(&self) -> usize {
        self.topics.values().map(|ring| ring.subscribers).sum()
    }

    /// How many follow a topic.
    pub fn followers(&self, topic: &Topic) -> usize {
        self.topics.get(topic).map_or(0, |ring| ring.subscribers)
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first offset of a partition that was not offered.
    pub fn next(&self, partition: u16) -> u64 {
        self.next[usize::from(partition)]
    }

    /// Whether each follower reads the partition itself.
    pub fn is_blind(&self, partition: u16) -> bool {
        self.blind[usize::from(partition)]
    }

    /// Begins to keep records of a topic, for one more follower. `ends` are the durable ends.
    pub fn subscribe(&mut self, topic: &Topic, ends: &[u64]) {
        if self.is_idle() {
            // Nobody was there to be told of what lies before.
            for (next, end) in self.next.iter_mut().zip(ends) {
                *next = (*next).max(*end);
            }
        }
        let floor = &self.next;
        let ring = self.topics.entry(topic.clone()).or_insert_with(|| Ring {
            subscribers: 0,
            floor: floor.clone(),
            kept: VecDeque::new(),
        });
        ring.subscribers += 1;
    }

    /// One follower less; the last of a topic takes what is kept for it along.
    pub fn unsubscribe(&mut self, topic: &Topic) {
        let Some(ring) = self.topics.get_mut(topic) else { return };
        ring.subscribers -= 1;
        if ring.subscribers > 0 {
            return;
        }
        self.topics.remove(topic);
        let topics = &self.topics;
        let all = topics.contains_key(&None);
        self.order.retain(|(org, _)| all || topics.contains_key(&Some(org.clone())));
        self.bytes = self.order.iter().map(|(_, kept)| kept.bytes).sum();
    }

    /// Takes the records of a partition from `first` up to `end`, in order; those that nobody follows may be left out. Gives the
    /// topics whose followers should look. What was offered before is passed over. What lies between the last offer and
    /// `first` each follower reads itself.
    pub fn publish(&mut self, partition: u16, first: u64, end: u64, offers: impl IntoIterator<Item = Offer<T>>) -> Vec<Topic> {
        let at = usize::from(partition);
        let next = self.next[at];
        if end <= next {
            return Vec::new();
        }
        let mut touched = Vec::new();
        if first > next || self.blind[at] {
            for (topic, ring) in &mut self.topics {
                ring.floor[at] = ring.floor[at].max(first);
                touched.push(topic.clone());
            }
            self.blind[at] = false;
        }
        for offer in offers {
            if offer.offset < next || offer.offset >= end {
                continue;
            }
            let own = Some(offer.org.clone());
            let topics: Vec<Topic> = [None, own].into_iter().filter(|topic| self.topics.contains_key(topic)).collect();
            if topics.is_empty() {
                continue;
            }
            let kept = Arc::new(Kept {
                number: self.numbers,
                partition,
                offset: offer.offset,
                bytes: offer.bytes,
                item: offer.item,
            });
            self.numbers += 1;
            self.bytes += kept.bytes;
            self.order.push_back((offer.org, kept.clone()));
            for topic in topics {
                if let Some(ring) = self.topics.get_mut(&topic) {
                    ring.kept.push_back(kept.clone());
                }
                if !touched.contains(&topic) {
                    touched.push(topic);
                }
            }
        }
        self.next[at] = end;
        self.make_room();
        touched
    }

    /// The partition cannot be offered for now. Gives the topics whose followers should look.
    pub fn lose_sight(&mut self, partition: u16) -> Vec<Topic> {
        let at = usize::from(partition);
        if std::mem::replace(&mut self.blind[at], true) {
            return Vec::new();
        }
        self.topics.keys().cloned().collect()
    }

    fn make_room(&mut self) {
        while self.bytes > self.bytes_max
            && let Some((org, oldest)) = self.order.pop_front()
        {
            self.bytes -= oldest.bytes;
            for topic in [None, Some(org)] {
                let Some(ring) = self.topics.get_mut(&topic) else { continue };
                if ring.kept.front().is_some_and(|kept| kept.number == oldest.number) {
                    ring.kept.pop_front();
                    let floor = &mut ring.floor[usize::from(oldest.partition)];
                    *floor = (*floor).max(oldest.offset + 1);
                }
            }
        }
    }
}

/// What a subscription does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// Read this partition from an offset up to another, and tell [`Subscription::has_read`].
    Read {
        /// Partition.
        partition: u16,
        /// First offset.
        from: u64,
        /// Offset to stop before.
        until: u64,
    },
    /// These records come next; where there are none, look again.
    Deliver(Vec<T>),
    /// Everything durable was given, as far as it is asked for.
    CaughtUp,
    /// Nothing to do until the topic is touched.
    Wait,
}

/// One follower: where it is, by partition.
#[derive(Debug)]
pub struct Subscription {
    topic: Topic,
    /// Partitions that can hold what is asked for.
    wanted: Vec<bool>,
    next: Vec<u64>,
    /// What is kept below this number was looked at.
    place: u64,
    stopped: Vec<bool>,
    /// Whether it has caught up and takes what is new from the hub alone.
    is_live: bool,
    /// Whether anything was delivered since it was last said to be caught up.
    is_news: bool,
    /// The partition whose turn it is to be read.
    turn: usize,
}

impl Subscription {
    /// Behind `next`, for the partitions that are wanted.
    pub fn new(topic: Topic, next: Vec<u64>, wanted: Vec<bool>) -> Self {
        Self {
            topic,
            place: 0,
            stopped: vec![false; next.len()],
            wanted,
            next,
            is_live: false,
            is_news: false,
            turn: 0,
        }
    }

    /// Where it is.
    pub fn next(&self) -> &[u64] {
        &self.next
    }

    /// What it follows.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Whether it takes what is new from the hub alone.
    pub fn is_live(&self) -> bool {
        self.is_live
    }

    /// Partitions that it still waits for.
    pub fn open(&self) -> impl Iterator<Item = u16> + '_ {
        (0u16..)
            .zip(self.wanted.iter().zip(&self.stopped))
            .filter(|(_, (wanted, stopped))| **wanted && !**stopped)
            .map(|(p, _)| p)
    }

    /// A partition was read up to `next`; `news` if anything came of it.
    pub fn has_read(&mut self, partition: u16, next: u64, news: bool) {
        let known = &mut self.next[usize::from(partition)];
        *known = (*known).max(next);
        self.is_news |= news;
    }

    /// The partition ends here, for this follower.
    pub fn stop(&mut self, partition: u16) {
        self.stopped[usize::from(partition)] = true;
    }

    /// What to do next, given the durable ends. `takes` says whether a record is asked for; about `most` bytes are delivered at
    /// a time.
    pub fn step<T: Clone>(&mut self, hub: &Hub<T>, ends: &[u64], most: usize, takes: impl Fn(&T) -> bool) -> Step<T> {
        let Some(ring) = hub.topics.get(&self.topic) else {
            return Step::Wait;
        };
        if let Some(partition) = self.behind(hub, ring, ends) {
            let at = usize::from(partition);
            self.is_live = false;
            self.place = 0;
            self.turn = at + 1;
            return Step::Read {
                partition,
                from: self.next[at],
                until: ends[at],
            };
        }
        let (found, all) = self.take(ring, most, takes);
        if all {
            self.pass(hub, ends);
        }
        if !found.is_empty() {
            self.is_news = true;
            return Step::Deliver(found);
        }
        // What was looked at was much and nothing of it asked for, or the log has grown beyond what was offered.
        if !all || (!self.is_live && self.behind(hub, ring, ends).is_some()) {
            return Step::Deliver(Vec::new());
        }
        if !self.is_live || self.is_news {
            (self.is_live, self.is_news) = (true, false);
            return Step::CaughtUp;
        }
        Step::Wait
    }

    /// A partition that has to be read from the log, in turn.
    fn behind<T>(&self, hub: &Hub<T>, ring: &Ring<T>, ends: &[u64]) -> Option<u16> {
        let is_behind = |at: usize| {
            let next = self.next[at];
            self.wanted[at]
                && !self.stopped[at]
                && next < ends[at]
                && (hub.blind[at] || next < ring.floor[at] || (!self.is_live && next >= hub.next[at]))
        };
        let count = self.next.len();
        (0..count)
            .map(|n| (self.turn + n) % count)
            .find(|at| is_behind(*at))
            .map(|at| at as u16)
    }

    /// What is kept and was not looked at yet, as far as it is asked for; and whether that was all.
    fn take<T: Clone>(&mut self, ring: &Ring<T>, most: usize, takes: impl Fn(&T) -> bool) -> (Vec<T>, bool) {
        let (mut found, mut bytes) = (Vec::new(), 0);
        let first = ring.kept.partition_point(|kept| kept.number < self.place);
        for (looked, kept) in ring.kept.iter().skip(first).enumerate() {
            if bytes >= most || looked >= FEED_LOOKS_MAX {
                return (found, false);
            }
            self.place = kept.number + 1;
            let at = usize::from(kept.partition);
            if self.stopped[at] || !self.wanted[at] || kept.offset < self.next[at] {
                continue;
            }
            self.next[at] = kept.offset + 1;
            if takes(&kept.item) {
                bytes += kept.bytes;
                found.push(kept.item.clone());
            }
        }
        (found, true)
    }

    /// Everything that was offered has been looked at: what lies between is of nobody's interest here.
    fn pass<T>(&mut self, hub: &Hub<T>, ends: &[u64]) {
        for (at, next) in self.next.iter_mut().enumerate() {
            if !self.wanted[at] {
                *next = (*next).max(ends[at]);
            } else if !self.stopped[at] && !hub.blind[at] {
                *next = (*next).max(hub.next[at].min(ends[at]));
            }
        }
    }
}

/// The pause of a live follower between two looks, in milliseconds: many followers of one topic together look no more often
/// than `looks_per_s`, and take more at a time.
pub fn pause_ms(followers: usize, looks_per_s: usize) -> u64 {
    (followers * 1_000 / looks_per_s.max(1)) as u64
}

#[cfg(test)]
mod tests;
