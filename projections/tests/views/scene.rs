//! A small world in records: an org, an agent, a conversation with a turn, runs, effects, timers, dispatches.

use crate::record_log::RecordLog;
use quipu_events::port::Log;
use quipu_projections::{
    follower::Follower,
    progress::Progress,
    store::{Origin, ViewStore},
};
use quipu_schemas::{
    digest::Digest,
    envelope::DataClass,
    ids::{CommandId, PrincipalId, StreamId},
    reaction::{Reaction, Settlement},
    record::{self, Header, StoredEvent, StoredReaction},
};
use serde_json::{Value, json, value::RawValue};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
};

#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) stream: StreamId,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Default)]
pub(crate) struct Scene {
    tips: BTreeMap<StreamId, (u64, Digest)>,
    pub(crate) records: Vec<Sample>,
    time: u64,
}

pub(crate) fn sealed(text: &str) -> Value {
    json!({"$sealed": text, "$subject": "acme/ada"})
}

pub(crate) const DIGEST: &str = "1111111111111111111111111111111111111111111111111111111111111111";

impl Scene {
    pub(crate) fn add(&mut self, stream: &str, by: &str, events: Value, reactions: Value, settles: Value) -> &mut Self {
        let stream: StreamId = stream.parse().unwrap();
        let (version, previous) = self.tips.get(&stream).copied().unwrap_or((0, Digest::ZERO));
        self.time += 10;
        let events: Vec<StoredEvent> = events
            .as_array()
            .unwrap()
            .iter()
            .map(|e| StoredEvent {
                name: format!("quipu.{}.{}.v1", stream.kind, e[0].as_str().unwrap()),
                data: RawValue::from_string(e[1].to_string()).unwrap(),
            })
            .collect();
        let reactions: Vec<StoredReaction> = reactions
            .as_array()
            .unwrap()
            .iter()
            .zip(0u32..)
            .map(|(r, ordinal)| StoredReaction {
                version: version + events.len() as u64,
                ordinal,
                reaction: serde_json::from_value::<Reaction>(r.clone()).unwrap(),
            })
            .collect();
        let header = Header {
            stream: stream.clone(),
            first_version: version + 1,
            events: events.len() as u32,
            reactions: reactions.len() as u32,
            command_id: CommandId::parse(format!("c-{}", self.records.len())).unwrap(),
            digest: Digest::ZERO,
            time: 1_000 + self.time,
            principal: PrincipalId::parse(by).unwrap(),
            on_behalf_of: (by == "bootstrap").then(|| PrincipalId::from_static("ada")),
            home: None,
            credential: None,
            acts_as: None,
            environment: None,
            data_class: DataClass::None,
            authority: 0,
            correlation: None,
            causation: None,
            traceparent: None,
            schema: 1,
            settlement: (!settles.is_null()).then(|| serde_json::from_value::<Settlement>(settles).unwrap()),
            names: Vec::new(),
        };
        let last = header.last_version();
        let encoded = record::encode(&header, events, reactions, previous).unwrap();
        self.tips.insert(stream.clone(), (last, encoded.hash));
        self.records.push(Sample {
            stream,
            bytes: encoded.bytes,
        });
        self
    }

    pub(crate) fn events(&mut self, stream: &str, by: &str, events: Value) -> &mut Self {
        self.add(stream, by, events, json!([]), Value::Null)
    }

    pub(crate) fn settles(&mut self, stream: &str, key: &str, outcome: Value) -> &mut Self {
        self.add(stream, "bootstrap", json!([]), json!([]), json!({"key": key, "outcome": outcome}))
    }

    pub(crate) fn log(&self, partitions: u16) -> RecordLog {
        RecordLog::new(&self.records, partitions, 3)
    }
}

pub(crate) fn message(id: &str, extra: Value) -> Value {
    let mut data = json!({"message_id": id, "sender": "ada", "sender_kind": "person", "body": sealed(id), "content_digest": DIGEST,
        "content_type": "text", "priority": "normal"});
    data.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    json!(["message_posted", data])
}

fn webhook(name: &str) -> Value {
    json!({"perform": {"name": name, "retry": {}, "effect": {"effect": "webhook", "url": "https://hooks.example:8443/in", "type": "t",
        "data": {}, "secret": "s"}}})
}

