//! Histories of operations on each entity, and whether they are linearizable.
//!
//! The log gives the one order that has to explain every history: the order of records. So the general search for an order
//! is not needed; what is left to check is that this order respects real time (an operation that returned before another
//! was invoked comes before it), and that an answer without a record (a refusal that names the version it saw) fits into it.

use quipu_schemas::ids::{CommandId, StreamId};
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug, Clone, Copy)]
pub(crate) enum Returned {
    /// Decided: offset of its record, and the version after it.
    Receipt(u64, u64),
    /// Refused by a decision that saw this version.
    RefusedAt(u64),
    /// Nobody heard, or it says nothing.
    Nothing,
}

#[derive(Debug)]
struct Operation {
    id: CommandId,
    invoked: u64,
    /// The world's time then, milliseconds.
    invoked_at: u64,
    returned: Option<(u64, Returned)>,
    returned_at: u64,
}

/// Every operation of every client, in the order of invocation.
#[derive(Debug, Default)]
pub(crate) struct History {
    clock: u64,
    /// The world's time, milliseconds; of use only where refusals may be stale.
    pub(crate) now: u64,
    /// By how many milliseconds a refusal may be stale: on a broker by the lease, where clocks run worse than its margin.
    stale_ms: u64,
    streams: BTreeMap<StreamId, Vec<Operation>>,
    open: BTreeMap<(StreamId, CommandId), VecDeque<usize>>,
}

impl History {
    /// One whose refusals may be stale by so many milliseconds.
    pub(crate) fn with_refusals_stale_by(stale_ms: u64) -> Self {
        Self {
            stale_ms,
            ..Self::default()
        }
    }

    pub(crate) fn invoke(&mut self, stream: &StreamId, id: &CommandId) {
        let at = self.begin(stream, id);
        self.open.entry((stream.clone(), id.clone())).or_default().push_back(at);
    }

    /// An operation whose answer names it: its number in the stream.
    pub(crate) fn begin(&mut self, stream: &StreamId, id: &CommandId) -> usize {
        self.clock += 1;
        let operations = self.streams.entry(stream.clone()).or_default();
        operations.push(Operation {
            id: id.clone(),
            invoked: self.clock,
            invoked_at: self.now,
            returned: None,
            returned_at: 0,
        });
        operations.len() - 1
    }

    /// The first answer to the operation of this number.
    pub(crate) fn answered(&mut self, stream: &StreamId, at: usize, answer: Returned) {
        self.clock += 1;
        let operation = self.streams.get_mut(stream).and_then(|operations| operations.get_mut(at));
        if let Some(operation) = operation.filter(|operation| operation.returned.is_none() && !matches!(answer, Returned::Nothing)) {
            (operation.returned, operation.returned_at) = (Some((self.clock, answer)), self.now);
        }
    }

    /// An answer: it belongs to the earliest invocation that still waits, which can only make the interval longer than it was.
    pub(crate) fn returned(&mut self, stream: &StreamId, id: &CommandId, answer: Returned) {
        self.clock += 1;
        let waiting = self.open.get_mut(&(stream.clone(), id.clone())).and_then(VecDeque::pop_front);
        if let (Some(at), false) = (waiting, matches!(answer, Returned::Nothing))
            && let Some(operation) = self.streams.get_mut(stream).and_then(|operations| operations.get_mut(at))
        {
            (operation.returned, operation.returned_at) = (Some((self.clock, answer)), self.now);
        }
    }

    /// What waited will never be answered.
    pub(crate) fn crash(&mut self) {
        self.open.clear();
    }

    /// Every answer that says something.
    pub(crate) fn answers(&self) -> impl Iterator<Item = (&StreamId, &CommandId, Returned)> {
        self.streams.iter().flat_map(|(stream, operations)| {
            operations
                .iter()
                .filter_map(move |o| o.returned.map(|(_, answer)| (stream, &o.id, answer)))
        })
    }

    pub(crate) fn check(&self) -> Vec<String> {
        self.streams
            .iter()
            .flat_map(|(stream, operations)| check(operations, self.stale_ms).into_iter().map(move |e| format!("{stream}: {e}")))
            .collect()
    }
}

