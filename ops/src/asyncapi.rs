//! AsyncAPI 3.0 from the code: the channels of the bus with the commands, events and answers that OpenAPI has, too.
//! Checked in as `schemas/asyncapi.json`; a test holds the two together.
//!
//! A kind of bus is a function here that adds its server, channels and operations; messages and schemas are shared.

mod kafka;

use crate::{
    bus::subject::{self, CALL, CMD, FEED, RECEIPT},
    openapi::{
        command_body, pascal,
        schemas::{Components, keep_used},
    },
};
use quipu_runtime::api::KindInfo;
use serde_json::{Map, Value, json};

const ID: &str = "^[A-Za-z0-9_-]{1,64}$";
const COMMAND_ID: &str = "^[A-Za-z0-9_.:-]{1,128}$";
/// The right that the principal who is named needs, as in OpenAPI; [`BROKER`] where the broker's permissions alone decide.
const RIGHT: &str = "x-quipu-right";
const BROKER: &str = "broker";
const LABEL: &str = "^[A-Za-z0-9_.:-]{1,128}$";

/// The document under construction.
#[derive(Default)]
struct Document {
    channels: Map<String, Value>,
    operations: Map<String, Value>,
    messages: Map<String, Value>,
    components: Components,
}

/// The document of a node with these kinds.
pub fn document(kinds: &[KindInfo]) -> Value {
    let mut document = Document::default();
    for kind in kinds {
        document.messages_of(kind);
    }
    document.answers();
    document.nats(kinds);
    document.kafka(kinds);
    let mut schemas = document.components.into_schemas();
    // Others are OpenAPI's alone.
    keep_used(&mut schemas, &Value::Object(document.messages.clone()));
    name_discriminators(&mut schemas);
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Quipu",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Commands in, receipts and events out over a bus. What clients may rely on: ops/docs/bus.md.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "nats": {
                "host": "127.0.0.1:4222",
                "protocol": "nats",
                "description": "NATS with JetStream. The broker's permissions say who may publish and subscribe for an org.",
                "security": [{ "$ref": "#/components/securitySchemes/broker" }],
            },
            "kafka": kafka::server(),
        },
        "channels": document.channels,
        "operations": document.operations,
        "components": {
            "messages": document.messages,
            "schemas": schemas,
            "parameters": parameters(),
            "securitySchemes": {
                "broker": {
                    "type": "userPassword",
                    "description": "The account at the broker, whose permissions say for which orgs it may publish and subscribe. \
                        A message names who acts, or the node's `bus.principal` does; what they may is asked in their org, by the right of the operation (`x-quipu-right`).",
                },
            },
        },
    })
}

fn parameters() -> Value {
    json!({
        "org": { "description": "The org: the one tenant key, [A-Za-z0-9_-]{1,64}." },
        "id": { "description": "The entity's id, [A-Za-z0-9_-]{1,64}; `_` for a create that leaves it to the node." },
        "hash": { "description": "The first 32 hex digits of the SHA-256 of the command's id." },
    })
}

fn parameter_references(names: &[&str]) -> Value {
    let reference = |name: &&str| ((*name).to_owned(), json!({ "$ref": format!("#/components/parameters/{name}") }));
    Value::Object(names.iter().map(reference).collect())
}

fn command_headers() -> Value {
    let text = |pattern: &str, description: &str| json!({ "type": "string", "pattern": pattern, "description": description });
    json!({
        "type": "object",
        "anyOf": [{ "required": ["Idempotency-Key"] }, { "required": ["Nats-Msg-Id"] }],
        "properties": {
            "Idempotency-Key": text(COMMAND_ID, "The command's id: a repetition gets the first receipt."),
            "Nats-Msg-Id": text(COMMAND_ID, "The command's id, where there is no Idempotency-Key; the broker drops repetitions itself."),
            "Quipu-On-Behalf-Of": text(
                ID,
                "The principal who acts. Required, unless the node's `bus.principal` names a service principal: that one acts then, and names \
                 here for whom, by cap:principal.act_as.",
            ),
            "If-Match": text("^\"[0-9]{1,15}\"$", "The expected version, quoted."),
            "If-None-Match": { "type": "string", "enum": ["*"], "description": "The entity must not exist." },
            "X-Env": text(LABEL, "A label of your own for the environment that the command comes from."),
            "X-Data-Class": { "type": "string", "enum": ["none", "pii", "phi", "secret"], "description": "Label: how sensitive the data is." },
            "X-Correlation-Id": text(LABEL, "Correlates everything that the command causes."),
            "traceparent": { "type": "string", "description": "W3C trace context; ignored where malformed." },
        },
    })
}

