//! What a reader makes of frames in the order in which the log holds them.

/// What a reader looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Epoch of its owner.
    pub epoch: u64,
    /// Offset of the first record.
    pub first_offset: u64,
    /// Records; 0: a claim.
    pub count: u64,
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reading {
    /// It is part of the log.
    Taken,
    /// A stale owner's: no part of the log.
    PassedOver,
}

/// The partition is not what its owners wrote; the reader stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Broken {
    /// A hole, or a second record at one offset.
    #[error("frame at offset {found} where {expected} was expected")]
    Offset {
        /// Next offset.
        expected: u64,
        /// The frame's.
        found: u64,
    },
    /// Records of an epoch that nobody claimed.
    #[error("records of epoch {epoch} without its claim")]
    Unclaimed {
        /// The frame's epoch.
        epoch: u64,
    },
}

/// Takes the frames of the newest claim and passes over those of a lower epoch, which it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Reader {
    epoch: u64,
    next_offset: u64,
    passed_over: u64,
}

impl Reader {
    /// One that has read up to here.
    pub fn after(epoch: u64, next_offset: u64) -> Self {
        Self {
            epoch,
            next_offset,
            passed_over: 0,
        }
    }

    /// Highest epoch read.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Next record offset.
    pub fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// Frames passed over.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// Takes the next frame of the log.
    pub fn read(&mut self, frame: Frame) -> Result<Reading, Broken> {
        if frame.epoch < self.epoch {
            self.passed_over += 1;
            return Ok(Reading::PassedOver);
        }
        if frame.first_offset != self.next_offset {
            return Err(Broken::Offset {
                expected: self.next_offset,
                found: frame.first_offset,
            });
        }
        if frame.epoch > self.epoch && frame.count > 0 {
            return Err(Broken::Unclaimed { epoch: frame.epoch });
        }
        self.epoch = frame.epoch;
        self.next_offset += frame.count;
        Ok(Reading::Taken)
    }
}