fn check(operations: &[Operation], stale_ms: u64) -> Vec<String> {
    let mut broken = Vec::new();
    // A command takes effect between its first invocation and its first answer.
    let mut commands: BTreeMap<&CommandId, (u64, Option<u64>, u64, u64)> = BTreeMap::new();
    for operation in operations {
        if let Some((at, Returned::Receipt(offset, version))) = operation.returned {
            let first = operations
                .iter()
                .filter(|o| o.id == operation.id)
                .map(|o| o.invoked)
                .min()
                .unwrap_or(0);
            let entry = commands.entry(&operation.id).or_insert((first, None, offset, version));
            entry.1 = Some(entry.1.map_or(at, |earlier| earlier.min(at)));
        }
    }
    let mut by_offset: Vec<_> = commands.iter().collect();
    by_offset.sort_by_key(|(_, (_, _, offset, _))| *offset);
    let mut latest: Option<(&CommandId, u64)> = None;
    for (id, (invoked, returned, ..)) in by_offset {
        if let (Some((other, begun)), Some(returned)) = (latest, returned)
            && *returned < begun
        {
            broken.push(format!("{id} was answered before {other} was sent, and comes after it in the log"));
        }
        if latest.is_none_or(|(_, begun)| *invoked > begun) {
            latest = Some((id, *invoked));
        }
    }
    for operation in operations {
        let Some((_, Returned::RefusedAt(seen))) = operation.returned else {
            continue;
        };
        // What was acknowledged before it was sent, and longer ago than it may be stale.
        let earlier = |other: &&Operation| {
            other.returned.is_some_and(|(at, _)| at < operation.invoked) && other.returned_at + stale_ms <= operation.invoked_at
        };
        let versions = operations.iter().filter(earlier).filter_map(|other| match other.returned {
            Some((_, Returned::Receipt(_, version))) => Some(version),
            _ => None,
        });
        if let Some(known) = versions.max().filter(|known| *known > seen) {
            broken.push(format!(
                "{} was refused at version {seen} after version {known} had been acknowledged",
                operation.id
            ));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(lines: &[(&str, Option<Returned>)]) -> Vec<String> {
        let stream: StreamId = "acme/run/r".parse().unwrap();
        let mut history = History::default();
        for (id, returned) in lines {
            let id = CommandId::parse((*id).to_owned()).unwrap();
            match returned {
                None => history.invoke(&stream, &id),
                Some(answer) => history.returned(&stream, &id, *answer),
            }
        }
        history.check()
    }

    #[test]
    fn an_order_that_real_time_forbids_is_found() {
        let (first, second) = (Some(Returned::Receipt(0, 1)), Some(Returned::Receipt(1, 2)));
        assert!(history(&[("a", None), ("a", first), ("b", None), ("b", second)]).is_empty());
        assert!(
            history(&[("a", None), ("b", None), ("a", second), ("b", first)]).is_empty(),
            "at the same time, either order will do"
        );
        assert_eq!(history(&[("a", None), ("a", second), ("b", None), ("b", first)]).len(), 1);
        assert!(
            history(&[("b", None), ("a", None), ("a", second), ("b", None), ("b", first)]).is_empty(),
            "a repetition was sent before"
        );
    }

    #[test]
    fn a_stale_refusal_is_found() {
        let refused = |version| Some(Returned::RefusedAt(version));
        let first = Some(Returned::Receipt(0, 3));
        assert!(history(&[("a", None), ("a", first), ("b", None), ("b", refused(3))]).is_empty());
        assert_eq!(history(&[("a", None), ("a", first), ("b", None), ("b", refused(2))]).len(), 1);
        assert!(
            history(&[("b", None), ("a", None), ("a", first), ("b", refused(2))]).is_empty(),
            "it began before"
        );
    }

    #[test]
    fn a_refusal_may_be_stale_by_the_lease_and_no_more() {
        let (stream, ids): (StreamId, _) = (
            "acme/run/r".parse().unwrap(),
            ["a", "b", "c"].map(|id| CommandId::parse(id.to_owned()).unwrap()),
        );
        let mut history = History::with_refusals_stale_by(100);
        let decided = history.begin(&stream, &ids[0]);
        history.answered(&stream, decided, Returned::Receipt(0, 3));
        for (now, id) in [(99, &ids[1]), (100, &ids[2])] {
            history.now = now;
            let refused = history.begin(&stream, id);
            history.answered(&stream, refused, Returned::RefusedAt(2));
        }
        let broken = history.check();
        assert!(broken.len() == 1 && broken[0].contains("c was refused at version 2"), "{broken:?}");
    }
}
