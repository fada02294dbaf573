//! The broker that three nodes share: one stream of frames a partition, and a store of leases. It answers what reaches it;
//! what is lost, late or doubled on the way is the world's doing.

use quipu_events::{
    frame::{self, FrameHeader},
    port::{Batch, FrameRead, Head, Place},
};
use quipu_runtime::kernel::ownership::{Frame, Reader, Reading};
use quipu_schemas::{digest::Digest, position::LogId};

pub(crate) const LOG_ID: LogId = LogId([9; 16]);
pub(super) const GENERATION: u32 = 1;
pub(super) const UNIT_BITS: u32 = 48;

/// How the broker keeps replaced owners out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fence {
    /// An append names the last sequence that it expects.
    LastSequence,
    /// A claim begins a producer, which fences every earlier one. What a fenced one sends may still lie in the stream.
    Producers,
}

/// What an append or a claim expects: the last sequence, or its producer.
pub(crate) type Guard = u64;

/// What the broker says of a frame that it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    Stored { sequence: u64 },
    Refused,
}

/// What is where a frame was to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Same { sequence: u64 },
    Another,
    Nothing,
}

/// A lease as the store keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) grant: u64,
    pub(crate) holder: usize,
    pub(crate) free: bool,
}

#[derive(Default)]
pub(super) struct Stream {
    pub(super) messages: Vec<Vec<u8>>,
    producer: u64,
    reader: Reader,
    head: Option<Head>,
    pub(super) taken: Vec<FrameRead>,
    /// Why nothing behind this is read.
    pub(super) broken: Option<String>,
    lease: (Option<Lease>, u64),
}

/// All streams and leases.
pub(crate) struct Broker {
    fence: Fence,
    pub(super) streams: Vec<Stream>,
    /// A planted defect: anything is stored.
    pub(crate) stores_all: bool,
    /// A planted defect: readers take frames of replaced owners.
    pub(crate) takes_stale: bool,
    pub(crate) stale_kept: u64,
    pub(crate) stale_refused: u64,
}

impl Broker {
    pub(crate) fn new(fence: Fence, partitions: u16) -> Self {
        Self {
            fence,
            streams: (0..partitions).map(|_| Stream::default()).collect(),
            stores_all: false,
            takes_stale: false,
            stale_kept: 0,
            stale_refused: 0,
        }
    }

    fn stream(&mut self, partition: u16) -> &mut Stream {
        &mut self.streams[usize::from(partition)]
    }

    pub(crate) fn fence(&self) -> Fence {
        self.fence
    }

    pub(crate) fn head(&self, partition: u16) -> Head {
        self.streams[usize::from(partition)].head()
    }

    /// Where a partition cannot be read any further, and why.
    pub(crate) fn broken(&self) -> impl Iterator<Item = String> {
        (0u16..)
            .zip(&self.streams)
            .filter_map(|(partition, stream)| stream.broken.as_ref().map(|why| format!("partition {partition}: {why}")))
    }

    /// Digest over every message of every stream.
    pub(crate) fn digest(&self) -> Digest {
        let messages: Vec<&[u8]> = self
            .streams
            .iter()
            .flat_map(|stream| stream.messages.iter().map(Vec::as_slice))
            .collect();
        Digest::of(&messages)
    }

    /// The end of a partition and what an append behind it expects. With producers, every earlier one is fenced from here on.
    pub(crate) fn begin(&mut self, partition: u16) -> (Guard, Head) {
        let fence = self.fence;
        let stream = self.stream(partition);
        let guard = match fence {
            Fence::LastSequence => stream.messages.len() as u64,
            Fence::Producers => {
                stream.producer += 1;
                stream.producer
            }
        };
        (guard, stream.head())
    }

    /// A frame arrives.
    pub(crate) fn put(&mut self, partition: u16, guard: Guard, bytes: &[u8]) -> Put {
        let (fence, stores_all, takes_stale) = (self.fence, self.stores_all, self.takes_stale);
        let stream = self.stream(partition);
        let open = match fence {
            Fence::LastSequence => guard == stream.messages.len() as u64,
            Fence::Producers => guard == stream.producer,
        };
        // A producer's repetition is recognised.
        if fence == Fence::Producers
            && open
            && let Some(at) = stream.messages.iter().position(|message| message == bytes)
        {
            return Put::Stored { sequence: at as u64 + 1 };
        }
        if open || stores_all {
            stream.push(partition, bytes, takes_stale);
            return Put::Stored {
                sequence: stream.messages.len() as u64,
            };
        }
        let head = stream.head();
        if frame::decode(bytes).is_ok_and(|found| found.header.epoch < head.epoch) {
            if fence == Fence::Producers {
                stream.push(partition, bytes, takes_stale);
                self.stale_kept += 1;
            } else {
                self.stale_refused += 1;
            }
        }
        Put::Refused
    }

