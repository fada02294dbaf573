//! The load: a process of its own that sends commands over loopback connections, in a closed loop (each connection
//! sends when its answer has come) or in an open one (requests are due at given times whatever the server does, and
//! latency counts from when a request was due: a stall is charged to every request that it delayed).

use super::{
    BenchError,
    child::{self, Role},
    histogram::{Histogram, Latency},
    machine,
    wire::Connection,
};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    cell::RefCell,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, task::LocalSet};

/// How long an open loop waits for requests that are late at its end.
const GRACE: Duration = Duration::from_secs(10);

/// When requests are sent, and for how long.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Pace {
    /// As fast as answers come.
    Closed { warmup_ms: u64, run_ms: u64 },
    /// So many a second.
    Open { per_second: f64, warmup_ms: u64, run_ms: u64 },
    /// This many, as fast as answers come.
    Count { requests: u64 },
}

/// What to send where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) address: SocketAddr,
    pub(super) token: String,
    pub(super) connections: usize,
    /// `{n}` stands for the entity's number, here and in the body.
    pub(super) path: String,
    /// Entities, taken in an order that visits each equally often.
    pub(super) entities: u64,
    /// Number of the first.
    pub(super) first: u64,
    pub(super) body: String,
    /// Path and body of a second command, sent by the same connection as soon as the first is answered.
    pub(super) then: Option<(String, String)>,
    /// Begins every command id.
    pub(super) key: String,
    pub(super) pace: Pace,
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
    pub(super) seconds: f64,
    pub(super) latency_us: Latency,
    /// Processor time of the client itself.
    pub(super) client_cpu_ms: u64,
}

impl Outcome {
    /// Requests answered with success, a second.
    pub(super) fn per_second(&self) -> f64 {
        self.requests as f64 / self.seconds.max(1e-9)
    }
}

impl Plan {
    /// Runs the plan in a child process.
    pub(super) async fn run(&self) -> Result<Outcome, BenchError> {
        let outcome: Outcome = child::ask(Role::Load, self).await?;
        if outcome.requests == 0 || outcome.errors * 1_000 > outcome.requests {
            let why = outcome.first_error.unwrap_or_else(|| "no answers".into());
            return Err(BenchError::Load {
                errors: outcome.errors,
                requests: outcome.requests,
                why,
            });
        }
        Ok(outcome)
    }

    fn request(&self, into: &mut Vec<u8>, index: u64, is_second: bool) {
        use std::io::Write;
        let (path, body, after) = match &self.then {
            Some((path, body)) if is_second => (path, body, "-2"),
            _ => (&self.path, &self.body, ""),
        };
        let step = if matches!(self.pace, Pace::Count { .. }) { 1 } else { 7_919 };
        let entity = self.first + index.wrapping_mul(step) % self.entities.max(1);
        into.clear();
        let path = path.replace("{n}", &entity.to_string());
        // Nearly every body is the same for all.
        let body = match body.contains("{n}") {
            true => Cow::Owned(body.replace("{n}", &entity.to_string())),
            false => Cow::Borrowed(body),
        };
        // Writing to a vector does not fail.
        let _ = write!(
            into,
            "POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}{}\r\nContent-Type: {}\r\nIdempotency-Key: {}-{index}{after}\r\nContent-Length: {}\r\n\r\n{}",
            self.address,
            // A client of OAuth shows itself in another way, which it names.
            if self.token.contains(' ') { "" } else { "Bearer " },
            self.token,
            if body.starts_with('{') {
                "application/json"
            } else {
                "application/x-www-form-urlencoded"
            },
            self.key,
            body.len(),
            body
        );
    }
}

struct Shared {
    plan: Plan,
    begin: Instant,
    /// Answers before this are warm-up.
    counted_from: Instant,
    end: Option<Instant>,
    next: RefCell<u64>,
    histogram: RefCell<Histogram>,
    outcome: RefCell<Outcome>,
    last: RefCell<Instant>,
    /// Permits are requests that are due.
    due: Arc<Semaphore>,
}

impl Shared {
    /// The next request: its number and when it was due.
    async fn take(&self) -> Option<(u64, Instant)> {
        if let Pace::Open { .. } = self.plan.pace {
            self.due.acquire().await.ok()?.forget();
        }
        let index = self.next.replace_with(|n| *n + 1);
        let now = Instant::now();
        let due = match self.plan.pace {
            Pace::Open { per_second, .. } => self.begin + Duration::from_secs_f64(index as f64 / per_second),
            Pace::Closed { .. } => now,
            Pace::Count { requests } => return (index < requests).then_some((index, now)),
        };
        (due < self.end?).then_some((index, due))
    }

