//! Turns: who was asked, who answers, why, and how it ended.

use crate::{
    conversation_rows::CONVERSATIONS,
    reading::{Filter, Reading, View, one_of, rising},
    scope::Scope,
    statement::{Statements, Value, json, name},
    table::{Table, count, index, int, json as json_column, text, text_or},
};
use quipu_kinds::conversation::ConversationEvent as Event;

/// One row a turn; `state` is `open`, `claimed`, `decided`, `closed` or `finished`.
pub static TURNS: Table = Table {
    name: "turns",
    key: &[text("conversation"), text("turn")],
    columns: &[
        text_or("state", "'open'"),
        text("message"),
        json_column("eligible"),
        int("closes_at"),
        count("claims"),
        count("deferrals"),
        text("winner"),
        text("method"),
        text("why"),
        json_column("bids"),
        text("run"),
        text("interruption"),
        text("interrupted_by"),
        text("interrupt_reason"),
        json_column("outcome"),
        count("sequence"),
        int("opened_at"),
        int("decided_at"),
        int("finished_at"),
    ],
    indexes: &[index("conversation, sequence"), index("state, conversation, turn")],
};

static TURNS_READING: Reading = Reading {
    name: "turns",
    table: &TURNS,
    only: None,
    order: rising(&["conversation", "sequence", "turn"]),
    in_stream: None,
    orders: &[],
    named_by: &["conversation", "turn"],
    computed: &[],
    filters: &[
        ("conversation", Filter::Is("conversation")),
        ("state", one_of!("state": "open", "claimed", "decided", "closed", "finished")),
        ("winner", Filter::Is("winner")),
        ("run", Filter::Is("run")),
    ],
};

impl View {
    /// Turns, in the order of their conversation.
    pub const TURNS: View = View::of(&TURNS_READING);
}

pub(crate) fn reduce(at: Scope<'_>, event: Event, out: &mut Statements) {
    let org = at.org();
    let conversation = || Value::from(&at.header.stream.id);
    let now = || Value::from(at.time());
    let current = |out: &mut Statements, turn: Value| out.put(&CONVERSATIONS, org, [conversation()], [("turn", turn)]);
    match event {
        Event::TurnOpened {
            turn,
            message_id,
            eligible,
            closes_at,
            at_version: _,
        } => {
            current(out, turn.as_str().into());
            out.put(
                &TURNS,
                org,
                [conversation(), turn.into()],
                [
                    ("state", "open".into()),
                    ("message", (&message_id).into()),
                    ("eligible", json(&eligible)),
                    ("closes_at", closes_at.into()),
                    ("sequence", at.version.into()),
                    ("opened_at", now()),
                ],
            );
        }
        Event::TurnClaimed {
            turn,
            agent: _,
            reason: _,
            confidence: _,
            priority: _,
            rule: _,
            conditions: _,
            expires_at: _,
        } => {
            out.put_add(
                &TURNS,
                org,
                [conversation(), turn.into()],
                [("state", "claimed".into())],
                [("claims", 1)],
            );
        }
        Event::TurnDeferred { turn, agent: _, reason: _ } => {
            out.put_add(&TURNS, org, [conversation(), turn.into()], [], [("deferrals", 1)]);
        }
        Event::TurnDecided {
            turn,
            message_id,
            winner,
            method,
            why,
            bids,
            run,
            at_version: _,
        } => {
            current(out, turn.as_str().into());
            out.put(
                &TURNS,
                org,
                [conversation(), turn.as_str().into()],
                [
                    ("state", "decided".into()),
                    ("message", (&message_id).into()),
                    ("winner", (&winner).into()),
                    ("method", name(&method)),
                    ("why", why.into()),
                    ("bids", json(&bids)),
                    ("run", (&run).into()),
                    ("decided_at", now()),
                ],
            );
            // A turn that was never open begins here; one that was keeps its place.
            let mine = [("conversation", conversation()), ("turn", turn.into()), ("sequence", 0u64.into())];
            out.change(&TURNS, org, mine, [("sequence", at.version.into())], &[]);
        }
        Event::TurnClosed { turn, why } => {
            let set = [("state", "closed".into()), ("why", why.into()), ("finished_at", now())];
            out.put(&TURNS, org, [conversation(), turn.into()], set);
            current(out, Value::Null);
        }
        Event::TurnFinished { turn, outcome } => {
            let set = [("state", "finished".into()), ("outcome", json(&outcome)), ("finished_at", now())];
            out.change(
                &CONVERSATIONS,
                org,
                [("id", conversation()), ("turn", turn.as_str().into())],
                [("turn", Value::Null)],
                &[],
            );
            out.put(&TURNS, org, [conversation(), turn.into()], set);
        }
        Event::TurnInterrupted {
            turn,
            run: _,
            how,
            by,
            reason,
        } => out.put(
            &TURNS,
            org,
            [conversation(), turn.into()],
            [
                ("interruption", name(&how)),
                ("interrupted_by", (&by).into()),
                ("interrupt_reason", reason.into()),
            ],
        ),
        other => unreachable!("not about a turn: {other:?}"),
    }
}
