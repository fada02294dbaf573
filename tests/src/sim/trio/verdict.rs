//! What must hold at the end of every run.

use super::{NODES, PARTITIONS, Trio};
use crate::sim::{
    checks::{check_effects, check_timers, read_all, rebuilt, views_verify},
    history::Returned,
    node_log::NodeLog,
    quota::check_quotas,
    rights::check_rights,
};
use quipu_events::port::Log;
use quipu_runtime::kernel::entity::state_digest;
use quipu_schemas::{
    envelope::CommandBody,
    ids::{CommandId, StreamId},
    position::Position,
    record::Record,
};
use std::collections::BTreeMap;

impl Trio {
    pub(super) fn check(&mut self) {
        let log = NodeLog::new(self.broker.clone());
        let mut broken: Vec<String> = self.broker.lock().broken().collect();
        let records = match read_all(&log) {
            Ok(records) => records,
            Err(error) => {
                return self
                    .broken
                    .extend(broken.into_iter().chain([format!("the log cannot be read: {error}")]));
            }
        };
        self.counts.records = records.len() as u64;
        check_epochs(&log, &mut broken);
        self.check_commands(&records, &mut broken);
        check_effects(&records, &self.sink, &mut broken);
        broken.extend(
            self.sink
                .doubled()
                .map(|key| format!("{key}: an idempotent receiver took it twice")),
        );
        check_timers(&records, self.wall(), &mut broken);
        check_rights(&records, &mut broken);
        check_quotas(&records, self.wall(), &mut broken);
        broken.extend(self.feed.check(&records));
        broken.extend(self.history.check());
        let mut ends: BTreeMap<&StreamId, u64> = BTreeMap::new();
        ends.extend(
            records
                .iter()
                .map(|(_, record)| (&record.header.stream, record.header.last_version())),
        );
        for (stream, id, answer) in self.history.answers() {
            if let Returned::RefusedAt(version) = answer
                && version > ends.get(stream).copied().unwrap_or(0)
            {
                broken.push(format!("{stream} {id}: refused at version {version}, which was never stored"));
            }
        }
        for node in 0..NODES {
            self.check_node(node, &log, &mut broken);
        }
        self.broken.extend(broken);
    }

    /// Decided once, where the receipts say, and nothing that nobody sent.
    fn check_commands(&self, records: &[(Position, Record)], broken: &mut Vec<String>) {
        let mut decided: BTreeMap<(StreamId, CommandId), (u64, Position)> = BTreeMap::new();
        for (position, record) in records {
            let key = (record.header.stream.clone(), record.header.command_id.clone());
            if record.header.settlement.is_none() && !self.sent.contains_key(&key) {
                broken.push(format!("{} {}: decided, and nobody sent it", key.0, key.1));
            }
            if decided.insert(key.clone(), (record.header.last_version(), *position)).is_some() {
                broken.push(format!("{} {}: decided twice", key.0, key.1));
            }
        }
        for (key, sent) in &self.sent {
            debug_assert!(matches!(sent.envelope.body, CommandBody::Given { .. }));
            for receipt in &sent.receipts {
                match decided.get(key) {
                    None => broken.push(format!("{} {}: acknowledged and lost", key.0, key.1)),
                    Some(found) if *found != (receipt.version, receipt.position) => {
                        broken.push(format!("{} {}: the receipt says {receipt:?}, the log {found:?}", key.0, key.1));
                    }
                    Some(_) => {}
                }
            }
        }
    }

    /// What a node holds in memory, index and views is what the log holds.
    fn check_node(&mut self, node: usize, log: &NodeLog, broken: &mut Vec<String>) {
        let Some(mut member) = self.seats[node].member.take() else {
            return broken.push(format!("no node {node} at the end"));
        };
        (0..PARTITIONS).for_each(|partition| member.follow(partition));
        broken.append(&mut member.broken);
        for (stream, entity) in member.entities() {
            match member.library().recover(stream) {
                Ok(folded) if state_digest(&folded.state()) == state_digest(&entity.state()) => {}
                Ok(_) => broken.push(format!(
                    "{stream}: state in the memory of node {node} differs from the fold of its log"
                )),
                Err(error) => broken.push(format!("{stream}: {error}")),
            }
        }
        match rebuilt(log, &member.index) {
            Ok(true) => {}
            Ok(false) => broken.push(format!("the index of node {node} differs from a rebuilt one")),
            Err(error) => broken.push(format!("index of node {node}: {error}")),
        }
        let progress = member.progress.clone();
        if let Err(error) = member.views.catch_up(log, &progress) {
            broken.push(format!("views of node {node}: {error}"));
        }
        match views_verify(log, &member.views) {
            Ok(None) => {}
            Ok(Some(differing)) => broken.push(format!("views of node {node} differ from a rebuild: {differing}")),
            Err(error) => broken.push(format!("views of node {node}: {error}")),
        }
    }
}

/// Nothing of a replaced owner is part of the log.
fn check_epochs(log: &NodeLog, broken: &mut Vec<String>) {
    for partition in 0..PARTITIONS {
        let mut last = 0;
        for frame in log.read(partition, 0, usize::MAX).unwrap_or_default() {
            if frame.epoch < last {
                broken.push(format!(
                    "partition {partition}: a frame of epoch {} at offset {} behind epoch {last}",
                    frame.epoch, frame.first_offset
                ));
            }
            last = last.max(frame.epoch);
        }
    }
}
