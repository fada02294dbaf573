//! The id of a request: the client's `X-Request-Id`, or a new UUIDv7. It is in the answer, in problems and in log lines, and where
//! the client gives no correlation id it correlates everything that the request causes.

use crate::{headers::label, redaction::holds_credential};
use axum::http::HeaderMap;
use quipu_schemas::context::{Millis, uuid_v7};

/// Where clients give it, and find it in the answer.
pub const HEADER: &str = "X-Request-Id";

/// The id of one request. Set by the guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub String);

impl RequestId {
    /// Reads or makes it. One of another form, or given twice, is passed over: it is often set by something between client and
    /// node.
    pub fn of(headers: &HeaderMap, now: Millis) -> Self {
        match label(headers, HEADER) {
            // An id is stored and passed on: a credential in its place goes no further.
            Ok(Some(given)) if !holds_credential(&given) => Self(given),
            Ok(_) | Err(_) => Self::mint(now),
        }
    }

    /// A new one: a UUIDv7 of this time.
    pub fn mint(now: Millis) -> Self {
        let mut bytes = [0u8; 16];
        // Without randomness requests still work; those of one millisecond share an id.
        let _ = getrandom::fill(&mut bytes);
        Self(uuid_text(uuid_v7(now, u128::from_be_bytes(bytes), 0)))
    }
}

fn uuid_text(bits: u128) -> String {
    let hex = hex::encode(bits.to_be_bytes());
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minted_id_is_a_version_7_uuid_of_its_time() {
        let RequestId(text) = RequestId::mint(0x0198_f6f4_5d1e);
        assert_eq!(text.len(), 36);
        assert!(text.starts_with("0198f6f4-5d1e-7"), "{text}");
        assert!(matches!(text.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{text}");
        assert!(text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit()), "{text}");
        assert_ne!(RequestId::mint(7), RequestId::mint(7));
    }

    #[test]
    fn given_id_is_taken_where_it_is_well_formed() {
        let of = |values: &[&str]| {
            let pairs = values.iter().map(|value| (HEADER.to_ascii_lowercase(), *value));
            let mut map = HeaderMap::new();
            for (name, value) in pairs {
                map.append(axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
            }
            RequestId::of(&map, 1).0
        };
        assert_eq!(of(&["req-1"]), "req-1");
        for foreign in [&["a b"][..], &[""], &["{x}"], &["a", "b"], &[]] {
            assert_eq!(of(foreign).len(), 36, "{foreign:?}");
        }
    }
}
