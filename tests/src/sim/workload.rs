//! Commands of every built-in kind, valid and not, from a seed.

use super::Rng;
use quipu_runtime::api::CommandRequest;
use quipu_schemas::{
    envelope::{CommandEnvelope, DataClass},
    ids::{CommandId, EntityId, Kind, OrgId, PrincipalId, StreamId},
};
use serde_json::{Value, json};

/// What the clients know of the world.
#[derive(Debug, Default)]
pub(crate) struct Workload {
    created: Vec<(Kind, EntityId)>,
    /// Whether strangers send commands, and some go to an org that nobody makes.
    has_strangers: bool,
}

/// Who is a member of no org, and never becomes one.
pub(crate) const STRANGER: &str = "stranger";

/// Every public command besides `create`, with how often it comes.
const COMMANDS: &[(&str, &str, u64)] = &[
    ("org", "rename", 4),
    ("org", "add_member", 4),
    ("org", "remove_member", 3),
    ("org", "set_role", 3),
    ("org", "change_settings", 4),
    ("org", "suspend", 1),
    ("agent", "add_directive", 4),
    ("agent", "activate_directive", 4),
    ("agent", "configure_guard", 2),
    ("agent", "configure_model", 2),
    ("agent", "grant_tool", 5),
    ("agent", "revoke_tool", 5),
    ("agent", "suspend", 2),
    ("agent", "resume", 4),
    ("agent", "retire", 1),
    ("conversation", "post", 60),
    ("conversation", "claim", 12),
    ("conversation", "defer", 5),
    ("conversation", "cancel", 5),
    ("conversation", "preempt", 4),
    ("conversation", "route", 4),
    ("conversation", "pause", 4),
    ("conversation", "resume", 8),
    ("conversation", "rename", 3),
    ("conversation", "edit_message", 5),
    ("conversation", "delete_message", 4),
    ("conversation", "import_message", 4),
    ("conversation", "add_participant", 4),
    ("conversation", "remove_participant", 3),
    ("conversation", "set_participant_role", 3),
    ("conversation", "join", 3),
    ("conversation", "leave", 3),
    ("conversation", "handoff", 5),
    ("conversation", "assign_handoff", 4),
    ("conversation", "accept_handoff", 5),
    ("conversation", "return_handoff", 5),
    ("conversation", "resolve", 3),
    ("conversation", "archive", 1),
    ("run", "start", 4),
    ("run", "input", 6),
    ("run", "signal", 8),
    ("run", "approve", 8),
    ("run", "reject", 3),
    ("run", "pause", 5),
    ("run", "resume", 8),
    ("run", "retry_node", 5),
    ("run", "cancel", 3),
];

/// Every command that a client may send, of every built-in kind, as `kind.command`.
pub fn public_commands() -> Vec<String> {
    let kinds = quipu_runtime::kinds::Kinds::builtin().info();
    kinds
        .iter()
        .flat_map(|kind| kind.commands.iter().map(|command| format!("{}.{}", kind.kind, command.name)))
        .collect()
}

/// Streams whose state a client may look at before it sends.
pub(crate) type Peek<'a> = &'a dyn Fn(&StreamId) -> Option<Value>;

const SETUP: usize = 4;

fn branching() -> Value {
    json!({
        "name": "branching",
        "inputs": { "amount": { "type": "number" } },
        "nodes": [
            { "id": "big", "component": "switch", "config": { "cases": [{ "port": "yes", "when": "input > 50" }], "default": "no" } },
            { "id": "wait", "component": "delay", "config": { "ms": 500 } },
            { "id": "tell", "component": "webhook.call", "config": { "url": "http://receiver.test/hook", "type": "sim.told", "secret": "hook" } },
            { "id": "ask", "component": "http.request", "config": { "method": "POST", "url": "http://receiver.test/ask" }, "on_failure": "continue" },
            { "id": "say", "component": "message.send", "config": { "conversation": "c1", "body": "asked" }, "on_failure": "continue" }
        ],
        "edges": [
            { "from": "input.amount", "to": "big.in" },
            { "from": "big.yes", "to": "wait.in" },
            { "from": "wait.out", "to": "tell.in" },
            { "from": "big.no", "to": "ask.in" },
            { "from": "ask.out", "to": "say.in" }
        ]
    })
}

