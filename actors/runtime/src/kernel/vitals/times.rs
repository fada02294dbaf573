//! A histogram of durations.

/// Upper bounds of the buckets, milliseconds: a model answers in tenths of a second to minutes.
pub const BOUNDS_MS: [u64; 12] = [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000];

/// Durations, counted by bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times {
    buckets: [u64; BOUNDS_MS.len()],
    count: u64,
    sum_ms: u64,
}

impl Times {
    /// Counts one.
    pub fn add(&mut self, ms: u64) {
        self.count += 1;
        self.sum_ms = self.sum_ms.saturating_add(ms);
        if let Some(bucket) = BOUNDS_MS.iter().position(|bound| ms <= *bound) {
            self.buckets[bucket] += 1;
        }
    }

    /// Each bound with how many took at most as long, as Prometheus counts them.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let sums = self.buckets.iter().scan(0, |sum, bucket| {
            *sum += bucket;
            Some(*sum)
        });
        BOUNDS_MS.into_iter().zip(sums)
    }

    /// All of them.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum.
    pub fn sum_ms(&self) -> u64 {
        self.sum_ms
    }
}
