//! One partition of the log's topic: its frames, checked, and its end.

use super::wire::{Ended, Fetch, NoMessages, Readers, Silence};
use crate::pause::Pause;
use crate::{
    broker::{
        frames::{Frames, mark},
        marks::{Mark, Marks, Stop},
    },
    port::ReadError,
};
use parking_lot::{Mutex, MutexGuard};
use quipu_schemas::limits::BROKER_PAUSE_MS;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Offsets looked at first when the last frame is looked for from the end backwards; a frame and its marker take two.
const LAST_WINDOW: u64 = 8;

/// What is known of a partition without asking.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) marks: Marks,
    /// No frame is between the last mark and this sequence.
    pub(crate) quiet_to: u64,
}

/// A partition of an open log.
pub(crate) struct Partition {
    pub(crate) readers: Arc<Readers>,
    pub(crate) frames: Frames,
    pub(crate) number: u16,
    /// How long an outcome is looked for.
    pub(crate) outcome: Duration,
    pub(crate) known: Mutex<Known>,
}

/// Why the end of a partition is not known.
#[derive(Debug)]
pub(crate) enum NoTail {
    Silent(Silence),
    Damaged(ReadError),
}

impl NoTail {
    pub(crate) fn read_error(self) -> ReadError {
        match self {
            NoTail::Silent(silence) => ReadError::Io(silence.to_string()),
            NoTail::Damaged(error) => error,
        }
    }
}

impl Partition {
    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock()
    }

    pub(crate) fn damaged(&self, stop: &Stop) -> ReadError {
        ReadError::Damaged {
            partition: self.number,
            offset: stop.offset,
            at: format!(
                "{} [{}] offset {}",
                self.readers.topic,
                self.number,
                stop.sequence.saturating_sub(1)
            ),
            detail: stop.detail.clone(),
        }
    }

    /// The offset before which all is decided, not before what this process knows to be committed.
    pub(crate) fn end(&self) -> Result<u64, NoTail> {
        let deadline = Instant::now() + self.outcome;
        let mut pause = Pause::new(BROKER_PAUSE_MS);
        loop {
            let known = self.known().marks.last();
            let (first, end) = self.readers.ends(self.number).map_err(NoTail::Silent)?;
            let detail = if first > 0 {
                format!("the topic begins at offset {first}: its first frames were deleted")
            } else if end >= known.sequence {
                return Ok(end);
            } else {
                format!("the topic ends at offset {end}: frames that were acknowledged are gone")
            };
            // A leader that was just elected may be behind for a moment; one that stays behind has lost frames.
            if first > 0 || Instant::now() >= deadline {
                return Err(NoTail::Damaged(self.damaged(&Stop {
                    sequence: known.sequence,
                    offset: known.head.next_offset,
                    detail,
                })));
            }
            std::thread::sleep(pause.next_wait());
        }
    }

    /// The last frame of the partition.
    pub(crate) fn tail(&self) -> Result<Mark, NoTail> {
        self.last_frame(false)
    }

    /// As [`Partition::tail`], and what is known is read again whatever the end looks like: markers of transactions that
    /// were given up may have brought the end of an old disk to where it should be.
    pub(crate) fn tail_read_again(&self) -> Result<Mark, NoTail> {
        self.last_frame(true)
    }

    fn last_frame(&self, read_again: bool) -> Result<Mark, NoTail> {
        let end = self.end()?;
        let (last, quiet_to) = {
            let known = self.known();
            (known.marks.last(), known.quiet_to)
        };
        if end == 0 || !read_again && end <= quiet_to {
            return Ok(last);
        }
        // The last frame that is known is read again: a broker with an old disk has another there, or none.
        let floor = last.sequence.saturating_sub(1);
        let mut window = LAST_WINDOW;
        loop {
            let after = end.saturating_sub(window).max(floor);
            let (mut found, mut first) = (None, None);
            let ended = self.readers.messages(Fetch::Many, self.number, after, |message| {
                let frame = || self.frames.decode(message.payload).ok();
                first.get_or_insert_with(|| frame().map(|frame| mark(message.sequence, &frame)));
                found = Some((message.sequence, message.payload.to_vec()));
                message.sequence < end
            });
            ended.map_err(|e| self.no_messages(e, after))?;
            if after == floor && last.sequence > 0 && first.flatten() != Some(last) {
                return Err(NoTail::Damaged(self.stop_at(Stop {
                    sequence: last.sequence,
                    offset: last.head.next_offset,
                    detail: "the frame that was acknowledged here is gone".into(),
                })));
            }
            if let Some((sequence, payload)) = found {
                return match self.frames.decode(&payload) {
                    Ok(frame) => {
                        let mark = mark(sequence, &frame);
                        self.note_end(mark, end);
                        Ok(mark)
                    }
                    Err(detail) => Err(NoTail::Damaged(self.damaged(&Stop {
                        sequence,
                        offset: last.head.next_offset,
                        detail,
                    }))),
                };
            }
            if after == floor {
                self.note_end(last, end);
                return Ok(last);
            }
            window = window.saturating_mul(8);
        }
    }

    /// Notes that `mark` is the last frame before the offset `end`.
    fn note_end(&self, mark: Mark, end: u64) {
        let mut known = self.known();
        if mark.sequence > known.marks.last().sequence {
            known.marks.note(mark);
        }
        if mark.sequence == known.marks.last().sequence {
            known.quiet_to = known.quiet_to.max(end);
        }
    }

    /// Nothing behind this place is read any more, until the log is opened again.
    pub(crate) fn stop_at(&self, stop: Stop) -> ReadError {
        let error = self.damaged(&stop);
        self.known().marks.stop.get_or_insert(stop);
        error
    }

    pub(crate) fn no_messages(&self, error: NoMessages, after: u64) -> NoTail {
        match error {
            NoMessages::Silent(silence) => NoTail::Silent(silence),
            NoMessages::Damaged(detail) => {
                let offset = self.known().marks.before_sequence(after + 1).head.next_offset;
                NoTail::Damaged(self.damaged(&Stop {
                    sequence: after + 1,
                    offset,
                    detail,
                }))
            }
        }
    }

    /// Whether a message with these bytes is committed at a sequence; `None` if nobody says by the deadline.
    pub(crate) fn holds(&self, sequence: u64, bytes: &[u8], deadline: Instant) -> Option<bool> {
        let mut pause = Pause::new(BROKER_PAUSE_MS);
        loop {
            // All before the end is decided; behind it a transaction may still be open.
            if self.readers.ends(self.number).is_ok_and(|(_, end)| end >= sequence) {
                let mut found = false;
                let ended = self.readers.messages(Fetch::Few, self.number, sequence - 1, |message| {
                    found = message.sequence == sequence && message.payload == bytes;
                    false
                });
                if let Ok(Ended::Enough | Ended::AtTheEnd) = ended {
                    return Some(found);
                }
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(pause.next_wait());
        }
    }
}
