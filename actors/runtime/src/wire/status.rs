//! What a status says, and how long it asks to wait.

use crate::breaker::Health;
use quipu_schemas::{context::Millis, limits::RETRY_AFTER_MAX_MS};
use reqwest::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};
use std::time::{Duration, UNIX_EPOCH};

/// Whether the same request may fare better later. 408, 425 and 429 say that it was not acted upon; a 5xx
/// does not, so an unrepeatable request ends there.
pub(crate) fn may_mend(status: StatusCode, repeatable: bool) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429) || (repeatable && status.is_server_error())
}

/// What a status says about its server.
pub(crate) fn health_of(status: StatusCode) -> Health {
    match status.as_u16() {
        429 => Health::Unknown,
        500.. => Health::Down,
        _ => Health::Up,
    }
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
            Err(_) => {
                let date = httpdate::parse_http_date(value).ok()?;
                let wait = date.duration_since(UNIX_EPOCH + Duration::from_millis(now)).unwrap_or_default();
                u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
            }
        }
    };
    Some(wait.min(RETRY_AFTER_MAX_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_told_apart() {
        let table = [
            (400, false),
            (404, false),
            (408, true),
            (409, false),
            (410, false),
            (422, false),
            (425, true),
            (429, true),
            (500, true),
        ];
        for (status, again) in table {
            assert_eq!(may_mend(StatusCode::from_u16(status).unwrap(), true), again, "{status}");
        }
        assert!(!may_mend(StatusCode::SERVICE_UNAVAILABLE, false) && may_mend(StatusCode::TOO_MANY_REQUESTS, false));
        assert_eq!(health_of(StatusCode::TOO_MANY_REQUESTS), Health::Unknown);
        assert_eq!(health_of(StatusCode::BAD_GATEWAY), Health::Down);
        assert_eq!(health_of(StatusCode::NOT_FOUND), Health::Up);
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
        assert_eq!(wait("retry-after", "Sunday, 06-Nov-94 08:49:37 GMT"), Some(7_000));
        assert_eq!(wait("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT"), Some(0));
        assert_eq!(wait("retry-after", "Sun, 06 Nov 1994 08:49:37 CET"), None);
        assert_eq!(wait("retry-after", "99999999999"), Some(RETRY_AFTER_MAX_MS));
        assert_eq!(wait("retry-after", "-1"), Some(0));
        assert_eq!(wait("retry-after", "later"), None);
        assert_eq!(retry_after_ms(&HeaderMap::new(), 0), None);
    }
}
