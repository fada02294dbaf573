//! Conversations and who takes part; messages and turns have files of their own.

use crate::{
    conversation_rows::{CONVERSATIONS, PARTICIPANTS},
    family::{Family, Tie},
    messages,
    reading::{ACTIVE, Filter, Reading, View, falling, one_of, whole},
    scope::{Scope, events},
    statement::{Statements, Value, json, name},
    turns,
};
use quipu_kinds::conversation::{ConversationEvent as Event, TurnOutcome};

/// The phases that people look for have an index of their own.
const PHASE: Filter = Filter::OneOf(&[
    ("idle", "phase = 'idle'"),
    ("ai_active", "phase = 'ai_active'"),
    ("waiting_for_user", "phase = 'waiting_for_user'"),
    (
        "handoff_pending",
        "phase = 'handoff_pending' AND phase IN ('handoff_pending', 'agent_active')",
    ),
    (
        "agent_active",
        "phase = 'agent_active' AND phase IN ('handoff_pending', 'agent_active')",
    ),
    ("resolved", "phase = 'resolved'"),
    ("archived", "phase = 'archived'"),
]);

static CONVERSATIONS_READING: Reading = Reading {
    name: "conversations",
    table: &CONVERSATIONS,
    only: None,
    order: falling(&["created_at", "id"]),
    in_stream: None,
    orders: &[("recent", falling(&["last_activity_at", "id"]))],
    named_by: &["id"],
    computed: &[],
    filters: &[
        ("phase", PHASE),
        ("type", one_of!("type": "private", "group")),
        ("active_from", Filter::From("last_activity_at")),
        ("active_before", Filter::Before("last_activity_at")),
    ],
};

static PARTICIPANTS_READING: Reading = whole(
    "participants",
    &PARTICIPANTS,
    &["conversation", "principal"],
    &[
        ("conversation", Filter::Is("conversation")),
        ("principal", Filter::Is("principal")),
        ("active", ACTIVE),
        ("kind", one_of!("kind": "person", "agent", "service")),
        ("role", one_of!("role": "member", "admin", "owner")),
    ],
);

impl View {
    /// Conversations, newest first; `recent`: last active first.
    pub const CONVERSATIONS: View = View::of(&CONVERSATIONS_READING);
    /// Who takes or took part in conversations.
    pub const PARTICIPANTS: View = View::of(&PARTICIPANTS_READING);
}

/// What it brings to the read models.
pub(crate) static FAMILY: Family = Family {
    name: "conversation",
    kind: Some("conversation"),
    version: 2,
    tables: &[&CONVERSATIONS, &PARTICIPANTS, &messages::MESSAGES, &turns::TURNS],
    views: &[View::CONVERSATIONS, View::PARTICIPANTS, View::MESSAGES, View::TURNS],
    parts: &[
        (View::MESSAGES, Tie::Id("conversation")),
        (View::PARTICIPANTS, Tie::Id("conversation")),
        (View::TURNS, Tie::Id("conversation")),
    ],
    counts: &[
        (View::CONVERSATIONS, &["type", "phase", "paused"]),
        (View::PARTICIPANTS, &["kind", "active"]),
        (View::MESSAGES, &[]),
        (View::TURNS, &["state"]),
    ],
    reduce: |record, _, out| events(record, out, reduce),
};

