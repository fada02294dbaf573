//! The bus on Kafka: three topics, whose messages have keys, and headers of their own.

use super::{BROKER, COMMAND_ID, Document, RIGHT, command_headers, command_name};
use crate::bus::topic::{COMMAND, COMMANDS, FEED, RECEIPTS, common};
use quipu_runtime::api::KindInfo;
use quipu_schemas::limits::{BUS_COMMAND_TOPIC_DAYS, BUS_FEED_DAYS, BUS_RECEIPT_AGE_S, PARTITIONS_DEFAULT};
use serde_json::{Value, json};

/// The prefix where none is asked for.
const PREFIX: &str = "quipu";
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// The server.
pub(super) fn server() -> Value {
    json!({
        "host": "127.0.0.1:9092",
        "protocol": "kafka",
        "security": [{ "$ref": "#/components/securitySchemes/broker" }],
        "description": "Apache Kafka. ACLs on topics say who may write and read for an org; an org may have topics of its own, \
            the common topic's name followed by a dot and the org.",
    })
}

/// What a message is called on Kafka.
pub(super) fn name(message: &str) -> String {
    format!("kafka.{message}")
}

/// The key of commands and events.
pub(super) fn entity() -> Value {
    json!({
        "type": "string",
        "pattern": "^[A-Za-z0-9_-]{1,64}/[a-z][a-z0-9-]{0,31}/[A-Za-z0-9_-]{1,64}$",
        "description": "The entity, org/kind/id: Kafka keeps the order of one key. A create may have `_` for its id.",
    })
}

/// A command on Kafka, from what it is on any bus.
pub(super) fn command(message: &Value, command: &str) -> Value {
    let mut headers = command_headers();
    headers["required"] = json!([COMMAND, "Idempotency-Key"]);
    if let Some(all) = headers.as_object_mut() {
        all.remove("anyOf");
    }
    if let Some(properties) = headers["properties"].as_object_mut() {
        properties.remove("Nats-Msg-Id");
        properties.insert(
            COMMAND.into(),
            json!({ "type": "string", "const": command, "description": "The name of the command." }),
        );
    }
    let mut message = message.clone();
    message["headers"] = headers;
    message["bindings"] = json!({ "kafka": { "key": entity() } });
    message
}

/// A receipt or a problem on Kafka.
pub(super) fn answer(message: &Value) -> Value {
    let mut message = message.clone();
    message["headers"] = json!({
        "type": "object",
        "required": ["content-type", "quipu-status", "quipu-message"],
        "properties": {
            "content-type": { "type": "string" },
            "quipu-status": { "type": "string", "description": "The status that HTTP would have; 200 of a receipt." },
            "quipu-code": { "type": "string", "description": "The code of a problem." },
            "quipu-message": { "type": "string", "description": "The message that is answered: topic/partition/offset." },
            "quipu-command-id": { "type": "string", "pattern": COMMAND_ID },
            "x-correlation-id": { "type": "string" },
            "x-should-retry": { "type": "string", "enum": ["true", "false"] },
            "retry-after": { "type": "string", "description": "After how many seconds to try again." },
        },
    });
    let key = json!({ "type": "string", "description": "The org, a slash, the command's id." });
    message["bindings"] = json!({ "kafka": { "key": key } });
    message
}

impl Document {
    pub(super) fn kafka(&mut self, kinds: &[KindInfo]) {
        let commands = kinds
            .iter()
            .flat_map(|kind| kind.commands.iter().map(|c| name(&command_name(&kind.kind, &c.name))));
        let events = kinds.iter().flat_map(|kind| kind.events.iter().map(|event| event.name.clone()));
        let (commands, events): (Vec<String>, Vec<String>) = (commands.collect(), events.collect());
        let answers = ["receipt", "problem"].map(name);
        let group = json!({ "kafka": { "groupId": { "type": "string", "const": common(PREFIX, COMMANDS) } } });
        for (channel, family, kept_ms, messages, action, summary) in [
            (
                "kafkaCommands",
                COMMANDS,
                u64::from(BUS_COMMAND_TOPIC_DAYS) * DAY_MS,
                &commands[..],
                "receive",
                "Commands of all orgs; each is answered on `kafkaReceipts`.",
            ),
            (
                "kafkaReceipts",
                RECEIPTS,
                BUS_RECEIPT_AGE_S * 1_000,
                &answers[..],
                "send",
                "Answers to commands, durable before the command counts as consumed.",
            ),
            (
                "kafkaFeed",
                FEED,
                u64::from(BUS_FEED_DAYS) * DAY_MS,
                &events[..],
                "send",
                "Events in the order of their stream, at least once.",
            ),
        ] {
            let topic = common(PREFIX, family);
            let reference = |message: &String| (message.clone(), json!({ "$ref": format!("#/components/messages/{message}") }));
            let described = json!({
                "address": topic,
                "summary": summary,
                "servers": [{ "$ref": "#/servers/kafka" }],
                "parameters": {},
                "messages": messages.iter().map(reference).collect::<serde_json::Map<_, _>>(),
                "bindings": { "kafka": {
                    "topic": topic,
                    "partitions": PARTITIONS_DEFAULT,
                    "topicConfiguration": { "cleanup.policy": ["delete"], "retention.ms": kept_ms },
                } },
            });
            self.channels.insert(channel.to_owned(), described);
            let mut operation = json!({
                "action": action,
                "channel": { "$ref": format!("#/channels/{channel}") },
                "summary": summary,
            });
            // A command's right is that of its kind and name.
            operation[RIGHT] = if action == "receive" { "cap:{kind}.{command}" } else { BROKER }.into();
            if action == "receive" {
                operation["bindings"] = group.clone();
            }
            self.operations.insert(channel.to_owned(), operation);
        }
    }
}
