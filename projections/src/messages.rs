//! Messages and threads, and notices of turns that ended without an answer. Bodies stay sealed; a deleted message's body is
//! dropped.

use crate::{
    conversation_rows::CONVERSATIONS,
    reading::{Filter, Reading, View, rising},
    scope::Scope,
    statement::{Statements, Value, json, name},
    table::{KEY_BESIDE, Table, count, flag, index, index_only, int, json as json_column, text},
    turns::TURNS,
};
use quipu_kinds::conversation::{ConversationEvent as Event, TurnOutcome};

/// One row a message; `sequence` is the version that its event has in its conversation, `thread` the message that
/// begins its thread (itself, where it answers none).
///
/// A turn that failed leaves a row too, in its place among the messages: `notice` says why, its sender is the agent that
/// should have answered, and its id, `notice:TURN`, is none that a message can have.
pub static MESSAGES: Table = Table {
    name: "messages",
    key: &[text("conversation"), text("id")],
    columns: &[
        int("sequence"),
        text("sender"),
        text("sender_kind"),
        flag("historical"),
        text("role"),
        json_column("body"),
        json_column("content"),
        text("content_type"),
        text("reply_to"),
        text("thread"),
        text("priority"),
        json_column("mentions"),
        text("turn"),
        json_column("notice"),
        count("edits"),
        int("edited_at"),
        flag("deleted"),
        text("deleted_by"),
        int("deleted_at"),
        int("posted_at"),
    ],
    indexes: &[
        KEY_BESIDE,
        index("conversation, sequence"),
        index_only("conversation, thread, sequence", "reply_to IS NOT NULL"),
    ],
};

static MESSAGES_READING: Reading = Reading {
    name: "messages",
    table: &MESSAGES,
    only: None,
    order: rising(&["conversation", "sequence"]),
    in_stream: None,
    orders: &[],
    named_by: &["conversation", "id"],
    computed: &[],
    filters: &[
        ("conversation", Filter::Is("conversation")),
        ("thread", Filter::Is("thread")),
        ("reply_to", Filter::Is("reply_to")),
        ("sender", Filter::Is("sender")),
        ("turn", Filter::Is("turn")),
        ("from_sequence", Filter::From("sequence")),
        ("before_sequence", Filter::Before("sequence")),
        (
            "notice",
            Filter::OneOf(&[("true", "notice IS NOT NULL"), ("false", "notice IS NULL")]),
        ),
        ("deleted", Filter::OneOf(&[("true", "deleted = 1"), ("false", "deleted = 0")])),
        (
            "historical",
            Filter::OneOf(&[("true", "historical = 1"), ("false", "historical = 0")]),
        ),
    ],
};

impl View {
    /// Messages, in the order of their conversation.
    pub const MESSAGES: View = View::of(&MESSAGES_READING);
}

pub(crate) fn reduce(at: Scope<'_>, event: Event, out: &mut Statements) {
    let org = at.org();
    let conversation = || Value::from(&at.header.stream.id);
    let now = || Value::from(at.time());
    let counted = |out: &mut Statements, id: Value| {
        out.put_add(
            &CONVERSATIONS,
            org,
            [conversation()],
            [("last_message", id)],
            [("message_count", 1)],
        );
    };
    match event {
        Event::MessagePosted {
            message_id,
            sender,
            sender_kind,
            body,
            content_digest: _,
            content_type,
            reply_to,
            priority,
            mentions,
            turn,
            indexed: _,
        } => {
            let thread = match &reply_to {
                Some(parent) => Statements::read(&MESSAGES, org, [conversation(), parent.into()], "thread", parent.into()),
                None => (&message_id).into(),
            };
            out.put(
                &MESSAGES,
                org,
                [conversation(), (&message_id).into()],
                [
                    ("sequence", at.version.into()),
                    ("sender", (&sender).into()),
                    ("sender_kind", name(&sender_kind)),
                    ("body", json(&body)),
                    ("content_type", name(&content_type)),
                    ("reply_to", reply_to.as_ref().into()),
                    ("thread", thread),
                    ("priority", name(&priority)),
                    ("mentions", json(&mentions)),
                    ("turn", turn.into()),
                    ("posted_at", now()),
                ],
            );
            counted(out, (&message_id).into());
        }
        Event::MessageImported {
            message_id,
            role,
            content_digest: _,
            content,
            indexed: _,
        } => {
            out.put(
                &MESSAGES,
                org,
                [conversation(), (&message_id).into()],
                [
                    ("sequence", at.version.into()),
                    ("historical", true.into()),
                    ("role", name(&role)),
                    ("content", json(&content)),
                    ("thread", (&message_id).into()),
                    ("posted_at", now()),
                ],
            );
            counted(out, (&message_id).into());
        }
        Event::MessageEdited { message_id, body } => {
            let set = [("body", json(&body)), ("edited_at", now())];
            out.put_add(&MESSAGES, org, [conversation(), (&message_id).into()], set, [("edits", 1)]);
        }
        Event::MessageDeleted { message_id, by } => out.put(
            &MESSAGES,
            org,
            [conversation(), (&message_id).into()],
            [
                ("deleted", true.into()),
                ("deleted_by", (&by).into()),
                ("deleted_at", now()),
                ("body", Value::Null),
                ("content", Value::Null),
            ],
        ),
        Event::TurnFinished {
            turn,
            outcome: outcome @ TurnOutcome::Failed { .. },
        } => {
            let winner = Statements::read(&TURNS, org, [conversation(), turn.as_str().into()], "winner", Value::Null);
            let id = Value::from(format!("notice:{turn}"));
            out.put(
                &MESSAGES,
                org,
                [conversation(), id.clone()],
                [
                    ("sequence", at.version.into()),
                    ("sender", winner),
                    ("sender_kind", "agent".into()),
                    ("notice", json(&outcome)),
                    ("thread", id),
                    ("turn", turn.into()),
                    ("posted_at", now()),
                ],
            );
        }
        other => unreachable!("not about a message: {other:?}"),
    }
}
