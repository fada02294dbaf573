//! How long a batch waits for more records. In a transaction of ten records each costs twice as much as in one of a thousand:
//! the next transaction changes the same pages again, and each of them is written each time.

use quipu_schemas::context::Millis;

/// The shortest pause.
pub const SHORTEST_MS: Millis = 4;
/// The longest: so late may the views of a busy log be where no reader waits for them.
pub const LONGEST_MS: Millis = 100;
/// So many records make a batch that need not wait for more.
const ENOUGH_RECORDS: u64 = 1_000;

/// How long to wait before the next batch where no reader waits for it: after a batch of so many records, when so many more have
/// come meanwhile. A quiet log is followed closely, a busy one in larger steps; views that are far behind do not wait.
pub fn pause_ms(records: u64, left: u64) -> Option<Millis> {
    (left < ENOUGH_RECORDS).then(|| records.clamp(SHORTEST_MS, LONGEST_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the pause comes to with so many records a second.
    fn settled(per_second: u64) -> Millis {
        let mut pause = SHORTEST_MS;
        for _ in 0..100 {
            pause = pause_ms(per_second * pause / 1_000, 0).expect("nothing is left over");
        }
        pause
    }

    #[test]
    fn pauses_grow_with_the_rate_of_a_busy_log_alone() {
        assert_eq!(settled(1), SHORTEST_MS);
        assert_eq!(settled(500), SHORTEST_MS);
        assert_eq!(settled(5_000), LONGEST_MS);
        assert_eq!(settled(50_000), LONGEST_MS);
    }

    #[test]
    fn views_far_behind_do_not_pause() {
        assert_eq!(pause_ms(10, ENOUGH_RECORDS), None);
        assert_eq!(pause_ms(1, ENOUGH_RECORDS - 1), Some(SHORTEST_MS));
    }
}
