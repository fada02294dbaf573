//! The shell around the views: a thread that follows the log, readers off the async threads, and waiting for a position.

use crate::{
    caller::InOrg,
    metrics::{VIEW_ERRORS, VIEW_LAG_RECORDS, VIEW_RECORDS},
    problems::{self, bad_parameter, clip},
    views_in::ViewsIn,
};
use parking_lot::Mutex;
use quipu_projections::{
    error::ViewError,
    families::Families,
    follower::Follower,
    pace::{SHORTEST_MS, pause_ms},
    progress::{WaitError, Wanted},
    projector::Stop,
    query::{Counted, Found, Page, Query},
    readiness::{Lateness, Readiness},
    reading::View,
    store::{Checkpoint, Origin},
    verify::Verdict,
    views,
};
use quipu_runtime::{
    api::{HealthPart, ParkedStream, Stopped},
    node::Node,
};
use quipu_schemas::{
    digest::Digest,
    ids::{OrgId, PrincipalId, StreamId},
    limits,
    position::Cursor,
    problem::Problem,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::{Notify, Semaphore, oneshot, watch};

/// What a background job on the views is doing or came to.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[schemars(rename = "ViewsJob")]
pub struct Job {
    /// What it does.
    #[schemars(extend("enum" = ["rebuild", "verify"]))]
    pub job: &'static str,
    /// How it stands.
    #[schemars(extend("enum" = ["running", "done", "failed"]))]
    pub status: &'static str,
    /// Records read so far (rebuild).
    pub records: u64,
    /// The result in words.
    pub detail: String,
    /// Whether views equal a rebuild (verify, when done).
    pub equal: Option<bool>,
    /// What was compared, table by table (verify, when done).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<Compared>,
    /// Partitions where the rebuild got stuck before the views' place (verify, when done).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stopped: Vec<Stuck>,
}

/// A table of the views beside the same one of a rebuild.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Compared {
    /// The name of the table.
    pub table: String,
    /// Whether its rows are those of the rebuild.
    pub equal: bool,
    /// Digest of its rows.
    pub digest: Digest,
    /// Digest that it should have, where it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<Digest>,
}

/// Where a rebuild got stuck.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Stuck {
    /// The number of the partition.
    pub partition: u16,
    /// The first record that it could not take.
    pub offset: u64,
    /// Why it could not, in words.
    pub detail: String,
}

/// What a job came to.
#[derive(Default)]
struct Outcome {
    records: u64,
    detail: String,
    equal: Option<bool>,
    tables: Vec<Compared>,
    stopped: Vec<Stuck>,
}

impl Outcome {
    fn of(verdict: Verdict) -> Self {
        let equal = verdict.is_equal();
        let differing = verdict.differing.len();
        // A table that only the rebuild has is missing here altogether.
        let names: BTreeSet<_> = verdict.digests.keys().chain(verdict.differing.keys()).collect();
        let tables: Vec<_> = names
            .into_iter()
            .map(|table| {
                let expected = verdict.differing.get(table).copied();
                Compared {
                    table: table.to_string(),
                    equal: expected.is_none(),
                    digest: verdict.digests.get(table).copied().unwrap_or_default(),
                    expected,
                }
            })
            .collect();
        let stopped = verdict.stopped.iter().map(|stop| Stuck {
            partition: stop.partition,
            offset: stop.offset,
            detail: stop.why.to_string(),
        });
        let detail = if equal {
            format!("{} records projected from zero; {} tables are equal", verdict.records, tables.len())
        } else {
            format!(
                "{} records projected from zero; {differing} of {} tables differ, {} partitions got stuck",
                verdict.records,
                tables.len(),
                verdict.stopped.len()
            )
        };
        Self {
            records: verdict.records,
            detail,
            equal: Some(equal),
            stopped: stopped.collect(),
            tables,
        }
    }
}

type Unpark = (StreamId, oneshot::Sender<Result<bool, ViewError>>);

