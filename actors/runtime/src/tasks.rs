//! Long-lived tasks: each is started again when it crashes, and health and metrics say so.

use crate::api::HealthPart;
use futures::FutureExt;
use parking_lot::Mutex;
use quipu_schemas::limits::{TASK_PAUSE_MS, TASK_TROUBLE_MS};
use std::{
    any::Any,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

#[derive(Debug)]
struct Crash {
    times: u64,
    last: Instant,
    detail: String,
}

#[derive(Debug, Default)]
struct Inner {
    crashes: Mutex<BTreeMap<&'static str, Crash>>,
    restarts: AtomicU64,
    /// Tasks that crashed and cannot be started again.
    ended: Mutex<BTreeMap<&'static str, String>>,
}

/// The long-lived tasks of a node. Clones are handles to the same.
#[derive(Debug, Clone)]
pub struct Tasks {
    inner: Arc<Inner>,
    pause: Duration,
}

impl Default for Tasks {
    fn default() -> Self {
        Self::pausing(Duration::from_millis(TASK_PAUSE_MS))
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without words")
}

impl Tasks {
    fn pausing(pause: Duration) -> Self {
        Self {
            inner: Arc::default(),
            pause,
        }
    }

    /// Runs a task to its end, starting it again after a pause each time that it crashes, unless `is_over` by then.
    pub async fn run<F>(&self, name: &'static str, is_over: impl Fn() -> bool, mut task: impl FnMut() -> F)
    where
        F: Future<Output = ()>,
    {
        loop {
            // Made within the guard: what makes the task may crash as well.
            let Err(panic) = AssertUnwindSafe(async { task().await }).catch_unwind().await else {
                return;
            };
            self.note(name, panic_text(&*panic).to_owned());
            tokio::time::sleep(self.pause).await;
            if is_over() {
                return;
            }
        }
    }

    /// As [`Tasks::run`], for work with a thread of its own.
    pub fn run_blocking(&self, name: &'static str, is_over: impl Fn() -> bool, mut work: impl FnMut()) {
        while let Err(panic) = catch_unwind(AssertUnwindSafe(&mut work)) {
            self.note(name, panic_text(&*panic).to_owned());
            std::thread::sleep(self.pause);
            if is_over() {
                return;
            }
        }
    }

    /// Runs a task that cannot be started again, since it takes with it what it works on: when it crashes, the process is not
    /// live any more.
    pub async fn once(self, name: &'static str, task: impl Future<Output = ()>) {
        let Err(panic) = AssertUnwindSafe(task).catch_unwind().await else {
            return;
        };
        let detail = panic_text(&*panic).to_owned();
        self.inner.ended.lock().insert(name, detail.clone());
        let _ = catch_unwind(|| tracing::error!(task = name, detail, "a task of the node crashed; only a restart brings it back"));
    }

    /// What crashed and cannot be started again, if anything did: the process should be.
    pub fn ended(&self) -> Option<String> {
        let ended = self.inner.ended.lock();
        let told: Vec<String> = ended.iter().map(|(name, detail)| format!("`{name}` crashed: {detail}")).collect();
        (!told.is_empty()).then(|| format!("{}; restart the node", told.join("; ")))
    }

    fn note(&self, name: &'static str, detail: String) {
        self.inner.restarts.fetch_add(1, Ordering::Relaxed);
        {
            let mut crashes = self.inner.crashes.lock();
            let times = crashes.get(name).map_or(0, |crash| crash.times) + 1;
            let last = Instant::now();
            let detail = detail.clone();
            crashes.insert(name, Crash { times, last, detail });
        }
        // Last: should the logger itself be what crashes, everything else is done.
        let _ = catch_unwind(|| tracing::error!(task = name, detail, "a task of the node crashed; it is started again"));
    }

    /// How often tasks were started again since the node started.
    pub fn restarts(&self) -> u64 {
        self.inner.restarts.load(Ordering::Relaxed)
    }

    /// Tasks that crashed lately; `None` where none did.
    pub fn health(&self) -> Option<HealthPart> {
        let crashes = self.inner.crashes.lock();
        let recent = |crash: &Crash| crash.last.elapsed() < Duration::from_millis(TASK_TROUBLE_MS);
        let again = |(name, crash): (&&str, &Crash)| {
            format!(
                "`{name}` crashed and was started again, {} times so far: {}",
                crash.times, crash.detail
            )
        };
        let crashed = crashes.iter().filter(|(_, crash)| recent(crash)).map(again);
        let told: Vec<String> = self.ended().into_iter().chain(crashed).collect();
        (!told.is_empty()).then(|| HealthPart {
            count: None,
            name: "tasks".into(),
            ok: false,
            critical: false,
            detail: told.join("; "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[tokio::test]
    async fn crashed_task_starts_again_and_is_told() {
        let (tasks, runs) = (Tasks::pausing(Duration::from_millis(1)), AtomicUsize::new(0));
        assert!(tasks.health().is_none());
        let task = || async {
            assert!(runs.fetch_add(1, Ordering::Relaxed) >= 2, "a line could not be written");
        };
        tasks.run("looker", || false, task).await;
        assert_eq!((runs.load(Ordering::Relaxed), tasks.restarts()), (3, 2));
        let health = tasks.health().expect("a part");
        assert!(
            !health.ok && health.detail.contains("`looker`") && health.detail.contains("2 times"),
            "{health:?}"
        );
        assert!(health.detail.contains("a line could not be written"), "{health:?}");
    }

    #[tokio::test]
    async fn crashed_task_of_a_stopping_node_ends() {
        let tasks = Tasks::pausing(Duration::from_millis(1));
        tasks.run("looker", || true, || async { panic!("at the end") }).await;
        assert_eq!(tasks.restarts(), 1);
    }

    #[tokio::test]
    async fn task_that_cannot_start_again_is_told_for_good() {
        let tasks = Tasks::default();
        tasks.clone().once("relay", async {}).await;
        assert_eq!(tasks.ended(), None);
        tasks.clone().once("relay", async { panic!("gone") }).await;
        let ended = tasks.ended().expect("words");
        assert!(ended.contains("`relay`") && ended.contains("restart the node"), "{ended}");
        assert!(tasks.health().is_some_and(|part| part.detail.contains(&ended)));
    }

    #[test]
    fn crashed_thread_work_starts_again() {
        let (tasks, mut runs) = (Tasks::pausing(Duration::from_millis(1)), 0);
        let work = || {
            runs += 1;
            assert!(runs > 1, "the first round crashes");
        };
        tasks.run_blocking("thread", || false, work);
        assert_eq!((runs, tasks.restarts()), (2, 1));
    }
}