    fn answered(&self, due: Instant, error: Option<String>) {
        let now = Instant::now();
        if now < self.counted_from || self.end.is_some_and(|end| due >= end) {
            return;
        }
        self.last.replace(now);
        let mut outcome = self.outcome.borrow_mut();
        match error {
            None => {
                outcome.requests += 1;
                self.histogram.borrow_mut().record((now - due).as_micros() as u64);
            }
            Some(error) => {
                outcome.errors += 1;
                outcome.first_error.get_or_insert(error);
            }
        }
    }

    async fn connection(&self) {
        let mut request = Vec::new();
        let mut connection = None;
        while let Some((index, due)) = self.take().await {
            if connection.is_none() {
                connection = Connection::open(self.plan.address).await.ok();
            }
            let Some(open) = connection.as_mut() else {
                self.answered(due, Some("no connection".into()));
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let mut begun = due;
            for is_second in [false, true] {
                if is_second && self.plan.then.is_none() {
                    break;
                }
                self.plan.request(&mut request, index, is_second);
                let error = match open.exchange(&request).await {
                    Ok(answer) if (200..300).contains(&answer.status) => None,
                    Ok(answer) => Some(format!("{} {}", answer.status, String::from_utf8_lossy(answer.body))),
                    Err(e) => {
                        self.answered(begun, Some(e.to_string()));
                        connection = None;
                        break;
                    }
                };
                self.answered(begun, error);
                begun = Instant::now();
            }
        }
    }
}

/// Lets requests fall due at their times: the runtime's own timers are a millisecond coarse.
fn pace(due: &Semaphore, begin: Instant, per_second: f64, end: Instant) {
    let mut index = 0u64;
    loop {
        let at = begin + Duration::from_secs_f64(index as f64 / per_second);
        if at >= end {
            break;
        }
        if let Some(wait) = at.checked_duration_since(Instant::now()) {
            std::thread::sleep(wait);
        }
        due.add_permits(1);
        index += 1;
    }
    // What is late still counts; what is not even begun by then has failed the run anyway.
    while due.available_permits() > 0 && end.elapsed() < GRACE {
        std::thread::sleep(Duration::from_millis(1));
    }
    due.close();
}

/// The child's work: reads a plan, carries it out on one thread, answers with the outcome.
pub(super) fn serve(plan: Plan) -> std::io::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (warmup, run) = match plan.pace {
        Pace::Closed { warmup_ms, run_ms } | Pace::Open { warmup_ms, run_ms, .. } => (warmup_ms, Some(run_ms)),
        Pace::Count { .. } => (0, None),
    };
    let begin = Instant::now();
    let counted_from = begin + Duration::from_millis(warmup);
    let end = run.map(|ms| counted_from + Duration::from_millis(ms));
    let connections = plan.connections;
    let open = match (plan.pace, end) {
        (Pace::Open { per_second, .. }, Some(end)) => Some((per_second, end)),
        _ => None,
    };
    let due = Arc::new(Semaphore::new(0));
    let shared = Rc::new(Shared {
        plan,
        begin,
        counted_from,
        end,
        next: RefCell::new(0),
        histogram: RefCell::default(),
        outcome: RefCell::default(),
        last: RefCell::new(counted_from),
        due: due.clone(),
    });
    let local = LocalSet::new();
    for _ in 0..connections {
        let shared = shared.clone();
        local.spawn_local(async move { shared.connection().await });
    }
    let pacing = open.map(|(per_second, end)| std::thread::spawn(move || pace(&due, begin, per_second, end)));
    runtime.block_on(local);
    if let Some(thread) = pacing {
        let _ = thread.join();
    }
    let mut outcome = shared.outcome.take();
    let until = end.unwrap_or_else(|| *shared.last.borrow());
    outcome.seconds = (until.max(*shared.last.borrow()) - counted_from).as_secs_f64();
    outcome.latency_us = shared.histogram.borrow().latency();
    outcome.client_cpu_ms = machine::usage(std::process::id()).cpu.as_millis() as u64;
    Ok(outcome)
}