fn waiting() -> Value {
    json!({
        "name": "waiting",
        "inputs": { "amount": { "type": "number" }, "more": { "type": "number", "many": true } },
        "nodes": [
            { "id": "gather", "component": "collect", "config": { "count": 2 } },
            { "id": "go", "component": "wait_signal", "config": { "signal": "go" } },
            { "id": "sign", "component": "wait_approval", "config": { "prompt": "go on?" } },
            { "id": "get", "component": "http.request", "config": { "method": "GET", "url": "http://receiver.test/get" } },
            { "id": "say", "component": "message.send", "config": { "conversation": "c2", "body": "signed" } }
        ],
        "edges": [
            { "from": "input.more", "to": "gather.items" },
            { "from": "input.amount", "to": "go.in" },
            { "from": "go.out", "to": "sign.in" },
            { "from": "sign.approved", "to": "get.in" },
            { "from": "sign.approved", "to": "say.in" }
        ]
    })
}

/// The first text under this name, wherever it stands.
fn text_at(value: &Value, name: &str) -> Option<String> {
    match value {
        Value::Object(map) => map
            .get(name)
            .and_then(|v| v.as_str().map(str::to_owned))
            .or_else(|| map.values().find_map(|v| text_at(v, name))),
        Value::Array(items) => items.iter().find_map(|v| text_at(v, name)),
        _ => None,
    }
}

/// One of the entries under this name, wherever it stands: a key of a map, or a text of a list.
fn one_of(value: &Value, name: &str, rng: &mut Rng, fits: &dyn Fn(&str, &Value) -> bool) -> Option<String> {
    let found = match value {
        Value::Object(map) => match map.get(name) {
            Some(found) => found,
            None => return map.values().find_map(|v| one_of(v, name, rng, fits)),
        },
        _ => return None,
    };
    let fitting: Vec<&str> = match found {
        Value::Object(map) => map
            .iter()
            .filter(|(key, value)| fits(key, value))
            .map(|(key, _)| key.as_str())
            .collect(),
        Value::Array(items) => items
            .iter()
            .filter_map(Value::as_str)
            .filter(|text| fits(text, &Value::Null))
            .collect(),
        _ => Vec::new(),
    };
    (!fitting.is_empty()).then(|| fitting[rng.below(fitting.len() as u64) as usize].to_owned())
}

impl Workload {
    /// One in which strangers send commands, and some go to an org that nobody makes.
    pub(crate) fn with_strangers() -> Self {
        Self {
            has_strangers: true,
            ..Self::default()
        }
    }

    /// Remembers what exists, so that later commands hit it.
    pub(crate) fn learn(&mut self, envelope: &CommandEnvelope) {
        let entry = (envelope.stream.kind.clone(), envelope.stream.id.clone());
        if !self.created.contains(&entry) {
            self.created.push(entry);
        }
    }

    /// Ends a suspension of the org.
    pub(crate) fn resume_org(&self, n: u64) -> CommandRequest {
        request(n, Kind::ORG, "acme", "resume", json!({}), None)
    }

    fn pick(&self, rng: &mut Rng, kind: &Kind) -> Option<EntityId> {
        let of_kind: Vec<&EntityId> = self.created.iter().filter(|(k, _)| k == kind).map(|(_, id)| id).collect();
        // The newest more often: the older a run, the likelier it is over.
        let from = if of_kind.len() > 6 && rng.chance(70) {
            of_kind.len() - 6
        } else {
            0
        };
        (!of_kind.is_empty()).then(|| of_kind[from + rng.below((of_kind.len() - from) as u64) as usize].clone())
    }

