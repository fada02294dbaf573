//! A slow subscriber that resumes by cursor: it must see every record once, in order, and nothing that is not in the log.

use super::World;
use quipu_schemas::{digest::Digest, position::Position, record::Record};

pub(crate) struct Feed {
    pub(super) next: Vec<u64>,
    pub(super) seen: Vec<Vec<Digest>>,
}

impl Feed {
    pub(crate) fn new(partitions: u16) -> Self {
        Self {
            next: vec![0; partitions.into()],
            seen: vec![Vec::new(); partitions.into()],
        }
    }

    /// What it saw against what the log holds.
    pub(crate) fn check(&self, records: &[(Position, Record)]) -> Vec<String> {
        let mut broken = Vec::new();
        for (partition, seen) in (0u16..).zip(&self.seen) {
            let stored: Vec<Digest> = records
                .iter()
                .filter(|(p, _)| p.partition == partition)
                .map(|(_, record)| record.hash)
                .collect();
            if *seen != stored {
                broken.push(format!(
                    "the subscriber saw {} records of partition {partition}, and not the {} of the log",
                    seen.len(),
                    stored.len()
                ));
            }
        }
        broken
    }
}

impl World {
    /// Reads a little further in one partition.
    pub(super) fn consume(&mut self) {
        let Some(node) = &mut self.node else { return };
        let partition = self.rng.below(self.feed.next.len() as u64) as usize;
        let most = 1 + self.rng.below(12) as usize;
        match node.feed(partition as u16, self.feed.next[partition], most) {
            Ok(records) => {
                for (offset, hash) in records {
                    if offset != self.feed.next[partition] {
                        let due = self.feed.next[partition];
                        self.broken.push(format!(
                            "the feed of partition {partition} gives offset {offset} where {due} is due"
                        ));
                        return;
                    }
                    self.feed.next[partition] += 1;
                    self.feed.seen[partition].push(hash);
                    self.counts.fed += 1;
                }
            }
            Err(error) if error.contains("simulated") => {}
            Err(error) => self.broken.push(format!("feed: {error}")),
        }
    }

    /// Whether the subscriber has everything.
    pub(super) fn is_fed(&self) -> bool {
        self.node.as_ref().is_none_or(|node| {
            (0u16..)
                .zip(&self.feed.next)
                .all(|(partition, next)| *next >= node.durable_end(partition))
        })
    }
}
