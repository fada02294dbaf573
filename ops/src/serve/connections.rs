//! Accepts connections and serves HTTP/1.1 on them, over TLS where the node has a certificate, within bounds: their number, the time and size of headers, and how long a
//! peer may take nothing of its answer.

#[cfg(test)]
mod tests;

use super::{deadline::WriteDeadline, heads::StrictHeads};
use crate::{
    caller::NodeKeyShown,
    http::{Failure, surface::Secured},
    problems,
    tls::TlsError,
};
use axum::{
    Router,
    extract::ConnectInfo,
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use quipu_runtime::{cluster::PROTOCOL, node::Node};
use quipu_schemas::limits;
use rustls::{ServerConfig, server::Acceptor};
use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor, server::TlsStream};
use tower::ServiceExt;

/// How a connection may begin: in the clear where the node has no certificate, over TLS where it has one, and as another node
/// where it has a key for that.
#[derive(Clone, Default)]
pub(super) struct Doors {
    clients: Option<TlsAcceptor>,
    nodes: Option<Arc<ServerConfig>>,
}

impl Doors {
    /// Those of a node with this certificate, if any.
    pub(super) fn of(clients: Option<TlsAcceptor>, node: &Node) -> Result<Self, TlsError> {
        let nodes = node.node_tls().transpose().map_err(TlsError::Start)?;
        Ok(Self {
            clients,
            nodes: nodes.map(Arc::new),
        })
    }

    fn are_plain(&self) -> bool {
        self.clients.is_none() && self.nodes.is_none()
    }
}

/// Serves until `closing` turns true, then lets requests at work finish.
pub(super) async fn serve(listener: Arc<TcpListener>, router: Router, doors: Doors, mut closing: watch::Receiver<bool>) {
    // Connections hold its other ends for as long as they serve requests.
    let (ending, is_ending) = watch::channel(false);
    let places = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits::HEADERS_READ_MS))
        .max_buf_size(2 * limits::HEADERS_MAX_BYTES);
    loop {
        // A connection past the bound waits in the listen queue; the kernel bounds that.
        let next = async {
            let place = places.clone().acquire_owned().await.ok();
            listener.accept().await.map(|(stream, peer)| (stream, peer, place))
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            _ = closing.wait_for(|closing| *closing) => break,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                let is_ending = is_ending.clone();
                Accepted {
                    stream,
                    peer,
                    place,
                    is_ending,
                }
                .spawn(&builder, router.clone(), doors.clone());
            }
            Err(error) => {
                // Out of descriptors, or the peer was gone already: wait for others to close rather than spin.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop((listener, is_ending));
    ending.send_replace(true);
    ending.closed().await;
}

/// A connection that was accepted.
struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    place: Option<OwnedSemaphorePermit>,
    is_ending: watch::Receiver<bool>,
}

impl Accepted {
    /// Serves it on a task of its own, behind a handshake where there is TLS.
    fn spawn(self, builder: &http1::Builder, router: Router, doors: Doors) {
        // Answers are small and whole: waiting for more to send would only delay them.
        let _ = self.stream.set_nodelay(true);
        let builder = builder.clone();
        tokio::spawn(async move {
            let Self {
                stream,
                peer,
                place,
                mut is_ending,
            } = self;
            let opened = if doors.are_plain() {
                Opened::Plain(stream)
            } else {
                let opening = tokio::time::timeout(Duration::from_millis(limits::TLS_HANDSHAKE_MS), open(doors, stream));
                let opened = tokio::select! {
                    opened = opening => opened,
                    // Nothing was asked yet.
                    _ = is_ending.wait_for(|is_ending| *is_ending) => return,
                };
                match opened {
                    Ok(Ok(opened)) => opened,
                    Ok(Err(error)) => return tracing::debug!(%peer, %error, "no TLS handshake"),
                    Err(_elapsed) => return tracing::debug!(%peer, "the TLS handshake took too long"),
                }
            };
            match opened {
                Opened::Plain(stream) => {
                    let (reader, writer) = stream.into_split();
                    let from = Source {
                        peer,
                        is_secured: false,
                        node: None,
                    };
                    serve_one(&builder, reader, writer, place, is_ending, router, from).await;
                }
                Opened::Secured(stream, node) => {
                    let (reader, writer) = tokio::io::split(*stream);
                    let from = Source {
                        peer,
                        is_secured: true,
                        node,
                    };
                    serve_one(&builder, reader, writer, place, is_ending, router, from).await;
                }
            }
        });
    }
}

/// What is read of a request in the clear before it is refused.
const PLAIN_READ_BYTES: usize = 16 * 1024;

/// The first byte of every TLS connection.
const HANDSHAKE_RECORD: u8 = 0x16;

/// A connection on which requests come.
enum Opened {
    Plain(TcpStream),
    Secured(Box<TlsStream<TcpStream>>, Option<NodeKeyShown>),
}

/// Tells by its first bytes how a connection is meant, and shakes hands.
async fn open(doors: Doors, mut stream: TcpStream) -> io::Result<Opened> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE_RECORD {
        if doors.clients.is_none() {
            return Ok(Opened::Plain(stream));
        }
        // In words that a client understands who means another scheme. What is left unread when a connection closes would take
        // the answer with it.
        let mut request = vec![0; PLAIN_READ_BYTES];
        let _ = stream.read(&mut request).await?;
        let refused = Failure(problems::tls_required()).into_response();
        stream.write_all(&in_plain(refused).await).await?;
        stream.shutdown().await?;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the first byte is not one of TLS"));
    }
    let begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let is_node = begun
        .client_hello()
        .alpn()
        .is_some_and(|mut asked| asked.any(|protocol| protocol == PROTOCOL));
    let config = if is_node {
        doors.nodes
    } else {
        doors.clients.map(|acceptor| acceptor.config().clone())
    };
    let config = config.ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "there is no TLS for such a client here"))?;
    let stream = begun.into_stream(config).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(|shown| shown.first());
    let node = shown.filter(|_| is_node).map(|key| NodeKeyShown(key.as_ref().into()));
    Ok(Opened::Secured(Box::new(stream), node))
}

/// An answer as bytes, after which the connection closes.
async fn in_plain(response: Response) -> Vec<u8> {
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, limits::BODY_MAX_BYTES).await.unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {}\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        parts.status,
        body.len()
    );
    [head.as_bytes(), &body].concat()
}

/// Where requests of a connection come from.
#[derive(Clone)]
struct Source {
    peer: SocketAddr,
    is_secured: bool,
    /// The key of a node, on a connection between nodes.
    node: Option<NodeKeyShown>,
}

async fn serve_one<R, W>(
    builder: &http1::Builder,
    reader: R,
    writer: W,
    place: Option<OwnedSemaphorePermit>,
    mut is_ending: watch::Receiver<bool>,
    router: Router,
    from: Source,
) where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let Source { peer, is_secured, node } = from;
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        if is_secured {
            request.extensions_mut().insert(Secured);
        }
        if let Some(node) = node.clone() {
            request.extensions_mut().insert(node);
        }
        router.clone().oneshot(request)
    });
    // The place goes with the socket: one that was upgraded takes room for as long as it is open.
    let writer = WriteDeadline::new(writer, Duration::from_millis(limits::WRITE_IDLE_MS), place);
    let io = tokio::io::join(StrictHeads::new(reader), writer);
    let connection = builder.serve_connection(TokioIo::new(io), service).with_upgrades();
    let mut connection = pin!(connection);
    let told = async {
        // An error means that whoever tells is gone, which is an end as well.
        let _ = is_ending.wait_for(|is_ending| *is_ending).await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended early");
    }
}