    /// The next command; `n` numbers it, and repeats with it.
    pub(crate) fn next(&self, n: u64, rng: &mut Rng, peek: Peek) -> Option<CommandRequest> {
        if !self.created.iter().any(|(kind, _)| *kind == Kind::ORG) {
            return Some(request(
                n,
                Kind::ORG,
                "acme",
                "create",
                json!({ "name": "Acme", "owner": "ada" }),
                None,
            ));
        }
        // Not drawn: the other commands of a seed stay what they are.
        match n % 60 {
            7 if self.has_strangers => return Some(to_nowhere(n)),
            37 if self.has_strangers => return Some(request(n, Kind::ORG, "acme", "rename", json!({ "name": "Mine" }), Some(STRANGER))),
            _ => {}
        }
        let org = StreamId::of_org(&OrgId::from_static("acme"));
        if peek(&org).is_some_and(|state| state.to_string().contains("suspended")) && rng.chance(40) {
            return Some(request(n, Kind::ORG, "acme", "resume", json!({}), None));
        }
        if self.created.len() < SETUP || rng.chance(6) {
            return Some(self.create(n, rng));
        }
        let total: u64 = COMMANDS.iter().map(|(.., weight)| weight).sum();
        let mut drawn = rng.below(total);
        let (kind, command) = COMMANDS
            .iter()
            .find_map(|(kind, command, weight)| match drawn.checked_sub(*weight) {
                Some(rest) => {
                    drawn = rest;
                    None
                }
                None => Some((*kind, *command)),
            })?;
        let kind: Kind = kind.parse().ok()?;
        let mut id = if kind == Kind::ORG {
            EntityId::from_static("acme")
        } else {
            self.pick(rng, &kind)?
        };
        if command == "retry_node" {
            let failed = |id: &EntityId| {
                peek(&StreamId {
                    org: OrgId::from_static("acme"),
                    kind: Kind::RUN,
                    id: id.clone(),
                })
                .is_some_and(|run| text_at(&run, "failed_node").is_some())
            };
            let runs = self.created.iter().filter(|(of, _)| *of == Kind::RUN).map(|(_, run)| run);
            id = runs.into_iter().find(|run| failed(run)).cloned().unwrap_or(id);
        }
        let state = peek(&StreamId {
            org: OrgId::from_static("acme"),
            kind: kind.clone(),
            id: id.clone(),
        })
        .unwrap_or_default();
        let (body, actor) = self.body(&kind, command, n, rng, &state);
        let mut made = request(n, kind, id.as_str(), command, body, actor);
        if rng.chance(10) {
            made.expected_version = Some(rng.below(8));
        }
        Some(made)
    }

    fn body(&self, kind: &Kind, command: &str, n: u64, rng: &mut Rng, state: &Value) -> (Value, Option<&'static str>) {
        let bot = ["bot0", "bot1"][rng.below(2) as usize];
        let person = format!("p{}", rng.below(6));
        // Mostly a new id, now and then one that may be taken.
        let message = format!("m{}", if rng.chance(80) { n } else { rng.below(n.max(1)) });
        let said = |rng: &mut Rng| {
            let posted = one_of(state, "messages", rng, &|_, it| it["posted"]["sender"] == "bootstrap");
            posted.unwrap_or_else(|| message.clone())
        };
        let turn = || text_at(state, "turn").unwrap_or_else(|| "t1".into());
        let node = text_at(state, "failed_node").unwrap_or_else(|| "get".into());
        match (kind.as_str(), command) {
            ("org", "rename") => (json!({ "name": format!("Acme {n}") }), None),
            ("org", "add_member") => (json!({ "principal": person, "role": "member", "name": "Somebody" }), None),
            ("org", "remove_member") => (
                json!({ "principal": one_of(state, "members", rng, &|who, _| who != "ada").unwrap_or(person) }),
                None,
            ),
            ("org", "set_role") => {
                let who = one_of(state, "members", rng, &|who, _| who != "ada").unwrap_or(person);
                (
                    json!({ "principal": who, "role": if rng.chance(50) { "admin" } else { "member" } }),
                    None,
                )
            }
            ("org", "change_settings") => (json!({ "settings": { "tone": n } }), None),
            ("agent", "add_directive") => (
                json!({ "text": format!("be brief {}", rng.below(5)), "activate": rng.chance(50) }),
                None,
            ),
            ("agent", "activate_directive") => {
                let known = one_of(state, "directives", rng, &|_, _| true);
                (json!({ "digest": known.unwrap_or_else(|| "0".repeat(64)) }), None)
            }
            ("agent", "configure_guard") => (json!({ "max_iterations": 1 + rng.below(9), "max_repeats": 3 }), None),
            ("agent", "configure_model") => (
                json!({ "model": { "provider": "scripted", "model": format!("m{}", rng.below(3)) } }),
                None,
            ),
            ("agent", "grant_tool") => {
                let tool = json!({ "name": format!("tool{}", rng.below(3)), "run": { "by": "http", "url": "http://receiver.test/tool" } });
                (json!({ "tool": tool }), None)
            }
            ("agent", "revoke_tool") => (
                json!({ "name": one_of(state, "tools", rng, &|_, _| true).unwrap_or_else(|| "tool0".into()) }),
                None,
            ),
            // Some say more than a record should hold; of JSON the rules look into it.
            ("conversation", "post") if n.is_multiple_of(9) => (json!({ "body": "hello again ".repeat(400), "message_id": message }), None),
            ("conversation", "post") if n % 9 == 1 => {
                let (body, content_type) = (json!(vec![n; 1_000]).to_string(), "json");
                (json!({ "body": body, "content_type": content_type, "message_id": message }), None)
            }
            ("conversation", "post") => (json!({ "body": format!("hello {n}"), "message_id": message }), None),
            ("conversation", "claim") => {
                let mut claim = json!({ "turn": turn(), "reason": "mine", "confidence": 0.5 });
                if rng.chance(30) {
                    claim["rule"] = json!("anything");
                    claim["expires_ms"] = json!(1 + rng.below(600));
                }
                (claim, Some(bot))
            }
            ("conversation", "defer") => (json!({ "turn": turn() }), Some(bot)),
            ("conversation", "route") => (json!({ "agent": bot }), None),
            ("conversation", "rename") => (json!({ "title": format!("Talk {n}") }), None),
            ("conversation", "edit_message") => (json!({ "message_id": said(rng), "body": "edited" }), None),
            ("conversation", "delete_message") => (json!({ "message_id": said(rng) }), None),
            ("conversation", "import_message") => (
                json!({ "message_id": format!("i{n}"), "role": "user", "content": { "content": "from before" } }),
                None,
            ),
            ("conversation", "add_participant") => (json!({ "principal": person, "kind": "person" }), None),
            ("conversation", "remove_participant") => {
                let who = one_of(state, "participants", rng, &|who, it| who.starts_with('p') && it["role"] != "owner");
                (json!({ "principal": who.unwrap_or(person) }), None)
            }
            ("conversation", "set_participant_role") => (
                json!({ "principal": "grace", "role": if rng.chance(50) { "admin" } else { "member" } }),
                None,
            ),
            ("conversation", "join") => (json!({ "kind": "person" }), Some(["grace", "ada"][rng.below(2) as usize])),
            ("conversation", "leave") => (json!({}), Some("grace")),
            ("conversation", "assign_handoff") => (json!({ "to": "ada" }), None),
            ("conversation", "accept_handoff" | "return_handoff") => (json!({}), Some("ada")),
            ("run", "input") => (
                json!({ "port": if rng.chance(80) { "more" } else { "amount" }, "payload": rng.below(100) }),
                None,
            ),
            // Every third is kept beside the log.
            ("run", "signal") if n.is_multiple_of(3) => (json!({ "name": "go", "payload": format!("{n} {}", "large ".repeat(500)) }), None),
            ("run", "signal") => (json!({ "name": "go", "payload": n }), None),
            ("run", "approve" | "reject") => (json!({ "node": "sign" }), Some("ada")),
            ("run", "retry_node") => (json!({ "node": node }), None),
            _ => (json!({}), None),
        }
    }