/// The golden world; `rest` of the parts adds streams for interleavings.
pub(crate) fn world() -> Scene {
    let mut s = Scene::default();
    let (org, agent, talk) = ("acme/org/acme", "acme/agent/bot", "acme/conversation/cnv_1");
    s.events(
        org,
        "bootstrap",
        json!([["created", {"name": "Acme"}], ["member_added", {"principal": "ada", "role": "owner", "email": sealed("m")}]]),
    );
    s.events(
        org,
        "ada",
        json!([["member_added", {"principal": "bob", "role": "member"}], ["settings_changed", {"settings": {"a": 1, "b": {"c": 2}}}]]),
    );
    s.events(
        org,
        "ada",
        json!([["role_set", {"principal": "bob", "role": "admin"}], ["settings_changed", {"settings": {"a": null}}]]),
    );
    s.events(
        org,
        "ada",
        json!([["renamed", {"name": "Acme Ltd"}], ["member_added", {"principal": "eve", "role": "viewer"}]]),
    );
    s.events(
        org,
        "ada",
        json!([["member_removed", {"principal": "eve"}], ["suspended", {"reason": "late"}]]),
    );
    s.events("lab/org/lab", "ada", json!([["created", {"name": "Lab", "parent": "acme"}]]));
    let model = json!({"provider": "scripted", "model": "m1"});
    s.events(
        agent,
        "ada",
        json!([["created", {"org": "acme", "name": "Bot", "model": model}],
        ["directive_added", {"digest": DIGEST, "text": "Be kind."}], ["directive_activated", {"digest": DIGEST}]]),
    );
    let second = "2".repeat(64);
    s.events(
        agent,
        "ada",
        json!([["directive_added", {"digest": second, "text": "Be brief."}], ["directive_activated", {"digest": second}],
        ["tool_granted", {"tool": {"name": "look", "run": {"by": "http", "method": "POST", "url": "https://x.example/"}}}]]),
    );
    s.events(
        agent,
        "ada",
        json!([["guard_configured", {"max_iterations": 4, "max_repeats": 3}], ["suspended", {"reason": "loop"}]]),
    );
    s.events(talk, "ada", json!([["created", {"stream": talk, "conversation_type": "group", "title": sealed("title"), "claim_window_ms": 500, "auto_turns": true}],
        ["participant_added", {"principal": "ada", "kind": "person", "role": "owner"}],
        ["participant_added", {"principal": "bot", "kind": "agent", "role": "member"}],
        ["participant_added", {"principal": "bob", "kind": "person", "role": "member"}]]));
    s.add(
        talk,
        "ada",
        json!([message("m1", json!({})),
        ["turn_opened", {"turn": "t1", "message_id": "m1", "at_version": 5, "eligible": ["bot"], "closes_at": 2000}],
        ["phase_changed", {"from": "idle", "to": "ai_active"}]]),
        json!([{"wake_at": {"name": "turn", "due": 2000}}, {"wake_at": {"name": "idle", "due": 9000}}]),
        Value::Null,
    );
    s.events(
        talk,
        "bob",
        json!([
            message("m2", json!({"reply_to": "m1", "sender": "bob"})),
            message("m3", json!({"reply_to": "m2"}))
        ]),
    );
    s.events(
        talk,
        "bot",
        json!([["turn_claimed", {"turn": "t1", "agent": "bot", "reason": "mine", "confidence": 0.9, "priority": "high"}]]),
    );
    s.add(talk, "bootstrap", json!([["turn_decided", {"turn": "t1", "message_id": "m1", "at_version": 5, "winner": "bot", "method": "best_claim",
        "why": "only one", "bids": [{"agent": "bot", "claim": {"confidence": 0.9, "priority": "high"}, "reason": "mine"}], "run": "run_1"}]]),
        json!([{"dispatch": {"to": "acme/run/run_1", "command": {"create_turn": {}}}}, {"cancel_wake": {"name": "idle"}}]),
        json!({"key": "acme/conversation/cnv_1@7.0", "outcome": {"is": "accepted"}}));
    s.events(
        talk,
        "bob",
        json!([["message_edited", {"message_id": "m2", "body": sealed("better")}], ["message_deleted", {"message_id": "m3", "by": "ada"}],
        ["participant_removed", {"principal": "bob", "left": true}]]),
    );
    s.add("acme/run/run_1", "bootstrap", json!([["created", {"stream": "acme/run/run_1", "by": "ada", "name": "agent-turn", "digest": DIGEST, "definition": {}, "input": {},
        "turn": {"conversation": "cnv_1", "at_version": 5, "turn": "t1", "message_id": "m1", "agent": "bot"}}], ["initialized", {}], ["started", {}]]),
        json!([]), json!({"key": "acme/conversation/cnv_1@11.0", "outcome": {"is": "accepted"}}));
    s.events(
        "acme/run/run_1",
        "bootstrap",
        json!([["reply_sent", {"message_id": "m4"}], ["completed", {"output": {}}]]),
    );
    s.add(talk, "bot", json!([message("m4", json!({"sender": "bot", "sender_kind": "agent", "turn": "t1"})),
        ["turn_finished", {"turn": "t1", "outcome": {"is": "answered", "message_id": "m4"}}], ["phase_changed", {"from": "ai_active", "to": "waiting_for_user"}]]),
        json!([]), Value::Null);
    s.events(
        talk,
        "ada",
        json!([["message_imported", {"message_id": "m5", "role": "tool", "content_digest": DIGEST, "content": sealed("old")}],
        ["paused", {"by": "ada", "reason": "wait"}], ["handoff_requested", {"by": "ada", "to": "bob", "reason": "help", "expires_at": 7}]]),
    );
    let run = "acme/run/run_2";
    s.add(run, "ada", json!([["created", {"stream": run, "by": "ada", "name": "etl", "digest": DIGEST, "input": {"x": 1},
        "definition": {"nodes": [{"id": "pick", "component": "map"}, {"id": "call", "component": "webhook.call"}]}}], ["initialized", {}], ["started", {}],
        ["node_completed", {"node": "pick", "output": {"out": 3}}],
        ["node_started", {"node": "call", "component": "webhook.call", "attempt": 1, "name": "call-1", "work": {"for": "timer", "due": 5, "outputs": {}}}]]),
        json!([webhook("call-1"), webhook("call-2"), webhook("call-3"), webhook("call-4"),
            {"dispatch": {"to": "acme/agent/bot", "command": {"resume": {}}}}]), Value::Null);
    let key = |n: u32| format!("acme/run/run_2@5.{n}");
    s.settles(
        run,
        &key(0),
        json!({"is": "attempt_failed", "attempt": 1, "code": "timeout", "detail": "slow", "retry_at": 5000}),
    );
    s.settles(run, &key(0), json!({"is": "accepted"}));
    s.settles(run, &key(1), json!({"is": "started", "attempt": 1}));
    s.settles(run, &key(1), json!({"is": "accepted"}));
    s.settles(
        run,
        &key(2),
        json!({"is": "dead", "attempts": 3, "code": "status_503", "detail": "gone"}),
    );
    s.settles(run, &key(2), json!({"is": "late"}));
    s.settles("acme/agent/bot", &key(4), json!({"is": "refused", "code": "not_allowed"}));
    s.add(
        run,
        "bootstrap",
        json!([["node_failed", {"node": "call", "code": "status_503", "detail": "gone", "attempts": 3}],
        ["failed", {"code": "node_failed", "detail": "call failed", "node": "call"}]]),
        json!([]),
        Value::Null,
    );
    s.events("acme/thing/t-1", "bob", json!([["opened", {"what": "ever"}]]));
    add_samples(&mut s);
    s
}

