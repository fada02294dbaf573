//! The composition root: one function that makes a running node with its faces, for the binary, the demo and tests.

mod connections;
mod deadline;
mod exposure;
mod heads;
mod rlimit;

use crate::{
    app::audit::Keeper,
    app::{Access, App, BusHealth, Stage},
    bus::{self, Bus, BusError},
    caller::{Caller, Credential, InOrg},
    config::{Config, ConfigError},
    domain::{Domain, DomainError},
    http,
    metrics::HEADS_ERRORS,
    rights,
    tls::{Certificates, TlsError},
    token::{self, Token, TokenError},
    views::Views,
};
use axum::Router;
use quipu_projections::error::ViewError;
use quipu_runtime::{
    node::{Node, StartError},
    tasks::Tasks,
};
use quipu_schemas::{ids::OrgId, limits, problem::Problem};
use std::{
    fs, io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// Name of the file in the data directory that tells the CLI of the same machine where the node listens.
pub const ADDRESS_FILE: &str = "address";

pub use rlimit::check_limits;

use connections::Doors;
use exposure::{exposure, from_here, load_certificates, watch_certificates};

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Kinds and views share the names in paths.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// Node.
    #[error(transparent)]
    Node(#[from] StartError),
    /// Views.
    #[error("views: {0}")]
    Views(#[from] ViewError),
    /// The bus.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address is taken or not ours.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// The data directory.
    #[error("data directory {0}: {1}")]
    Data(PathBuf, io::Error),
}

/// A node that serves. Dropping it without [`Running::stop`] is a crash: nothing acknowledged is lost.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// The token that opens it.
    pub token: Token,
    /// Whether the token was minted by this start (to be printed, once).
    pub token_is_new: bool,
    /// Whether it speaks TLS.
    pub is_secured: bool,
    /// The node.
    pub node: Node,
    /// Its views.
    pub views: Views,
    stage: watch::Sender<Stage>,
    closing: watch::Sender<bool>,
    server: JoinHandle<()>,
    audit: Keeper,
    heads: JoinHandle<()>,
    renewal: Option<JoinHandle<()>>,
    bus: Option<Bus>,
    address_file: Option<PathBuf>,
    delay: Duration,
}

/// Starts a node of the built-in kinds.
pub async fn start(config: Config) -> Result<Running, ServeError> {
    start_with(config, Domain::builtin(), |_| {}).await
}

/// Starts a node of these kinds and their views; `progress` hears how many records the index has caught up with.
pub async fn start_with(
    config: Config,
    domain: impl Into<Domain>,
    progress: impl FnMut(u64) + Send + 'static,
) -> Result<Running, ServeError> {
    let (kinds, families) = domain.into().checked()?;
    // Before anything records.
    let _ = crate::metrics::recorder();
    if let Some(data) = &config.data {
        fs::create_dir_all(data).map_err(|e| ServeError::Data(data.clone(), e))?;
    }
    let (token, token_is_new) = Token::of_node(config.data.as_deref(), config.node_token)?;
    // Before anything else is opened: others must be told where this node is, and a taken address ends it at once.
    let certificates = config.tls.clone().map(load_certificates).transpose()?;
    let acceptor = certificates.as_ref().map(Certificates::acceptor).transpose()?;
    let scheme = if certificates.is_some() { "https" } else { "http" };
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|e| ServeError::Listen(config.listen, e))?;
    let address = listener.local_addr().map_err(|e| ServeError::Listen(config.listen, e))?;
    let mut node_config = config.node()?;
    node_config.reads = rights::beside_kinds(families, &kinds);
    if node_config.cluster.address.is_empty() {
        node_config.cluster.address = format!("{scheme}://{address}");
    }
    if node_config.tokens.issuer.is_empty() {
        node_config.tokens.issuer = format!("{scheme}://{}", from_here(address));
    }
    // Before the log: where it is needed and not there, the node has not owned anything yet.
    let bus = match config.bus.clone() {
        Some(wanted) => Some(bus::open(wanted).await?),
        None => None,
    };
    let node = Node::start(node_config, kinds, progress).await?;
    if !config.node_token {
        token::switched_off(config.data.as_deref(), || node.has_operator().unwrap_or(true))?;
    }
    for note in node.embedded().iter().flat_map(|log| &log.report().notes) {
        tracing::warn!(note, "something about the log changed since the last stop");
    }
    let directory = config.data.as_ref().map(|data| data.join("views"));
    let views = if config.hold_views {
        Views::held(&config.views, directory.as_deref(), &node, families)?
    } else {
        Views::open(&config.views, directory.as_deref(), &node, families)?
    };
    let address_file = config.data.as_ref().map(|data| data.join(ADDRESS_FILE));
    if let Some(path) = &address_file {
        fs::write(path, format!("{scheme}://{}\n", from_here(address))).map_err(|e| ServeError::Data(path.clone(), e))?;
    }
    let (stage, watch_stage) = watch::channel(Stage::Serving);
    let (closing, watch_closing) = watch::channel(false);
    let mut access = Access {
        hosts: config.hosts.clone(),
        origins: config.allowed_origins()?,
        proxies: config.trusted_proxies.clone(),
        certificates: certificates.clone(),
        cluster: config.cluster.token.clone(),
        bus_principal: config.bus.as_ref().and_then(|bus| bus.principal.clone()),
        registration: config.registration,
        requests_per_minute: config.requests_per_minute,
        sign_in_per_minute: config.sign_in_per_minute,
    };
    // Other nodes call this one by the address that it gave them.
    let authority = config.cluster.address.split_once("://").map(|(_, authority)| authority.to_owned());
    access.hosts.extend(authority);
    if !address.ip().is_unspecified() {
        access.hosts.push(address.to_string());
    }
    // Whoever follows the address in a token or in the metadata is served.
    access
        .hosts
        .extend(config.tokens.issuer.split_once("://").map(|(_, authority)| authority.to_owned()));
    let status = bus.as_ref().map(|bus| {
        let status = bus.status();
        Arc::new(move || status.health()) as BusHealth
    });
    let app = App::new(node.clone(), views.clone(), token.clone(), access, status, watch_stage);
    let bus = bus.map(|bus| bus.serve(&app, &node));
    let doors = Doors::of(acceptor, &node)?;
    let server = tokio::spawn(accept(node.tasks(), listener, http::router(app.clone()), doors, watch_closing));
    let renewal = certificates.map(|certificates| tokio::spawn(watch_certificates(node.clone(), certificates)));
    let heads = tokio::spawn(note_heads(node.clone()));
    let audit = Keeper::begin(&app);
    tracing::info!(%address, "listening");
    if let Some(warning) = exposure(address, renewal.is_some()) {
        tracing::warn!(%address, "{warning}");
    }
    Ok(Running {
        address,
        token,
        token_is_new,
        is_secured: renewal.is_some(),
        node,
        views,
        stage,
        closing,
        server,
        heads,
        renewal,
        audit,
        bus,
        address_file,
        delay: Duration::from_millis(config.shutdown_delay_ms),
    })
}