struct Inner {
    views: views::Views,
    node: Node,
    moved: watch::Sender<()>,
    readers: Arc<Semaphore>,
    waiting: AtomicUsize,
    hurry: Notify,
    stopping: AtomicBool,
    wake: Notify,
    trouble: Mutex<Option<String>>,
    readiness: Mutex<Readiness>,
    /// From when ages count.
    opened: Instant,
    unparks: Mutex<Vec<Unpark>>,
    job: Mutex<Option<Job>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Held by each round, and by a verification, during which views must stand still.
    turn: Mutex<()>,
    off: bool,
    /// Other nodes project into the same store: each the partitions that it owns.
    shared: bool,
}

/// What a round came to.
enum Round {
    /// There is much left to project.
    Progressed,
    /// What was there when it began is projected, and little has come since: more may gather so long.
    Close(Duration),
    /// There is nothing to project here, and other nodes have some left.
    BehindOthers,
    CaughtUp,
}

/// A node's views, followed by a thread of their own. Cheap to clone.
#[derive(Clone)]
pub struct Views(Arc<Inner>);

/// A pause after which several small frames make one transaction; a reader that waits ends it.
const GATHER: Duration = Duration::from_millis(SHORTEST_MS);
/// How often a node looks how far another one has brought its partitions, where no reader waits.
const LOOK: Duration = Duration::from_millis(100);
/// Before the next try after an error.
const RETRY: Duration = Duration::from_millis(500);
/// Concurrent reads of the store.
const READERS: usize = 8;

impl Views {
    /// Opens the views, those in SQLite in `directory` (in memory without one); they stand still until [`Views::follow`].
    ///
    /// With [`ViewsIn::Off`] nothing is projected and queries answer `503 views_off`.
    pub fn held(views_in: &ViewsIn, directory: Option<&Path>, node: &Node, families: Families) -> Result<Self, ViewError> {
        let views = views_in.open(directory, Origin::by(families, &node.log().meta()))?;
        let follow = !matches!(views_in, ViewsIn::Off);
        let moved = watch::channel(()).0;
        let tell = moved.clone();
        views.progress().on_move(move |_| {
            tell.send_replace(());
        });
        let this = Self(Arc::new(Inner {
            views,
            node: node.clone(),
            moved,
            readers: Arc::new(Semaphore::new(READERS)),
            waiting: AtomicUsize::new(0),
            hurry: Notify::new(),
            stopping: AtomicBool::new(false),
            wake: Notify::new(),
            trouble: Mutex::new(None),
            readiness: Mutex::default(),
            opened: Instant::now(),
            unparks: Mutex::default(),
            job: Mutex::default(),
            thread: Mutex::new(None),
            turn: Mutex::new(()),
            off: !follow,
            shared: views_in.is_elsewhere(),
        }));
        if !follow {
            return Ok(this);
        }
        let (store, end) = (this.0.views.store(), node.cursor().next);
        let mut whole = store.is_whole();
        if whole == Ok(false) && end.iter().all(|end| *end == 0) {
            // Nothing of an empty log is missing; what comes is lag.
            whole = store.set_whole().map(|()| true);
        }
        match whole {
            Ok(whole) => this.0.readiness.lock().begin(whole, &end),
            // A server that is away says so to every reader; the follower looks again.
            Err(error) => tracing::warn!(%error, "the views could not be read yet"),
        }
        Ok(this)
    }

    /// As [`Views::held`], and follows the log at once.
    pub fn open(views_in: &ViewsIn, directory: Option<&Path>, node: &Node, families: Families) -> Result<Self, ViewError> {
        let this = Self::held(views_in, directory, node, families)?;
        this.follow()?;
        Ok(this)
    }

