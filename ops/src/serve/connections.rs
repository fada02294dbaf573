//! Accepts connections and serves HTTP/1.1 on them, over TLS where the node has a certificate, within bounds: their number, the time and size of headers, and how long a
//! peer may take nothing of its answer.

#[cfg(test)]
mod tests;

use super::{deadline::WriteDeadline, heads::StrictHeads};
use crate::{
    http::{Failure, surface::Secured},
    problems,
};
use axum::{
    Router,
    extract::ConnectInfo,
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use quipu_schemas::limits;
use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::ServiceExt;

/// Serves until `closing` turns true, then lets requests at work finish.
pub(super) async fn serve(listener: Arc<TcpListener>, router: Router, tls: Option<TlsAcceptor>, mut closing: watch::Receiver<bool>) {
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
                .spawn(&builder, router.clone(), tls.clone());
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
    fn spawn(self, builder: &http1::Builder, router: Router, tls: Option<TlsAcceptor>) {
        // Answers are small and whole: waiting for more to send would only delay them.
        let _ = self.stream.set_nodelay(true);
        let builder = builder.clone();
        tokio::spawn(async move {
            let Some(acceptor) = tls else {
                let Self {
                    stream,
                    peer,
                    place,
                    is_ending,
                } = self;
                let (reader, writer) = stream.into_split();
                serve_one(
                    &builder,
                    reader,
                    writer,
                    place,
                    is_ending,
                    router,
                    Source { peer, is_secured: false },
                )
                .await;
                return;
            };
            let Self {
                stream,
                peer,
                place,
                mut is_ending,
            } = self;
            let handshake = tokio::time::timeout(Duration::from_millis(limits::TLS_HANDSHAKE_MS), handshake(acceptor, stream));
            let secured = tokio::select! {
                secured = handshake => secured,
                // Nothing was asked yet.
                _ = is_ending.wait_for(|is_ending| *is_ending) => return,
            };
            match secured {
                Ok(Ok(stream)) => {
                    let (reader, writer) = tokio::io::split(stream);
                    serve_one(
                        &builder,
                        reader,
                        writer,
                        place,
                        is_ending,
                        router,
                        Source { peer, is_secured: true },
                    )
                    .await;
                }
                Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS handshake"),
                Err(_elapsed) => tracing::debug!(%peer, "the TLS handshake took too long"),
            }
        });
    }
}

/// What is read of a request in the clear before it is refused.
const PLAIN_READ_BYTES: usize = 16 * 1024;

/// The first byte of every TLS connection.
const HANDSHAKE_RECORD: u8 = 0x16;

async fn handshake(acceptor: TlsAcceptor, mut stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE_RECORD {
        // In words that a client understands who means another scheme. What is left unread when a connection closes would take
        // the answer with it.
        let mut request = vec![0; PLAIN_READ_BYTES];
        let _ = stream.read(&mut request).await?;
        let refused = Failure(problems::tls_required()).into_response();
        stream.write_all(&in_plain(refused).await).await?;
        stream.shutdown().await?;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the first byte is not one of TLS"));
    }
    acceptor.accept(stream).await
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
#[derive(Clone, Copy)]
struct Source {
    peer: SocketAddr,
    is_secured: bool,
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
    let Source { peer, is_secured } = from;
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        if is_secured {
            request.extensions_mut().insert(Secured);
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
