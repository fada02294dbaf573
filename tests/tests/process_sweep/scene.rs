//! Scenes of a process: what it does when it is ended.

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scene {
    /// A new node, the whole load, and its stop.
    Serve,
    /// A start where another process was killed: index and views catch up.
    Start,
    /// The same without index and views.
    StartAnew,
    /// Views are made beside the current ones, and switched.
    Rebuild,
    /// A backup of a data directory that no node holds.
    Backup,
    /// A backup that a running node makes.
    OnlineBackup,
    /// A restore.
    Restore,
}

impl Scene {
    pub(super) const ALL: [Self; 7] = [
        Self::Serve,
        Self::Start,
        Self::StartAnew,
        Self::Rebuild,
        Self::Backup,
        Self::OnlineBackup,
        Self::Restore,
    ];

    /// Whether it makes the same changes each time: one thread, no clock.
    pub(super) fn is_steady(self) -> bool {
        matches!(self, Self::Backup | Self::Restore)
    }

    /// Labels that its points must have.
    pub(super) fn must_strike(self) -> &'static [&'static str] {
        match self {
            Self::Serve => &[
                "create segment",
                "reserve segment",
                "write segment",
                "sync segment",
                "sync directory",
                "create heads",
                "write heads",
                "sync heads",
                "rename heads",
                "write keys",
                "sync keys",
                "write token",
                "write address",
                "write index db-wal",
                "write index db",
                "rename index mark",
                "write views db-wal",
                "write views db",
                "sync views db",
                "create views pointer",
                "write views pointer",
                "sync views pointer",
                "rename views pointer",
            ],
            Self::Start => &[
                "write segment",
                "sync segment",
                "write index db-wal",
                "write index mark",
                "write views db-wal",
            ],
            Self::StartAnew => &[
                "create index db",
                "write index db-wal",
                "create views db",
                "write views db-wal",
                "rename views pointer",
            ],
            Self::Rebuild => &[
                "create views db",
                "write views db-wal",
                "write views pointer",
                "sync views pointer",
                "rename views pointer",
                "remove views db",
            ],
            Self::Backup | Self::OnlineBackup => &[
                "create directory",
                "create segment",
                "write segment",
                "sync segment",
                "write heads",
                "sync heads",
                "rename heads",
                "write manifest",
                "sync manifest",
                "rename manifest",
                "sync directory",
            ],
            Self::Restore => &[
                "create segment",
                "write segment",
                "sync segment",
                "reserve segment",
                "write heads",
                "rename heads",
                "sync directory",
            ],
        }
    }
}