pub(crate) fn reduce(at: Scope<'_>, event: Event, out: &mut Statements) {
    let org = at.org();
    let id = || Value::from(&at.header.stream.id);
    let now = || Value::from(at.time());
    out.put(
        &CONVERSATIONS,
        org,
        [id()],
        [("version", at.version.into()), ("last_activity_at", now())],
    );
    match event {
        Event::Created {
            stream: _,
            conversation_type,
            title,
            claim_window_ms,
            auto_turns,
        } => out.put(
            &CONVERSATIONS,
            org,
            [id()],
            [
                ("type", name(&conversation_type)),
                ("title", title.as_ref().map(json).into()),
                ("claim_window_ms", claim_window_ms.into()),
                ("auto_turns", auto_turns.into()),
                ("created_at", now()),
            ],
        ),
        Event::Renamed { title } => out.put(&CONVERSATIONS, org, [id()], [("title", json(&title))]),
        Event::ParticipantAdded { principal, kind, role } => {
            out.put(
                &PARTICIPANTS,
                org,
                [id(), (&principal).into()],
                [
                    ("kind", name(&kind)),
                    ("role", name(&role)),
                    ("active", true.into()),
                    ("left", false.into()),
                    ("joined_at", now()),
                    ("removed_at", Value::Null),
                ],
            );
            out.put_add(&CONVERSATIONS, org, [id()], [], [("participant_count", 1)]);
        }
        Event::ParticipantRemoved { principal, left } => {
            let set = [("active", false.into()), ("left", left.into()), ("removed_at", now())];
            out.put(&PARTICIPANTS, org, [id(), (&principal).into()], set);
            out.put_add(&CONVERSATIONS, org, [id()], [], [("participant_count", -1)]);
        }
        Event::ParticipantRoleSet { principal, role } => {
            out.put(&PARTICIPANTS, org, [id(), (&principal).into()], [("role", name(&role))]);
        }
        Event::MessagePosted { .. } | Event::MessageImported { .. } | Event::MessageEdited { .. } | Event::MessageDeleted { .. } => {
            messages::reduce(at, event, out);
        }
        Event::PhaseChanged { from: _, to, reason: _ } => out.put(&CONVERSATIONS, org, [id()], [("phase", name(&to))]),
        Event::TurnOpened { .. }
        | Event::TurnClaimed { .. }
        | Event::TurnDeferred { .. }
        | Event::TurnDecided { .. }
        | Event::TurnClosed { .. }
        | Event::TurnInterrupted { .. } => turns::reduce(at, event, out),
        Event::TurnFinished { ref outcome, .. } => {
            if matches!(outcome, TurnOutcome::Failed { .. }) {
                messages::reduce(at, event.clone(), out);
            }
            turns::reduce(at, event, out);
        }
        Event::Paused { by, reason } => out.put(
            &CONVERSATIONS,
            org,
            [id()],
            [
                ("paused", true.into()),
                ("paused_by", (&by).into()),
                ("pause_reason", reason.into()),
            ],
        ),
        Event::Resumed { by: _, reason: _ } => out.put(
            &CONVERSATIONS,
            org,
            [id()],
            [("paused", false.into()), ("paused_by", Value::Null), ("pause_reason", Value::Null)],
        ),
        Event::HandoffRequested {
            by,
            to,
            reason,
            expires_at,
        } => out.put(
            &CONVERSATIONS,
            org,
            [id()],
            [
                ("handoff_by", (&by).into()),
                ("handoff_to", to.as_ref().into()),
                ("handoff_reason", reason.into()),
                ("handoff_expires_at", expires_at.into()),
            ],
        ),
        Event::HandoffAssigned { to } => out.put(&CONVERSATIONS, org, [id()], [("handoff_to", (&to).into())]),
        Event::HandoffAccepted { by } => {
            handoff_over(at, out);
            out.put(&CONVERSATIONS, org, [id()], [("taken_over_by", (&by).into())]);
        }
        Event::HandoffReturned { by: _, reason: _ } => out.put(&CONVERSATIONS, org, [id()], [("taken_over_by", Value::Null)]),
        Event::HandoffExpired {} => handoff_over(at, out),
    }
}

/// Nobody is waited for any more.
fn handoff_over(at: Scope<'_>, out: &mut Statements) {
    let set = ["handoff_by", "handoff_to", "handoff_reason", "handoff_expires_at"].map(|column| (column, Value::Null));
    out.put(&CONVERSATIONS, at.org(), [(&at.header.stream.id).into()], set);
}
