//! The frame chains of a log while it is read: what continues a partition, and what stops it.

use crate::{frame::Decoded, port::Head};
use quipu_schemas::{digest::Digest, position::LogId};

/// The end of a partition without frames.
pub(crate) const EMPTY: Head = Head {
    epoch: 0,
    next_offset: 0,
    frame_hash: Digest::ZERO,
};

/// Where a partition stopped being readable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// First record offset that cannot be read.
    pub offset: u64,
    /// Segment file and byte.
    pub at: String,
    /// What is wrong.
    pub detail: String,
}

/// Damage that may have cost a partition frames.
#[derive(Debug, Clone)]
pub(crate) struct Suspicion {
    pub(crate) segment: u64,
    pub(crate) byte: u64,
    pub(crate) detail: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) head: Head,
    pub(crate) stop: Option<Stop>,
    pub(crate) suspicion: Option<Suspicion>,
}

/// All partitions of one log.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) links: Vec<Link>,
}

impl Chain {
    pub(crate) fn new(partitions: u16) -> Self {
        Self {
            links: vec![
                Link {
                    head: EMPTY,
                    stop: None,
                    suspicion: None
                };
                usize::from(partitions)
            ],
        }
    }

    /// Why a frame does not continue its partition, if it does not.
    pub(crate) fn check(&self, frame: &Decoded, log_id: LogId) -> Result<(), String> {
        let header = &frame.header;
        if header.log_id != log_id {
            return Err("frame of another log".into());
        }
        let Some(link) = self.links.get(usize::from(header.partition)) else {
            return Err(format!("frame of partition {}, which the log does not have", header.partition));
        };
        let head = &link.head;
        if header.first_offset != head.next_offset {
            return Err(format!(
                "frame begins at offset {} where {} should follow",
                header.first_offset, head.next_offset
            ));
        }
        if header.previous != head.frame_hash {
            return Err("frame does not name the hash of the frame before it".into());
        }
        if header.epoch < head.epoch {
            return Err(format!("frame of epoch {} after epoch {}", header.epoch, head.epoch));
        }
        Ok(())
    }

    /// Makes a frame the end of its partition, proving that nothing of it was lost before.
    pub(crate) fn advance(&mut self, frame: &Decoded) {
        if let Some(link) = self.links.get_mut(usize::from(frame.header.partition)) {
            link.head = Head {
                epoch: frame.header.epoch,
                next_offset: frame.header.first_offset + frame.records.len() as u64,
                frame_hash: frame.hash,
            };
            link.suspicion = None;
        }
    }

    pub(crate) fn stop(&mut self, partition: u16, at: String, detail: String) {
        if let Some(link) = self.links.get_mut(usize::from(partition)) {
            let offset = link.head.next_offset;
            link.stop.get_or_insert(Stop { offset, at, detail });
        }
    }

    /// Damage of unknown partition: each may have lost frames there.
    pub(crate) fn suspect_all(&mut self, segment: u64, byte: u64, detail: &str) {
        for link in &mut self.links {
            link.suspicion.get_or_insert_with(|| Suspicion {
                segment,
                byte,
                detail: detail.to_owned(),
            });
        }
    }
}
