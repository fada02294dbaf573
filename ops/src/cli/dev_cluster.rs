//! `quipu dev-cluster`.

use super::{failure::Failure, terminal::Terminal};
use crate::dev_cluster::{self, Trial};
use clap::Args;

const AFTER: &str = "\
Examples:
  quipu dev-cluster                    three nodes, a crash, a rolling restart, a pause; then yours to try
  quipu dev-cluster --once             ends after the scene; exit code 1 where a command was lost
  quipu dev-cluster --log kafka://127.0.0.1:9092/dev --views sqlite

Without --log it starts a nats-server of this machine (from its wheel where there is none), without --views a PostgreSQL of
this machine (from a wheel where there is none). Everything is on loopback and is deleted in the end.";

/// Try failover: three nodes on one log, killed, stopped and paused while commands go on
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct DevCluster {
    /// End after the scene
    #[arg(long)]
    once: bool,
    /// A broker's log instead of that of an own nats-server; it must be new
    #[arg(long)]
    log: Option<String>,
    /// Where views are kept, instead of an own PostgreSQL
    #[arg(long)]
    views: Option<String>,
    /// Life of a lease in milliseconds: how long a killed node keeps its partitions
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(500..=60_000))]
    lease_ms: u64,
}

impl DevCluster {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let trial = Trial {
            nodes: 3,
            once: self.once,
            log: self.log,
            views: self.views,
            lease_ms: self.lease_ms,
        };
        dev_cluster::run(trial, *terminal).await
    }
}
