//! The views that can be queried, with the filters that each allows.

use crate::{activity, agents, conversations, deliveries, error::ViewError, messages, orgs, parked, runs, table::Table, timers, turns};

/// A filter's meaning.
#[derive(Debug, Clone, Copy)]
pub enum Filter {
    /// The column equals the value.
    Is(&'static str),
    /// The column is at least the value (inclusive).
    From(&'static str),
    /// The column is below the value (exclusive).
    Before(&'static str),
    /// One of these values, with the SQL condition that it stands for.
    OneOf(&'static [(&'static str, &'static str)]),
}

/// An order of rows within an org.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// Columns; together unique, never null.
    pub columns: &'static [&'static str],
    /// Whether the greatest come first.
    pub descending: bool,
}

/// How a view is read.
#[derive(Debug)]
pub struct Reading {
    /// Name in paths and cursors.
    pub name: &'static str,
    /// Table.
    pub table: &'static Table,
    /// Only rows for which this SQL holds.
    pub only: Option<&'static str>,
    /// The order of pages. Its columns never change once a row is there, so that a row that is there at the first page
    /// comes exactly once, however much the rows change meanwhile.
    pub order: Order,
    /// The order within one stream (filters `kind` and `id`), where the key has it: a stream's record time rises with its
    /// versions, so it is the same order, but for clocks.
    pub in_stream: Option<Order>,
    /// Other orders by name, for a look at the first rows: what they sort by changes, so a row that moves while pages
    /// are read may be missed or come twice.
    pub orders: &'static [(&'static str, Order)],
    /// Columns that name one row, for `get`; unique within the org.
    pub named_by: &'static [&'static str],
    /// Filters by name.
    pub filters: &'static [(&'static str, Filter)],
}

macro_rules! views {
    ($($(#[$doc:meta])* $view:ident => $reading:expr;)*) => {
        /// A view.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum View { $($(#[$doc])* $view,)* }

        impl View {
            /// Every view.
            pub const ALL: &'static [View] = &[$(View::$view,)*];

            /// How it is read.
            pub fn reading(self) -> &'static Reading {
                match self { $(View::$view => { static READING: Reading = $reading; &READING })* }
            }
        }
    };
}

use Filter::{Before, From, Is, OneOf};

/// A column that holds one of these names and nothing else: any other is a mistake, and told so.
macro_rules! one_of {
    ($column:literal: $($name:literal),+ $(,)?) => {
        $crate::view::Filter::OneOf(&[$(($name, concat!($column, " = '", $name, "'"))),+])
    };
}
pub(crate) use one_of;

/// The least first.
pub(crate) const fn rising(columns: &'static [&'static str]) -> Order {
    Order {
        columns,
        descending: false,
    }
}

/// The greatest first.
pub(crate) const fn falling(columns: &'static [&'static str]) -> Order {
    Order { columns, descending: true }
}

/// A view of a whole table in the order of its key.
const fn whole(
    name: &'static str,
    table: &'static Table,
    named_by: &'static [&'static str],
    filters: &'static [(&'static str, Filter)],
) -> Reading {
    Reading {
        name,
        table,
        only: None,
        order: rising(named_by),
        in_stream: None,
        orders: &[],
        named_by,
        filters,
    }
}

const EFFECT_KEY: &[&str] = &["kind", "id", "version", "ordinal"];

