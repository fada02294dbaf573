//! What an org's quota knows.

use quipu_kinds::quota::{Hold, Used};
use quipu_schemas::{
    context::Millis,
    ids::{EntityId, PrincipalId},
    quota::{Level, Rate, RateBy, Unit, Window},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// State: limits with what is used and held of them, and reservations.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct QuotaState {
    /// Where there are limits, and of what.
    pub accounts: BTreeMap<Level, BTreeMap<Unit, Account>>,
    /// How many limits there are.
    pub limit_count: u32,
    /// The windows that turn, once there was a limit for them.
    pub windows: BTreeMap<Window, Turning>,
    /// Reservations that are open, those among them whose time is over and which have not lapsed yet.
    pub open: BTreeMap<EntityId, Reservation>,
    /// When they lapse, the earliest first.
    pub lapses: BTreeSet<(Millis, EntityId)>,
    /// What the timer of lapses is set to; 0: none is set.
    pub lapse_armed: Millis,
    /// What became of those that are over, as far as it is still known.
    pub ended: BTreeMap<EntityId, Ended>,
    /// Those, the earliest first.
    pub ended_order: VecDeque<EntityId>,
    /// How many requests are let through.
    pub rates: BTreeMap<RateBy, Rate>,
}

/// What is held in one place of one unit, with its limits.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// What open reservations hold, for every window.
    pub held: u64,
    /// The limits, by window.
    pub limits: BTreeMap<Window, Limit>,
}

/// A limit.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Limit {
    /// How much.
    pub limit: u64,
    /// What was used in the window.
    pub used: u64,
    /// The highest mark that was told in the window, in percent.
    pub noticed: u8,
}

/// A window that turns.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Turning {
    /// When it began.
    pub since: Millis,
    /// When it ends.
    pub until: Millis,
    /// What its timer is set to; 0: none is set.
    pub armed: Millis,
}

/// A reservation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reservation {
    /// When it lapses.
    pub until: Millis,
    /// How long it was made for.
    pub ttl_seconds: u32,
    /// What it holds.
    pub holds: Vec<Hold>,
    /// Whose it is; not known of one that was made before this was noted.
    pub by: Option<PrincipalId>,
}

impl Reservation {
    /// Whether it is this principal's. One of which nobody knows whose it is is nobody's.
    pub(super) fn is_of(&self, who: &PrincipalId) -> bool {
        self.by.as_ref() == Some(who)
    }
}

/// What became of a reservation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// It was settled with these amounts.
    Settled(Vec<Used>),
    /// It was given back.
    Released,
    /// Its time was over. What was spent of it can still be booked.
    Lapsed(Reservation),
}

impl QuotaState {
    /// What is held there with its limits, where there are any.
    pub fn account(&self, level: &Level, unit: &Unit) -> Option<&Account> {
        self.accounts.get(level)?.get(unit)
    }

    pub(super) fn account_mut(&mut self, level: &Level, unit: &Unit) -> Option<&mut Account> {
        self.accounts.get_mut(level)?.get_mut(unit)
    }

    /// What is held there, added up: for the first limit there, which is seldom.
    pub(super) fn held_anywhere(&self, level: &Level, unit: &Unit) -> u64 {
        let holds = self.open.values().flat_map(|reservation| &reservation.holds);
        holds
            .filter(|hold| hold.unit == *unit && hold.levels.contains(level))
            .map(|hold| hold.amount)
            .sum()
    }
}
