//! Clients: they send to any node, repeat at another, read their own writes, and follow the feed from node to node.

use super::{NODES, PARTITIONS, Sent, Trio, network::Event};
use crate::sim::history::Returned;
use quipu_projections::{progress::Wanted, reading::View};
use quipu_runtime::{
    api::CommandRequest,
    ingress::{self, Drawn, Entered},
};
use quipu_schemas::{
    envelope::{CommandEnvelope, Receipt},
    ids::{CommandId, Kind, StreamId},
    problem::Problem,
};
use std::sync::Arc;

/// Streams that are probed.
const RECENT: usize = 4;

impl Trio {
    fn any_node(&mut self) -> usize {
        self.draw(NODES as u64) as usize
    }

    pub(super) fn client_sends(&mut self) {
        let seats = &self.seats;
        let peek = |stream: &StreamId| {
            seats
                .iter()
                .filter_map(|seat| seat.member.as_ref())
                .find_map(|member| member.state_of(stream))
        };
        let Some(mut request) = self.workload.next(self.step, &mut self.rng, &peek) else {
            return;
        };
        // More of them than elsewhere: a refusal that names a version shows what its node knew.
        if self.rng.chance(20) {
            request.expected_version = Some(self.rng.below(12));
        }
        self.send(request);
    }

    pub(super) fn send(&mut self, request: CommandRequest) {
        let seed = (u128::from(self.rng.draw()) << 64) | u128::from(self.rng.draw());
        let drawn = Drawn::of_seed(seed);
        match ingress::admit(request, &self.kinds, &self.keys, &drawn, self.now) {
            Ok(Entered { envelope, .. }) => {
                let envelope = Arc::new(envelope);
                let key = (envelope.stream.clone(), envelope.command_id.clone());
                self.sent.insert(
                    key,
                    Sent {
                        envelope: envelope.clone(),
                        receipts: Vec::new(),
                    },
                );
                self.put(envelope);
            }
            Err(problem) => self.broken.push(format!("workload sent what ingress refuses: {problem}")),
        }
    }

    /// Asks for the version of an entity that was just changed, by a command that it must refuse; at each node, as a client
    /// does that does not know where to go.
    pub(super) fn client_probes(&mut self) {
        if self.recent.is_empty() {
            return;
        }
        let at = self.draw(self.recent.len() as u64) as usize;
        let stream = self.recent[at].clone();
        let known = self
            .sent
            .range((stream.clone(), CommandId::parse("0".to_owned()).expect("a short id"))..)
            .next();
        let Some(mut envelope) = known.filter(|((of, _), _)| *of == stream).map(|(_, sent)| (*sent.envelope).clone()) else {
            return;
        };
        envelope.command_id = CommandId::parse(format!("p{}", self.step)).expect("a short id");
        envelope.expected_version = Some(0);
        let envelope = Arc::new(envelope);
        self.sent.insert(
            (stream, envelope.command_id.clone()),
            Sent {
                envelope: envelope.clone(),
                receipts: Vec::new(),
            },
        );
        self.counts.probed += 1;
        for node in 0..NODES {
            self.put_at(node, envelope.clone());
        }
    }

    pub(super) fn client_repeats(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        // The latest more often: they are still on their way.
        let count = self.sent.len() as u64;
        let latest = self
            .sent
            .values()
            .map(|sent| sent.envelope.clone())
            .max_by_key(|envelope| number(&envelope.command_id));
        let drawn = self.draw(count) as usize;
        let any = self.sent.values().nth(drawn).map(|sent| sent.envelope.clone());
        let Some(envelope) = (if self.rng.chance(60) { latest } else { any }) else {
            return;
        };
        self.counts.repeated += 1;
        self.put(envelope);
    }

    fn put(&mut self, envelope: Arc<CommandEnvelope>) {
        let node = self.any_node();
        self.put_at(node, envelope);
    }

    fn put_at(&mut self, node: usize, envelope: Arc<CommandEnvelope>) {
        self.counts.sent += 1;
        let at = self.history.begin(&envelope.stream, &envelope.command_id);
        let operation = self.events;
        self.operations.insert(operation, (envelope.stream.clone(), at));
        let after = 1 + self.draw(20);
        self.later(after, Event::Command { node, operation, envelope });
    }

