//! `quipu serve`.

use super::{
    failure::Failure,
    terminal::{Terminal, Tone},
};
use crate::{
    config::{Config, Flags},
    domain::Domain,
    log_lines, serve, token,
};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;
use tracing_subscriber::EnvFilter;

const AFTER: &str = "\
Examples:
  quipu serve                                     on 127.0.0.1:7077, data in ./quipu-data
  quipu serve --data /var/lib/quipu --listen 127.0.0.1:8080
  quipu serve --memory --listen 127.0.0.1:0       nothing on disk, any free port
  quipu serve --log 'nats://127.0.0.1:4222/main?sync=always'    the log on NATS JetStream (whose servers sync always), the rest
                                                                in ./quipu-data
  quipu serve --bus nats://127.0.0.1:4222         commands and events over NATS, too
  quipu serve --config quipu.toml --set egress.allow='[\"hooks.internal:443\"]'
  quipu serve --config quipu.toml --check         show what would be in force, and exit

The first start mints a token into the file `token` of the data directory. On a terminal it is shown once; elsewhere the
first line of standard output, {\"ready\":true,…}, names the file, or holds the token where nothing is on disk.

Every key of the file can also be given as QUIPU_<KEY> in the environment, with __ between levels.
SIGTERM and SIGINT stop in order; a second one stops at once.";

/// Run a node
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct Serve {
    /// Data directory
    #[arg(long)]
    data: Option<String>,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where the log is: `embedded` (the default: in the data directory), `memory`, or a broker's address
    /// (`nats://HOST:PORT/NAME?replicas=3`, `kafka://HOST:PORT/NAME?replicas=3`)
    #[arg(long, value_name = "LOG")]
    log: Option<String>,
    /// Where values that are too large for a record are kept: `log` (the default: where the log is; nowhere for a log on
    /// Kafka), or s3://KEY:SECRET@BUCKET/PREFIX?endpoint=URL (better as env:NAME or file:PATH, which hide the secret)
    #[arg(long, value_name = "STORE")]
    blobs: Option<String>,
    /// Keep everything in memory
    #[arg(long, conflicts_with_all = ["data", "log"])]
    memory: bool,
    /// Where views are kept: `sqlite`, `off`, or postgres://user@host:port/database (better as env:NAME or file:PATH, which
    /// hide a password)
    #[arg(long, value_name = "STORE")]
    views: Option<String>,
    /// Take commands from a bus and relay events to it: nats://HOST:PORT or kafka://HOST:PORT, wherever the log is
    /// (better as env:NAME or file:PATH, which hide a password)
    #[arg(long, value_name = "BUS")]
    bus: Option<String>,
    /// Serve a log whose keys are lost: existing personal data reads as erased, and new keys are made for new data
    /// (`keys.allow_lost` in the configuration)
    #[arg(long, conflicts_with = "memory")]
    without_keys: bool,
    /// Configuration file, TOML
    #[arg(long, value_name = "FILE", env = "QUIPU_CONFIG")]
    config: Option<PathBuf>,
    /// Any key of the configuration, dotted; may be repeated. A text is taken as it is, without quotes of its own:
    /// `--set logging.level=debug`; other values are written as in TOML: `--set egress.allow='["hooks.internal:443"]'`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Show the configuration in force, without secrets, and exit
    #[arg(long)]
    check: bool,
}

/// What shells say of a process that a signal ended.
const ENDED_AT_START: i32 = 143;

impl Serve {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let mut set = Vec::new();
        for pair in &self.set {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| Failure::Usage(format!("`{pair}` sets nothing: write KEY=VALUE")))?;
            set.push((key.to_owned(), value.to_owned()));
        }
        let flags = Flags {
            data: self.data,
            listen: self.listen,
            log: self.log,
            memory: self.memory,
            blobs: self.blobs,
            views: self.views,
            bus: self.bus,
            without_keys: self.without_keys,
            set,
        };
        let config = Config::load(self.config.as_deref(), flags).map_err(|e| Failure::Usage(e.to_string()))?;
        if self.check {
            return terminal.value(config.effective());
        }
        record(&config)?;
        serve::check_limits().map_err(Failure::Failed)?;
        let data = config.data.clone();
        let bar = terminal.progress(None, "{spinner} reading the log: {pos} records  {elapsed}");
        let watched = bar.clone();
        let mut signals = serve::Signals::listen()?;
        let starting = serve::start_with(config, Domain::builtin(), move |records| watched.set_position(records));
        let started = tokio::select! {
            biased;
            started = starting => started,
            signal = signals.next() => {
                signal?;
                // Nothing was promised yet, and the log may take long to read: as if the signal had not been heard.
                #[expect(clippy::disallowed_methods, reason = "the start runs on blocking threads that cannot be cancelled")]
                std::process::exit(ENDED_AT_START);
            }
        };
        bar.finish_and_clear();
        let running = started.map_err(|e| Failure::Failed(e.to_string()))?;
        let url = running.url();
        let token = running.token_is_new.then(|| match &data {
            // Output that does not go to a terminal is often a log that others read, and the token is in its file.
            Some(data) if terminal.json => NewToken::In(data.join(token::FILE)),
            _ => NewToken::Shown(running.token.expose().to_owned()),
        });
        if terminal.json {
            terminal.line(&ready(&url, token.as_ref()).to_string())?;
        } else {
            terminal.line(&format!("{} {url}", terminal.paint(Tone::Good, "listening on")))?;
            if let Some(NewToken::Shown(token)) = &token {
                let where_else = if data.is_some() {
                    "(shown once; clients on this machine read it from the data directory)"
                } else {
                    "(shown once; it ends with this process)"
                };
                terminal.line(&format!("token {token}  {}", terminal.paint(Tone::Faint, where_else)))?;
            }
        }
        if let Some(NewToken::In(file)) = &token {
            tracing::info!(file = %file.display(), "a token was minted; clients send it as a bearer token");
        }
        running.until_signal(signals).await.map_err(Failure::from)
    }
}

/// A token that this start minted, and how it is handed over.
enum NewToken {
    /// It stands in this file.
    In(PathBuf),
    /// This is it.
    Shown(String),
}

/// The line for programs that wait for the node.
fn ready(url: &str, token: Option<&NewToken>) -> Value {
    let mut line = json!({ "ready": true, "url": url, "pid": std::process::id() });
    match token {
        Some(NewToken::In(file)) => line["token_file"] = file.display().to_string().into(),
        Some(NewToken::Shown(token)) => line["token"] = token.as_str().into(),
        None => {}
    }
    line
}

/// Sends log lines to standard error.
fn record(config: &Config) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&config.log_level).map_err(|e| Failure::Usage(format!("logging.level: {e}")))?;
    log_lines::record(filter, config.log_format).map_err(|e| Failure::Failed(format!("logging: {e}")))
}
