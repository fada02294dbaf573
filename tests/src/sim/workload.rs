//! Commands of every built-in kind, valid and not, from a seed.

use super::Rng;
use quipu_runtime::api::CommandRequest;
use quipu_schemas::{
    envelope::{CommandEnvelope, DataClass},
    ids::{CommandId, EntityId, Kind, OrgId, PrincipalId},
};
use serde_json::{Value, json};

/// What the clients know of the world.
#[derive(Debug, Default)]
pub(crate) struct Workload {
    next: u64,
    created: Vec<(Kind, EntityId)>,
}

const SETUP: usize = 4;

fn definition() -> Value {
    json!({
        "name": "sim",
        "inputs": { "amount": { "type": "number" } },
        "nodes": [
            { "id": "big", "component": "switch", "config": { "cases": [{ "port": "yes", "when": "input > 50" }], "default": "no" } },
            { "id": "wait", "component": "delay", "config": { "ms": 500 } },
            { "id": "tell", "component": "webhook.call", "config": { "url": "http://receiver.test/hook", "type": "sim.told", "secret": "hook" } },
            { "id": "ask", "component": "http.request", "config": { "method": "POST", "url": "http://receiver.test/ask" }, "on_failure": "continue" }
        ],
        "edges": [
            { "from": "input.amount", "to": "big.in" },
            { "from": "big.yes", "to": "wait.in" },
            { "from": "wait.out", "to": "tell.in" },
            { "from": "big.no", "to": "ask.in" }
        ]
    })
}

impl Workload {
    /// Remembers what exists, so that later commands hit it.
    pub(crate) fn learn(&mut self, envelope: &CommandEnvelope) {
        let entry = (envelope.stream.kind.clone(), envelope.stream.id.clone());
        if !self.created.contains(&entry) {
            self.created.push(entry);
        }
    }

    fn pick(&self, rng: &mut Rng, kind: &Kind) -> Option<EntityId> {
        let of_kind: Vec<&EntityId> = self.created.iter().filter(|(k, _)| k == kind).map(|(_, id)| id).collect();
        (!of_kind.is_empty()).then(|| of_kind[rng.below(of_kind.len() as u64) as usize].clone())
    }

    pub(crate) fn next(&mut self, rng: &mut Rng) -> Option<CommandRequest> {
        self.next += 1;
        let n = self.next;
        if !self.created.iter().any(|(kind, _)| *kind == Kind::ORG) {
            return Some(request(n, Kind::ORG, "acme", "create", json!({ "name": "Acme" }), None));
        }
        if self.created.len() < SETUP || rng.chance(4) {
            return Some(self.create(n, rng));
        }
        let (kind, id) = match rng.below(10) {
            0 => (Kind::ORG, EntityId::from_static("acme")),
            1 => (Kind::AGENT, self.pick(rng, &Kind::AGENT)?),
            2..=7 => (Kind::CONVERSATION, self.pick(rng, &Kind::CONVERSATION)?),
            _ => (Kind::RUN, self.pick(rng, &Kind::RUN)?),
        };
        let (command, body) = match kind.as_str() {
            "org" => match rng.below(5) {
                0 => ("rename", json!({ "name": format!("Acme {n}") })),
                1 => ("add_member", json!({ "principal": format!("p{}", rng.below(6)), "role": "member", "name": "Somebody" })),
                2 => ("remove_member", json!({ "principal": format!("p{}", rng.below(6)) })),
                3 => ("set_role", json!({ "principal": format!("p{}", rng.below(6)), "role": "admin" })),
                _ => ("change_settings", json!({ "settings": { "tone": n } })),
            },
            "agent" => match rng.below(3) {
                0 => ("add_directive", json!({ "text": format!("be brief {}", rng.below(5)), "activate": true })),
                1 => ("suspend", json!({ "reason": "test" })),
                _ => ("resume", json!({})),
            },
            "conversation" => match rng.below(14) {
                0..=6 => ("post", json!({ "body": format!("hello {n}"), "message_id": format!("m{}", rng.below(n.max(1)).max(n / 2)) })),
                7 => ("pause", json!({})),
                8 => ("resume", json!({})),
                9 => ("cancel", json!({})),
                10 => ("edit_message", json!({ "message_id": format!("m{}", rng.below(n)), "body": "edited" })),
                11 => ("delete_message", json!({ "message_id": format!("m{}", rng.below(n)) })),
                12 => ("handoff", json!({ "reason": "test" })),
                _ => ("resolve", json!({})),
            },
            _ => match rng.below(4) {
                0 => ("pause", json!({})),
                1 => ("resume", json!({})),
                2 => ("cancel", json!({})),
                _ => ("signal", json!({ "name": "go", "payload": n })),
            },
        };
        let mut made = request(n, kind, id.as_str(), command, body, None);
        if rng.chance(10) {
            made.expected_version = Some(rng.below(8));
        }
        Some(made)
    }

    fn create(&self, n: u64, rng: &mut Rng) -> CommandRequest {
        match rng.below(4) {
            0 => request(n, Kind::AGENT, &format!("bot{}", rng.below(2)), "create", json!({ "name": "Bot", "model": { "provider": "scripted", "model": "m" } }), None),
            1 => request(n, Kind::RUN, &format!("run{n}"), "create", json!({ "definition": definition(), "input": { "amount": rng.below(100) } }), None),
            _ => {
                let participants = json!([{ "principal": "bot0", "kind": "agent" }, { "principal": "bot1", "kind": "agent" }, { "principal": "ada", "kind": "person" }]);
                request(n, Kind::CONVERSATION, &format!("c{}", rng.below(3)), "create", json!({ "type": "group", "participants": participants }), None)
            }
        }
    }
}

fn request(n: u64, kind: Kind, id: &str, command: &str, body: Value, on_behalf_of: Option<PrincipalId>) -> CommandRequest {
    CommandRequest {
        org: OrgId::from_static("acme"),
        kind,
        id: Some(EntityId::parse(id).expect("the workload's ids are ids")),
        command: command.into(),
        body,
        command_id: Some(CommandId::parse(format!("c{n}")).expect("a short id")),
        principal: PrincipalId::BOOTSTRAP,
        on_behalf_of,
        expected_version: None,
        environment: None,
        data_class: DataClass::None,
        correlation: None,
        traceparent: None,
    }
}
