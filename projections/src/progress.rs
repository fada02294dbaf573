//! How far the views are: a watch that blocking and async layers can wait on.

use parking_lot::{Condvar, Mutex, MutexGuard};
use quipu_schemas::position::{Cursor, Position};
use std::{collections::BTreeMap, time::Duration};

/// What a reader wants the views to have seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// One record.
    Position(Position),
    /// As much as this.
    Cursor(Cursor),
}

/// Why waiting ended without the wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// The cursor is of another log or generation (`410 log_generation_changed`).
    #[error("the cursor is of another log or of generation {0}, not of the current one")]
    OtherLog(u32),
    /// The position names a partition that the log does not have.
    #[error("position {0} names a partition that the log does not have")]
    NoPartition(Position),
    /// The deadline passed first.
    #[error("the views did not get that far in time")]
    TimedOut {
        /// How far they are.
        now: Cursor,
    },
}

type Hook = Box<dyn Fn(&Cursor) + Send + Sync>;

/// Shared by the projector, which moves it, and readers, which wait on it.
pub struct Progress {
    cursor: Mutex<Cursor>,
    late: Mutex<Vec<&'static str>>,
    moved: Condvar,
    hooks: Mutex<(u64, BTreeMap<u64, Hook>)>,
}

impl Progress {
    /// Begins where the store is.
    pub fn new(cursor: Cursor) -> Self {
        Self {
            cursor: Mutex::new(cursor),
            late: Mutex::default(),
            moved: Condvar::new(),
            hooks: Mutex::default(),
        }
    }

    fn cursor(&self) -> MutexGuard<'_, Cursor> {
        self.cursor.lock()
    }

    /// How far the views are.
    pub fn now(&self) -> Cursor {
        self.cursor().clone()
    }

    /// Takes note of the families that are behind this cursor.
    pub fn set_late(&self, families: Vec<&'static str>) {
        *self.late.lock() = families;
    }

    /// Families that are behind.
    pub fn late(&self) -> Vec<&'static str> {
        self.late.lock().clone()
    }

    /// Whether a family is behind.
    pub fn is_late(&self, family: &str) -> bool {
        self.late.lock().contains(&family)
    }

    /// Takes over the views' new cursor and tells everybody.
    pub fn set(&self, cursor: Cursor) {
        {
            let mut current = self.cursor();
            if *current == cursor {
                return;
            }
            *current = cursor.clone();
        }
        self.moved.notify_all();
        let hooks = self.hooks.lock();
        hooks.1.values().for_each(|hook| hook(&cursor));
    }

    /// Calls `hook` after each move, on the projector's thread: it must not block, nor call back into this.
    pub fn on_move(&self, hook: impl Fn(&Cursor) + Send + Sync + 'static) -> u64 {
        let mut hooks = self.hooks.lock();
        hooks.0 += 1;
        let id = hooks.0;
        hooks.1.insert(id, Box::new(hook));
        id
    }

    /// Forgets a hook.
    pub fn forget(&self, hook: u64) {
        self.hooks.lock().1.remove(&hook);
    }

    /// Whether the views have seen the wanted; an error where they never will.
    pub fn covers(&self, wanted: &Wanted) -> Result<bool, WaitError> {
        covers(&self.cursor(), wanted)
    }

    /// Blocks until the views have seen the wanted, at most for `timeout`.
    pub fn wait_for(&self, wanted: &Wanted, timeout: Duration) -> Result<Cursor, WaitError> {
        let mut guard = self.cursor();
        let waiting = |cursor: &mut Cursor| matches!(covers(cursor, wanted), Ok(false));
        self.moved.wait_while_for(&mut guard, waiting, timeout);
        if covers(&guard, wanted)? {
            Ok(guard.clone())
        } else {
            Err(WaitError::TimedOut { now: guard.clone() })
        }
    }
}

/// Whether `cursor` has seen the wanted.
pub fn covers(cursor: &Cursor, wanted: &Wanted) -> Result<bool, WaitError> {
    match wanted {
        Wanted::Position(position) if usize::from(position.partition) >= cursor.next.len() => Err(WaitError::NoPartition(*position)),
        Wanted::Position(position) => Ok(cursor.covers(*position)),
        Wanted::Cursor(wanted)
            if (wanted.log, wanted.generation, wanted.next.len()) != (cursor.log, cursor.generation, cursor.next.len()) =>
        {
            Err(WaitError::OtherLog(wanted.generation))
        }
        Wanted::Cursor(wanted) => Ok(cursor.next.iter().zip(&wanted.next).all(|(have, want)| have >= want)),
    }
}