/// Kinds that have no part of their own above: one entity each, of the samples of their stored events, `created` first.
fn add_samples(s: &mut Scene) {
    let told: BTreeSet<String> = s.records.iter().map(|record| record.stream.kind.to_string()).collect();
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/events");
    let mut samples: Vec<StoredEvent> = fs::read_dir(samples)
        .unwrap()
        .map(|entry| serde_json::from_str(&fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap())
        .collect();
    samples.sort_by_key(|sample| (!sample.name.contains(".created."), sample.name.clone()));
    for sample in samples {
        let [_, kind, event, "v1"] = sample.name.split('.').collect::<Vec<_>>()[..] else {
            continue;
        };
        if !told.contains(kind) {
            let data: Value = serde_json::from_str(sample.data.get()).unwrap();
            s.events(&format!("acme/{kind}/sample"), "ada", json!([[event, data]]));
        }
    }
}

/// An empty store for a log.
pub(crate) fn empty(log: &dyn Log) -> Arc<dyn ViewStore> {
    crate::fresh::store(Origin::of(&log.meta()))
}

/// A store caught up with a log.
pub(crate) fn caught_up(log: &dyn Log) -> Arc<dyn ViewStore> {
    let store = empty(log);
    let mut follower = Follower::new(log, store.clone()).unwrap();
    let round = follower.catch_up(log, &Progress::new(store.cursor().unwrap())).unwrap();
    assert!(round.stopped.is_empty(), "{round:?}");
    store
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);
impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}