/// OpenAPI describes a discriminator by an object, AsyncAPI by the property's name alone.
fn name_discriminators(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(name_discriminators),
        Value::Object(map) => {
            if let Some(discriminator) = map.get_mut("discriminator")
                && let Some(name) = discriminator.get_mut("propertyName").map(Value::take)
            {
                *discriminator = name;
            }
            map.values_mut().for_each(name_discriminators);
        }
        _ => {}
    }
}

fn command_name(kind: &str, command: &str) -> String {
    format!("{kind}.{command}")
}

impl Document {
    /// The messages that commands and events of a kind are, on whatever bus.
    fn messages_of(&mut self, kind: &KindInfo) {
        for command in &kind.commands {
            let payload = command_body(&mut self.components, &kind.kind, &command.name, &command.schema);
            let name = command_name(&kind.kind, &command.name);
            let message = json!({
                "name": name,
                "title": format!("{} {}", kind.kind, command.name),
                "summary": command.summary,
                "contentType": "application/json",
                "headers": command_headers(),
                "payload": payload,
            });
            self.messages.insert(kafka::name(&name), kafka::command(&message, &command.name));
            self.messages.insert(name, message);
        }
        for event in &kind.events {
            let data = self.components.hoist(&kind.kind, &format!("{}_event", event.name), &event.schema);
            let message = json!({
                "name": event.name,
                "title": event.name,
                "summary": "An event as a CloudEvent; personal values in its data are sealed.",
                "contentType": "application/cloudevents+json",
                "headers": { "type": "object", "properties": {
                    "Nats-Msg-Id": { "type": "string", "description": "On NATS: the event's id, org/kind/id@version." },
                    "content-type": { "type": "string", "const": "application/cloudevents+json", "description": "On Kafka, and as Content-Type on NATS." },
                } },
                "bindings": { "kafka": { "key": kafka::entity() } },
                "payload": {
                    "allOf": [
                        { "$ref": "#/components/schemas/CloudEvent" },
                        { "type": "object", "properties": { "type": { "const": event.name }, "data": data } },
                    ],
                },
            });
            self.messages.insert(event.name.clone(), message);
        }
    }

    fn answers(&mut self) {
        let receipt = json!({
            "name": "receipt",
            "title": "Receipt",
            "summary": "The command is decided and durable.",
            "contentType": "application/json",
            "headers": { "type": "object", "properties": {
                "Quipu-Command-Id": { "type": "string" },
                "X-Correlation-Id": { "type": "string" },
            } },
            "payload": { "$ref": "#/components/schemas/Receipt" },
        });
        let problem = json!({
            "name": "problem",
            "title": "Problem",
            "summary": "The command was refused, or its outcome is not known; RFC 9457 with the command's id.",
            "contentType": "application/problem+json",
            "headers": { "type": "object", "required": ["Nats-Service-Error-Code", "Nats-Service-Error"], "properties": {
                "Nats-Service-Error-Code": { "type": "string", "description": "The status that HTTP would have." },
                "Nats-Service-Error": { "type": "string", "description": "The problem's code." },
                "x-should-retry": { "type": "string", "enum": ["true", "false"] },
                "Retry-After": { "type": "string", "description": "After how many seconds to try again." },
                "Quipu-Command-Id": { "type": "string" },
            } },
            "payload": { "allOf": [
                { "$ref": "#/components/schemas/Problem" },
                { "type": "object", "properties": { "command_id": { "type": "string", "pattern": COMMAND_ID } } },
            ] },
        });
        for (name, message) in [("receipt", receipt), ("problem", problem)] {
            self.messages.insert(kafka::name(name), kafka::answer(&message));
            self.messages.insert(name.into(), message);
        }
    }

