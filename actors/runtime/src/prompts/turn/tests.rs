//! A turn's history as a prompt.

use super::*;
use quipu_events::{
    blobs::{Blobs, MemoryBlobs},
    keyring::Keyring,
};
use quipu_schemas::{
    chat::{ChatRole, FunctionCall, ToolCall},
    digest::Digest,
    envelope::DataClass,
    ids::{CommandId, OrgId, PrincipalId},
    limits::PROMPT_MAX_BYTES,
    personal::BlobRef,
    reaction::ToolCallRef,
    record::Header,
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

struct Turn {
    keys: Keyring,
    records: Vec<Record>,
    version: u64,
}

impl Turn {
    fn new(blobs: Arc<dyn Blobs>) -> Self {
        let keys = Keyring::ephemeral(7);
        keys.keep_in(blobs);
        Self {
            keys,
            records: Vec::new(),
            version: 1,
        }
    }

    fn event(&mut self, event: &RunEvent) {
        let header = Header {
            stream: "acme/run/r1".parse().unwrap(),
            first_version: self.version,
            events: 1,
            reactions: 0,
            command_id: CommandId::from_static("c-1"),
            digest: Digest::ZERO,
            time: 1,
            principal: PrincipalId::BOOTSTRAP,
            on_behalf_of: None,
            home: None,
            credential: None,
            acts_as: None,
            environment: None,
            data_class: DataClass::None,
            authority: 1,
            correlation: None,
            causation: None,
            traceparent: None,
            schema: 1,
            settlement: None,
            names: Vec::new(),
        };
        self.version += 1;
        self.records.push(Record {
            header,
            events: vec![codec::encode_event(event).unwrap()],
            reactions: vec![],
            previous: Digest::ZERO,
            hash: Digest::ZERO,
        });
    }

    fn answered(&mut self, iteration: u32, calls: &[&str]) {
        self.said(iteration, calls, None);
    }

    fn said(&mut self, iteration: u32, calls: &[&str], text: Option<&str>) {
        let call = |id: &&str| ToolCall {
            id: (*id).into(),
            kind: "function".into(),
            function: FunctionCall {
                name: "look".into(),
                arguments: "{}".into(),
            },
        };
        let calls: Vec<ToolCall> = calls.iter().map(call).collect();
        let refs = calls.iter().map(|call| ToolCallRef {
            id: call.id.clone(),
            name: "look".into(),
            fingerprint: Digest::ZERO,
        });
        let answer = LlmAnswer {
            tool_calls: refs.collect(),
            message: Personal::seal(
                &ChatMessage {
                    role: ChatRole::Assistant,
                    content: None,
                    tool_calls: Some(calls),
                    tool_call_id: None,
                    name: None,
                },
                "acme/ada",
                &self.keys,
            )
            .unwrap(),
            text: text.map(|text| Personal::seal(&text.to_owned(), "acme/ada", &self.keys).unwrap()),
            finish_reason: "tool_calls".into(),
            model: "m".into(),
            prompt_tokens: 1,
            completion_tokens: 1,
            attempt: 1,
        };
        self.event(&RunEvent::ModelAnswered { iteration, answer });
    }

    fn returned(&mut self, iteration: u32, place: u32, id: &str, text: &str) {
        let result = Personal::seal(&tool_answer(id, "look", text.into()), "acme/ada", &self.keys).unwrap();
        self.event(&RunEvent::ToolReturned {
            name: format!("tool#{iteration}.{place}"),
            result,
            ok: true,
        });
    }

    /// The messages, and how many records were looked at.
    fn messages(&self, at_version: u64, room: usize) -> (Vec<ChatMessage>, usize) {
        let (mut so_far, mut looked) = (SoFar::new(at_version, room), 0);
        for record in self.records.iter().rev() {
            looked += 1;
            if !so_far.take(record, &self.keys).unwrap() {
                break;
            }
        }
        (so_far.into_oldest_first(), looked)
    }

    fn shape(&self, at_version: u64) -> Vec<String> {
        let messages = self.messages(at_version, PROMPT_MAX_BYTES).0;
        let told = |m: &ChatMessage| match (&m.tool_call_id, &m.content) {
            (Some(id), Some(text)) => format!("{id}: {}", text.chars().take(24).collect::<String>()),
            _ => "calls".into(),
        };
        messages.iter().map(told).collect()
    }
}

#[test]
fn results_follow_their_calls_in_the_order_of_the_calls() {
    let mut turn = Turn::new(Arc::new(MemoryBlobs::default()));
    turn.answered(1, &["a", "b"]);
    turn.returned(1, 1, "b", "late call, early answer");
    turn.returned(1, 0, "a", &"x".repeat(10_000));
    turn.answered(2, &["c"]);
    turn.returned(2, 0, "c", "third");
    assert_eq!(
        turn.shape(u64::MAX),
        [
            "calls",
            "a: xxxxxxxxxxxxxxxxxxxxxxxx",
            "b: late call, early answer",
            "calls",
            "c: third"
        ]
    );
    assert_eq!(turn.shape(2), ["calls", "b: late call, early answer"], "up to its version");
    assert_eq!(turn.shape(0), Vec::<String>::new());
}

/// Counts what is fetched.
struct Counting(MemoryBlobs, Arc<AtomicUsize>);

impl Blobs for Counting {
    fn put(&self, org: &OrgId, blobs: &[Vec<u8>]) -> Result<Vec<Digest>, quipu_events::blobs::BlobError> {
        self.0.put(org, blobs)
    }
    fn get(&self, org: &OrgId, name: &Digest) -> Result<Vec<u8>, quipu_events::blobs::BlobError> {
        let found = self.0.get(org, name)?;
        self.1.fetch_add(found.len(), Ordering::Relaxed);
        Ok(found)
    }
    fn delete(&self, org: &OrgId, names: &[Digest]) -> Result<(), quipu_events::blobs::BlobError> {
        self.0.delete(org, names)
    }
    fn list(&self, after: Option<&str>) -> Result<quipu_events::blobs::Page, quipu_events::blobs::BlobError> {
        self.0.list(after)
    }
    fn is_shared(&self) -> bool {
        false
    }
    fn place(&self) -> String {
        self.0.place()
    }
}

#[test]
fn a_hundred_large_results_cost_a_name_each_and_few_are_fetched() {
    let fetched = Arc::new(AtomicUsize::new(0));
    let mut turn = Turn::new(Arc::new(Counting(MemoryBlobs::default(), fetched.clone())));
    let large = "y".repeat(1_000_000);
    for iteration in 1..=100 {
        turn.answered(iteration, &["a"]);
        turn.returned(iteration, 0, "a", if iteration % 10 == 0 { &large } else { "small" });
    }
    let stored: usize = turn.records.iter().flat_map(|r| &r.events).map(|e| e.data.get().len()).sum();
    assert!(stored < 150_000, "{stored} bytes of events for 10 MB of results");
    let mut named = 0;
    for event in turn.records.iter().flat_map(|r| &r.events) {
        let value = serde_json::from_str(event.data.get()).unwrap();
        BlobRef::each_in(&value, &mut |_| named += 1);
    }
    assert_eq!(named, 10);
    let messages = turn.messages(u64::MAX, PROMPT_MAX_BYTES).0;
    let bytes: usize = messages.iter().map(|m| m.content.as_ref().map_or(0, String::len)).sum();
    assert!(bytes <= PROMPT_MAX_BYTES && bytes > 3_000_000, "{bytes}");
    assert!(fetched.load(Ordering::Relaxed) <= PROMPT_MAX_BYTES + 10_000, "{fetched:?}");
    assert!(
        messages
            .iter()
            .any(|m| m.content.as_deref().is_some_and(|text| text.starts_with("(a result of 1000")))
    );
}

#[test]
fn a_long_turn_is_read_as_far_as_there_is_room() {
    let mut turn = Turn::new(Arc::new(MemoryBlobs::default()));
    for iteration in 1..=200 {
        turn.answered(iteration, &["a"]);
        turn.returned(iteration, 0, "a", &"z".repeat(1_000));
    }
    let (messages, looked) = turn.messages(u64::MAX, 20_000);
    assert!(
        messages.len() >= 20 && looked <= messages.len() + 2,
        "{looked} for {}",
        messages.len()
    );
    assert_eq!(
        messages[0].role,
        ChatRole::Assistant,
        "an exchange is there as a whole or not at all"
    );
}

#[test]
fn a_text_beside_its_message_is_read_with_it() {
    let mut turn = Turn::new(Arc::new(MemoryBlobs::default()));
    let large = "thinking ".repeat(1_000);
    turn.said(1, &["a"], Some(&large));
    turn.returned(1, 0, "a", "42");
    let (messages, _) = turn.messages(u64::MAX, PROMPT_MAX_BYTES);
    assert_eq!(messages[0].content.as_deref(), Some(large.as_str()));
    assert_eq!(messages[0].tool_calls.as_ref().map(Vec::len), Some(1));
    assert_eq!(turn.messages(u64::MAX, large.len()).0, [], "it takes its room");
}
