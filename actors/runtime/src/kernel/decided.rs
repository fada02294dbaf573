//! Which commands an entity has decided, by an eight-byte mark each: nearly every command is new, and to hear so from
//! memory costs a fraction of asking the index.
//!
//! All records of a stream pass through its one active entity, and a mark is taken before its command is decided, so
//! none is missed. A mark that is known may still be a new command's (two ids may share a mark, and a refused command
//! leaves one): then the index is asked.

use std::collections::BTreeSet;

/// Marks that are loaded at most, about 12 bytes each.
pub const LOAD_MAX: usize = 4_096;
/// Marks that are kept at most.
const KEEP_MAX: usize = 65_536;

/// The marks of one active entity.
pub struct Decided {
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

impl Decided {
    /// Of an entity that was just recovered; its stream's marks are loaded after so many commands.
    pub fn after(commands: u32) -> Self {
        Self {
            marks: BTreeSet::new(),
            extent: Extent::Since(commands),
        }
    }

    /// Takes a command as decided from here on. True if it is certainly new; otherwise the index must be asked.
    /// `load` gives the marks of every durable record of the stream, or `None` if they are too many.
    pub fn is_new<E>(&mut self, mark: u64, load: impl FnOnce() -> Result<Option<BTreeSet<u64>>, E>) -> Result<bool, E> {
        if let Extent::Since(commands) = &mut self.extent {
            if *commands > 0 {
                *commands -= 1;
                self.marks.insert(mark);
                return Ok(false);
            }
            // What this incarnation decided may not be durable yet, so it is kept beside what is loaded.
            match load()? {
                Some(loaded) => {
                    self.marks.extend(loaded);
                    self.extent = Extent::All;
                }
                None => self.give_up(),
            }
        }
        if matches!(self.extent, Extent::TooMany) {
            return Ok(false);
        }
        let is_new = self.marks.insert(mark);
        if self.marks.len() > KEEP_MAX {
            self.give_up();
        }
        Ok(is_new)
    }

    fn give_up(&mut self) {
        self.marks = BTreeSet::new();
        self.extent = Extent::TooMany;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn ask(decided: &mut Decided, mark: u64, durable: &[u64]) -> bool {
        decided
            .is_new(mark, || Ok::<_, Infallible>(Some(durable.iter().copied().collect())))
            .unwrap()
    }

    #[test]
    fn a_command_in_flight_when_the_marks_are_loaded_is_not_new_later() {
        let mut decided = Decided::after(2);
        assert!(!ask(&mut decided, 1, &[]), "not known yet: the index is asked");
        assert!(!ask(&mut decided, 2, &[]));
        // Neither 1 nor 2 is durable when the marks are loaded.
        assert!(ask(&mut decided, 3, &[9]));
        for repeated in [1, 2, 3, 9] {
            assert!(!ask(&mut decided, repeated, &[]), "{repeated}");
        }
        assert!(ask(&mut decided, 4, &[]));
    }

    #[test]
    fn too_many_marks_leave_the_index_to_answer() {
        let mut decided = Decided::after(0);
        assert!(!decided.is_new(1, || Ok::<_, Infallible>(None)).unwrap());
        assert!(!ask(&mut decided, 2, &[]), "not loaded again");
        let mut decided = Decided::after(0);
        assert!(
            (0..=KEEP_MAX as u64).all(|mark| ask(&mut decided, mark, &[])),
            "new until there are too many"
        );
        assert!(!ask(&mut decided, u64::MAX, &[]));
    }
}
