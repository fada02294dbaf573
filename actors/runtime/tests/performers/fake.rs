//! A server on a loopback port that plays a part, byte by byte.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// A request as it came over the wire.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What the server does after a request.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Writes these bytes.
    Send(Vec<u8>),
    /// Waits for the client to go, and reports it. The last step of a part.
    Hold,
}

pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    seen: mpsc::UnboundedReceiver<Seen>,
    gone: mpsc::UnboundedReceiver<()>,
}

const PATIENCE: Duration = Duration::from_secs(20);

impl Fake {
    /// `part` is given the number of the request (from 0) and the request; each connection carries one.
    pub(crate) async fn start(part: impl Fn(usize, &Seen) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test sends few requests")]
        let (seen_in, seen) = mpsc::unbounded_channel();
        #[expect(clippy::disallowed_methods, reason = "a test sends few requests")]
        let (gone_in, gone) = mpsc::unbounded_channel();
        let part = Arc::new(part);
        tokio::spawn(async move {
            for n in 0.. {
                let Ok((socket, _)) = listener.accept().await else { return };
                let (part, seen_in, gone_in) = (part.clone(), seen_in.clone(), gone_in.clone());
                tokio::spawn(async move { serve(socket, n, &*part, &seen_in, &gone_in).await });
            }
        });
        Self { address, seen, gone }
    }

    pub(crate) async fn answering(response: Vec<u8>) -> Self {
        Self::start(move |_, _| vec![Step::Send(response.clone())]).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn next(&mut self) -> Seen {
        tokio::time::timeout(PATIENCE, self.seen.recv())
            .await
            .expect("no request came")
            .unwrap()
    }

    /// Whether a request came that was not looked at yet.
    pub(crate) fn was_called(&mut self) -> bool {
        self.seen.try_recv().is_ok()
    }

    /// Waits until a held client is gone.
    pub(crate) async fn client_gone(&mut self, within: Duration) {
        tokio::time::timeout(within, self.gone.recv())
            .await
            .expect("the client kept its connection")
            .unwrap();
    }
}

async fn serve(
    mut socket: TcpStream,
    n: usize,
    part: &(impl Fn(usize, &Seen) -> Vec<Step> + ?Sized),
    seen: &mpsc::UnboundedSender<Seen>,
    gone: &mpsc::UnboundedSender<()>,
) {
    let _ = socket.set_nodelay(true);
    let Some(request) = read_request(&mut socket).await else { return };
    let steps = part(n, &request);
    let _ = seen.send(request);
    for step in steps {
        match step {
            Step::Send(bytes) => {
                if socket.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Step::Hold => {
                let mut rest = [0; 64];
                while socket.read(&mut rest).await.is_ok_and(|n| n > 0) {}
                let _ = gone.send(());
            }
        }
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.split("\r\n");
    let line = lines.next()?.to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|l| l.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(Ok(0), |n| n.parse()).ok()?;
    let mut body = bytes[end + 4..].to_vec();
    while body.len() < length {
        if socket.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Seen { line, headers, body })
}

/// A whole response.
pub(crate) fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let extra: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!(
        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n{extra}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The head of an event stream; chunks follow.
pub(crate) fn stream_head() -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n".to_vec()
}

/// One chunk of a chunked body.
pub(crate) fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// The end of a chunked body.
pub(crate) fn last_chunk() -> Vec<u8> {
    b"0\r\n\r\n".to_vec()
}
