//! What counts once: assertions by which clients show who they are. Each is remembered until its own time is over.

use parking_lot::Mutex;
use quipu_schemas::{context::Millis, digest::Digest, limits::ASSERTIONS_MAX};
use std::collections::BTreeSet;

#[derive(Default)]
struct Seen {
    digests: BTreeSet<[u8; 32]>,
    by_end: BTreeSet<(Millis, [u8; 32])>,
}

/// What was shown.
#[derive(Default)]
pub(super) struct Once(Mutex<Seen>);

impl Once {
    /// Whether it is shown for the first time; where no more can be remembered, nothing is.
    pub(super) fn is_first(&self, digest: Digest, until: Millis, now: Millis) -> bool {
        let mut seen = self.0.lock();
        while let Some((end, old)) = seen.by_end.first().copied().filter(|(end, _)| *end <= now) {
            seen.by_end.remove(&(end, old));
            seen.digests.remove(&old);
        }
        if seen.digests.len() >= ASSERTIONS_MAX || !seen.digests.insert(digest.0) {
            return false;
        }
        seen.by_end.insert((until, digest.0));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_once_counts_again_after_its_time() {
        let (once, one, two) = (Once::default(), Digest([1; 32]), Digest([2; 32]));
        assert!(once.is_first(one, 100, 0) && !once.is_first(one, 100, 99));
        assert!(once.is_first(two, 200, 99));
        assert!(once.is_first(one, 300, 100));
        assert!(!once.is_first(two, 300, 199));
    }

    #[test]
    fn where_no_more_is_remembered_nothing_is_taken() {
        let once = Once::default();
        for n in 0..ASSERTIONS_MAX as u64 {
            assert!(once.is_first(Digest::of(&[&n.to_le_bytes()]), 100, 0));
        }
        assert!(!once.is_first(Digest([9; 32]), 100, 0));
        assert!(once.is_first(Digest([9; 32]), 200, 100));
    }
}
