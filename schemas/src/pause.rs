//! Pauses between attempts: each about twice as long as the one before, up to a longest. Pure: chance comes from a given seed.

use crate::context::Millis;

/// Doublings after which a pause is the longest in any case.
const DOUBLINGS: u32 = 40;

/// The pause after so many failures in a row, without chance: `first`, then doubled, up to `longest`.
pub fn doubled_ms((first, longest): (Millis, Millis), failures: u32) -> Millis {
    first.saturating_mul(1 << failures.saturating_sub(1).min(DOUBLINGS)).min(longest)
}

/// Chance that spreads what would otherwise be tried at the same moment; nothing depends on its quality (xorshift64*).
#[derive(Debug, Clone)]
pub struct Jitter(u64);

impl Jitter {
    /// Equal seeds draw equal numbers.
    pub fn seeded(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// The pause after so many failures: from half of [`doubled_ms`] to the whole, so that nobody asks at once and not all
    /// at the same time.
    pub fn pause_ms(&mut self, bounds: (Millis, Millis), failures: u32) -> Millis {
        let whole = doubled_ms(bounds, failures);
        let half = whole / 2;
        whole - self.draw() % (half + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: (Millis, Millis) = (50, 5_000);

    #[test]
    fn pauses_double_up_to_the_longest() {
        let doubled: Vec<_> = (0..10).map(|failures| doubled_ms(BOUNDS, failures)).collect();
        assert_eq!(doubled, [50, 50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(doubled_ms(BOUNDS, u32::MAX), 5_000);
        assert_eq!(doubled_ms((u64::MAX, u64::MAX), u32::MAX), u64::MAX);
        assert_eq!(doubled_ms((0, 0), 3), 0);
    }

    #[test]
    fn chance_takes_at_most_half_of_a_pause() {
        let mut jitter = Jitter::seeded(7);
        for failures in 1..12 {
            let whole = doubled_ms(BOUNDS, failures);
            let drawn: Vec<_> = (0..200).map(|_| jitter.pause_ms(BOUNDS, failures)).collect();
            assert!(drawn.iter().all(|ms| (whole / 2..=whole).contains(ms)), "{failures}: {drawn:?}");
            assert!(
                drawn.iter().any(|ms| *ms < whole * 3 / 4) && drawn.iter().any(|ms| *ms > whole * 3 / 4),
                "{failures}"
            );
        }
    }
}
