//! Clients: they send, repeat what went unanswered or was answered already, lose requests and answers, and read their
//! own writes.

use super::{Sent, World, history::Returned, node::Answer};
use quipu_projections::{progress::Wanted, reading::View};
use quipu_runtime::ingress::{self, Drawn, Entered};
use quipu_schemas::{
    envelope::CommandEnvelope,
    ids::{Home, Kind, StreamId},
};

impl World {
    fn cut_off(&self) -> bool {
        self.now < self.cut_off_until
    }

    pub(super) fn client_sends(&mut self) {
        let node = self.node.as_ref();
        let peek = |stream: &StreamId| node.and_then(|node| node.state_of(stream));
        if let Some((home, said)) = self.workload.word(self.step, &mut self.rng, &peek) {
            self.tell(&home, said);
        } else if let Some(request) = self.workload.next(self.step, &mut self.rng, &peek) {
            self.send(request);
        }
    }

    /// Many at once: what the node's bounds are for.
    pub(super) fn burst(&mut self) {
        self.note("burst".into());
        self.counts.bursts += 1;
        for more in 0..24 {
            let node = self.node.as_ref();
            let peek = |stream: &StreamId| node.and_then(|node| node.state_of(stream));
            if let Some(request) = self.workload.next(100_000 + self.step * 32 + more, &mut self.rng, &peek) {
                self.send(request);
            }
        }
    }

    pub(super) fn send(&mut self, request: quipu_runtime::api::CommandRequest) {
        let seed = (u128::from(self.rng.draw()) << 64) | u128::from(self.rng.draw());
        *self
            .counts
            .tried
            .entry(format!("{}.{}", request.kind, request.command))
            .or_default() += 1;
        let drawn = Drawn::of_seed(seed);
        match ingress::admit(request, &self.kinds, &self.keys, &drawn, self.reading().wall) {
            Ok(Entered { envelope, .. }) => {
                let key = (envelope.stream.clone(), envelope.command_id.clone());
                self.counts.sent += 1;
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

    /// What a node itself says to a principal, on its way as commands are.
    pub(super) fn tell(&mut self, home: &Home, said: serde_json::Value) {
        let seed = (u128::from(self.rng.draw()) << 64) | u128::from(self.rng.draw());
        match ingress::told(home, said, &self.keys, &Drawn::of_seed(seed), self.reading().wall, None) {
            Ok(envelope) => {
                let key = (envelope.stream.clone(), envelope.command_id.clone());
                self.counts.sent += 1;
                let receipts = Vec::new();
                self.sent.insert(
                    key,
                    Sent {
                        envelope: envelope.clone(),
                        receipts,
                    },
                );
                self.put(envelope);
            }
            Err(problem) => self.broken.push(format!("workload told what ingress refuses: {problem}")),
        }
    }

    pub(super) fn client_repeats(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        let at = self.rng.below(self.sent.len() as u64) as usize;
        let envelope = self.sent.values().nth(at).expect("within bounds").envelope.clone();
        self.counts.repeated += 1;
        self.put(envelope);
    }

    fn put(&mut self, envelope: CommandEnvelope) {
        let twice = self.rng.chance(5);
        self.history.invoke(&envelope.stream, &envelope.command_id);
        if self.cut_off() || self.rng.chance(2) {
            self.counts.lost_requests += 1;
            return;
        }
        let Some(node) = &mut self.node else { return };
        if twice {
            self.counts.duplicated += 1;
            self.history.invoke(&envelope.stream, &envelope.command_id);
            node.inbox.push(envelope.clone());
        }
        node.inbox.push(envelope);
    }

    pub(super) fn hear(
        &mut self,
        Answer {
            stream,
            command_id,
            result,
        }: Answer,
        durable: u64,
    ) {
        let lost = self.cut_off() || self.rng.chance(3);
        let returned = match &result {
            Ok(receipt) => Returned::Receipt(receipt.position.offset, receipt.version),
            Err(problem) if problem.code == "outcome_unknown" => Returned::Nothing,
            Err(problem) => {
                if let Some(version) = problem.current_version {
                    self.counts.versions_refused += 1;
                    if version > durable {
                        self.broken.push(format!(
                            "{stream} {command_id}: refused at version {version}, and only {durable} is durable"
                        ));
                    }
                }
                problem.current_version.map_or(Returned::Nothing, Returned::RefusedAt)
            }
        };
        self.history
            .returned(&stream, &command_id, if lost { Returned::Nothing } else { returned });
        let Some(sent) = self.sent.get_mut(&(stream.clone(), command_id.clone())) else {
            return;
        };
        match result {
            Ok(receipt) => {
                if sent.receipts.is_empty() {
                    let kind_and_command = match &sent.envelope.body {
                        quipu_schemas::envelope::CommandBody::Given { command, .. } => {
                            command.0.as_object().and_then(|o| o.keys().next().cloned())
                        }
                        quipu_schemas::envelope::CommandBody::Told { word } => word.0.as_object().and_then(|o| o.keys().next().cloned()),
                        quipu_schemas::envelope::CommandBody::Kernel(_) => None,
                    };
                    let name = format!("{}.{}", stream.kind, kind_and_command.unwrap_or_default());
                    *self.counts.accepted.entry(name).or_default() += 1;
                }
                self.workload.learn(&sent.envelope);
                if lost {
                    self.counts.lost_answers += 1;
                    return;
                }
                self.counts.acknowledged += 1;
                if let Some(first) = sent.receipts.first()
                    && (first.version, first.position) != (receipt.version, receipt.position)
                {
                    self.broken
                        .push(format!("{stream} {command_id}: two receipts, {first:?} and {receipt:?}"));
                }
                sent.receipts.push(receipt);
            }
            Err(problem) if problem.code == "outcome_unknown" => self.counts.unknown += 1,
            Err(problem) if problem.status >= 500 && problem.status != 503 && problem.status != 507 => {
                self.broken.push(format!("{stream} {command_id}: {problem}"));
            }
            Err(_) => self.counts.refused += 1,
        }
    }

    /// Whoever waits for the position of their receipt finds their command in the views. What notes a refusal is for the audit alone.
    pub(super) fn read_own_write(&mut self) {
        let is_shown = |stream: &StreamId| stream.kind != Kind::DENIAL;
        let acknowledged = self
            .sent
            .iter()
            .filter(|((stream, _), sent)| is_shown(stream) && !sent.receipts.is_empty());
        let acknowledged: Vec<_> = acknowledged.collect();
        if acknowledged.is_empty() {
            return;
        }
        let at = self.rng.below(acknowledged.len() as u64) as usize;
        let ((stream, id), sent) = acknowledged[at];
        let receipt = sent.receipts[0].clone();
        let Some(node) = &mut self.node else { return };
        if !node.views_cover(&Wanted::Position(receipt.position)) {
            return;
        }
        let (views, _) = node.views();
        let found = views.store().get(
            View::RECEIPTS,
            &stream.org,
            &[stream.kind.as_str(), stream.id.as_str(), id.as_str()],
        );
        match found {
            Ok(found) if found.row.as_ref().is_some_and(|row| row["version"] == receipt.version) => self.counts.own_writes_read += 1,
            Ok(found) => self.broken.push(format!(
                "{stream} {id}: the views cover {}, and show {:?}",
                receipt.position, found.row
            )),
            Err(error) => self.broken.push(format!("{stream} {id}: {error}")),
        }
    }
}
