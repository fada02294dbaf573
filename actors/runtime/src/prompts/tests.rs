//! A prompt that is gathered backward is, byte for byte, the one that a fold of the whole conversation gives.

use super::*;
use proptest::prelude::*;
use quipu_events::keyring::Keyring;
use quipu_kinds::conversation::{ContentType, ImportedContent, Priority};
use quipu_schemas::{digest::Digest, envelope::DataClass, ids::CommandId, personal::Personal, record::Header};

struct Posted {
    at: u64,
    message: ChatMessage,
}

/// All messages up to a version, folded forward from the first record.
fn folded(records: &[Record], at_version: u64, speaker: &PrincipalId, opener: &dyn Opener) -> Vec<ChatMessage> {
    let mut said: BTreeMap<MessageId, Posted> = BTreeMap::new();
    for record in records {
        for (version, stored) in (record.header.first_version..).zip(&record.events) {
            if version > at_version {
                break;
            }
            match codec::decode_event::<ConversationEvent>(stored).unwrap() {
                ConversationEvent::MessagePosted {
                    message_id,
                    sender,
                    sender_kind,
                    body,
                    ..
                } => {
                    let Opened::Value(text) = body.shown(opener).unwrap() else {
                        continue;
                    };
                    let own = sender == *speaker && sender_kind == ParticipantKind::Agent;
                    let message = ChatMessage {
                        role: if own { ChatRole::Assistant } else { ChatRole::User },
                        content: Some(text),
                        tool_calls: None,
                        tool_call_id: None,
                        name: (!own).then(|| sender.to_string()),
                    };
                    said.insert(message_id, Posted { at: version, message });
                }
                ConversationEvent::MessageImported {
                    message_id, role, content, ..
                } => {
                    let Opened::Value(content) = content.shown(opener).unwrap() else {
                        continue;
                    };
                    let message = ChatMessage {
                        role,
                        content: content.content,
                        tool_calls: content.tool_calls,
                        tool_call_id: content.tool_call_id,
                        name: content.name,
                    };
                    said.insert(message_id, Posted { at: version, message });
                }
                ConversationEvent::MessageEdited { message_id, body } => {
                    if let (Some(said), Opened::Value(text)) = (said.get_mut(&message_id), body.shown(opener).unwrap()) {
                        said.message.content = Some(text);
                    }
                }
                ConversationEvent::MessageDeleted { message_id, .. } => {
                    said.remove(&message_id);
                }
                _ => {}
            }
        }
    }
    let mut ordered: Vec<Posted> = said.into_values().collect();
    ordered.sort_by_key(|said| said.at);
    ordered.into_iter().map(|said| said.message).collect()
}

#[derive(Debug, Clone)]
struct Act {
    what: u8,
    message: u8,
    sender: u8,
    length: usize,
    /// The body's key is not there: it was erased.
    erased: bool,
    /// Whether the event stands in a record with the one before it.
    joined: bool,
}

fn act() -> impl Strategy<Value = Act> {
    (
        0u8..10,
        0u8..6,
        0u8..3,
        0usize..200,
        prop::bool::weighted(0.15),
        prop::bool::weighted(0.3),
    )
        .prop_map(|(what, message, sender, length, erased, joined)| Act {
            what,
            message,
            sender,
            length,
            erased,
            joined,
        })
}

fn event(act: &Act, n: usize, keys: &Keyring, others: &Keyring) -> ConversationEvent {
    let message_id = MessageId::parse(format!("m{}", act.message)).unwrap();
    let sender = PrincipalId::parse(["bot", "ada", "eve"][usize::from(act.sender)]).unwrap();
    let text = format!("{n}:{}", "x".repeat(act.length));
    // Sealed under another key, it does not open.
    let sealer = if act.erased { others } else { keys };
    match act.what {
        0..=4 => ConversationEvent::MessagePosted {
            message_id,
            sender_kind: if act.sender == 0 {
                ParticipantKind::Agent
            } else {
                ParticipantKind::Person
            },
            body: Personal::seal(&text, "acme/ada", sealer).unwrap(),
            sender,
            content_digest: Digest::ZERO,
            content_type: ContentType::Text,
            reply_to: None,
            priority: Priority::Normal,
            mentions: Vec::new(),
            turn: None,
            indexed: true,
        },
        5 => ConversationEvent::MessageImported {
            message_id,
            role: ChatRole::Tool,
            content_digest: Digest::ZERO,
            content: Personal::seal(
                &ImportedContent {
                    content: Some(text),
                    tool_calls: None,
                    tool_call_id: Some("c1".into()),
                    name: None,
                },
                "acme/ada",
                sealer,
            )
            .unwrap(),
            indexed: true,
        },
        6 | 7 => ConversationEvent::MessageEdited {
            message_id,
            body: Personal::seal(&text, "acme/ada", sealer).unwrap(),
        },
        _ => ConversationEvent::MessageDeleted { message_id, by: sender },
    }
}

