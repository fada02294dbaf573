//! Yardstick S: the least that a durable command over HTTP can cost. A bare axum server takes the same requests,
//! writes as many bytes as Quipu stores for one, one write and one fdatasync a group, and answers when they are durable.

use super::{
    BenchError,
    child::{self, Role, Server},
};
use axum::{Router, body::Bytes, extract::State, http::StatusCode, response::IntoResponse, routing::post};
use quipu_events::disk::{Disk, DiskFile, RealDisk};
use quipu_schemas::limits::SEGMENT_BYTES;
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
};
use tokio::sync::oneshot;

/// What the server does with a body.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    /// Where bodies go; nowhere if `None` (bare HTTP).
    pub(super) file: Option<PathBuf>,
    /// Bytes written for each body.
    pub(super) record_bytes: usize,
}

/// Starts the server in a child process.
pub(super) async fn start(file: Option<&Path>, record_bytes: usize) -> Result<Server, BenchError> {
    child::listen(
        Role::Yardstick,
        &Plan {
            file: file.map(Path::to_owned),
            record_bytes,
        },
    )
    .await
}

type Waiting = (Bytes, oneshot::Sender<bool>);

#[derive(Clone)]
struct App {
    writer: Option<mpsc::Sender<Waiting>>,
    answer: Bytes,
}

async fn take(State(app): State<App>, body: Bytes) -> impl IntoResponse {
    let stored = match app.writer {
        None => true,
        Some(writer) => {
            let (send, receive) = oneshot::channel();
            writer.send((body, send)).is_ok() && receive.await.unwrap_or(false)
        }
    };
    let status = if stored {
        StatusCode::ACCEPTED
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, [("content-type", "application/json")], app.answer)
}

/// One write and one sync for whatever waits.
fn write(file: &dyn DiskFile, record_bytes: usize, waiting: &mpsc::Receiver<Waiting>) {
    let (mut buffer, mut end, mut reserved) = (Vec::new(), 0, SEGMENT_BYTES);
    while let Ok(first) = waiting.recv() {
        let group: Vec<Waiting> = std::iter::once(first).chain(waiting.try_iter()).collect();
        buffer.clear();
        for (body, _) in &group {
            let from = buffer.len();
            buffer.extend_from_slice(body);
            buffer.resize(from + record_bytes.max(body.len()), 0x20);
        }
        let mut ready = Ok(());
        if end + buffer.len() as u64 > reserved {
            reserved += SEGMENT_BYTES;
            ready = file.reserve(reserved);
        }
        let stored = ready
            .and_then(|()| file.write_all_at(end, &buffer))
            .and_then(|()| file.sync_data())
            .is_ok();
        end += buffer.len() as u64;
        for (_, done) in group {
            let _ = done.send(stored);
        }
    }
}

/// The child's work: serves until the process ends.
pub(super) async fn serve(plan: Plan, ready: impl FnOnce(std::net::SocketAddr) -> std::io::Result<()>) -> std::io::Result<()> {
    let writer = match &plan.file {
        None => None,
        Some(path) => {
            let file: Arc<dyn DiskFile> = RealDisk.create(path)?;
            file.reserve(SEGMENT_BYTES)?;
            file.sync_data()?;
            let (send, receive) = mpsc::channel();
            std::thread::Builder::new()
                .name("yardstick-disk".into())
                .spawn(move || write(&*file, plan.record_bytes, &receive))?;
            Some(send)
        }
    };
    // As long as a receipt.
    let answer = format!("{{\"stored\":true,\"padding\":\"{}\"}}", "x".repeat(170)).into();
    let router = Router::new().route("/{*any}", post(take)).with_state(App { writer, answer });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    ready(listener.local_addr()?)?;
    axum::serve(
        axum::serve::ListenerExt::tap_io(listener, |stream| {
            let _ = stream.set_nodelay(true);
        }),
        router,
    )
    .await
}
