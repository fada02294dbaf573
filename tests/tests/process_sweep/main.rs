//! The real binary ends right before each change that it makes to a file, one change a run: at work, at a start behind
//! a crash, while views are made anew, in a backup and in a restore. Behind each it is started again, goes on, and every
//! promise is checked. What a process wrote before its end stays, as with `SIGKILL`; lost power is `crash_sweep.rs`.
//!
//! CI takes a sample of the points; all of them, with the table of what they were:
//! `QUIPU_CRASH_POINTS=all cargo test --release -p quipu-tests --test process_sweep -- --nocapture`.

mod moves;
mod scene;

use parking_lot::Mutex;
use quipu_tests::{
    process::Launch,
    receiver::{Receiver, SECRET},
    script::Script,
    stop_at::{self, Point, StopAt, Watched, was_struck},
};
use scene::Scene;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};
use tempfile::TempDir;

/// Runs at a time: most of a run is waiting.
const WORKERS: usize = 6;
/// Points of CI's sample, of each scene.
const SAMPLE: usize = 8;

/// What all runs share.
struct Stage {
    shim: StopAt,
    receiver: Receiver,
    home: TempDir,
    /// What was answered before the data of most scenes was left behind by a killed process.
    said: Script,
    /// Digest of the log of the backup that the restores restore.
    digest: String,
}

/// What one run came to.
struct Ran {
    /// The changes that were counted, the one before which it ended last.
    changes: Vec<String>,
    struck: bool,
    /// What became of it, where that can differ.
    came_to: &'static str,
}

fn launch(receiver: &Receiver) -> Launch {
    Launch::new()
        .reaching(&[receiver.address])
        .secret("acme/hook", SECRET)
        .set("log.partitions", "2")
        .set("limits.passivate_after_ms", "100")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// What `verify` says of a directory.
async fn verified(launch: &Launch, dir: &Path) -> Value {
    let output = launch.run(&["verify", "--json", &dir.display().to_string()]).await;
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said_by(&output)))
}

