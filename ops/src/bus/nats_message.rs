//! Messages of NATS as the bus knows them, and answers as those of NATS.

use super::{
    message::{self, Arrived, KEY},
    subject,
};
use async_nats::HeaderMap;
use axum::http::{self, HeaderName, HeaderValue};
use bytes::Bytes;
use quipu_schemas::{envelope::Receipt, ids::CommandId, problem::Problem};

/// The id of a command, where there is no `Idempotency-Key`.
const NATS_ID: HeaderName = HeaderName::from_static("nats-msg-id");

/// A message on this family of subjects.
pub(super) fn arrived<'a>(family: &str, subject: &str, headers: Option<&HeaderMap>, body: &'a [u8]) -> Arrived<'a> {
    Arrived {
        org: subject::org_of(family, subject),
        target: subject::parse(family, subject),
        headers: http_headers(headers),
        body,
    }
}

fn http_headers(headers: Option<&HeaderMap>) -> http::HeaderMap {
    let pairs = headers.into_iter().flat_map(HeaderMap::iter);
    let pairs = pairs.flat_map(|(name, values)| values.iter().map(move |value| (name.as_ref(), value.as_str().as_bytes())));
    let mut map = message::http_headers(pairs);
    if !map.contains_key(KEY) {
        let ids: Vec<HeaderValue> = map.get_all(NATS_ID).iter().cloned().collect();
        for id in ids {
            map.append(KEY, id);
        }
    }
    map
}

/// A receipt or a problem as headers and body; a problem by the convention of NATS services, and with the command's id.
pub(super) fn answer(result: &Result<Receipt, Problem>, id: Option<&CommandId>, correlation: &str) -> (HeaderMap, Bytes) {
    let answer = message::answer(result, id, correlation);
    let mut headers = HeaderMap::new();
    for (name, value) in answer.headers {
        headers.insert(name, value);
    }
    if let Some(code) = answer.code {
        headers.insert("Nats-Service-Error-Code", answer.status.to_string());
        headers.insert("Nats-Service-Error", code);
    }
    (headers, answer.body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{asked::Labels, bus::message::one_id, problems};

    #[test]
    fn headers_of_nats_are_read_as_those_of_http() {
        let mut nats = HeaderMap::new();
        nats.insert("nats-msg-id", "c-1");
        nats.insert("IF-MATCH", "\"7\"");
        nats.insert("Quipu-On-Behalf-Of", "ada");
        nats.insert("X-Env", "\u{e9}t\u{e9}");
        let map = http_headers(Some(&nats));
        assert_eq!(map[&KEY], "c-1");
        assert_eq!(one_id(&map).unwrap().as_str(), "c-1");
        assert_eq!(Labels::read(&map).unwrap_err().field.as_deref(), Some("X-Env"));
        nats.insert("Idempotency-Key", "c-2");
        assert_eq!(one_id(&http_headers(Some(&nats))).unwrap().as_str(), "c-2");
        nats.append("Idempotency-Key", "c-3");
        assert!(one_id(&http_headers(Some(&nats))).is_none());
    }

    #[test]
    fn a_problem_tells_its_status_and_code_in_headers() {
        let id = CommandId::parse("c-1").unwrap();
        let (headers, body) = answer(&Err(problems::overloaded("calls", 3)), Some(&id), "co");
        let header = |name: &str| headers.get(name).map(|v| v.as_str().to_owned()).unwrap_or_default();
        assert_eq!(
            ["Nats-Service-Error-Code", "Nats-Service-Error", "Retry-After", "X-Correlation-Id"].map(header),
            ["503", "overloaded", "1", "co"]
        );
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&body["code"], &body["command_id"]), (&"overloaded".into(), &"c-1".into()));
    }
}
