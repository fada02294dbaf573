//! How an attempt ends, before the outbox hears of it.

use super::{
    blot::Blot,
    client::{Reached, Trouble},
};
use crate::{breaker::Health, secrets::SecretError};
use quipu_schemas::{context::Millis, limits::RETRY_AFTER_MAX_MS, personal::SealError, reaction::Outcome};
use reqwest::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};
use std::time::{Duration, UNIX_EPOCH};

/// An attempt's end with what it says about its destination.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Final.
    Done(Box<Outcome>, Health),
    /// Another attempt may mend it.
    Again {
        code: String,
        detail: String,
        retry_after_ms: Option<u64>,
        health: Health,
    },
}

impl Ending {
    /// Final.
    pub(crate) fn done(outcome: Outcome, health: Health) -> Self {
        Ending::Done(Box::new(outcome), health)
    }

    /// A failure that repetition does not mend.
    pub(crate) fn failed(code: impl Into<String>, detail: impl Into<String>, health: Health) -> Self {
        Ending::done(
            Outcome::Failed {
                code: code.into(),
                detail: detail.into(),
            },
            health,
        )
    }

    /// No answer. An unrepeatable request that may have arrived is lost: nobody knows.
    pub(crate) fn of_trouble(trouble: Trouble, repeatable: bool) -> Self {
        match trouble.reached {
            Reached::Never => Self::failed(trouble.code, trouble.detail, Health::Unknown),
            Reached::Perhaps if !repeatable => {
                let detail = Some(trouble.detail);
                Ending::done(Outcome::Lost { detail }, Health::Down)
            },
            Reached::NotYet | Reached::Perhaps => Ending::Again {
                code: trouble.code.into(),
                detail: trouble.detail,
                retry_after_ms: None,
                health: Health::Down,
            },
        }
    }

    /// Without the secrets that its texts may have taken from an answer.
    pub(crate) fn blotted(self, blot: &Blot) -> Self {
        match self {
            Ending::Done(outcome, health) => {
                let outcome = match *outcome {
                    Outcome::Failed { code, detail } => Outcome::Failed {
                        code: blot.text(&code),
                        detail: blot.text(&detail),
                    },
                    Outcome::Lost { detail } => Outcome::Lost {
                        detail: detail.map(|detail| blot.text(&detail)),
                    },
                    other => other,
                };
                Ending::done(outcome, health)
            }
            Ending::Again {
                code,
                detail,
                retry_after_ms,
                health,
            } => Ending::Again {
                code: blot.text(&code),
                detail: blot.text(&detail),
                retry_after_ms,
                health,
            },
        }
    }

    /// A status other than the wanted ones; `note` is a word of the receiver's, safe to keep.
    pub(crate) fn of_status(status: StatusCode, peer: &str, note: Option<&str>, retry_after_ms: Option<u64>, repeatable: bool) -> Self {
        let code = format!("status_{}", status.as_u16());
        let detail = match note {
            Some(note) => format!("{peer} answered {} ({note})", status.as_u16()),
            None => format!("{peer} answered {}", status.as_u16()),
        };
        let health = health_of(status);
        if may_mend(status, repeatable) {
            Ending::Again {
                code,
                detail,
                retry_after_ms,
                health,
            }
        } else {
            Self::failed(code, detail, health)
        }
    }
}

impl From<SecretError> for Ending {
    fn from(error: SecretError) -> Self {
        Self::failed(error.code(), error.to_string(), Health::Unknown)
    }
}

impl From<SealError> for Ending {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Store(_) => Ending::Again {
                code: "key_store".into(),
                detail: error.to_string(),
                retry_after_ms: None,
                health: Health::Unknown,
            },
            SealError::Damaged(_) | SealError::Form(..) => Self::failed("sealed_damaged", error.to_string(), Health::Unknown),
        }
    }
}

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
    fn an_unknown_outcome_is_repeated_only_where_that_is_harmless() {
        let perhaps = || Trouble::timeout("answer", 5);
        assert!(matches!(Ending::of_trouble(perhaps(), true), Ending::Again { .. }));
        assert!(matches!(Ending::of_trouble(perhaps(), false), Ending::Done(outcome, _) if matches!(&*outcome, Outcome::Lost { detail: Some(why) } if why == "no answer within 5 ms")));
        let not_yet = Trouble {
            reached: Reached::NotYet,
            ..perhaps()
        };
        assert!(matches!(Ending::of_trouble(not_yet, false), Ending::Again { .. }));
        assert!(matches!(
            Ending::of_trouble(Trouble::refused("x", "y"), true),
            Ending::Done(_, Health::Unknown)
        ));
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

    #[test]
    fn what_an_attempt_ended_with_names_no_secret() {
        let blot = Blot::new(["hunter2"]);
        let lost = Ending::of_trouble(Trouble::timeout("answer from hunter2:80", 5), false);
        let Ending::Done(outcome, _) = lost.blotted(&blot) else { panic!() };
        assert_eq!(*outcome, Outcome::Lost { detail: Some("no answer from [secret]:80 within 5 ms".into()) });
        let Ending::Again { code, detail, .. } = Ending::of_trouble(Trouble::timeout("hunter2", 5), true).blotted(&blot) else { panic!() };
        assert_eq!((code.as_str(), detail.as_str()), ("timeout", "no [secret] within 5 ms"));
    }
}
