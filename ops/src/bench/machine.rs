//! What the machine is, and what processes use of it. Where the system does not tell, values are zero or `unknown`.

use serde::Serialize;
use std::{fs, path::Path, time::Duration};

pub(super) const MIB: f64 = 1024.0 * 1024.0;

/// Facts to print beside numbers.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Processor.
    pub cpu: String,
    /// Logical processors.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Kernel.
    pub kernel: String,
    /// File system and device under the bench's directory.
    pub disk: String,
    /// Load average over one minute when the bench began: what else the machine was doing.
    pub load_before: f64,
    /// And when it ended.
    pub load_after: f64,
    /// Version of this binary, and how it was built.
    pub build: String,
}

impl Machine {
    /// Looks around.
    pub fn look(directory: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let unknown = || "unknown".to_owned();
        let memory = field(&read("/proc/meminfo"), "MemTotal").and_then(|t| t.split_whitespace().next()?.parse::<u64>().ok());
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: memory.unwrap_or_default() / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            disk: mount(&read("/proc/mounts"), directory).unwrap_or_else(unknown),
            load_before: load(),
            load_after: 0.0,
            build: format!(
                "{} ({})",
                env!("CARGO_PKG_VERSION"),
                if cfg!(debug_assertions) {
                    "debug build: not representative"
                } else {
                    "release build"
                }
            ),
        }
    }
}

/// Load average over one minute.
pub(super) fn load() -> f64 {
    fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|t| t.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

fn mount(mounts: &str, directory: &Path) -> Option<String> {
    let directory = directory.canonicalize().ok()?;
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        Some((fields.next()?, fields.next()?, fields.next()?))
    });
    let (device, _, kind) = fields
        .filter(|(_, at, _)| directory.starts_with(at))
        .max_by_key(|(_, at, _)| at.len())?;
    Some(format!("{kind} on {device}"))
}

/// What a process used.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// Processor time, in the system's ticks of 10 ms.
    pub(super) cpu: Duration,
    /// Resident memory, bytes.
    pub(super) resident: u64,
}

/// What a process used until now.
pub(super) fn usage(pid: u32) -> Usage {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let ticks: u64 = stat.rsplit(')').next().map_or(0, |rest| {
        rest.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum()
    });
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok());
    Usage {
        cpu: Duration::from_millis(ticks * 10),
        resident: resident.unwrap_or_default() * 1024,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_that_holds_a_directory_is_its_file_system() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /proc tmpfs rw 0 0\n";
        assert_eq!(mount(mounts, Path::new("/")).as_deref(), Some("ext4 on /dev/a"));
    }
}
