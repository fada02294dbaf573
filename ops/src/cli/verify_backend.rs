//! `quipu verify-backend`.

use super::{
    failure::Failure,
    terminal::{Terminal, Tone, clean},
};
use clap::Args;
use quipu_events::{
    backend::Backend,
    certify::{self, Certificate, Check},
};
use serde_json::json;

const AFTER: &str = "\
Examples:
  quipu verify-backend 'nats://127.0.0.1:4222?sync=always'
  quipu verify-backend 'nats://user:password@a:4222,b:4222?replicas=3&system=sys:password' --json
  quipu verify-backend 'kafka://127.0.0.1:9092?replicas=3&sync=always'
  quipu verify-backend postgres://quipu@127.0.0.1/quipu

Runs the contract of every log against your servers, with 16 partitions and with 1, each promise on a log of its own
(verify_…), which is deleted afterwards; the contract of every view store against a PostgreSQL likewise. Exit code 1 where a
promise does not hold.";

/// Certify a broker for the log, or a PostgreSQL for views: the contract suite against live servers
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct VerifyBackend {
    /// The servers, as for `quipu serve --log` or `--views`; the names of the log and of the schema are not used
    address: String,
}

impl VerifyBackend {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        if ["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| self.address.starts_with(scheme))
        {
            return verify_views(&self.address, terminal).await;
        }
        let backend: Backend = self.address.parse().map_err(|e| Failure::Usage(format!("{e}")))?;
        if !backend.is_on_broker() {
            return Err(Failure::Usage(format!(
                "not a broker: `{backend}`; use an address such as nats://host:port"
            )));
        }
        let terminal = *terminal;
        let shown = backend.to_string();
        let certificate = tokio::task::spawn_blocking(move || certify(&backend, &terminal))
            .await
            .map_err(|e| Failure::Failed(format!("the checks crashed: {e}")))??;
        show(&terminal, &shown, &certificate)
    }
}

#[cfg(not(feature = "postgres"))]
async fn verify_views(address: &str, _: &Terminal) -> Result<(), Failure> {
    match address.parse::<crate::views_in::ViewsIn>() {
        Err(why) => Err(Failure::Usage(why.to_string())),
        Ok(_) => Err(Failure::Usage("this build keeps no views in PostgreSQL".into())),
    }
}

#[cfg(feature = "postgres")]
async fn verify_views(address: &str, terminal: &Terminal) -> Result<(), Failure> {
    use quipu_projections::{certify::certify, postgres::PostgresOptions};
    let options: PostgresOptions = address.parse().map_err(|e| Failure::Usage(format!("{e}")))?;
    let name = format!("verify_{}", hex::encode(run_id()?));
    // A promise that does not hold panics; that is an answer here, and is told below.
    let checks = tokio::task::spawn_blocking(move || quietly(|| certify(&options, &name)));
    let checks = checks.await.map_err(|e| Failure::Failed(format!("the checks crashed: {e}")))?;
    let checks = checks.map_err(|e| Failure::Failed(e.to_string()))?;
    let failed = checks.iter().filter(|check| check.failure.is_some()).count();
    if terminal.json {
        let told: Vec<_> = checks
            .iter()
            .map(|c| json!({ "promise": c.promise, "holds": c.failure.is_none(), "failure": c.failure }))
            .collect();
        terminal.value(&json!({ "backend": "postgres", "holds": failed == 0, "checks": told }))?;
    } else {
        let rows: Vec<Vec<String>> = checks
            .iter()
            .map(|c| {
                vec![
                    c.promise.to_owned(),
                    c.failure
                        .as_deref()
                        .map_or_else(|| "holds".into(), |why| clean(why.lines().next().unwrap_or_default())),
                ]
            })
            .collect();
        terminal.table(&["promise", ""], &rows, "nothing was tried")?;
        conclude(terminal, failed, "views")?;
    }
    if failed == 0 { Ok(()) } else { Err(Failure::Shown) }
}

fn run_id() -> Result<[u8; 4], Failure> {
    let mut run = [0; 4];
    getrandom::fill(&mut run).map_err(|e| Failure::Failed(e.to_string()))?;
    Ok(run)
}

fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let done = work();
    std::panic::set_hook(hook);
    done
}

fn conclude(terminal: &Terminal, failed: usize, what: &str) -> Result<(), Failure> {
    let (tone, text) = match failed {
        0 => (Tone::Good, "every promise holds".to_owned()),
        n => (Tone::Bad, format!("{n} promises do not hold: keep no {what} there")),
    };
    terminal.line(&terminal.paint(tone, &text))
}

fn certify(backend: &Backend, terminal: &Terminal) -> Result<Certificate, Failure> {
    let run = run_id()?;
    let bar = terminal.progress(Some(18), "{bar:40} {pos}/{len} promises  {elapsed}");
    // A promise that does not hold panics; that is an answer here, and is told below.
    let certificate = quietly(|| certify::certify(backend, &hex::encode(run), |_| bar.inc(1)));
    bar.finish_and_clear();
    certificate.map_err(|e| Failure::Failed(e.to_string()))
}

fn show(terminal: &Terminal, backend: &str, certificate: &Certificate) -> Result<(), Failure> {
    let failed: Vec<&Check> = certificate.checks.iter().filter(|check| check.failure.is_some()).collect();
    if terminal.json {
        let checks: Vec<_> = certificate
            .checks
            .iter()
            .map(|check| json!({ "promise": check.promise, "partitions": check.partitions, "holds": check.failure.is_none(), "failure": check.failure }))
            .collect();
        terminal.value(&json!({
            "backend": certificate.meta.backend, "address": backend, "durability": certificate.meta.durability,
            "holds": failed.is_empty(), "checks": checks, "not_tried": certificate.not_tried,
        }))?;
    } else {
        let rows: Vec<Vec<String>> = certificate
            .checks
            .iter()
            .map(|check| {
                let verdict = check
                    .failure
                    .as_deref()
                    .map_or_else(|| "holds".to_owned(), |why| clean(why.lines().next().unwrap_or_default()));
                vec![check.promise.to_owned(), check.partitions.to_string(), verdict]
            })
            .collect();
        terminal.table(&["promise", "partitions", ""], &rows, "nothing was tried")?;
        let class = serde_json::to_value(certificate.meta.durability).unwrap_or_default();
        terminal.line(&format!(
            "an acknowledgement of {backend} promises: {}",
            class.as_str().unwrap_or_default()
        ))?;
        terminal.line(&terminal.paint(Tone::Faint, &format!("not tried: {}", certificate.not_tried)))?;
        conclude(terminal, failed.len(), "log")?;
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::Shown) }
}
