//! What leaves: events as CloudEvents, conversations as OpenAI chat transcripts.

use crate::client::{Client, ClientError, FeedQuery};
use futures::{StreamExt, stream};
use quipu_kinds::conversation::ParticipantKind;
use quipu_schemas::{chat::ChatMessage, ids::OrgId, personal::BLOB_KEY};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

/// Why an export ended early. What was written until then is whole lines.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The node.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The output.
    #[error("writing: {0}")]
    Write(#[from] io::Error),
    /// An event that is none of a conversation's.
    #[error("event {0} is not understood: {1}")]
    Event(String, String),
}

/// Writes every event so far, one CloudEvent a line, as the feed serves it; returns how many.
pub async fn cloudevents(client: &Client, org: &OrgId, query: &FeedQuery, out: &mut dyn Write) -> Result<u64, ExportError> {
    let mut feed = client
        .feed(
            org,
            &FeedQuery {
                follow: false,
                ..query.clone()
            },
        )
        .await?;
    let mut events = 0;
    while let Some(event) = feed.next_event().await? {
        writeln!(out, "{}", event.text)?;
        events += 1;
    }
    out.flush()?;
    Ok(events)
}

/// Marks a message of a transcript whose words cannot be had.
pub const ERASED: &str = "quipu_erased";

/// How much was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Chats {
    /// Conversations.
    pub conversations: u64,
    /// Messages.
    pub messages: u64,
    /// Of them, messages whose words are gone, or do not open with the keys that the node has: their content is null, and
    /// [`ERASED`] beside it tells them from messages without content.
    pub erased: u64,
}

/// Writes conversations (all of the org, or one) as transcripts, one a line, sorted by id:
/// `{"id": …, "title": …, "messages": […]}`, the title where there is one.
///
/// Imported messages are written as they were imported; posted ones as `user` (people, services) or `assistant` (agents), with
/// the sender as `name`; edits are applied, deleted messages left out. A message that does not open is `{"content": null, "quipu_erased": true, …}`.
pub async fn chats(client: &Client, org: &OrgId, id: Option<&str>, out: &mut dyn Write) -> Result<Chats, ExportError> {
    const AT_A_TIME: usize = 8;
    let created = FeedQuery {
        kind: Some("conversation".into()),
        id: id.map(str::to_owned),
        types: Some("quipu.conversation.created.v1".into()),
        ..FeedQuery::default()
    };
    let mut feed = client.feed(org, &created).await?;
    let mut ids = BTreeSet::new();
    // What is behind damage is missing from the transcripts; what is before it is written first.
    let missing = loop {
        match feed.next_event().await {
            Ok(Some(event)) => ids.extend(event.value.get("subject").and_then(Value::as_str).map(str::to_owned)),
            Ok(None) => break None,
            Err(incomplete @ ClientError::Incomplete(_)) => break Some(incomplete),
            Err(error) => return Err(error.into()),
        }
    };
    let mut done = Chats::default();
    let mut transcripts = stream::iter(ids)
        .map(|id| async move {
            let read = transcript(client, org, &id).await;
            (id, read)
        })
        .buffered(AT_A_TIME);
    while let Some(next) = transcripts.next().await {
        let (id, Transcript { title, messages }) = match next {
            (_, Err(ExportError::Client(ClientError::Refused(problem)))) if missing.is_some() && problem.status == 503 => continue,
            (id, read) => (id, read?),
        };
        done.conversations += 1;
        done.messages += messages.len() as u64;
        done.erased += messages.iter().filter(|message| message.erased).count() as u64;
        let messages: Vec<Value> = messages.into_iter().map(Message::shown).collect();
        let mut line = json!({ "id": id, "messages": messages });
        if let Some(title) = title {
            line["title"] = title.into();
        }
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    missing.map_or(Ok(done), |missing| Err(missing.into()))
}

/// A message of a transcript.
struct Message {
    id: String,
    value: Value,
    /// Its words do not open: its content is null for that, not because it was said so.
    erased: bool,
}

impl Message {
    fn shown(self) -> Value {
        let mut value = self.value;
        if self.erased {
            value[ERASED] = true.into();
        }
        value
    }
}

/// A conversation as far as it was read.
#[derive(Default)]
struct Transcript {
    title: Option<String>,
    messages: Vec<Message>,
}

async fn transcript(client: &Client, org: &OrgId, id: &str) -> Result<Transcript, ExportError> {
    let mut records = client.all(&format!("/v1/orgs/{org}/conversations/{id}/history"), &[]).await?;
    fetch_named(client, org, &mut records).await?;
    let mut transcript = Transcript::default();
    for event in records.iter().filter_map(|record| record.get("events")?.as_array()).flatten() {
        apply(&mut transcript, event).map_err(|e| ExportError::Event(event["id"].to_string(), e))?;
    }
    Ok(transcript)
}

/// Puts values that a history names in their places. One that is missing or damaged stays a name, and is told as erased.
async fn fetch_named(client: &Client, org: &OrgId, records: &mut [Value]) -> Result<(), ClientError> {
    let mut named = Vec::new();
    records.iter().for_each(|record| each_name(record, &mut named));
    let mut values = BTreeMap::new();
    for digest in named {
        match client.blob(org, &digest).await {
            Ok(value) => drop(values.insert(digest, value)),
            Err(ClientError::Refused(problem)) if matches!(problem.status, 404 | 410) || problem.code == "blob_damaged" => {}
            Err(error) => return Err(error),
        }
    }
    records.iter_mut().for_each(|record| put_named(record, &values));
    Ok(())
}

fn each_name(value: &Value, named: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| each_name(item, named)),
        Value::Object(map) => match map.get(BLOB_KEY).and_then(Value::as_str) {
            Some(digest) => named.push(digest.to_owned()),
            None => map.values().for_each(|item| each_name(item, named)),
        },
        _ => {}
    }
}