    fn channel(&mut self, name: &str, address: &str, summary: &str, parameters: &[&str], messages: &[&str]) {
        let reference = |message: &&str| ((*message).to_owned(), json!({ "$ref": format!("#/components/messages/{message}") }));
        let channel = json!({
            "address": address,
            "summary": summary,
            "servers": [{ "$ref": "#/servers/nats" }],
            "parameters": parameter_references(parameters),
            "messages": Value::Object(messages.iter().map(reference).collect()),
        });
        self.channels.insert(name.to_owned(), channel);
    }

    fn nats(&mut self, kinds: &[KindInfo]) {
        let answers = ["receipt", "problem"];
        for kind in kinds {
            for command in &kind.commands {
                let message = command_name(&kind.kind, &command.name);
                let end = format!("{{org}}.{}.{{id}}.{}", kind.kind, command.name);
                let named = format!("{}{}", pascal(&kind.kind), pascal(&command.name));
                let (call, queue) = (format!("call{named}"), format!("queue{named}"));
                self.channel(
                    &call,
                    &format!("{CALL}.{end}"),
                    "A call: the answer comes when the command is durable.",
                    &["org", "id"],
                    &[&message],
                );
                let operation = json!({
                    "action": "receive",
                    "channel": { "$ref": format!("#/channels/{call}") },
                    "summary": command.summary,
                    RIGHT: format!("cap:{}.{}", kind.kind, command.name),
                    "messages": [{ "$ref": format!("#/channels/{call}/messages/{message}") }],
                    "bindings": { "nats": { "queue": "quipu" } },
                    "reply": {
                        "address": { "location": "$message.header#/reply-to", "description": "The reply subject of the request." },
                        "channel": { "$ref": "#/channels/reply" },
                        "messages": answers.map(|answer| json!({ "$ref": format!("#/channels/reply/messages/{answer}") })),
                    },
                });
                self.operations.insert(call, operation);
                let summary = "The durable queue, a JetStream stream: the receipt comes on the channel `receipts`.";
                self.channel(&queue, &format!("{CMD}.{end}"), summary, &["org", "id"], &[&message]);
                let operation = json!({
                    "action": "receive",
                    "channel": { "$ref": format!("#/channels/{queue}") },
                    "summary": command.summary,
                    RIGHT: format!("cap:{}.{}", kind.kind, command.name),
                    "messages": [{ "$ref": format!("#/channels/{queue}/messages/{message}") }],
                });
                self.operations.insert(queue, operation);
            }
            for event in &kind.events {
                let last = subject::event(&event.name);
                let name = format!("feed{}{}", pascal(&kind.kind), pascal(&last));
                let summary = "Events in the order of their stream, at least once, from a JetStream stream.";
                if let Some(channel) = self.channels.get_mut(&name) {
                    // Versions of one event share a subject.
                    channel["messages"][&event.name] = json!({ "$ref": format!("#/components/messages/{}", event.name) });
                    continue;
                }
                self.channel(
                    &name,
                    &format!("{FEED}.{{org}}.{}.{last}", kind.kind),
                    summary,
                    &["org"],
                    &[&event.name],
                );
                let operation = json!({
                    "action": "send", "channel": { "$ref": format!("#/channels/{name}") }, "summary": summary, RIGHT: BROKER,
                });
                self.operations.insert(name, operation);
            }
        }
        let summary = "Answers to queued commands, the last of each command, from a JetStream stream.";
        self.channel(
            "receipts",
            &format!("{RECEIPT}.{{org}}.{{hash}}"),
            summary,
            &["org", "hash"],
            &answers,
        );
        let operation = json!({ "action": "send", "channel": { "$ref": "#/channels/receipts" }, "summary": summary, RIGHT: BROKER });
        self.operations.insert("sendReceipt".into(), operation);
        self.channel("reply", "", "Where the caller waits for its answer.", &[], &answers);
        self.channels["reply"]["address"] = Value::Null;
    }
}
