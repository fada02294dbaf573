//! Accepts connections and serves HTTP/1.1 on them, within bounds: their number, the time and size of headers, and how long a
//! peer may take nothing of its answer.

#[cfg(test)]
mod tests;

use super::{deadline::WriteDeadline, heads::StrictHeads};
use axum::{Router, extract::ConnectInfo};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use quipu_schemas::limits;
use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use tower::ServiceExt;

/// Serves until `closing` turns true, then lets requests at work finish.
pub(super) async fn serve(listener: Arc<TcpListener>, router: Router, mut closing: watch::Receiver<bool>) {
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
            Ok((stream, peer, place)) => spawn(&builder, is_ending.clone(), stream, peer, place, router.clone()),
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

fn spawn(
    builder: &http1::Builder,
    mut is_ending: watch::Receiver<bool>,
    stream: TcpStream,
    peer: SocketAddr,
    place: Option<OwnedSemaphorePermit>,
    router: Router,
) {
    // Answers are small and whole: waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request)
    });
    // The place goes with the socket: one that was upgraded takes room for as long as it is open.
    let (reader, writer) = stream.into_split();
    let writer = WriteDeadline::new(writer, Duration::from_millis(limits::WRITE_IDLE_MS), place);
    let io = tokio::io::join(StrictHeads::new(reader), writer);
    let connection = builder.serve_connection(TokioIo::new(io), service).with_upgrades();
    tokio::spawn(async move {
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
    });
}