fn records(acts: &[Act], keys: &Keyring, others: &Keyring) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    for (n, act) in acts.iter().enumerate() {
        let stored = codec::encode_event(&event(act, n, keys, others)).unwrap();
        if act.joined
            && let Some(last) = records.last_mut()
        {
            last.header.events += 1;
            last.events.push(stored);
            continue;
        }
        let header = Header {
            stream: "acme/conversation/c1".parse().unwrap(),
            first_version: n as u64 + 1,
            events: 1,
            reactions: 0,
            command_id: CommandId::parse(format!("c-{n}")).unwrap(),
            digest: Digest::ZERO,
            time: n as u64,
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
        records.push(Record {
            header,
            events: vec![stored],
            reactions: Vec::new(),
            previous: Digest::ZERO,
            hash: Digest::ZERO,
        });
    }
    records
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn backward_prompts_equal_folded_ones(acts in prop::collection::vec(act(), 0..40), cut in 0u64..45, most in 100usize..4_000) {
        let (keys, others) = (Keyring::ephemeral(1), Keyring::ephemeral(2));
        let (records, speaker) = (records(&acts, &keys, &others), PrincipalId::from_static("bot"));
        // As `assemble` does it, with less room.
        let mut room = Room::beside(most, Some("Be brief."), &[]);
        let mut kept: Vec<ChatMessage> = folded(&records, cut, &speaker, &keys).into_iter().rev().take_while(|m| room.takes(m)).collect();
        kept.reverse();
        let mut backward = Backward::new(cut, speaker, Room::beside(most, Some("Be brief."), &[]));
        for record in records.iter().rev().filter(|record| record.header.first_version <= cut) {
            if !backward.take(record, &keys).unwrap() {
                break;
            }
        }
        prop_assert_eq!(serde_json::to_string(&backward.into_oldest_first()).unwrap(), serde_json::to_string(&kept).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_reads_no_further_back_than_it_has_room() {
    let scene = crate::node::scene::Scene::new().await;
    scene.say(190, 40_000).await; // fewer than make a snapshot, whose audit reads too
    let agent: StreamId = "acme/agent/bot".parse().unwrap();
    scene
        .send(
            "acme",
            "agent",
            "bot",
            "create",
            serde_json::json!({ "name": "Bot", "model": { "provider": "scripted", "model": "echo" } }),
        )
        .await;
    scene
        .send("acme", "agent", "bot", "add_directive", serde_json::json!({ "text": "Be brief." }))
        .await;
    let added = scene.node.history(&agent, 0, 10).await.unwrap();
    let digest = added
        .iter()
        .flat_map(|entry| &entry.record.events)
        .find_map(|stored| match codec::decode_event(stored) {
            Ok(quipu_kinds::agent::AgentEvent::DirectiveAdded { digest, .. }) => Some(digest),
            _ => None,
        })
        .unwrap();
    let prompt = |at_version| Prompt::Conversation {
        conversation: scene.room(),
        at_version,
        agent: agent.clone(),
        directive: Some(digest),
        transcript: Vec::new(),
        turn: None,
    };
    let (directives, cancel) = (Directives::default(), Cancel::default());
    let before = scene.records_read();
    let whole = conversation(scene.core(), &directives, &prompt(192), &cancel).unwrap();
    let read = scene.records_read() - before;
    let fits = PROMPT_MAX_BYTES / 40_000;
    assert!(whole.len() > fits - 5 && whole.len() <= fits + 1, "{}", whole.len());
    assert!(read < fits as u64 + 60, "{read} records for {} messages", whole.len());
    assert_eq!(whole[0].content.as_deref(), Some("Be brief."));
    // Another call finds the directive at hand, and reads a short conversation alone.
    let before = scene.records_read();
    let short = conversation(scene.core(), &directives, &prompt(4), &cancel).unwrap();
    assert_eq!((short.len(), scene.records_read() - before), (3, 3));
    let gone = Prompt::Conversation {
        conversation: scene.room(),
        at_version: 3,
        agent,
        directive: Some(Digest([9; 32])),
        transcript: Vec::new(),
        turn: None,
    };
    assert!(matches!(
        conversation(scene.core(), &directives, &gone, &cancel),
        Err(PromptError::Gone(_))
    ));
}