    /// Begins to follow the node's log, on a thread of its own.
    pub fn follow(&self) -> Result<(), ViewError> {
        if self.0.off || self.0.thread.lock().is_some() {
            return Ok(());
        }
        let inner = self.0.clone();
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("quipu-views".into())
            .spawn(move || {
                // Timers of its own: the thread may outlive the runtime of whoever opened the views. Made here, since a runtime
                // that is dropped within another one, as with a thread that does not start, panics.
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
                let made = runtime.as_ref().map(|_| ()).map_err(|e| format!("no timer for the views: {e}"));
                // Whoever opens the views waits for it.
                let _ = ready.send(made);
                let Ok(runtime) = runtime else { return };
                let is_over = || inner.stopping.load(Ordering::Relaxed);
                inner.node.tasks().run_blocking("views", is_over, || inner.follow(&runtime));
            })
            .map_err(|e| ViewError::Storage(format!("no thread for the views: {e}")))?;
        let made = is_ready.recv().unwrap_or_else(|_| Err("the thread of the views ended".into()));
        made.map_err(ViewError::Storage)?;
        *self.0.thread.lock() = Some(thread);
        Ok(())
    }

    /// The families that make them.
    pub fn families(&self) -> Families {
        self.0.views.families()
    }

    /// How far the views are.
    pub fn cursor(&self) -> Cursor {
        self.0.views.progress().now()
    }

    /// Records that the views are behind `end`, by partition.
    pub fn lag(&self, end: &Cursor) -> Vec<u64> {
        end.next
            .iter()
            .zip(self.cursor().next)
            .map(|(end, seen)| end.saturating_sub(seen))
            .collect()
    }

    /// Whether the views follow; lag degrades queries, never commands.
    pub fn health(&self, end: &Cursor) -> HealthPart {
        if self.0.off {
            return HealthPart {
                count: None,
                name: "views".into(),
                ok: true,
                critical: false,
                detail: "off by configuration".into(),
            };
        }
        let late = self.late(end);
        let lag = late.records;
        // A damaged partition has more than what can be read: views that have seen all before it still do not follow the log.
        let stopped = self.0.node.stopped().into_iter().map(|stopped| {
            let Stopped { partition, offset, detail } = stopped;
            format!("partition {partition} is stopped at offset {offset}: {detail}; elsewhere {lag} records behind")
        });
        let trouble = self
            .0
            .trouble
            .lock()
            .clone()
            .or_else(|| stopped.reduce(|all, next| format!("{all}; {next}")));
        let building = self.is_building();
        let again = self.0.views.progress().late();
        let ok = trouble.is_none() && !building && again.is_empty() && !late.is_degraded();
        let detail = trouble.unwrap_or_else(|| match (building, late.ms / 1_000) {
            (true, _) => format!("being built: {lag} records to go; queries are refused until then"),
            (false, _) if !again.is_empty() => format!("being built again, and refused until then: {}", again.join(", ")),
            (false, 0) => format!("{lag} records behind"),
            (false, seconds) => format!("{lag} records behind, for {seconds} s"),
        });
        HealthPart {
            count: None,
            name: "views".into(),
            ok,
            critical: false,
            detail,
        }
    }

    fn late(&self, end: &Cursor) -> Lateness {
        let (seen, stopped, now) = (self.cursor().next, self.stopped(), self.0.now());
        self.0.readiness.lock().late(&seen, &end.next, &stopped, now)
    }

    /// Waits until the views have seen `wanted`, at most [`limits::MIN_POSITION_WAIT_MS`].
    pub async fn wait_for(&self, wanted: &Wanted) -> Result<(), Problem> {
        self.on()?;
        let progress = self.0.views.progress();
        let mut moved = self.0.moved.subscribe();
        let seen = |result: Result<bool, WaitError>| result.map_err(|e| wait_problem(&e));
        if seen(progress.covers(wanted))? {
            return Ok(());
        }
        let _waiting = Waiting::new(&self.0);
        let deadline = tokio::time::sleep(Duration::from_millis(limits::MIN_POSITION_WAIT_MS));
        tokio::pin!(deadline);
        loop {
            if seen(progress.covers(wanted))? {
                return Ok(());
            }
            tokio::select! {
                _ = moved.changed() => {}
                () = &mut deadline => return Err(wait_problem(&WaitError::TimedOut { now: progress.now() })),
            }
        }
    }