    /// An answer reaches its client.
    pub(super) fn hear(&mut self, operation: u64, stream: &StreamId, id: &CommandId, result: Result<Receipt, Problem>) {
        let returned = match &result {
            Ok(receipt) => Returned::Receipt(receipt.position.offset, receipt.version),
            Err(problem) if problem.status < 500 => {
                self.counts.versions_refused += u64::from(problem.current_version.is_some());
                problem.current_version.map_or(Returned::Nothing, Returned::RefusedAt)
            }
            Err(_) => Returned::Nothing,
        };
        if let Some((of, at)) = self.operations.remove(&operation) {
            self.history.answered(&of, at, returned);
        }
        match result {
            Ok(receipt) => {
                self.counts.acknowledged += 1;
                let end = self.broker.lock().head(receipt.position.partition).next_offset;
                if receipt.position.offset >= end {
                    self.broken.push(format!(
                        "{stream} {id}: acknowledged at offset {}, and the log ends at {end}",
                        receipt.position.offset
                    ));
                }
                let Some(sent) = self.sent.get_mut(&(stream.clone(), id.clone())) else {
                    return self.broken.push(format!("{stream} {id}: acknowledged, and nobody sent it"));
                };
                if let Some(first) = sent.receipts.first()
                    && (first.version, first.position) != (receipt.version, receipt.position)
                {
                    self.broken.push(format!("{stream} {id}: two receipts, {first:?} and {receipt:?}"));
                }
                self.workload.learn(&sent.envelope);
                sent.receipts.push(receipt);
                self.recent.retain(|recent| recent != stream);
                self.recent.push(stream.clone());
                if self.recent.len() > RECENT {
                    self.recent.remove(0);
                }
            }
            Err(problem) if problem.code == "outcome_unknown" => self.counts.unknown += 1,
            Err(problem) if problem.status >= 500 && problem.status != 503 => self.broken.push(format!("{stream} {id}: {problem}")),
            Err(_) => self.counts.refused += 1,
        }
    }

    /// Reads a little further in one partition, at any node.
    pub(super) fn consume(&mut self) {
        let (node, partition) = (self.any_node(), self.draw(u64::from(PARTITIONS)) as u16);
        let most = if self.calm { usize::MAX } else { 1 + self.draw(12) as usize };
        let next = self.feed.next[usize::from(partition)];
        let mut read = Ok(Vec::new());
        self.with(node, None, |member| read = member.feed(partition, next, most));
        match read {
            Ok(records) => {
                for (offset, hash) in records {
                    let due = self.feed.next[usize::from(partition)];
                    if offset != due {
                        return self.broken.push(format!(
                            "the feed of partition {partition} gives offset {offset} at node {node} where {due} is due"
                        ));
                    }
                    self.feed.next[usize::from(partition)] += 1;
                    self.feed.seen[usize::from(partition)].push(hash);
                    self.counts.fed += 1;
                }
            }
            Err(error) if error.contains("simulated") => {}
            Err(error) => self.broken.push(format!("feed at node {node}: {error}")),
        }
    }

    /// Whoever waits at any node for the position of their receipt finds their command in that node's views.
    pub(super) fn read_own_write(&mut self) {
        let acknowledged: Vec<_> = self
            .sent
            .iter()
            // What was refused has no receipt of its own in the views.
            .filter(|((stream, _), sent)| stream.kind != Kind::DENIAL && !sent.receipts.is_empty())
            .map(|(key, sent)| (key.clone(), sent.receipts[0].clone()))
            .collect();
        if acknowledged.is_empty() {
            return;
        }
        let (at, node) = (self.draw(acknowledged.len() as u64) as usize, self.any_node());
        let ((stream, id), receipt) = &acknowledged[at];
        let Some(member) = &self.seats[node].member else { return };
        if !member.progress.covers(&Wanted::Position(receipt.position)).unwrap_or(false) {
            return;
        }
        let found = member.views.store().get(
            View::RECEIPTS,
            &stream.org,
            &[stream.kind.as_str(), stream.id.as_str(), id.as_str()],
        );
        match found {
            Ok(found) if found.row.as_ref().is_some_and(|row| row["version"] == receipt.version) => self.counts.own_writes_read += 1,
            Ok(found) => self.broken.push(format!(
                "{stream} {id}: the views of node {node} cover {}, and show {:?}",
                receipt.position, found.row
            )),
            Err(error) => self.broken.push(format!("{stream} {id}: {error}")),
        }
    }
}

fn number(id: &CommandId) -> u64 {
    id.as_str().trim_start_matches('c').parse().unwrap_or(0)
}