/// Takes connections until `closing` turns true, whatever crashes meanwhile.
async fn accept(tasks: Tasks, listener: TcpListener, router: Router, doors: Doors, closing: watch::Receiver<bool>) {
    let listener = Arc::new(listener);
    let is_over = || *closing.borrow();
    let task = || connections::serve(listener.clone(), router.clone(), doors.clone(), closing.clone());
    tasks.run("connections", is_over, task).await;
}

/// Ends with the runtime, or when it is aborted.
async fn note_heads(node: Node) {
    node.tasks().run("heads", || false, || write_heads(node.clone())).await;
}

/// Notes each partition's head outside the log, every second; metrics are kept short by the same clock.
async fn write_heads(node: Node) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        second.tick().await;
        let noted = node.clone();
        let result = tokio::task::spawn_blocking(move || noted.write_heads()).await;
        match result {
            Ok(Ok(())) => failing = false,
            Ok(Err(error)) => {
                metrics::counter!(HEADS_ERRORS).increment(1);
                if !failing {
                    tracing::error!(%error, "heads file not written");
                }
                failing = true;
            }
            // The runtime is shutting down.
            Err(ended) if ended.is_cancelled() => return,
            Err(crashed) => std::panic::resume_unwind(crashed.into_panic()),
        }
        if let Some(handle) = crate::metrics::recorder() {
            handle.run_upkeep();
        }
    }
}

impl Running {
    /// Leave to reach an org, for the program that runs the node: it may what the node's token may.
    pub fn in_org(&self, org: OrgId) -> Result<InOrg, Problem> {
        InOrg::admit(&Caller::with(Credential::Token), org)
    }

