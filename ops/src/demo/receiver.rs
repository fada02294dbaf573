//! The demo's own webhook receiver: another system, as far as the node knows.
//!
//! It verifies every signature, counts deliveries by `webhook-id`, and refuses the very first delivery, so that one is
//! repeated under the same id.

use crate::stage::error::StageError;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use parking_lot::Mutex;
use sha2::Sha256;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::{net::TcpListener, task::JoinHandle};

/// Standard Webhooks: how far a timestamp may be from the receiver's clock.
const TOLERANCE_SECONDS: u64 = 5 * 60;

/// What arrived.
#[derive(Debug, Clone, Default)]
pub(super) struct Received {
    /// Deliveries, refused ones included.
    pub(super) deliveries: u64,
    /// Deliveries with a wrong or missing signature.
    pub(super) forged: u64,
    /// Deliveries by `webhook-id` that were taken.
    pub(super) taken: BTreeMap<String, u64>,
    /// Deliveries that were refused on purpose.
    pub(super) refused: u64,
    /// The last payload that was taken.
    pub(super) last: Option<serde_json::Value>,
}

impl Received {
    /// Messages that were taken more than once.
    pub(super) fn doubled(&self) -> usize {
        self.taken.values().filter(|times| **times > 1).count()
    }
}

struct Inner {
    key: Vec<u8>,
    received: Mutex<Received>,
}

/// The receiver; ends when dropped.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    /// The shared secret, `whsec_…`.
    pub(super) secret: String,
    inner: Arc<Inner>,
    server: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Receiver {
    /// Starts on a free loopback port with a secret of its own.
    pub(super) async fn start() -> Result<Self, StageError> {
        let mut key = vec![0u8; 24];
        getrandom::fill(&mut key).map_err(|e| StageError::Scene(e.to_string()))?;
        let secret = format!("whsec_{}", STANDARD.encode(&key));
        let inner = Arc::new(Inner {
            key,
            received: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/orders", post(take)).with_state(inner.clone());
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the demo's receiver ended");
            }
        });
        Ok(Self {
            address,
            secret,
            inner,
            server,
        })
    }

    /// Where to send orders.
    pub(super) fn url(&self) -> String {
        format!("http://{}/orders", self.address)
    }

    /// What arrived so far.
    pub(super) fn received(&self) -> Received {
        self.inner.received.lock().clone()
    }
}

#[expect(clippy::disallowed_methods, reason = "a receiver has a clock of its own")]
async fn take(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    {
        let mut received = inner.received.lock();
        received.deliveries += 1;
        match verify(&inner.key, &headers, &body, now) {
            None => {
                received.forged += 1;
                StatusCode::UNAUTHORIZED
            }
            Some(_) if received.deliveries == 1 => {
                received.refused += 1;
                StatusCode::SERVICE_UNAVAILABLE
            }
            Some(id) => {
                *received.taken.entry(id).or_default() += 1;
                received.last = serde_json::from_slice(&body).ok();
                StatusCode::OK
            }
        }
    }
}

/// The message's id, if one of its signatures is right and its time is near.
fn verify(key: &[u8], headers: &HeaderMap, body: &[u8], now: u64) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let (id, timestamp) = (text("webhook-id")?, text("webhook-timestamp")?);
    if timestamp.parse::<u64>().ok()?.abs_diff(now) > TOLERANCE_SECONDS {
        return None;
    }
    let signed = text("webhook-signature")?
        .split(' ')
        .filter_map(|one| one.strip_prefix("v1,"))
        .any(|one| {
            let Ok(given) = STANDARD.decode(one) else { return false };
            let Ok(mut mac) = <Hmac<Sha256> as Mac>::new_from_slice(key) else {
                return false;
            };
            mac.update(format!("{id}.{timestamp}.").as_bytes());
            mac.update(body);
            mac.verify_slice(&given).is_ok()
        });
    signed.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_right_and_recent_signature_is_taken() {
        // The example of the Standard Webhooks specification.
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let headers = |id: &str, signature: &str| {
            let pairs = [
                ("webhook-id", id),
                ("webhook-timestamp", "1614265330"),
                ("webhook-signature", signature),
            ];
            HeaderMap::from_iter(pairs.map(|(n, v)| (n.parse::<axum::http::HeaderName>().unwrap(), v.parse().unwrap())))
        };
        let good = headers(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "v1,xx v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        );
        assert_eq!(
            verify(&key, &good, body, 1_614_265_300).as_deref(),
            Some("msg_p5jXN8AQM9LWM0D4loKWxJek")
        );
        assert_eq!(verify(&key, &good, body, 1_614_270_000), None, "too old");
        assert_eq!(verify(&key, &good, b"{}", 1_614_265_300), None, "another body");
        let other = headers("msg_other", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(verify(&key, &other, body, 1_614_265_300), None, "another id");
        assert_eq!(verify(&key, &HeaderMap::new(), body, 0), None);
    }
}