    /// What became of a frame that was sent with this expectation.
    pub(crate) fn look(&mut self, partition: u16, guard: Guard, bytes: &[u8]) -> (Found, Head) {
        let fence = self.fence;
        let stream = self.stream(partition);
        let found = match fence {
            Fence::LastSequence => match stream.messages.get(guard as usize) {
                Some(message) if message == bytes => Found::Same { sequence: guard + 1 },
                Some(_) => Found::Another,
                None => Found::Nothing,
            },
            Fence::Producers => {
                match frame::decode(bytes)
                    .ok()
                    .and_then(|sent| stream.taken.iter().find(|taken| taken.hash == sent.hash))
                {
                    Some(taken) => Found::Same {
                        sequence: stream.sequence_of(taken),
                    },
                    None if stream.producer == guard => Found::Nothing,
                    None => Found::Another,
                }
            }
        };
        (found, stream.head())
    }

    pub(crate) fn lease(&self, partition: u16) -> (Option<Lease>, u64) {
        self.streams[usize::from(partition)].lease
    }

    /// Stores a lease in place of the one of this sequence; `None` if another came first.
    pub(crate) fn store_lease(&mut self, partition: u16, lease: Lease, expected: u64) -> Option<u64> {
        let (stored, sequence) = &mut self.stream(partition).lease;
        (*sequence == expected).then(|| {
            *stored = Some(lease);
            *sequence += 1;
            *sequence
        })
    }
}

impl Stream {
    pub(super) fn head(&self) -> Head {
        self.head.unwrap_or(Head {
            epoch: 0,
            next_offset: 0,
            frame_hash: Digest::ZERO,
        })
    }

    fn sequence_of(&self, taken: &FrameRead) -> u64 {
        let same = |message: &Vec<u8>| frame::decode(message).is_ok_and(|found| found.hash == taken.hash);
        self.messages.iter().position(same).map_or(0, |at| at as u64 + 1)
    }

    /// Keeps a message, and reads it as every reader does.
    fn push(&mut self, partition: u16, bytes: &[u8], takes_stale: bool) {
        self.messages.push(bytes.to_vec());
        if self.broken.is_some() {
            return;
        }
        if let Err(why) = self.read(partition, bytes, takes_stale) {
            self.broken = Some(format!("message {}: {why}", self.messages.len()));
        }
    }

    fn read(&mut self, partition: u16, bytes: &[u8], takes_stale: bool) -> Result<(), String> {
        let found = frame::decode(bytes).map_err(|e| e.to_string())?;
        let header = found.header;
        let count = found.records.len() as u64;
        let reading = self.reader.read(Frame {
            epoch: header.epoch,
            first_offset: header.first_offset,
            count,
        });
        match reading.map_err(|e| e.to_string())? {
            Reading::Taken => {}
            Reading::PassedOver if takes_stale && count > 0 => {
                self.reader = Reader::after(self.reader.epoch(), self.reader.next_offset() + count);
            }
            Reading::PassedOver => return Ok(()),
        }
        if header.previous != self.head().frame_hash && !takes_stale {
            return Err(format!(
                "the frame at offset {} does not name the one before it",
                header.first_offset
            ));
        }
        let unit = (u64::from(partition) << UNIT_BITS) | self.messages.len() as u64;
        self.head = Some(Head {
            epoch: self.reader.epoch(),
            next_offset: self.reader.next_offset(),
            frame_hash: found.hash,
        });
        self.taken.push(FrameRead {
            generation: header.generation,
            partition,
            epoch: header.epoch,
            batch_id: header.batch_id,
            first_offset: header.first_offset,
            previous: header.previous,
            hash: found.hash,
            owner: header.owner,
            records: found
                .records
                .iter()
                .map(|range| (place(unit, range), bytes[range.clone()].to_vec()))
                .collect(),
        });
        Ok(())
    }
}

fn place(unit: u64, range: &std::ops::Range<usize>) -> Place {
    Place {
        unit,
        at: range.start as u32,
        len: range.len() as u32,
    }
}

/// Places of a frame's records under its sequence.
pub(crate) fn places(partition: u16, sequence: u64, ranges: &[std::ops::Range<usize>]) -> Vec<Place> {
    let unit = (u64::from(partition) << UNIT_BITS) | sequence;
    ranges.iter().map(|range| place(unit, range)).collect()
}

/// Header of a batch's frame, or of the claim behind `head`.
pub(crate) fn header(partition: u16, batch: Option<&Batch>, head: Head, claim: ([u8; 16], &str)) -> FrameHeader {
    FrameHeader {
        log_id: LOG_ID,
        generation: GENERATION,
        partition,
        epoch: batch.map_or(head.epoch + 1, |batch| batch.epoch),
        batch_id: batch.map_or(claim.0, |batch| batch.batch_id),
        first_offset: batch.map_or(head.next_offset, |batch| batch.first_offset),
        previous: batch.map_or(head.frame_hash, |batch| batch.previous),
        owner: batch.is_none().then(|| claim.1.to_owned()),
    }
}
