//! What leaves: events as CloudEvents, conversations as OpenAI chat transcripts.

use crate::client::{Client, ClientError, FeedQuery};
use futures::{StreamExt, stream};
use quipu_schemas::{chat::ChatMessage, conversation::ParticipantKind, ids::OrgId};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeSet,
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

/// How much was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Chats {
    /// Conversations.
    pub conversations: u64,
    /// Messages.
    pub messages: u64,
}

/// Writes conversations (all of the org, or one) as transcripts, one a line, sorted by id: `{"id": …, "messages": […]}`.
///
/// Imported messages are written as they were imported; posted ones as `user` (people, services) or `assistant` (agents);
/// edits are applied, deleted messages left out.
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
    while let Some(event) = feed.next_event().await? {
        ids.extend(event.value.get("subject").and_then(Value::as_str).map(str::to_owned));
    }
    let mut done = Chats::default();
    let mut transcripts = stream::iter(ids)
        .map(|id| async move {
            let messages = transcript(client, org, &id).await?;
            Ok::<_, ExportError>((id, messages))
        })
        .buffered(AT_A_TIME);
    while let Some(next) = transcripts.next().await {
        let (id, messages) = next?;
        done.conversations += 1;
        done.messages += messages.len() as u64;
        writeln!(out, "{}", json!({ "id": id, "messages": messages }))?;
    }
    out.flush()?;
    Ok(done)
}

async fn transcript(client: &Client, org: &OrgId, id: &str) -> Result<Vec<Value>, ExportError> {
    let records = client.all(&format!("/v1/orgs/{org}/conversations/{id}/history"), &[]).await?;
    let mut messages: Vec<(String, Value)> = Vec::new();
    for event in records.iter().filter_map(|record| record.get("events")?.as_array()).flatten() {
        apply(&mut messages, event).map_err(|e| ExportError::Event(event["id"].to_string(), e))?;
    }
    Ok(messages.into_iter().map(|(_, message)| message).collect())
}

/// Folds one opened event into the messages so far.
fn apply(messages: &mut Vec<(String, Value)>, event: &Value) -> Result<(), String> {
    let data = &event["data"];
    let text = |name: &str| {
        data.get(name)
            .and_then(Value::as_str)
            .map(str::to_owned)
            .ok_or_else(|| format!("no `{name}`"))
    };
    match event["type"].as_str().unwrap_or_default() {
        "quipu.conversation.message_imported.v1" => {
            let mut message = match &data["content"] {
                // The speaker's key is gone, and their words with it.
                Value::Object(content) if content.contains_key("erased") => Map::from_iter([("content".to_owned(), Value::Null)]),
                Value::Object(content) => content.clone(),
                _ => return Err("no `content`".into()),
            };
            message.insert("role".into(), data["role"].clone());
            let message = Value::Object(message);
            serde_json::from_value::<ChatMessage>(message.clone()).map_err(|e| e.to_string())?;
            messages.push((text("message_id")?, message));
        }
        "quipu.conversation.message_posted.v1" => {
            let kind: ParticipantKind = serde_json::from_value(data["sender_kind"].clone()).map_err(|e| e.to_string())?;
            let role = match kind {
                ParticipantKind::Agent => "assistant",
                ParticipantKind::Person | ParticipantKind::Service => "user",
            };
            let body = data["body"].as_str().map_or(Value::Null, Value::from);
            messages.push((text("message_id")?, json!({ "role": role, "content": body })));
        }
        "quipu.conversation.message_edited.v1" => {
            let id = text("message_id")?;
            if let Some((_, message)) = messages.iter_mut().find(|(of, _)| *of == id) {
                message["content"] = data["body"].as_str().map_or(Value::Null, Value::from);
            }
        }
        "quipu.conversation.message_deleted.v1" => {
            let id = text("message_id")?;
            messages.retain(|(of, _)| *of != id);
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in_with_edits_and_deletions_applied() {
        let event = |name: &str, data: Value| json!({ "id": "x", "type": format!("quipu.conversation.{name}.v1"), "data": data });
        let mut messages = Vec::new();
        for event in [
            event("created", json!({})),
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
                json!({ "message_id": "m3", "sender_kind": "agent", "body": "hi" }),
            ),
            event("message_edited", json!({ "message_id": "m3", "body": "hello" })),
            event(
                "message_posted",
                json!({ "message_id": "m4", "sender_kind": "person", "body": "gone" }),
            ),
            event("message_deleted", json!({ "message_id": "m4" })),
            event(
                "message_imported",
                json!({ "message_id": "m5", "role": "user", "content": { "erased": true } }),
            ),
        ] {
            apply(&mut messages, &event).unwrap();
        }
        let messages: Vec<_> = messages.into_iter().map(|(_, m)| m).collect();
        assert_eq!(
            Value::Array(messages),
            json!([
                { "role": "tool", "content": null, "tool_call_id": "t", "name": "f" },
                { "role": "user", "content": "" },
                { "role": "assistant", "content": "hello" },
                { "role": "user", "content": null },
            ])
        );
        assert!(
            apply(
                &mut Vec::new(),
                &event("message_imported", json!({ "message_id": "m1", "role": "x", "content": {} }))
            )
            .is_err()
        );
    }
}
