//! The two date forms of the wire: RFC 3339 for payloads, IMF-fixdate (RFC 9110 §5.6.7) in `Retry-After`.

use quipu_schemas::{context::Millis, limits::RETRY_AFTER_MAX_MS};
use reqwest::header::{HeaderMap, RETRY_AFTER};

const DAY_MS: u64 = 86_400_000;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `2026-01-02T03:04:05.678Z`.
pub(crate) fn rfc3339(at: Millis) -> String {
    let (year, month, day) = civil(at / DAY_MS);
    let ms = at % DAY_MS;
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}

/// What a response asks to wait, in milliseconds from `now`, cut to [`RETRY_AFTER_MAX_MS`].
pub(crate) fn retry_after_ms(headers: &HeaderMap, now: Millis) -> Option<u64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let wait = if let Some(ms) = text("retry-after-ms").and_then(|ms| ms.parse::<f64>().ok()) {
        ms.max(0.0) as u64
    } else {
        let value = text(RETRY_AFTER.as_str())?;
        match value.parse::<f64>() {
            Ok(seconds) => (seconds.max(0.0) * 1_000.0) as u64,
            Err(_) => imf_fixdate(value)?.saturating_sub(now),
        }
    };
    Some(wait.min(RETRY_AFTER_MAX_MS))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` as milliseconds since 1970.
fn imf_fixdate(text: &str) -> Option<Millis> {
    let mut parts = text.split_once(", ")?.1.split(' ');
    let day: u64 = parts.next()?.parse().ok()?;
    let name = parts.next()?;
    let month = MONTHS.iter().position(|month| *month == name)? as u64 + 1;
    let year: u64 = parts.next()?.parse().ok()?;
    let mut clock = parts.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let sane =
        parts.next()? == "GMT" && (1..=31).contains(&day) && (1970..=9999).contains(&year) && hour < 24 && minute < 60 && second <= 60;
    sane.then(|| days(year, month, day) * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1_000)
}

// Proleptic Gregorian calendar in 400-year eras that begin on 1 March (Hinnant, "chrono-compatible date algorithms").
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (
        year + era * 400 + u64::from(month <= 2),
        month,
        of_year - (153 * shifted + 2) / 5 + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants_are_written_and_read() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_614_265_330_123, "2021-02-25T15:02:10.123Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
        }
        assert_eq!(imf_fixdate("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777_000));
        assert_eq!(imf_fixdate("Sun, 06 Nov 1994 08:49:37 CET"), None);
        assert_eq!(imf_fixdate("soon"), None);
    }

    #[test]
    fn retry_after_is_read_in_every_form_and_bounded() {
        let wait = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            retry_after_ms(&headers, 784_111_770_000)
        };
        assert_eq!(wait("retry-after", "2"), Some(2_000));
        assert_eq!(wait("retry-after", "0.5"), Some(500));
        assert_eq!(wait("retry-after-ms", "250"), Some(250));
        assert_eq!(wait("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), Some(7_000));
        assert_eq!(wait("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT"), Some(0));
        assert_eq!(wait("retry-after", "99999999999"), Some(RETRY_AFTER_MAX_MS));
        assert_eq!(wait("retry-after", "-1"), Some(0));
        assert_eq!(wait("retry-after", "later"), None);
        assert_eq!(retry_after_ms(&HeaderMap::new(), 0), None);
    }
}