    /// A page of a view within an org.
    pub async fn list(&self, view: View, by: &InOrg, query: Query) -> Result<Page, Problem> {
        let (inner, org) = (self.0.clone(), by.org().clone());
        if view != View::PARKED_STREAMS {
            return self.read(move || inner.views.list(view, &org, &query)).await;
        }
        // The node parks streams on its own account: they follow behind the last row of the view.
        let kind = query.filter.get("kind").cloned();
        let (views, of) = (self.0.clone(), org.clone());
        let mut page = self.read(move || views.views.list(view, &of, &query)).await?;
        page.rows.iter_mut().for_each(|row| row["by"] = "views".into());
        if page.next.is_none() {
            let parked = inner.node.parked()?.into_iter().filter(|parked| parked.stream.org == org);
            let parked = parked.filter(|parked| kind.as_ref().is_none_or(|kind| parked.stream.kind.as_str() == kind));
            page.rows.extend(parked.map(|parked| parked_by_the_node(&parked)));
        }
        Ok(page)
    }

    /// How many rows of a view an org has, by what these columns hold.
    pub async fn count(&self, view: View, by: &InOrg, columns: &'static [&'static str]) -> Result<Counted, Problem> {
        let (inner, org) = (self.0.clone(), by.org().clone());
        self.read(move || inner.views.count(view, &org, columns)).await
    }

    /// Whether the views have left a stream alone.
    pub async fn is_parked(&self, stream: &StreamId) -> Result<bool, Problem> {
        let key = vec![stream.kind.to_string(), stream.id.to_string()];
        Ok(self.row(View::PARKED_STREAMS, &stream.org, key).await?.row.is_some())
    }

    /// One row of a view within an org.
    pub async fn get(&self, view: View, by: &InOrg, key: Vec<String>) -> Result<Found, Problem> {
        self.row(view, by.org(), key).await
    }

    async fn row(&self, view: View, org: &OrgId, key: Vec<String>) -> Result<Found, Problem> {
        let (inner, org) = (self.0.clone(), org.clone());
        self.read(move || inner.views.get(view, &org, &key.iter().map(String::as_str).collect::<Vec<_>>()))
            .await
    }

    /// Orgs of which somebody is a member, at most this many; `None` where the store cannot tell across orgs.
    pub async fn orgs_of(&self, principal: &PrincipalId, most: usize) -> Result<Option<Vec<OrgId>>, Problem> {
        let (inner, principal) = (self.0.clone(), principal.clone());
        self.read(move || inner.views.orgs_of(&principal, most)).await
    }

    fn on(&self) -> Result<(), Problem> {
        if self.0.off {
            return Err(Problem::new(503, "views_off", "this node keeps no views")
                .fix("set views.enabled and views.store, or read history and state"));
        }
        Ok(())
    }

    /// Refuses to read views that hold a part of the rows only.
    fn whole(&self) -> Result<(), Problem> {
        if self.is_building() {
            return Err(self.building());
        }
        Ok(())
    }

    /// Whether the store is being made and has not arrived, which is seen here a moment before it is noted durably.
    fn is_building(&self) -> bool {
        let readiness = self.0.readiness.lock();
        readiness.is_building() && !readiness.has_arrived(&self.cursor().next, &self.stopped())
    }

    fn stopped(&self) -> Vec<u16> {
        self.0.node.stopped().iter().map(|stopped| stopped.partition).collect()
    }

    fn building(&self) -> Problem {
        let lag: u64 = self.lag(&self.0.node.cursor()).iter().sum();
        Problem::new(
            503,
            "views_building",
            format!("the views are being built and have {lag} records to go: what they hold is not whole"),
        )
        .fix("try again when they have caught up: GET /v1/ops/views tells how far they are; history and state answer now")
        .retry_after(limits::VIEW_BUILDING_RETRY_S)
    }

    async fn read<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T, ViewError> + Send + 'static) -> Result<T, Problem> {
        self.on()?;
        self.whole()?;
        let permit = self.0.readers.clone().acquire_owned().await.map_err(|_| problems::stopping())?;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        match done.await {
            Ok(Ok(found)) => {
                // Where the store was not there yet, it may have come up, empty, in between.
                if self.0.readiness.lock().is_unknown() {
                    return Err(self.building());
                }
                Ok(found)
            }
            Ok(Err(error)) => Err(view_problem(error)),
            Err(e) => Err(problems::internal(format!("the query crashed: {e}"))),
        }
    }

    /// Takes up a parked stream again in the views; says whether all of it fits now.
    pub async fn unpark(&self, stream: &StreamId) -> Result<bool, Problem> {
        self.on()?;
        let (sender, receiver) = oneshot::channel();
        self.0.unparks.lock().push((stream.clone(), sender));
        self.0.wake.notify_one();
        receiver.await.map_err(|_| problems::stopping())?.map_err(view_problem)
    }

    /// The background job under way, or the last one.
    pub fn job(&self) -> Option<Job> {
        self.0.job.lock().clone()
    }

    /// Starts to make the views anew beside the current ones, which go on answering.
    pub fn rebuild(&self) -> Result<Job, Problem> {
        self.start("rebuild", |inner| {
            let mut tick = |records| {
                if let Some(job) = inner.job.lock().as_mut() {
                    job.records = records;
                }
                !inner.stopping.load(Ordering::Relaxed)
            };
            let round = inner.views.rebuild(&*inner.node.log(), &mut tick)?;
            inner.wake.notify_one();
            Ok(Outcome {
                records: round.records,
                detail: format!("{} records projected from zero", round.records),
                ..Outcome::default()
            })
        })
    }

    /// Starts to compare the views with a rebuild from zero in memory.
    pub fn verify(&self) -> Result<Job, Problem> {
        self.start("verify", |inner| {
            let _still = inner.turn.lock();
            let verdict = inner.views.verify(&*inner.node.log())?;
            Ok(Outcome::of(verdict))
        })
    }

    fn start(&self, name: &'static str, work: impl FnOnce(&Inner) -> Result<Outcome, ViewError> + Send + 'static) -> Result<Job, Problem> {
        self.on()?;
        let started = Job {
            job: name,
            status: "running",
            ..Job::default()
        };
        {
            let mut job = self.0.job.lock();
            if let Some(other) = job.as_ref().filter(|job| job.status == "running") {
                return Err(
                    Problem::new(409, "job_running", format!("a {} of the views is under way", other.job))
                        .fix("wait for it: GET /v1/ops/views"),
                );
            }
            *job = Some(started.clone());
        }
        let inner = self.0.clone();
        tokio::task::spawn_blocking(move || {
            let result = work(&inner);
            if let Some(job) = inner.job.lock().as_mut() {
                match result {
                    Ok(outcome) => {
                        *job = Job {
                            job: name,
                            status: "done",
                            records: outcome.records,
                            detail: outcome.detail,
                            equal: outcome.equal,
                            tables: outcome.tables,
                            stopped: outcome.stopped,
                        }
                    }
                    Err(e) => (job.status, job.detail) = ("failed", e.to_string()),
                }
            }
        });
        Ok(started)
    }

    /// Stops following, after the batch at hand; blocks until the thread is gone.
    pub fn close(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
        self.0.wake.notify_one();
        if let Some(thread) = self.0.thread.lock().take() {
            // A panic of the thread was logged by the panic hook; there is nothing more to end.
            let _ = thread.join();
        }
        self.0.readers.close();
    }
}