views! {
    /// The org itself (one row).
    Orgs => whole("orgs", &orgs::ORGS, &["org"], &[]);
    /// An org's settings.
    OrgSettings => whole("settings", &orgs::SETTINGS, &["name"], &[]);
    /// Orgs below this one.
    Workspaces => whole("workspaces", &orgs::WORKSPACES, &["workspace"], &[]);
    /// Members of the org.
    Members => whole("members", &orgs::MEMBERS, &["principal"], &[("role", one_of!("role": "viewer", "member", "admin", "owner"))]);
    /// Agents.
    Agents => whole("agents", &agents::AGENTS, &["id"], &[("status", one_of!("status": "active", "suspended", "retired"))]);
    /// Directive versions of agents.
    Directives => whole("directives", &agents::DIRECTIVES, &["agent", "digest"], &[("agent", Is("agent")), ("active", ACTIVE)]);
    /// Tools granted to agents.
    AgentTools => whole("tools", &agents::TOOLS, &["agent", "name"], &[("agent", Is("agent"))]);
    /// Conversations, newest first; `recent`: last active first.
    Conversations => Reading {
        name: "conversations",
        table: &conversations::CONVERSATIONS,
        only: None,
        order: falling(&["created_at", "id"]),
        in_stream: None,
        orders: &[("recent", falling(&["last_activity_at", "id"]))],
        named_by: &["id"],
        filters: &[("phase", PHASE), ("type", one_of!("type": "private", "group")), ("active_from", From("last_activity_at")), ("active_before", Before("last_activity_at"))],
    };
    /// Who takes or took part in conversations.
    Participants => whole(
        "participants",
        &conversations::PARTICIPANTS,
        &["conversation", "principal"],
        &[
            ("conversation", Is("conversation")),
            ("principal", Is("principal")),
            ("active", ACTIVE),
            ("kind", one_of!("kind": "person", "agent", "service")),
            ("role", one_of!("role": "member", "admin", "owner")),
        ],
    );
    /// Messages, in the order of their conversation.
    Messages => Reading {
        name: "messages",
        table: &messages::MESSAGES,
        only: None,
        order: rising(&["conversation", "sequence"]),
        in_stream: None,
        orders: &[],
        named_by: &["conversation", "id"],
        filters: &[
            ("conversation", Is("conversation")),
            ("thread", Is("thread")),
            ("reply_to", Is("reply_to")),
            ("sender", Is("sender")),
            ("turn", Is("turn")),
            ("from_sequence", From("sequence")),
            ("before_sequence", Before("sequence")),
            ("deleted", OneOf(&[("true", "deleted = 1"), ("false", "deleted = 0")])),
            ("historical", OneOf(&[("true", "historical = 1"), ("false", "historical = 0")])),
        ],
    };
    /// Turns, in the order of their conversation.
    Turns => Reading {
        name: "turns",
        table: &turns::TURNS,
        only: None,
        order: rising(&["conversation", "sequence", "turn"]),
        in_stream: None,
        orders: &[],
        named_by: &["conversation", "turn"],
        filters: &[
            ("conversation", Is("conversation")),
            ("state", one_of!("state": "open", "claimed", "decided", "closed", "finished")),
            ("winner", Is("winner")),
            ("run", Is("run")),
        ],
    };
    /// Runs.
    Runs => runs::RUNS_READING;
    /// The timeline of runs.
    RunSteps => runs::STEPS_READING;
    /// Effects, newest first.
    Deliveries => Reading {
        name: "deliveries",
        table: &deliveries::DELIVERIES,
        only: None,
        order: falling(&["created_at", "kind", "id", "version", "ordinal"]),
        in_stream: Some(falling(&["version", "ordinal"])),
        orders: &[],
        named_by: EFFECT_KEY,
        filters: &[
            ("status", OneOf(&[
                ("pending", "status = 'pending' AND status <> 'delivered'"),
                ("processing", "status = 'processing' AND status <> 'delivered'"),
                ("delivered", "status = 'delivered'"),
                ("failed", "status = 'failed' AND status <> 'delivered'"),
                ("cancelled", "status = 'cancelled' AND status <> 'delivered'"),
                ("dead", "status = 'dead' AND status <> 'delivered'"),
                ("dropped", "status = 'dropped' AND status <> 'delivered'"),
            ])),
            ("kind", Is("kind")),
            ("id", Is("id")),
            ("effect", Is("effect")),
            ("destination", Is("destination")),
        ],
    };
    /// Effects that are dead, newest first; `recent`: last to die first (a retry dies again).
    DeadLetters => Reading {
        name: "dead-letters",
        table: &deliveries::DELIVERIES,
        only: Some("status = 'dead' AND status <> 'delivered'"),
        order: falling(&["created_at", "kind", "id", "version", "ordinal"]),
        in_stream: Some(falling(&["version", "ordinal"])),
        orders: &[("recent", falling(&["settled_at", "kind", "id", "version", "ordinal"]))],
        named_by: EFFECT_KEY,
        filters: &[("kind", Is("kind")), ("id", Is("id")), ("effect", Is("effect")), ("destination", Is("destination"))],
    };
    /// Commands that entities sent to others.
    Dispatches => whole(
        "dispatches",
        &deliveries::DISPATCHES,
        EFFECT_KEY,
        &[
            ("status", OneOf(&[
                ("pending", "status = 'pending'"),
                ("accepted", "status = 'accepted'"),
                ("unchanged", "status = 'unchanged'"),
                ("refused", "status = 'refused'"),
                ("parked", "status = 'parked'"),
            ])),
            ("kind", Is("kind")),
            ("id", Is("id")),
            ("receiver", Is("receiver")),
        ],
    );
    /// Timers.
    Timers => whole(
        "timers",
        &timers::TIMERS,
        &["kind", "id", "name"],
        &[
            ("status", OneOf(&[("set", "status = 'set'"), ("fired", "status = 'fired'"), ("cancelled", "status = 'cancelled'")])),
            ("kind", Is("kind")),
            ("id", Is("id")),
            ("due_before", Before("due")),
        ],
    );
    /// Receipts of commands, in stream order.
    Receipts => Reading {
        name: "receipts",
        table: &activity::COMMANDS,
        only: None,
        order: rising(&["kind", "id", "offset"]),
        in_stream: Some(rising(&["offset"])),
        orders: &[],
        named_by: &["kind", "id", "command_id"],
        filters: &[("kind", Is("kind")), ("id", Is("id")), ("command_id", Is("command_id"))],
    };
    /// Who did what on whose behalf, newest first.
    Activity => Reading {
        name: "activity",
        table: &activity::COMMANDS,
        only: None,
        order: falling(&["time", "kind", "id", "offset"]),
        in_stream: Some(falling(&["offset"])),
        orders: &[],
        named_by: &["kind", "id", "command_id"],
        filters: &[
            ("principal", Is("principal")),
            ("on_behalf_of", Is("on_behalf_of")),
            ("kind", Is("kind")),
            ("id", Is("id")),
            ("correlation", Is("correlation")),
            ("from", From("time")),
            ("before", Before("time")),
        ],
    };
    /// Streams that parked.
    ParkedStreams => whole("parked-streams", &parked::PARKED, &["kind", "id"], &[("kind", Is("kind"))]);
}

/// The phases that people look for have an index of their own.
const PHASE: Filter = OneOf(&[
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
const ACTIVE: Filter = OneOf(&[("true", "active = 1"), ("false", "active = 0")]);

impl View {
    /// Name in paths and cursors.
    pub fn name(self) -> &'static str {
        self.reading().name
    }

    /// Columns that name one row, for `get`.
    pub fn named_by(self) -> &'static [&'static str] {
        self.reading().named_by
    }

    /// Names of the filters it allows.
    pub fn filters(self) -> impl Iterator<Item = &'static str> {
        self.reading().filters.iter().map(|(name, _)| *name)
    }

    /// Names of the orders that it can be listed in besides its own.
    pub fn orders(self) -> impl Iterator<Item = &'static str> {
        self.reading().orders.iter().map(|(name, _)| *name)
    }

    /// A view by its name.
    pub fn parse(name: &str) -> Result<Self, ViewError> {
        Self::ALL.iter().copied().find(|v| v.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|v| v.name()).collect();
            ViewError::UnknownView(name.chars().take(80).collect(), names.join(", "))
        })
    }
}
