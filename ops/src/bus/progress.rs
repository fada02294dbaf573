//! How far a partition is relayed while its events arrive in another order than they were sent.

use std::collections::BTreeMap;

/// Of one partition.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Offset behind the last record that was read.
    read: u64,
    /// Records with events that are not in the bus yet: offset, and how many.
    open: BTreeMap<u64, usize>,
    /// What was noted last.
    noted: Option<u64>,
}

impl Progress {
    /// From this offset on.
    pub(super) fn from(next: u64) -> Self {
        Self {
            read: next,
            open: BTreeMap::new(),
            noted: None,
        }
    }

    /// A record was read, of which so many events go out.
    pub(super) fn read(&mut self, offset: u64, events: usize) {
        self.read = offset + 1;
        if events > 0 {
            self.open.insert(offset, events);
        }
    }

    /// One event of a record is in the bus.
    pub(super) fn sent(&mut self, offset: u64) {
        if let Some(left) = self.open.get_mut(&offset) {
            *left -= 1;
            if *left == 0 {
                self.open.remove(&offset);
            }
        }
    }

    /// Offset of the first record that is not wholly in the bus.
    pub(super) fn next(&self) -> u64 {
        self.open.first_key_value().map_or(self.read, |(offset, _)| *offset)
    }

    /// What is to be noted, if it is not.
    pub(super) fn unnoted(&self) -> Option<u64> {
        let next = self.next();
        (self.noted != Some(next)).then_some(next)
    }

    pub(super) fn noted(&mut self, next: u64) {
        self.noted = Some(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_passed_over_that_is_not_in_the_bus() {
        let mut progress = Progress::from(5);
        assert_eq!((progress.next(), progress.unnoted()), (5, Some(5)));
        progress.noted(5);
        assert_eq!(progress.unnoted(), None);
        progress.read(5, 2);
        progress.read(6, 0);
        progress.read(7, 1);
        progress.sent(7);
        progress.sent(5);
        assert_eq!(progress.next(), 5);
        progress.sent(5);
        assert_eq!((progress.next(), progress.unnoted()), (8, Some(8)));
    }
}