struct Waiting<'a>(&'a Inner);
impl<'a> Waiting<'a> {
    fn new(inner: &'a Inner) -> Self {
        inner.waiting.fetch_add(1, Ordering::Relaxed);
        inner.hurry.notify_one();
        Self(inner)
    }
}
impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Inner {
    /// Milliseconds since the views were opened.
    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The thread: rounds over the partitions that have something new, then a wait for the next durable frame.
    fn follow(&self, runtime: &tokio::runtime::Runtime) {
        let mut durable = self.node.durable();
        let mut follower: Option<Follower> = None;
        while !self.stopping.load(Ordering::Relaxed) {
            durable.borrow_and_update();
            match self.once(&mut follower) {
                Ok(Round::Progressed) => {}
                Ok(Round::Close(pause)) => runtime.block_on(self.gather(pause)),
                Ok(Round::CaughtUp) => runtime.block_on(self.rest(&mut durable, None)),
                Ok(Round::BehindOthers) => runtime.block_on(self.rest(
                    &mut durable,
                    Some(if self.waiting.load(Ordering::Relaxed) > 0 { GATHER } else { LOOK }),
                )),
                // Another node projects into the same store: this one goes on from where that one got.
                Err(ViewError::Conflict { .. }) => {}
                Err(error) => {
                    metrics::counter!(VIEW_ERRORS).increment(1);
                    tracing::error!(%error, "the views stopped following the log");
                    *self.trouble.lock() = Some(error.to_string());
                    follower = None;
                    runtime.block_on(async {
                        tokio::select! { () = tokio::time::sleep(RETRY) => {}, () = self.wake.notified() => {} }
                    });
                }
            }
        }
    }

    /// One round over the partitions that are this node's to project.
    fn once(&self, follower: &mut Option<Follower>) -> Result<Round, ViewError> {
        let _turn = self.turn.lock();
        let log = &*self.node.log();
        let follower = match follower {
            Some(current) if self.views.is_current(current) => current,
            other => {
                let new = self.views.follower(log)?;
                let whole = new.store().is_whole()?;
                self.readiness.lock().begin(whole, &self.node.cursor().next);
                other.insert(new)
            }
        };
        for (stream, reply) in std::mem::take(&mut *self.unparks.lock()) {
            // Whoever asked may have gone.
            let _ = reply.send(follower.unpark(log, &stream));
        }
        let end = self.node.cursor();
        let partitions: Vec<u16> = (0u16..)
            .zip(end.next.iter().zip(follower.checkpoints()))
            .filter(|(p, (end, seen))| **end > seen.next_offset || follower.is_late(*p))
            .map(|(p, _)| p)
            .collect();
        let elsewhere = if self.shared { self.node.owned_elsewhere() } else { Vec::new() };
        let is_elsewhere = |p: &u16| elsewhere.get(usize::from(*p)).copied().unwrap_or(false);
        let (others, partitions): (Vec<u16>, Vec<u16>) = partitions.into_iter().partition(is_elsewhere);
        if !others.is_empty() {
            follower.look(&others, self.views.progress())?;
        }
        let round = match partitions.as_slice() {
            [] => None,
            some => Some(follower.round(log, some, self.views.progress())?),
        };
        let stopped = round.as_ref().and_then(|round| round.stopped.first());
        *self.trouble.lock() =
            stopped.map(|stop| format!("partition {} is stopped at offset {}: {}", stop.partition, stop.offset, stop.why));
        for (partition, (end, seen)) in end.next.iter().zip(follower.checkpoints()).enumerate() {
            metrics::gauge!(VIEW_LAG_RECORDS, "partition" => partition.to_string()).set(end.saturating_sub(seen.next_offset) as f64);
        }
        let seen: Vec<u64> = follower.checkpoints().iter().map(|checkpoint| checkpoint.next_offset).collect();
        let stopped: Vec<u16> = round
            .iter()
            .flat_map(|round| &round.stopped)
            .filter(|stop| !stop.is_passing())
            .map(|stop| stop.partition)
            .collect();
        if self.readiness.lock().has_arrived(&seen, &stopped) {
            follower.store().set_whole()?;
            self.readiness.lock().begin(true, &end.next);
        }
        self.readiness.lock().late(&seen, &end.next, &stopped, self.now());
        // Damage stays until somebody acts, a broker that did not answer is asked again.
        let is_unanswered = round.as_ref().is_some_and(|round| round.stopped.iter().any(Stop::is_passing));
        let records = round.map_or(0, |round| round.records);
        metrics::counter!(VIEW_RECORDS).increment(records);
        let seen = follower.checkpoints();
        let behind = |p: &u16| end.next[usize::from(*p)] > seen[usize::from(*p)].next_offset;
        Ok(match records {
            0 if is_unanswered || others.iter().any(behind) => Round::BehindOthers,
            0 => Round::CaughtUp,
            _ => self.paced(records, &seen),
        })
    }

    /// What a round with so many records came to, by what has come since.
    fn paced(&self, records: u64, seen: &[Checkpoint]) -> Round {
        let end = self.node.cursor().next;
        let left = end.iter().zip(seen).map(|(end, seen)| end.saturating_sub(seen.next_offset)).sum();
        pause_ms(records, left).map_or(Round::Progressed, |ms| Round::Close(Duration::from_millis(ms)))
    }

    /// Waits for something to do, at most so long.
    async fn rest(&self, durable: &mut watch::Receiver<u64>, most: Option<Duration>) {
        tokio::select! {
            () = tokio::time::sleep(most.unwrap_or_default()), if most.is_some() => return,
            () = self.hurry.notified(), if most.is_some() => return,
            changed = durable.changed() => if changed.is_err() {
                // The node is gone; only `close` ends this thread.
                self.wake.notified().await;
                return;
            },
            () = self.wake.notified() => return,
        }
        self.gather(GATHER).await;
    }

    /// Lets more come, unless a reader waits.
    async fn gather(&self, pause: Duration) {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            tokio::select! { () = tokio::time::sleep(pause) => {}, () = self.hurry.notified() => {}, () = self.wake.notified() => {} }
        }
    }
}