    fn create(&self, n: u64, rng: &mut Rng) -> CommandRequest {
        match rng.below(5) {
            0 => {
                let body = json!({ "name": "Bot", "model": { "provider": "scripted", "model": "m" }, "directive": "be brief" });
                request(n, Kind::AGENT, &format!("bot{}", rng.below(3)), "create", body, None)
            }
            1 | 2 => {
                let definition = if rng.chance(50) { branching() } else { waiting() };
                let body = json!({ "definition": definition, "input": { "amount": rng.below(100) }, "start": rng.chance(85) });
                // Ada takes part in conversations, the platform does not.
                let creator = rng.chance(50).then_some("ada");
                request(n, Kind::RUN, &format!("run{n}"), "create", body, creator)
            }
            _ => {
                let participants = json!([
                    { "principal": "bot0", "kind": "agent" }, { "principal": "bot1", "kind": "agent" },
                    { "principal": "ada", "kind": "person" }, { "principal": "grace", "kind": "person" }
                ]);
                request(
                    n,
                    Kind::CONVERSATION,
                    &format!("c{}", rng.below(4)),
                    "create",
                    json!({ "type": "group", "participants": participants }),
                    None,
                )
            }
        }
    }
}

/// A command for an org that nobody makes.
fn to_nowhere(n: u64) -> CommandRequest {
    let body = json!({ "type": "group" });
    CommandRequest {
        org: OrgId::from_static("nowhere"),
        ..request(n, Kind::CONVERSATION, "c0", "create", body, None)
    }
}

fn request(n: u64, kind: Kind, id: &str, command: &str, body: Value, actor: Option<&'static str>) -> CommandRequest {
    CommandRequest {
        org: OrgId::from_static("acme"),
        kind,
        id: Some(EntityId::parse(id).expect("the workload's ids are ids")),
        command: command.into(),
        body,
        command_id: Some(CommandId::parse(format!("c{n}")).expect("a short id")),
        principal: PrincipalId::BOOTSTRAP,
        on_behalf_of: actor.map(PrincipalId::from_static),
        expected_version: None,
        environment: None,
        data_class: DataClass::None,
        correlation: None,
        traceparent: None,
    }
}
