//! Which message holds which offset: remembered while frames are written and read, found again by halving.

use crate::{embedded::chain::EMPTY, port::Head};
use quipu_schemas::limits::BROKER_MARKS_MAX;

/// The end of a partition as of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Sequence of the message; 0 before the first.
    pub(crate) sequence: u64,
    /// The end after its frame.
    pub(crate) head: Head,
    /// Whether its frame is a claim.
    pub(crate) claim: bool,
}

/// Before the first message.
pub(crate) const START: Mark = Mark {
    sequence: 0,
    head: EMPTY,
    claim: false,
};

/// Where a partition cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) sequence: u64,
    pub(crate) offset: u64,
    pub(crate) detail: String,
}

/// What is known of a partition's stream without asking.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// In the order of sequences, and so of offsets.
    known: Vec<Mark>,
    pub(crate) stop: Option<Stop>,
}

impl Marks {
    pub(crate) fn note(&mut self, mark: Mark) {
        let at = self.known.partition_point(|m| m.sequence < mark.sequence);
        match self.known.get_mut(at) {
            Some(known) if known.sequence == mark.sequence => *known = mark,
            _ => self.known.insert(at, mark),
        }
        if self.known.len() > BROKER_MARKS_MAX {
            // Thin the older part out: the newest are asked for most.
            let keep_from = BROKER_MARKS_MAX / 2;
            let mut index = 0;
            self.known.retain(|_| {
                index += 1;
                index > keep_from || index % 2 == 0
            });
        }
    }

    /// The last message known to be in the stream.
    pub(crate) fn last(&self) -> Mark {
        self.known.last().copied().unwrap_or(START)
    }

    /// The latest mark before a sequence.
    pub(crate) fn before_sequence(&self, sequence: u64) -> Mark {
        let at = self.known.partition_point(|m| m.sequence < sequence);
        at.checked_sub(1).map_or(START, |i| self.known[i])
    }

    /// The latest mark from which reading forward meets everything that belongs to `offset` on, and the earliest one
    /// past it.
    pub(crate) fn around(&self, offset: u64) -> (Mark, Option<Mark>) {
        let at = self.known.partition_point(|m| before(m, offset));
        let low = at.checked_sub(1).map_or(START, |i| self.known[i]);
        (low, self.known.get(at).copied())
    }
}

/// Whether all that belongs to `offset` on comes after this mark: claims just before the frame that holds it belong to it.
pub(crate) fn before(mark: &Mark, offset: u64) -> bool {
    if mark.claim {
        mark.head.next_offset < offset
    } else {
        mark.head.next_offset <= offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quipu_schemas::digest::Digest;

    fn mark(sequence: u64, next_offset: u64, claim: bool) -> Mark {
        let head = Head {
            epoch: 1,
            next_offset,
            frame_hash: Digest::ZERO,
        };
        Mark { sequence, head, claim }
    }

    #[test]
    fn an_offset_is_found_between_the_marks_around_it() {
        let mut marks = Marks::default();
        assert_eq!(marks.around(0), (START, None));
        for m in [mark(4, 9, false), mark(1, 0, true), mark(3, 5, true), mark(2, 5, false)] {
            marks.note(m);
        }
        let seq = |offset| {
            let (low, high) = marks.around(offset);
            (low.sequence, high.map(|m| m.sequence))
        };
        assert_eq!(
            [seq(0), seq(1), seq(5), seq(6), seq(9)],
            [(0, Some(1)), (1, Some(2)), (2, Some(3)), (3, Some(4)), (4, None)]
        );
    }

    #[test]
    fn marks_are_found_by_sequence_and_the_last_one_counts() {
        let mut marks = Marks::default();
        assert_eq!((marks.last(), marks.before_sequence(9)), (START, START));
        for m in [mark(2, 5, false), mark(6, 9, false), mark(4, 8, false), mark(2, 4, true)] {
            marks.note(m);
        }
        assert_eq!(marks.known, [mark(2, 4, true), mark(4, 8, false), mark(6, 9, false)]);
        assert_eq!(marks.last(), mark(6, 9, false));
        let before = [1, 2, 3, 4, 5, 7].map(|sequence| marks.before_sequence(sequence).sequence);
        assert_eq!(before, [0, 0, 2, 2, 4, 6]);
    }

    /// Every second one of the older half goes, and nothing before there are too many.
    #[test]
    fn the_older_half_of_too_many_marks_is_thinned_out() {
        let most = BROKER_MARKS_MAX as u64;
        let mut marks = Marks::default();
        (1..=most).for_each(|n| marks.note(mark(n, n, false)));
        assert_eq!(marks.known.len() as u64, most);
        marks.note(mark(most + 1, most + 1, false));
        let kept: Vec<u64> = marks.known.iter().map(|m| m.sequence).collect();
        let expected: Vec<u64> = (1..=most + 1).filter(|n| *n > most / 2 || n % 2 == 0).collect();
        assert_eq!(kept, expected);
    }

    #[test]
    fn marks_are_bounded_and_keep_the_newest() {
        let mut marks = Marks::default();
        for n in 1..=20_000 {
            marks.note(mark(n, n, false));
            assert!(marks.known.len() <= BROKER_MARKS_MAX);
            assert_eq!(marks.last().sequence, n);
        }
        assert!(marks.known.is_sorted_by_key(|m| m.sequence));
        assert!(marks.around(3).0.sequence <= 3);
    }
}