fn said_by(output: &Output) -> String {
    format!(
        "{} {}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

impl Stage {
    async fn set() -> Self {
        let (shim, receiver, home) = (
            StopAt::build(),
            Receiver::start().await,
            TempDir::new().expect("a temporary directory"),
        );
        let launch = launch(&receiver);
        let node = launch.start_by(launch.quipu()).await;
        let mut said = Script::new(&receiver.url("/template"));
        said.is_copied = true;
        assert!(said.say(&node.caller).await, "nobody ends this node");
        // The run that waits has not told yet; index and views may be behind.
        node.kill().await;
        // Space that is reserved ahead and not used yet is given back, so that there is less to copy.
        let intact = verified(&launch, &launch.data()).await;
        assert_eq!(intact["intact"], true, "{intact}");
        shorten(&launch.data().join("log"));
        copy(&launch.data(), &home.path().join("template"));
        let backup = home.path().join("backup");
        let made = launch
            .run(&[
                "backup",
                "--data",
                &launch.data().display().to_string(),
                &backup.display().to_string(),
            ])
            .await;
        assert!(made.status.success(), "{}", said_by(&made));
        let intact = verified(&launch, &backup).await;
        Self {
            digest: intact["digest"].as_str().expect("a digest").to_owned(),
            shim,
            receiver,
            home,
            said,
        }
    }

    fn hook(&self, scene: Scene, point: Point) -> String {
        self.receiver.url(&format!("/{scene:?}/{}/{}", point.change, point.half))
    }

    /// A data directory as the killed process left it.
    fn template(&self, launch: &Launch) {
        copy(&self.home.path().join("template"), &launch.data());
    }

    async fn run(&self, scene: Scene, point: Point) -> Ran {
        let launch = launch(&self.receiver);
        let beside = TempDir::new().expect("a temporary directory");
        let watched = Watched {
            dirs: vec![launch.data()],
            trace: beside.path().join("trace"),
            gate: None,
        };
        match scene {
            Scene::Serve => self.serve(&launch, watched, point).await,
            Scene::Start | Scene::StartAnew => {
                self.template(&launch);
                if scene == Scene::StartAnew {
                    for dir in ["index", "views"] {
                        fs::remove_dir_all(launch.data().join(dir)).expect("it is there");
                    }
                }
                self.start(&launch, watched, point).await
            }
            Scene::Rebuild => {
                self.template(&launch);
                let gate = Some(beside.path().join("gate"));
                self.rebuild(&launch, Watched { gate, ..watched }, point).await
            }
            Scene::Backup => {
                self.template(&launch);
                let out = beside.path().join("out");
                let dirs = vec![launch.data(), out.clone()];
                self.backup(&launch, Watched { dirs, ..watched }, &out, point).await
            }
            Scene::OnlineBackup => {
                self.template(&launch);
                let out = beside.path().join("out");
                let (dirs, gate) = (vec![out.clone()], Some(beside.path().join("gate")));
                self.online_backup(&launch, Watched { dirs, gate, ..watched }, &out, point).await
            }
            Scene::Restore => {
                let dirs = vec![launch.data()];
                self.restore(&launch, Watched { dirs, ..watched }, point).await
            }
        }
    }

    async fn serve(&self, launch: &Launch, watched: Watched, point: Point) -> Ran {
        let mut script = Script::new(&self.hook(Scene::Serve, point));
        let mut command = launch.quipu();
        self.shim.arm(&mut command, &watched, point);
        let status = match launch.try_start_by(command).await {
            Err(status) => status,
            Ok(node) => {
                let _ = script.say(&node.caller).await && script.rest(&node.caller).await;
                node.end().await
            }
        };
        self.afterwards(launch, script).await;
        ran(&watched, was_struck(status))
    }

    async fn start(&self, launch: &Launch, watched: Watched, point: Point) -> Ran {
        let mut command = launch.quipu();
        self.shim.arm(&mut command, &watched, point);
        let status = match launch.try_start_by(command).await {
            Err(status) => status,
            Ok(node) => {
                let _ = self.said.rest(&node.caller).await;
                node.end().await
            }
        };
        self.afterwards(launch, self.said.clone()).await;
        ran(&watched, was_struck(status))
    }
}

/// Cuts what is reserved and empty off the end of the last segment, all but the mark behind the last flush.
fn shorten(log: &Path) {
    let path = log.join("0000000000000001.seg");
    let bytes = fs::read(&path).expect("the segment");
    let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    let kept = (used + 64 * 1024).min(bytes.len());
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(kept as u64))
        .expect("the segment is cut");
}

/// Restores a directory to a new place; the digest of the log there, or nothing where it is refused as no backup.
async fn restored(launch: &Launch, out: &Path) -> Option<Value> {
    let target = TempDir::new().expect("a temporary directory");
    let made = launch
        .run(&["restore", &out.display().to_string(), &target.path().display().to_string()])
        .await;
    if !made.status.success() {
        let why = said_by(&made);
        assert!(why.contains("is not a backup"), "{why}");
        return None;
    }
    let found = verified(launch, target.path()).await;
    assert_eq!(found["intact"], true, "{found}");
    Some(found["digest"].clone())
}

async fn data_is_new(node: &quipu_tests::caller::Caller) -> bool {
    node.acting_for("ada").get("/v1/orgs/acme/orgs/acme/history").await.status == 404
}

fn ran(watched: &Watched, struck: bool) -> Ran {
    let changes = if watched.trace.exists() {
        stop_at::trace(watched)
    } else {
        Vec::new()
    };
    Ran {
        changes,
        struck,
        came_to: "went on",
    }
}

/// Points of a scene, by the labels of a run to its end: all, or some of each label first.
fn points(changes: &[String], all: bool) -> Vec<Point> {
    let mut out = Vec::new();
    for (at, label) in (1..).zip(changes) {
        out.push(Point { change: at, half: false });
        if label.starts_with("write ") {
            out.push(Point { change: at, half: true });
        }
    }
    if all {
        return out;
    }
    // Spread over the scene, one of each label as far as they go.
    let mut seen = BTreeSet::new();
    let stride = out.len().div_ceil(SAMPLE).max(1);
    let (firsts, rest): (Vec<Point>, Vec<Point>) = out.into_iter().partition(|p| seen.insert((changes[p.change - 1].clone(), p.half)));
    let mut sample: Vec<Point> = firsts.iter().copied().step_by(firsts.len().div_ceil(SAMPLE / 2).max(1)).collect();
    sample.extend(rest.iter().copied().step_by(stride).take(SAMPLE / 2));
    sample
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_ending_before_any_change_breaks_no_promise() {
    let started = Instant::now();
    let all = std::env::var("QUIPU_CRASH_POINTS").as_deref() == Ok("all");
    let scenes: Vec<Scene> = match std::env::var("QUIPU_CRASH_SCENE") {
        Ok(name) => Scene::ALL.into_iter().filter(|s| format!("{s:?}") == name).collect(),
        Err(_) => Scene::ALL.to_vec(),
    };
    let stage = Arc::new(Stage::set().await);
    let mut todo: Vec<(Scene, Point)> = Vec::new();
    let mut counted: BTreeMap<Scene, Vec<String>> = BTreeMap::new();
    for scene in scenes {
        let calm = stage.run(scene, Point::NEVER).await;
        assert!(!calm.struck && !calm.changes.is_empty(), "{scene:?}");
        for label in scene.must_strike() {
            assert!(
                calm.changes.iter().any(|l| l == label),
                "{scene:?} never comes to {label}: {:?}",
                stop_at::table(&calm.changes)
            );
        }
        todo.extend(points(&calm.changes, all).into_iter().map(|point| (scene, point)));
        counted.insert(scene, calm.changes);
    }
    println!("{} points after {:.0} s", todo.len(), started.elapsed().as_secs_f64());
    let (todo, next) = (Arc::new(todo), Arc::new(AtomicUsize::new(0)));
    type Struck = BTreeMap<(Scene, String), usize>;
    let (struck, came_to, past) = (
        Arc::new(Mutex::new(Struck::new())),
        Arc::new(Mutex::new(Struck::new())),
        Arc::new(Mutex::new(BTreeMap::<Scene, usize>::new())),
    );
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let (stage, todo, next) = (stage.clone(), todo.clone(), next.clone());
            let (struck, came_to, past) = (struck.clone(), came_to.clone(), past.clone());
            tokio::spawn(async move {
                while let Some((scene, point)) = todo.get(next.fetch_add(1, Ordering::Relaxed)).copied() {
                    let ran = match tokio::spawn({
                        let stage = stage.clone();
                        async move { stage.run(scene, point).await }
                    })
                    .await
                    {
                        Ok(ran) => ran,
                        Err(broken) => panic!("{scene:?} ended before {point:?}: {broken}"),
                    };
                    if !ran.struck {
                        // The clock and the threads gave this run fewer changes than the one that was counted.
                        assert!(!scene.is_steady(), "{scene:?} has no {point:?}: {}", ran.changes.len());
                        *past.lock().entry(scene).or_default() += 1;
                        continue;
                    }
                    assert_eq!(ran.changes.len(), point.change, "{scene:?}: ended elsewhere");
                    let label = format!("{}{}", ran.changes[point.change - 1], if point.half { ", half" } else { "" });
                    *struck.lock().entry((scene, label)).or_default() += 1;
                    *came_to.lock().entry((scene, ran.came_to.to_owned())).or_default() += 1;
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.expect("a run");
    }
    let (struck, came_to, past) = (struck.lock(), came_to.lock(), past.lock());
    println!(
        "{} points in {:.0} s",
        struck.values().sum::<usize>(),
        started.elapsed().as_secs_f64()
    );
    for (scene, changes) in &counted {
        let of = |table: &Struck| table.iter().filter(|((s, _), _)| s == scene).map(|(_, n)| n).sum::<usize>();
        let (here, wanted) = (of(&struck), todo.iter().filter(|(s, _)| s == scene).count());
        let past = past.get(scene).copied().unwrap_or_default();
        println!("{scene:?}: {} changes, {here} points struck, {past} past the end", changes.len());
        for ((_, label), n) in struck.iter().filter(|((s, _), _)| s == scene) {
            println!("{n:>7}  {label}");
        }
        for ((_, what), n) in came_to.iter().filter(|((s, _), _)| s == scene) {
            println!("{n:>7}  came to: {what}");
        }
        assert_eq!(here + past, wanted);
        assert!(past * 5 <= wanted, "{scene:?} was seldom struck");
        for label in scene.must_strike().iter().filter(|_| all) {
            assert!(
                struck.contains_key(&(*scene, (*label).to_owned())),
                "{scene:?} was never ended before {label}"
            );
        }
    }
}

/// Kept for what a path is called in the table.
#[test]
fn a_change_is_labelled_by_its_file() {
    let dir = TempDir::new().expect("a temporary directory");
    let watched = Watched {
        dirs: vec![PathBuf::from("/t/data")],
        trace: dir.path().join("trace"),
        gate: None,
    };
    let lines = "write /t/data/log/0000000000000001.seg\nrename /t/data/heads\nsync /t/data/index/index.db-wal\nwrite /t/data/views/views-0a-0.db\nsync /t/data/log\n";
    fs::write(&watched.trace, lines).expect("a trace");
    assert_eq!(
        stop_at::trace(&watched),
        [
            "write segment",
            "rename heads",
            "sync index db-wal",
            "write views db",
            "sync directory"
        ]
    );
}
