//! The connections of a process to its database, and the threads that drive them.

use super::{lease::Lease, options::PostgresOptions, storage, tls::Tls};
use crate::error::ViewError;
use deadpool_postgres::{Manager, ManagerConfig, Pool, PoolConfig, QueueMode, RecyclingMethod, Runtime as Driver, Timeouts};
use quipu_schemas::limits::VIEW_CONNECT_MS;
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, mpsc::sync_channel},
    task::Poll,
    time::Duration,
};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::NoTls;

/// Threads that drive connections.
const THREADS: usize = 2;
/// Connections that write: the follower's and a rebuild's. Queries never hold them.
const WRITERS: usize = 2;

/// A database that view stores stand in. Its calls may be made from within any runtime: they block.
pub struct Database {
    pub(super) options: PostgresOptions,
    pub(super) readers: Pool,
    pub(super) writers: Pool,
    runtime: Option<Runtime>,
}

impl Database {
    /// Connects, and makes what all stores share: the role that reads, and the table of stores.
    pub fn connect(options: &PostgresOptions) -> Result<Arc<Self>, ViewError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("quipu-postgres")
            .enable_all()
            .build()
            .map_err(|e| ViewError::Storage(format!("no threads for PostgreSQL: {e}")))?;
        let database = Self {
            readers: pool(options, options.pool)?,
            writers: pool(options, WRITERS)?,
            options: options.clone(),
            runtime: Some(runtime),
        };
        let (writers, options) = (database.writers.clone(), options.clone());
        database.wait(None, async move {
            let client = Lease::of(&writers).await?;
            super::schema::begin(&client, &options).await?;
            client.keep();
            Ok(())
        })?;
        Ok(Arc::new(database))
    }

    /// Blocks on what the database's own threads do; `within` closes the connection of a call that takes longer.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        within: Option<u64>,
        work: impl Future<Output = Result<T, ViewError>> + Send + 'static,
    ) -> Result<T, ViewError> {
        let (send, receive) = sync_channel(1);
        if let Some(runtime) = &self.runtime {
            runtime.spawn(async move {
                let result = match within {
                    None => work.await,
                    Some(ms) => match tokio::time::timeout(Duration::from_millis(ms), work).await {
                        Ok(result) => result,
                        Err(_) => Err(ViewError::Storage(format!("no answer within {ms} ms"))),
                    },
                };
                // The receiver waits below.
                let _ = send.send(result);
            });
        }
        receive
            .recv()
            .unwrap_or_else(|_| Err(ViewError::Storage("the call was cut short".into())))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn pool(options: &PostgresOptions, size: usize) -> Result<Pool, ViewError> {
    let fast = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    let manager = if options.is_encrypted() {
        Manager::from_config(options.config.clone(), Tls::new(options.roots.as_deref())?, fast)
    } else {
        Manager::from_config(options.config.clone(), NoTls, fast)
    };
    let limit = Some(Duration::from_millis(VIEW_CONNECT_MS));
    let config = PoolConfig {
        max_size: size,
        timeouts: Timeouts {
            wait: limit,
            create: limit,
            recycle: limit,
        },
        // The one used last has its statements prepared.
        queue_mode: QueueMode::Lifo,
    };
    let built = Pool::builder(manager).config(config).runtime(Driver::Tokio1).build();
    built.map_err(|e| ViewError::Storage(e.to_string()))
}

/// A request to the server.
pub(super) type Request<'c, T> = Pin<Box<dyn Future<Output = Result<T, tokio_postgres::Error>> + Send + 'c>>;

/// Sends all requests, in order, before it waits for the first answer. The server answers in order, too; the first error
/// ends it.
pub(super) async fn pipelined<T>(requests: Vec<Request<'_, T>>) -> Result<Vec<T>, ViewError> {
    let mut sent = Vec::with_capacity(requests.len());
    for mut request in requests {
        // The first poll of a request is what sends it.
        let answered = poll_fn(|context| Poll::Ready(request.as_mut().poll(context))).await;
        sent.push((request, answered));
    }
    let mut answers = Vec::with_capacity(sent.len());
    for (request, answered) in sent {
        let answer = match answered {
            Poll::Ready(answer) => answer,
            Poll::Pending => request.await,
        };
        answers.push(answer.map_err(storage)?);
    }
    Ok(answers)
}
