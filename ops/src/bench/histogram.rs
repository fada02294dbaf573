//! Latencies in bounded memory: linear within each power of two, so every value is told within 1 part in 64.

use serde::{Deserialize, Serialize};

const BITS: u32 = 6;
const LINEAR: u64 = 1 << BITS;

/// Counts of durations in microseconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum: u64,
    max: u64,
}

/// What a histogram says, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Latency {
    pub(super) mean: u64,
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
    pub(super) p999: u64,
    pub(super) max: u64,
}

fn bucket(value: u64) -> usize {
    if value < LINEAR {
        return value as usize;
    }
    let shift = value.ilog2() - BITS;
    ((u64::from(shift) + 1) * LINEAR + (value >> shift) - LINEAR) as usize
}

/// The largest value that falls into a bucket.
fn upper(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < LINEAR {
        return bucket;
    }
    let shift = bucket / LINEAR - 1;
    ((LINEAR + bucket % LINEAR + 1) << shift) - 1
}

impl Histogram {
    /// Counts one duration.
    pub(super) fn record(&mut self, micros: u64) {
        let bucket = bucket(micros);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.total += 1;
        self.sum += micros;
        self.max = self.max.max(micros);
    }

    /// The smallest bucket's end below which this share of the values lies.
    fn quantile(&self, share: f64) -> u64 {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper(bucket).min(self.max);
            }
        }
        self.max
    }

    /// Its summary.
    pub(super) fn latency(&self) -> Latency {
        Latency {
            mean: self.sum / self.total.max(1),
            p50: self.quantile(0.5),
            p90: self.quantile(0.9),
            p99: self.quantile(0.99),
            p999: self.quantile(0.999),
            max: self.max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_told_within_one_part_in_sixty_four() {
        for value in (0..5_000).chain((0..40).map(|n| (1u64 << n) + n)) {
            let end = upper(bucket(value));
            assert!(end >= value && end - value <= value / LINEAR, "{value} is told as {end}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut histogram = Histogram::default();
        (1..=1_000).for_each(|value| histogram.record(value));
        let latency = histogram.latency();
        assert!(
            (500..=508).contains(&latency.p50) && (990..=1_000).contains(&latency.p99),
            "{latency:?}"
        );
        assert_eq!((latency.max, latency.mean, histogram.total), (1_000, 500, 1_000));
    }
}
