//! Which commands an entity has decided, by an eight-byte mark each: nearly every command is new, and to hear so from
//! memory costs a fraction of asking the index.
//!
//! All records of a stream pass through its one active entity, and a mark is taken before its command is decided, so
//! none is missed. A mark that is known may still be a new command's (two ids may share a mark, and a refused command
//! leaves one): then the index is asked.

use quipu_schemas::limits::SEEN_KEPT_MAX;
use std::collections::BTreeSet;

/// The marks of one active entity.
pub struct SeenCommands {
    marks: BTreeSet<u64>,
    extent: Extent,
}

enum Extent {
    /// Not worth loading before so many more commands; the marks are those of this incarnation alone.
    Since(u32),
    /// The marks are all of the stream.
    All,
    /// Too many: only the index knows.
    TooMany,
}

impl SeenCommands {
    /// Of an entity that was just recovered; its stream's marks are loaded after so many commands.
    pub fn after(commands: u32) -> Self {
        Self {
            marks: BTreeSet::new(),
            extent: Extent::Since(commands),
        }
    }

    /// Whether the marks of the stream's durable records are to be loaded before the next command.
    pub fn wants_marks(&self) -> bool {
        matches!(self.extent, Extent::Since(0))
    }

    /// Takes the marks of every durable record of the stream, or `None` if they are too many. What this incarnation decided
    /// may not be durable yet, so it is kept beside them.
    pub fn load(&mut self, marks: Option<BTreeSet<u64>>) {
        match marks {
            Some(marks) => {
                self.marks.extend(marks);
                self.extent = Extent::All;
            }
            None => self.give_up(),
        }
    }

    /// Takes a command as decided from here on. True if it is certainly new; otherwise the index must be asked.
    pub fn note(&mut self, mark: u64) -> bool {
        match &mut self.extent {
            Extent::Since(commands) => {
                *commands = commands.saturating_sub(1);
                self.marks.insert(mark);
                false
            }
            Extent::TooMany => false,
            Extent::All => {
                let is_new = self.marks.insert(mark);
                if self.marks.len() > SEEN_KEPT_MAX {
                    self.give_up();
                }
                is_new
            }
        }
    }

    fn give_up(&mut self) {
        self.marks = BTreeSet::new();
        self.extent = Extent::TooMany;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(seen: &mut SeenCommands, mark: u64, durable: &[u64]) -> bool {
        if seen.wants_marks() {
            seen.load(Some(durable.iter().copied().collect()));
        }
        seen.note(mark)
    }

    #[test]
    fn command_in_flight_while_marks_load_is_not_new_later() {
        let mut seen = SeenCommands::after(2);
        assert!(!ask(&mut seen, 1, &[]), "not known yet: the index is asked");
        assert!(!ask(&mut seen, 2, &[]));
        // Neither 1 nor 2 is durable when the marks are loaded.
        assert!(ask(&mut seen, 3, &[9]));
        for repeated in [1, 2, 3, 9] {
            assert!(!ask(&mut seen, repeated, &[]), "{repeated}");
        }
        assert!(ask(&mut seen, 4, &[]));
    }

    #[test]
    fn too_many_marks_leave_the_index_to_answer() {
        let mut seen = SeenCommands::after(0);
        seen.load(None);
        assert!(!seen.wants_marks(), "not loaded again");
        assert!(!seen.note(1) && !seen.note(2));
        let mut seen = SeenCommands::after(0);
        assert!(
            (0..=SEEN_KEPT_MAX as u64).all(|mark| ask(&mut seen, mark, &[])),
            "new until there are too many"
        );
        assert!(!ask(&mut seen, u64::MAX, &[]));
    }
}