    /// `http://ip:port`, or `https://ip:port`.
    pub fn url(&self) -> String {
        let scheme = if self.is_secured { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Stops in order: not ready (and serving all the same for `shutdown.delay_ms`, so that whoever sends requests here has
    /// seen it), model calls and requests at work finished (at most [`limits::DRAIN_MS`] in all), node, views. When it returns, the data directory is free for another node.
    pub async fn stop(self) {
        let Self {
            node,
            views,
            stage,
            closing,
            mut server,
            heads,
            renewal,
            audit,
            bus,
            address_file,
            delay,
            ..
        } = self;
        stage.send_replace(Stage::Leaving);
        tokio::time::sleep(delay).await;
        let deadline = Instant::now() + Duration::from_millis(limits::DRAIN_MS);
        // While the partitions are this node's: the outcome of a model call is recorded here or not at all.
        node.finish_model_calls(deadline.saturating_duration_since(Instant::now())).await;
        // What was refused is written down while the node takes commands.
        audit.stop().await;
        // While it still listens: what reaches this node meanwhile goes to whoever owns the partitions next.
        node.hand_over().await;
        stage.send_replace(Stage::Stopping);
        closing.send_replace(true);
        if tokio::time::timeout(deadline.saturating_duration_since(Instant::now()), &mut server)
            .await
            .is_err()
        {
            tracing::warn!("connections were still open at the end of the drain");
            server.abort();
        }
        if let Some(bus) = bus {
            bus.stop(deadline.saturating_duration_since(Instant::now())).await;
        }
        if let Some(renewal) = renewal {
            renewal.abort();
            let _ = renewal.await;
        }
        heads.abort();
        // Aborted, or ended by itself: either way it has let go of the node.
        let _ = heads.await;
        node.shutdown(deadline.saturating_duration_since(Instant::now())).await;
        // A crash of the views' thread was logged; the rest of the stop goes on.
        let _ = tokio::task::spawn_blocking(move || views.close()).await;
        if let Some(path) = &address_file {
            // Of no consequence if it stays: clients find nobody there.
            let _ = fs::remove_file(path);
        }
        let log = Arc::downgrade(&node.log());
        drop(node);
        released(|| log.strong_count() == 0).await;
        tracing::info!("stopped");
    }

    /// Waits for SIGTERM or SIGINT, then stops; a second signal ends at once.
    pub async fn until_signal(self, mut signals: Signals) -> io::Result<()> {
        signals.next().await?;
        tracing::info!("stopping; a second signal ends at once");
        tokio::select! {
            () = self.stop() => Ok(()),
            again = signals.next() => {
                again?;
                Err(io::Error::new(io::ErrorKind::Interrupted, "ended by a second signal"))
            }
        }
    }
}

/// Actors and connections let go of the log a moment after they were told to end; the log's lock goes with the last.
async fn released(free: impl Fn() -> bool) {
    const PATIENCE: Duration = Duration::from_secs(5);
    let all = async {
        while !free() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, all).await.is_err() {
        tracing::warn!("the log is still in use; its lock is released when the process ends");
    }
}

/// Sent to a process that writes a file past its limit (`ulimit -f`); the number is the same on every Linux but MIPS and on the BSDs.
#[cfg(unix)]
const SIGXFSZ: i32 = 25;

/// SIGTERM and SIGINT, heard from the moment this exists: made before a node answers, so that whoever sees it ready can
/// also stop it in order.
pub struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    /// Never waited for: as long as it is listened to, a file that would pass the process's limit is an error of the write, and
    /// does not end the process.
    #[cfg(unix)]
    _file_size: tokio::signal::unix::Signal,
}

impl Signals {
    /// Begins to listen; from now on neither signal ends the process by itself. Needs a runtime.
    pub fn listen() -> io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            Ok(Self {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                _file_size: signal(SignalKind::from_raw(SIGXFSZ))?,
            })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// The next of them.
    pub async fn next(&mut self) -> io::Result<()> {
        #[cfg(unix)]
        {
            tokio::select! {
                _ = self.terminate.recv() => Ok(()),
                _ = self.interrupt.recv() => Ok(()),
            }
        }
        #[cfg(not(unix))]
        tokio::signal::ctrl_c().await
    }
}
