//! Words of an org's quota: its whole tree of budgets in one entity, so that one decision sees all levels, and its rates.

use quipu_schemas::{
    context::Millis,
    ids::{EntityId, PrincipalId},
    quota::{Level, RateBy, Unit, Window},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What clients may send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuotaCommand {
    /// Sets a limit, or changes it.
    SetLimit(SetLimit),
    /// Takes a limit away.
    RemoveLimit(RemoveLimit),
    /// Holds amounts before they are spent: all of them, or none.
    Reserve(Reserve),
    /// Books what was spent of a reservation, and gives the rest back.
    Settle(Settle),
    /// Gives back all that a reservation holds.
    Release(Release),
    /// Sets how many requests are let through, or changes it.
    SetRate(SetRate),
    /// Takes a rate away.
    RemoveRate(RemoveRate),
}

/// What the kernel sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuotaWord {
    /// The time of reservations may be over.
    Lapse(Lapse),
    /// A window may be over.
    Turn(Turn),
}

/// Sets a limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetLimit {
    /// On what.
    pub level: Level,
    /// Of what.
    pub unit: Unit,
    /// For which time; for good unless given.
    #[serde(default = "total")]
    pub window: Window,
    /// How much: a whole number, at most 2^49.
    pub limit: u64,
}

/// Takes a limit away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveLimit {
    /// On what it is.
    pub level: Level,
    /// Of what.
    pub unit: Unit,
    /// For which time; for good unless given.
    #[serde(default = "total")]
    pub window: Window,
}

fn total() -> Window {
    Window::Total
}

/// Holds amounts before they are spent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reserve {
    /// The reservation's name, by which it is settled or released. The same again, with the same content, changes nothing.
    pub key: EntityId,
    /// How long it holds, 1 to 3,600 seconds; then it lapses by itself.
    pub ttl_seconds: u32,
    /// What it holds, each unit once; 1 to 8.
    pub holds: Vec<Hold>,
}

/// An amount that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// Where it counts, besides the org, where everything counts; at most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<Level>,
    /// Of what.
    pub unit: Unit,
    /// How much: at least 1, at most 2^49.
    pub amount: u64,
}

/// Books what was spent of a reservation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settle {
    /// The reservation.
    pub key: EntityId,
    /// What was used of each unit that it holds: less than was held, or more.
    pub used: Vec<Used>,
}

/// An amount that was spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Used {
    /// Of what.
    pub unit: Unit,
    /// How much: 0 or more, at most 2^49.
    pub amount: u64,
}

/// Gives back what a reservation holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The reservation.
    pub key: EntityId,
}

/// Sets how many requests are let through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRate {
    /// By what they are counted.
    pub by: RateBy,
    /// How many, 1 to 100,000.
    pub requests: u32,
    /// In how long, 1 to 3,600 seconds; a minute unless given.
    #[serde(default = "minute")]
    pub per_seconds: u32,
}

fn minute() -> u32 {
    60
}

/// Takes a rate away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveRate {
    /// By what it counts.
    pub by: RateBy,
}

/// Notes that the time of reservations is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lapse {}

/// Notes that a window is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Which.
    pub window: Window,
}

/// What a settlement booked of one unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Booking {
    /// Where it counts.
    pub levels: Vec<Level>,
    /// Of what.
    pub unit: Unit,
    /// How much was used.
    pub used: u64,
    /// How much was held until now.
    pub freed: u64,
    /// How much more was used than was held.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub over: u64,
}

/// An amount that is held no longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Freed {
    /// Where it counted.
    pub level: Level,
    /// Of what.
    pub unit: Unit,
    /// How much.
    pub amount: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What happened to an org's quota.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum QuotaEvent {
    /// A limit was set or changed. What is used counts from when it was first set.
    #[serde(rename = "quipu.quota.limit_set.v1")]
    LimitSet {
        /// On what.
        level: Level,
        /// Of what.
        unit: Unit,
        /// For which time.
        window: Window,
        /// How much.
        limit: u64,
        /// How much is held there already.
        held: u64,
        /// When the window turns.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        turns_at: Option<Millis>,
    },
    /// A limit was taken away.
    #[serde(rename = "quipu.quota.limit_removed.v1")]
    LimitRemoved {
        /// On what it was.
        level: Level,
        /// Of what.
        unit: Unit,
        /// For which time.
        window: Window,
    },
    /// Amounts are held.
    #[serde(rename = "quipu.quota.reserved.v1")]
    Reserved {
        /// The reservation.
        key: EntityId,
        /// How long it holds.
        ttl_seconds: u32,
        /// When it lapses, by itself.
        until: Millis,
        /// What it holds, with all levels where it counts.
        holds: Vec<Hold>,
        /// Whose it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<PrincipalId>,
    },
    /// What was spent of a reservation is booked; the rest is free.
    #[serde(rename = "quipu.quota.settled.v1")]
    Settled {
        /// The reservation.
        key: EntityId,
        /// What is booked, one a unit.
        bookings: Vec<Booking>,
        /// Whether its time was over already.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        late: bool,
    },
    /// A reservation was given back.
    #[serde(rename = "quipu.quota.released.v1")]
    Released {
        /// The reservation.
        key: EntityId,
        /// What it held.
        holds: Vec<Hold>,
    },
    /// The time of reservations is over: what they held is free.
    #[serde(rename = "quipu.quota.lapsed.v1")]
    Lapsed {
        /// By when.
        until: Millis,
        /// The reservations; none where only the timer is set again.
        keys: Vec<EntityId>,
        /// What they held where there are limits, together.
        freed: Vec<Freed>,
    },
    /// A window is over: nothing is used of the limits for it.
    #[serde(rename = "quipu.quota.turned.v1")]
    Turned {
        /// Which.
        window: Window,
        /// When the new one began.
        since: Millis,
        /// When it ends.
        until: Millis,
    },
    /// A timer is set for the end of a window.
    #[serde(rename = "quipu.quota.window_watched.v1")]
    WindowWatched {
        /// Which.
        window: Window,
        /// When it ends.
        until: Millis,
    },
    /// What is used and held of a limit has come to 80, 95 or 100 %, for the first time in the window.
    #[serde(rename = "quipu.quota.noticed.v1")]
    Noticed {
        /// On what the limit is.
        level: Level,
        /// Of what.
        unit: Unit,
        /// For which time.
        window: Window,
        /// The mark; where several were passed at once, the highest.
        percent: u8,
        /// The limit.
        limit: u64,
        /// What is used.
        used: u64,
        /// What is held.
        held: u64,
    },
    /// So many requests are let through.
    #[serde(rename = "quipu.quota.rate_set.v1")]
    RateSet {
        /// By what they are counted.
        by: RateBy,
        /// How many.
        requests: u32,
        /// In how long.
        per_seconds: u32,
    },
    /// A rate was taken away.
    #[serde(rename = "quipu.quota.rate_removed.v1")]
    RateRemoved {
        /// By what it counted.
        by: RateBy,
    },
}
