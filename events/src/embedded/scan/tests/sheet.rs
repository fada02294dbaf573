//! A segment written flush by flush, damaged, and what a scan tells of it.

use super::super::*;
use crate::{
    contract::record,
    disk::{Disk, SimDisk},
    frame::FrameHeader,
};
use quipu_schemas::{digest::Digest, position::LogId};
use std::path::Path;

pub(super) const SEGMENT: u64 = 7;
pub(super) const HEAD: usize = FLUSH_HEADER;

/// A frame of one record of about `size` bytes; frames are told apart by their partition.
pub(super) fn frame_of(partition: u16, size: usize) -> Vec<u8> {
    let header = FrameHeader {
        log_id: LogId([1; 16]),
        generation: 1,
        partition,
        epoch: 1,
        batch_id: [partition as u8; 16],
        first_offset: 0,
        previous: Digest::ZERO,
        owner: None,
    };
    let record = record("acme/test/t", 1, Digest::ZERO, size);
    let mut out = Vec::new();
    frame::encode_onto(&mut out, &header, [record.bytes.as_slice()].into_iter()).unwrap();
    out
}

/// What a scan tells, as text; then where the log goes on, with which number, and the tail.
pub(super) type ScanReport = (Vec<String>, (usize, u64), Option<(usize, usize, String)>);

/// A segment as it is written: its flushes follow each other from number 11 on.
pub(super) struct Sheet {
    pub(super) bytes: Vec<u8>,
    pub(super) next: u64,
    /// Where each flush begins, and where the next one would.
    pub(super) flushes: Vec<usize>,
    /// Where each frame begins and ends.
    pub(super) frames: Vec<(usize, usize)>,
}

impl Sheet {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0xAA; SEGMENT_HEADER],
            next: 11,
            flushes: vec![SEGMENT_HEADER],
            frames: Vec::new(),
        }
    }

    fn header(&self, body_len: usize, frames: usize) -> [u8; HEAD] {
        let at = self.bytes.len() as u32;
        let header = FlushHeader {
            body_len: body_len as u32,
            frames: frames as u32,
            at,
            flush: self.next,
            segment: SEGMENT,
        };
        header.encode()
    }

    pub(super) fn flush(mut self, frames: &[Vec<u8>]) -> Self {
        let head = self.header(frames.iter().map(Vec::len).sum(), frames.len());
        self.bytes.extend_from_slice(&head);
        for frame in frames {
            let from = self.bytes.len();
            self.bytes.extend_from_slice(frame);
            self.frames.push((from, self.bytes.len()));
        }
        self.flushes.push(self.bytes.len());
        self.next += 1;
        self
    }

    pub(super) fn mark(mut self) -> Self {
        let head = self.header(0, 0);
        self.bytes.extend_from_slice(&head);
        self
    }

    /// What was reserved and never written.
    pub(super) fn reserved(mut self, zeros: usize) -> Self {
        self.bytes.resize(self.bytes.len() + zeros, 0);
        self
    }

    /// Three flushes: of partitions 0 and 1, of partition 2, and of partitions 3 and 4.
    pub(super) fn three() -> Self {
        let of = |partition: u16| frame_of(partition, 30 + usize::from(partition) * 10);
        Sheet::new().flush(&[of(0), of(1)]).flush(&[of(2)]).flush(&[of(3), of(4)])
    }

    pub(super) fn damage(mut self, at: usize) -> Self {
        self.bytes[at] ^= 0x10;
        self
    }

    pub(super) fn zero(mut self, from: usize, to: usize) -> Self {
        self.bytes[from..to].fill(0);
        self
    }

    pub(super) fn cut(mut self, len: usize) -> Self {
        self.bytes.truncate(len);
        self
    }

    pub(super) fn window(&self) -> Window {
        let disk = SimDisk::new(1);
        disk.put(Path::new("/s"), self.bytes.clone());
        Window::new(disk.open_read(Path::new("/s")).unwrap()).unwrap()
    }

    pub(super) fn told(&self, first: Option<u64>, synced: Synced) -> ScanReport {
        let mut told = Vec::new();
        let scanned = scan(&mut self.window(), SEGMENT, first, synced, &mut |found| {
            told.push(match found {
                Found::Frame { at, frame, bytes } => {
                    let at = at as usize;
                    assert_eq!(bytes, &self.bytes[at..at + frame.len], "its own bytes");
                    format!("{at}: frame {}", frame.header.partition)
                }
                Found::Gap {
                    from,
                    to,
                    detail,
                    partition,
                } => {
                    let whose = partition.map_or(String::new(), |p| format!(" of {p}"));
                    format!("{from}-{to}: gap{whose}, {detail}")
                }
                Found::Scratch { from, to, detail } => format!("{from}-{to}: scratch, {detail}"),
            });
        })
        .unwrap();
        let tail = scanned.tail.map(|(from, to, detail)| (from as usize, to as usize, detail));
        (told, (scanned.end as usize, scanned.next_flush), tail)
    }

    /// The frames of these partitions, as a scan tells of them.
    pub(super) fn whole(&self, partitions: impl IntoIterator<Item = usize>) -> Vec<String> {
        let tell = |p: usize| format!("{}: frame {p}", self.frames[p].0);
        partitions.into_iter().map(tell).collect()
    }

    pub(super) fn end(&self) -> usize {
        *self.flushes.last().unwrap()
    }
}
