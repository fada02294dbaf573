//! Another system, as far as the node knows: takes signed webhooks, plain requests and tool calls, and remembers all.

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use parking_lot::Mutex;
use sha2::Sha256;
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// The signing secret of every test receiver.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// One request that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Path.
    pub path: String,
    /// What a signed webhook says of itself: its headers `webhook-…`.
    pub signature: BTreeMap<String, String>,
    /// `webhook-id` or `idempotency-key`, or nothing.
    pub id: String,
    /// Body.
    pub body: String,
    /// Whether the webhook signature is right (true where there is none).
    pub signed: bool,
    /// Status that was answered.
    pub status: u16,
}

#[derive(Default)]
struct Book {
    arrivals: Vec<Arrival>,
    /// Statuses to answer before 200, by path.
    refusals: BTreeMap<String, Vec<u16>>,
    /// Bodies to answer, by path.
    answers: BTreeMap<String, String>,
}

struct Inner {
    book: Mutex<Book>,
    /// Requests to paths below `/held` wait until this is true.
    open: watch::Sender<bool>,
}

/// The receiver; ends when dropped.
pub struct Receiver {
    /// Where it listens.
    pub address: SocketAddr,
    inner: Arc<Inner>,
    server: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Receiver {
    /// Listens on a free loopback port.
    ///
    /// # Panics
    /// If there is none.
    pub async fn start() -> Self {
        let inner = Arc::new(Inner {
            book: Mutex::default(),
            open: watch::Sender::new(false),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let router = Router::new().fallback(take).with_state(inner.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("the receiver serves") });
        Self { address, inner, server }
    }

    /// A URL of it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers these statuses at `path` first, one after the other, and 200 from then on.
    pub fn refuse(&self, path: &str, statuses: &[u16]) {
        self.inner
            .book
            .lock()
            .refusals
            .insert(path.to_owned(), statuses.iter().rev().copied().collect());
    }

    /// Answers this body at `path`.
    pub fn answer(&self, path: &str, body: &str) {
        self.inner.book.lock().answers.insert(path.to_owned(), body.to_owned());
    }

    /// Lets requests below `/held` go, or holds them.
    pub fn open(&self, open: bool) {
        self.inner.open.send_replace(open);
    }

    /// Everything that arrived, in order.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.inner.book.lock().arrivals.clone()
    }

    /// What arrived at a path.
    pub fn at(&self, path: &str) -> Vec<Arrival> {
        self.inner.book.lock().arrivals.iter().filter(|a| a.path == path).cloned().collect()
    }
}

async fn take(State(inner): State<Arc<Inner>>, _method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let path = uri.path().to_owned();
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let (status, answer) = {
        let mut book = inner.book.lock();
        let status = book.refusals.get_mut(&path).and_then(Vec::pop).unwrap_or(200);
        book.arrivals.push(Arrival {
            signature: signature(&headers),
            id: text("webhook-id").or_else(|| text("idempotency-key")).unwrap_or_default(),
            body: String::from_utf8_lossy(&body).into_owned(),
            signed: !headers.contains_key("webhook-id") || is_signed(&headers, &body),
            status,
            path: path.clone(),
        });
        (
            status,
            book.answers.get(&path).cloned().unwrap_or_else(|| r#"{"ok":true}"#.to_owned()),
        )
    };
    if path.starts_with("/held") {
        // The sender of `open` lives as long as the receiver does.
        let _ = inner.open.subscribe().wait_for(|open| *open).await;
    }
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(CONTENT_TYPE, "application/json")], answer).into_response()
}

fn signature(headers: &HeaderMap) -> BTreeMap<String, String> {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let signs = headers.iter().filter(|(name, _)| name.as_str().starts_with("webhook-"));
    signs.map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

fn is_signed(headers: &HeaderMap, body: &[u8]) -> bool {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let key = STANDARD.decode(SECRET.trim_start_matches("whsec_")).expect("base64");
    text("webhook-signature")
        .split(' ')
        .filter_map(|one| one.strip_prefix("v1,"))
        .any(|one| {
            let Ok(given) = STANDARD.decode(one) else { return false };
            let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&key).expect("a key of any length");
            mac.update(format!("{}.{}.", text("webhook-id"), text("webhook-timestamp")).as_bytes());
            mac.update(body);
            mac.verify_slice(&given).is_ok()
        })
}
