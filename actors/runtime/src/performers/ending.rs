//! How an attempt ends, before the outbox hears of it.

use super::client::{Body, Reached, Trouble};
use crate::{breaker::Health, secrets::SecretError};
use quipu_schemas::{
    json::{Json, check},
    limits::RESPONSE_KEEP_BYTES,
    personal::SealError,
    reaction::Outcome,
};
use reqwest::StatusCode;
use serde_json::Value;

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
            Reached::Perhaps if !repeatable => Ending::done(Outcome::Lost, Health::Down),
            Reached::NotYet | Reached::Perhaps => Ending::Again {
                code: trouble.code.into(),
                detail: trouble.detail,
                retry_after_ms: None,
                health: Health::Down,
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

/// A response body to be recorded: JSON where it is whole, sane JSON; its text, cut, otherwise. The encoded
/// form is at most [`RESPONSE_KEEP_BYTES`], and `secrets` are blotted out (some servers echo requests).
pub(crate) fn kept_json(body: &Body, secrets: &[String]) -> Json {
    let text = redact(&body.bytes, secrets);
    if !body.cut {
        let parsed = serde_json::from_str::<Value>(&text).ok().filter(|value| check(value).is_ok());
        if let Some(value) = parsed.filter(|value| value.to_string().len() <= RESPONSE_KEEP_BYTES) {
            return Json(value);
        }
        if text.is_empty() {
            return Json(Value::Null);
        }
    }
    Json(Value::String(cut_encoded(&text, RESPONSE_KEEP_BYTES)))
}

/// A response body as text for a model, cut alike.
pub(crate) fn kept_text(body: &Body, secrets: &[String]) -> String {
    cut_encoded(&redact(&body.bytes, secrets), RESPONSE_KEEP_BYTES)
}

fn redact(bytes: &[u8], secrets: &[String]) -> String {
    let text = String::from_utf8_lossy(bytes).into_owned();
    secrets
        .iter()
        .filter(|secret| !secret.is_empty())
        .fold(text, |text, secret| text.replace(secret.as_str(), "[secret]"))
}

/// Cuts so that the JSON string of the rest takes at most `max` bytes.
pub(crate) fn cut_encoded(text: &str, max: usize) -> String {
    let mut encoded = 2;
    text.chars()
        .take_while(|c| {
            encoded += match c {
                '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
                c if u32::from(*c) < 0x20 => 6,
                c => c.len_utf8(),
            };
            encoded <= max
        })
        .collect()
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
        let perhaps = || Trouble::timeout("the answer", 5);
        assert!(matches!(Ending::of_trouble(perhaps(), true), Ending::Again { .. }));
        assert!(matches!(Ending::of_trouble(perhaps(), false), Ending::Done(outcome, _) if *outcome == Outcome::Lost));
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
    fn kept_bodies_are_bounded_clean_and_json_where_they_can_be() {
        let body = |bytes: &[u8], cut| Body {
            bytes: bytes.to_vec(),
            cut,
        };
        let secrets = ["hunter2".to_owned()];
        assert_eq!(
            kept_json(&body(br#"{"a":"hunter2"}"#, false), &secrets).0,
            serde_json::json!({"a": "[secret]"})
        );
        assert_eq!(kept_json(&body(b"", false), &[]).0, Value::Null);
        assert_eq!(kept_json(&body(b"{\"a\":1}", true), &[]).0, Value::String("{\"a\":1}".into()));
        assert_eq!(kept_json(&body(b"\xff!", false), &[]).0, Value::String("\u{fffd}!".into()));
        // Imitated ciphertext and deep nesting stay text.
        assert!(kept_json(&body(br#"{"$sealed":"x"}"#, false), &[]).0.is_string());
        assert!(kept_json(&body("[".repeat(60).as_bytes(), false), &[]).0.is_string());
        let hostile = vec![1u8; RESPONSE_KEEP_BYTES];
        assert!(kept_json(&body(&hostile, true), &[]).to_text().len() <= RESPONSE_KEEP_BYTES);
        assert_eq!(cut_encoded("äöü", 6), "äö");
    }
}
