//! The tables of conversations and of who takes part in them.

use crate::table::{Table, count, flag, index, index_only, int, json as json_column, text, text_or};

/// One row a conversation.
pub static CONVERSATIONS: Table = Table {
    name: "conversations",
    key: &[text("id")],
    columns: &[
        text("type"),
        json_column("title"),
        text_or("phase", "'idle'"),
        flag("paused"),
        text("paused_by"),
        text("pause_reason"),
        int("claim_window_ms"),
        flag("auto_turns"),
        text("turn"),
        text("handoff_by"),
        text("handoff_to"),
        text("handoff_reason"),
        int("handoff_expires_at"),
        text("taken_over_by"),
        count("participant_count"),
        count("message_count"),
        text("last_message"),
        count("last_activity_at"),
        count("version"),
        count("created_at"),
    ],
    indexes: &[
        index("created_at, id"),
        index("last_activity_at, id"),
        index_only("phase, created_at, id", "phase IN ('handoff_pending', 'agent_active')"),
        index_only("phase, last_activity_at, id", "phase IN ('handoff_pending', 'agent_active')"),
    ],
};

/// One row a principal that takes or took part.
pub static PARTICIPANTS: Table = Table {
    name: "participants",
    key: &[text("conversation"), text("principal")],
    columns: &[
        text("kind"),
        text("role"),
        flag("active"),
        flag("left"),
        int("joined_at"),
        int("removed_at"),
    ],
    indexes: &[index("principal, active, conversation")],
};
