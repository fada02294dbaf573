//! Whether the index on disk can be trusted.
//!
//! SQLite runs without syncing, so its file survives the death of the process but not that of the machine.
//! A small synced file beside it says which boot wrote it and whether it was closed in order.

use super::{FORMAT, IndexError};
use crate::port::LogMeta;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

/// Identifies the running boot of this machine; `None` where the system does not tell.
pub fn boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned()).filter(|id| !id.is_empty())
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) format: u32,
    pub(crate) log_id: String,
    pub(crate) generation: u32,
    pub(crate) partitions: u16,
    pub(crate) boot: Option<String>,
    pub(crate) clean: bool,
}

fn path(dir: &Path) -> PathBuf {
    dir.join("index.mark")
}

pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> IndexError {
    move |error| IndexError::Io {
        path: path.display().to_string(),
        detail: error.to_string(),
    }
}

pub(crate) fn sync_dir(dir: &Path) -> Result<(), IndexError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io(dir))
}

/// Makes an index one that the next open discards. What fails is left to whoever meets the damage then.
pub(crate) fn remove(dir: &Path) {
    let _ = fs::remove_file(path(dir));
    let _ = sync_dir(dir);
}

impl Mark {
    pub(crate) fn of(meta: &LogMeta, boot: Option<String>, clean: bool) -> Self {
        Self {
            format: FORMAT,
            log_id: hex::encode(meta.log_id.0),
            generation: meta.generation,
            partitions: meta.partitions,
            boot,
            clean,
        }
    }

    /// Why an index with this mark must be discarded by a node that would write `now`.
    pub(crate) fn distrust(&self, now: &Mark) -> Option<String> {
        if self.format != now.format {
            return Some(format!("format {} is not {}", self.format, now.format));
        }
        if self.log_id != now.log_id || self.partitions != now.partitions {
            return Some(format!("it belongs to log {}", self.log_id));
        }
        if self.generation != now.generation {
            return Some(format!("it belongs to generation {} of the log", self.generation));
        }
        if !self.clean && (self.boot.is_none() || self.boot != now.boot) {
            return Some("the machine stopped before it was closed".into());
        }
        None
    }

    /// `None`: absent or unreadable.
    pub(crate) fn read(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path(dir)).ok()?).ok()
    }

    /// Durable on return.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), IndexError> {
        let target = path(dir);
        let temporary = dir.join("index.mark.new");
        let bytes = serde_json::to_vec(self).map_err(|e| IndexError::Damaged(e.to_string()))?;
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, &target)
        };
        write().map_err(io(&target))?;
        sync_dir(dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(boot: Option<&str>, clean: bool) -> Mark {
        Mark {
            format: FORMAT,
            log_id: "aa".into(),
            generation: 1,
            partitions: 4,
            boot: boot.map(Into::into),
            clean,
        }
    }

    #[test]
    fn a_boot_is_known_by_the_systems_own_words() {
        let told = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        assert_eq!(boot_id(), told.map(|text| text.trim().to_owned()));
    }

    #[test]
    fn only_an_unclean_boot_or_another_log_distrusts() {
        let now = mark(Some("b2"), false);
        assert_eq!(mark(Some("b2"), false).distrust(&now), None, "a killed process");
        assert_eq!(mark(Some("b1"), true).distrust(&now), None, "a clean shutdown");
        assert!(mark(Some("b1"), false).distrust(&now).is_some());
        assert!(
            mark(None, false).distrust(&mark(None, false)).is_some(),
            "an unknown boot is never the same"
        );
        assert!(
            Mark {
                generation: 2,
                ..mark(Some("b2"), true)
            }
            .distrust(&now)
            .is_some()
        );
        assert!(
            Mark {
                log_id: "bb".into(),
                ..mark(Some("b2"), true)
            }
            .distrust(&now)
            .is_some()
        );
        assert!(
            Mark {
                format: FORMAT + 1,
                ..mark(Some("b2"), true)
            }
            .distrust(&now)
            .is_some()
        );
        assert!(
            Mark {
                partitions: 1,
                ..mark(Some("b2"), true)
            }
            .distrust(&now)
            .is_some()
        );
    }
}