/// A row as the view shows its own; `by` tells whose it is.
fn parked_by_the_node(parked: &ParkedStream) -> Value {
    let ParkedStream { stream, position, detail } = parked;
    json!({
        "stream": stream, "org": stream.org, "kind": stream.kind, "id": stream.id,
        "position": position.to_string(), "reason": detail, "by": "node",
    })
}

fn wait_problem(error: &WaitError) -> Problem {
    match error {
        WaitError::OtherLog(_) => generation_changed(error.to_string()),
        WaitError::NoPartition(_) => bad_parameter("min_position", error.to_string(), "pass a position that this node gave you"),
        WaitError::TimedOut { .. } => Problem::new(
            503,
            "view_behind",
            format!("the views have not seen that position within {} ms", limits::MIN_POSITION_WAIT_MS),
        )
        .field("min_position")
        .fix("try again, or ask without min_position for what the views have now")
        .retry_after(1),
    }
}

/// A cursor from another life of the log.
pub fn generation_changed(detail: impl Into<String>) -> Problem {
    Problem::new(410, "log_generation_changed", detail).fix("begin again with from=start")
}

/// The views' errors as people meet them.
pub fn view_problem(error: ViewError) -> Problem {
    let text = error.to_string();
    match error {
        ViewError::UnknownView(..) => Problem::new(404, "unknown_view", text),
        ViewError::UnknownFilter { name, .. } => Problem::new(400, "unknown_parameter", text).field(clip(&name)),
        ViewError::BadFilter { name, takes, .. } => bad_parameter(&name, text, format!("use {takes}")),
        ViewError::BadPage(_) => bad_parameter("after", text, "pass `next` of the page before, unchanged"),
        ViewError::BadKey { view, .. } => {
            Problem::new(404, "not_found", text).fix(format!("filter instead: GET /v1/orgs/{{org}}/{view}?…"))
        }
        ViewError::Late(_) => Problem::new(503, "views_building", text)
            .fix("try again when they have caught up: GET /health names them until then")
            .retry_after(limits::VIEW_BUILDING_RETRY_S),
        ViewError::Conflict { .. }
        | ViewError::OtherOrigin { .. }
        | ViewError::Storage(_)
        | ViewError::Log(_)
        | ViewError::Stopped { .. } => Problem::new(503, "views_unavailable", text)
            .fix("see GET /health; `quipu views rebuild` rebuilds them")
            .retry_after(5),
    }
}
