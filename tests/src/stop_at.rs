//! Ends a real process right before one of its changes to files: see `tests/shim/stop_at.c`, which does it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
};
use tempfile::TempDir;
use tokio::process::Command;

/// Exit status of a process that was ended.
const ENDED: i32 = 86;

/// The library, built.
pub struct StopAt {
    home: TempDir,
}

/// Where a process is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Before this change, counted from 1; 0 is never.
    pub change: usize,
    /// Whether the first half of that change is written, if it is a write.
    pub half: bool,
}

impl Point {
    /// Nowhere: the process goes on to its end.
    pub const NEVER: Self = Self { change: 0, half: false };
}

/// What a process may change, and where it leaves its traces.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Directories whose files count.
    pub dirs: Vec<PathBuf>,
    /// A file that gets a line a change.
    pub trace: PathBuf,
    /// Nothing counts until this file exists.
    pub gate: Option<PathBuf>,
}

impl StopAt {
    /// Compiles the library with the system's C compiler, which the bundled SQLite needs as well.
    ///
    /// # Panics
    /// If it does not compile.
    pub fn build() -> Self {
        let home = TempDir::new().expect("a temporary directory");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim/stop_at.c");
        let built = std::process::Command::new("cc")
            .args(["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"])
            .arg(home.path().join("stop_at.so"))
            .arg(&source)
            .output()
            .expect("a C compiler `cc`");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Self { home }
    }

    /// Has a command ended at `point`.
    pub fn arm(&self, command: &mut Command, watched: &Watched, point: Point) {
        let dirs: Vec<String> = watched.dirs.iter().map(|dir| dir.display().to_string()).collect();
        command
            .env("LD_PRELOAD", self.home.path().join("stop_at.so"))
            .env("STOP_DIR", dirs.join(":"))
            .env("STOP_TRACE", &watched.trace)
            .env("STOP_AT", point.change.to_string())
            .env("STOP_HALF", if point.half { "1" } else { "0" });
        if let Some(gate) = &watched.gate {
            command.env("STOP_GATE", gate);
        }
    }
}

/// Whether a process was ended at its point.
///
/// # Panics
/// If it ended otherwise than in order or at its point.
pub fn was_struck(status: ExitStatus) -> bool {
    assert!(status.success() || status.code() == Some(ENDED), "it ended with {status}");
    !status.success()
}

/// The changes that a process made, each by its label.
///
/// # Panics
/// If there is no trace.
pub fn trace(watched: &Watched) -> Vec<String> {
    let text = fs::read_to_string(&watched.trace).unwrap_or_else(|e| panic!("{}: {e}", watched.trace.display()));
    text.lines().map(label).collect()
}

/// `write /data/log/0000000000000001.seg` is `write segment`.
fn label(line: &str) -> String {
    let (call, path) = line.split_once(' ').unwrap_or((line, ""));
    let path = Path::new(path);
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let within = |dir: &str| path.components().any(|c| c.as_os_str() == dir);
    let is_dir = path.extension().is_none() && ["data", "log", "index", "views", "keys", "out", "target", "blobs"].contains(&name.as_str());
    let file = match name.as_str() {
        _ if is_dir => "directory",
        n if n.ends_with(".seg") || n.ends_with(".seg-tmp") => "segment",
        n if n.ends_with(".idx") || (within("log") && n.ends_with(".tmp")) => "sidecar",
        "heads" | "heads.tmp" => "heads",
        "index.mark" | "index.mark.new" => "index mark",
        "current" | "current.new" => "views pointer",
        n if n.starts_with("index.db") => n.strip_prefix("index.").unwrap_or(n),
        n if n.starts_with("views-") => match n.rsplit_once(".db").map(|(_, end)| end) {
            Some("-wal") => "views db-wal",
            Some("-shm") => "views db-shm",
            Some("-journal") => "views db-journal",
            _ => "views db",
        },
        "backup.json" | "backup.tmp" => "manifest",
        _ if within("keys") => "keys",
        n if n.starts_with("token") => "token",
        n => n,
    };
    let file = if name.starts_with("index.db") {
        format!("index {file}")
    } else {
        file.to_owned()
    };
    format!("{call} {file}")
}

/// How often each label occurs.
pub fn table<'a>(labels: impl IntoIterator<Item = &'a String>) -> BTreeMap<String, usize> {
    let mut out = BTreeMap::new();
    for label in labels {
        *out.entry(label.clone()).or_default() += 1;
    }
    out
}
