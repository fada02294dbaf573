//! `webhook`: signed messages per Standard Webhooks (`webhook-id`, `webhook-timestamp`, `webhook-signature`).

use super::{
    Attempt, Reach,
    ending::Ending,
    http::{open_body, open_text},
};
use crate::{
    off_worker::blocking,
    secrets::{Secret, SecretError},
    wire::{
        blot::Blot,
        body::{self, Body, Kept},
        client::{Outgoing, Redirects, Trouble, correlate, trouble},
        egress::authority,
        status::retry_after_ms,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use quipu_schemas::{
    context::Millis,
    limits::WEBHOOK_TIMEOUT_MS,
    personal::{SealError, value},
    reaction::WebhookCall,
};
use reqwest::{
    Method, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde_json::Value;
use sha2::Sha256;
use std::time::Duration;
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

const RFC_3339_MS: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// The call with its values in the clear, as it is sent.
async fn opened(reach: &Reach, call: &WebhookCall) -> Result<WebhookCall, SealError> {
    let mut call = call.clone();
    if call.sealed_url.is_none() && !value::holds_sealed(&call.data.0) {
        return Ok(call);
    }
    let keys = reach.keys.clone();
    blocking(move || {
        if let Some(url) = call.sealed_url.take() {
            call.url = open_text(&url, &*keys)?;
        }
        open_body(&mut call.data.0, &*keys)?;
        Ok(call)
    })
    .await?
}

pub(crate) async fn perform(reach: &Reach, attempt: &Attempt, call: &WebhookCall) -> Ending {
    let call = match opened(reach, call).await {
        Ok(opened) => opened,
        Err(error) => return error.into(),
    };
    let Ok(url) = Url::parse(&call.url) else {
        return Ending::of_trouble(
            Trouble::refused("url_refused", "the URL is not an absolute http or https URL"),
            true,
        );
    };
    let secrets = match reach.secrets.all_of_org(&attempt.org, &call.secret, Some(&url)) {
        Ok(secrets) => secrets,
        Err(error) => return error.into(),
    };
    // One body for all attempts: the payload's time is the event's, the header's is the attempt's.
    let body = serde_json::json!({ "type": call.event_type, "timestamp": rfc3339(attempt.recorded_at), "data": call.data }).to_string();
    let (id, now) = (attempt.key.message_id(), (reach.clock)());
    let signature = match sign(&call.secret, &secrets, &id, now / 1_000, body.as_bytes()) {
        Ok(signature) => signature,
        Err(error) => return error.into(),
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in [
        ("webhook-id", id),
        ("webhook-timestamp", (now / 1_000).to_string()),
        ("webhook-signature", signature),
    ] {
        headers.insert(
            name,
            HeaderValue::from_str(&value).expect("hex, digits and base64 are header values"),
        );
    }
    correlate(&mut headers, attempt.correlation.as_deref());
    let peer = authority(&url);
    let outgoing = Outgoing {
        method: Method::POST,
        url: url.clone(),
        headers,
        confidential: Vec::new(),
        body: Some(body.into()),
        redirects: Redirects::Answer,
    };
    let exchange = async {
        let mut response = reach.client.send(outgoing).await?;
        let body = body::read(&mut response, reach.bounds())
            .await
            .map_err(|error| trouble(&error, &url))?;
        Ok::<_, Trouble>((response, body))
    };
    let (response, body) = match tokio::time::timeout(Duration::from_millis(WEBHOOK_TIMEOUT_MS), exchange).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(trouble)) => return Ending::of_trouble(trouble, true),
        Err(_) => return Ending::of_trouble(Trouble::timeout(&format!("answer from {peer}"), WEBHOOK_TIMEOUT_MS), true),
    };
    let status = response.status();
    if status.is_success() {
        let (value, full_bytes) = said(&body);
        return reach.answered(attempt, status, value, full_bytes).await;
    }
    let note = (status.as_u16() == 410).then_some("the endpoint is gone");
    Ending::of_status(status, &peer, note, retry_after_ms(response.headers(), now), true)
}

/// What the receiver said beside taking the message, which must not make it be sent again; and its size, where that is not all.
fn said(body: &Body) -> (Value, Option<u64>) {
    match body.keep(&Blot::default()) {
        Ok(Kept::Json(value)) => (value, None),
        Ok(Kept::Text(text)) => (Value::String(text), None),
        Ok(Kept::CutText(text, full)) => (Value::String(text), Some(full)),
        Ok(Kept::JsonTooLarge(full)) => (Value::Null, Some(full)),
        Err(_) => (Value::Null, Some(body.seen())),
    }
}

/// `2026-01-02T03:04:05.678Z`.
fn rfc3339(at: Millis) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(RFC_3339_MS).unwrap_or_default()
}

/// One `v1,` signature a secret, newest first, over `id.timestamp.body`. `timestamp` is in seconds.
fn sign(name: &str, secrets: &[Secret], id: &str, timestamp: u64, body: &[u8]) -> Result<String, SecretError> {
    let one = |secret: &Secret| {
        let form = || SecretError::Form {
            name: name.to_owned(),
            expected: "a webhook secret (`whsec_` and base64)",
        };
        let encoded = secret.expose().strip_prefix("whsec_").ok_or_else(form)?;
        let key = STANDARD.decode(encoded).ok().filter(|key| !key.is_empty()).ok_or_else(form)?;
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&key).expect("HMAC takes a key of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    };
    Ok(secrets.iter().map(one).collect::<Result<Vec<_>, _>>()?.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    /// The published example of the reference libraries.
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn record_times_are_written_as_rfc_3339() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_614_265_330_123, "2021-02-25T15:02:10.123Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
        }
    }

    #[test]
    fn the_published_example_is_signed_alike() {
        assert_eq!(sign("hook", &[Secret::new(SECRET)], ID, 1_614_265_330, BODY).unwrap(), SIGNATURE);
    }

    #[test]
    fn rotation_signs_twice_and_bad_secrets_are_named_not_shown() {
        let both = sign("hook", &[Secret::new("whsec_AAAA"), Secret::new(SECRET)], ID, 1_614_265_330, BODY).unwrap();
        let parts: Vec<&str> = both.split(' ').collect();
        assert_eq!((parts.len(), parts[1]), (2, SIGNATURE));
        for bad in ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!", "whsec_"] {
            let error = sign("hook", &[Secret::new(bad)], ID, 1, BODY).unwrap_err();
            assert_eq!(error.code(), "secret_invalid");
            assert!(error.to_string().contains("hook") && !error.to_string().contains("MfKQ"), "{error}");
        }
    }
}