fn put_named(value: &mut Value, values: &BTreeMap<String, Value>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| put_named(item, values)),
        Value::Object(map) => match map.get(BLOB_KEY).and_then(Value::as_str) {
            Some(digest) => {
                if let Some(found) = values.get(digest) {
                    *value = found.clone();
                }
            }
            None => map.values_mut().for_each(|item| put_named(item, values)),
        },
        _ => {}
    }
}

/// Whether this is what an erased value is shown as, or one that is not kept any more.
fn is_erased(value: &Value) -> bool {
    value.get(BLOB_KEY).is_some() || value.as_object().is_some_and(|map| map.len() == 1) && value["erased"] == Value::Bool(true)
}

/// What is said of a value that whoever asks may not read.
const WITHHELD: &str = "its text is withheld: the key that was shown does not hold cap:personal.read";

fn is_withheld(value: &Value) -> bool {
    value["redacted"] == Value::Bool(true)
}

/// Folds one opened event into the messages so far.
fn apply(transcript: &mut Transcript, event: &Value) -> Result<(), String> {
    let Transcript { title, messages } = transcript;
    let data = &event["data"];
    let text = |name: &str| {
        data.get(name)
            .and_then(Value::as_str)
            .map(str::to_owned)
            .ok_or_else(|| format!("no `{name}`"))
    };
    // A body is text, or the mark of one whose key is gone, and its words with it.
    let body = || match &data["body"] {
        Value::String(text) => Ok((Value::from(text.as_str()), false)),
        body if is_erased(body) => Ok((Value::Null, true)),
        body if is_withheld(body) => Err(WITHHELD.to_owned()),
        _ => Err("no `body`".to_owned()),
    };
    match event["type"].as_str().unwrap_or_default() {
        // An erased title is none.
        "quipu.conversation.created.v1" | "quipu.conversation.renamed.v1" => {
            *title = data["title"].as_str().map(str::to_owned);
        }
        "quipu.conversation.message_imported.v1" => {
            let erased = is_erased(&data["content"]);
            let mut message = match &data["content"] {
                content if is_withheld(content) => return Err(WITHHELD.into()),
                Value::Object(_) if erased => Map::from_iter([("content".to_owned(), Value::Null)]),
                Value::Object(content) => content.clone(),
                _ => return Err("no `content`".into()),
            };
            message.insert("role".into(), data["role"].clone());
            let value = Value::Object(message);
            serde_json::from_value::<ChatMessage>(value.clone()).map_err(|e| e.to_string())?;
            messages.push(Message {
                id: text("message_id")?,
                value,
                erased,
            });
        }
        "quipu.conversation.message_posted.v1" => {
            let kind: ParticipantKind = serde_json::from_value(data["sender_kind"].clone()).map_err(|e| e.to_string())?;
            let role = match kind {
                ParticipantKind::Agent => "assistant",
                ParticipantKind::Person | ParticipantKind::Service => "user",
            };
            let (body, erased) = body()?;
            messages.push(Message {
                id: text("message_id")?,
                value: json!({ "role": role, "name": text("sender")?, "content": body }),
                erased,
            });
        }
        "quipu.conversation.message_edited.v1" => {
            let (id, (body, erased)) = (text("message_id")?, body()?);
            if let Some(message) = messages.iter_mut().find(|message| message.id == id) {
                message.value["content"] = body;
                message.erased = erased;
            }
        }
        "quipu.conversation.message_deleted.v1" => {
            let id = text("message_id")?;
            messages.retain(|message| message.id != id);
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_says_which_right_its_key_lacks() {
        for (name, data) in [
            (
                "message_imported",
                json!({ "message_id": "m", "role": "user", "content": { "redacted": true } }),
            ),
            (
                "message_posted",
                json!({ "message_id": "m", "sender": "ada", "sender_kind": "person", "body": { "redacted": true } }),
            ),
        ] {
            let event = json!({ "id": "x", "type": format!("quipu.conversation.{name}.v1"), "data": data });
            assert_eq!(apply(&mut Transcript::default(), &event).unwrap_err(), WITHHELD);
        }
    }

    #[test]
    fn messages_export_as_imported_with_edits_applied() {
        let event = |name: &str, data: Value| json!({ "id": "x", "type": format!("quipu.conversation.{name}.v1"), "data": data });
        let mut transcript = Transcript::default();
        for event in [
            event("created", json!({ "title": "Then" })),
            event("renamed", json!({ "title": "Now" })),
            event(
                "message_imported",
                json!({ "message_id": "m1", "role": "tool", "content": { "content": null, "tool_call_id": "t", "name": "f" } }),
            ),
            event(
                "message_imported",
                json!({ "message_id": "m2", "role": "user", "content": { "content": "" } }),
            ),
            event(
                "message_posted",
                json!({ "message_id": "m3", "sender": "scout", "sender_kind": "agent", "body": "hi" }),
            ),
            event("message_edited", json!({ "message_id": "m3", "body": "hello" })),
            event(
                "message_posted",
                json!({ "message_id": "m4", "sender": "ada", "sender_kind": "person", "body": "gone" }),
            ),
            event("message_deleted", json!({ "message_id": "m4" })),
            event(
                "message_imported",
                json!({ "message_id": "m5", "role": "user", "content": { "erased": true } }),
            ),
        ] {
            apply(&mut transcript, &event).unwrap();
        }
        let Transcript { title, messages } = transcript;
        assert_eq!(title.as_deref(), Some("Now"));
        assert_eq!(messages.iter().map(|m| m.erased).collect::<Vec<_>>(), [false, false, false, true]);
        let messages: Vec<_> = messages.into_iter().map(Message::shown).collect();
        assert_eq!(
            Value::Array(messages),
            json!([
                { "role": "tool", "content": null, "tool_call_id": "t", "name": "f" },
                { "role": "user", "content": "" },
                { "role": "assistant", "name": "scout", "content": "hello" },
                { "role": "user", "content": null, "quipu_erased": true },
            ])
        );
        assert!(
            apply(
                &mut Transcript::default(),
                &event("message_imported", json!({ "message_id": "m1", "role": "x", "content": {} }))
            )
            .is_err()
        );
    }
}
