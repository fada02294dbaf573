//! Why a quota stays as it is.

use super::ALL;
use crate::decider::Refusal;
use quipu_schemas::{
    context::Millis,
    ids::EntityId,
    limits::{
        QUOTA_AMOUNT_MAX_UNITS, QUOTA_HOLDS_MAX, QUOTA_LEVELS_MAX, QUOTA_LIMITS_MAX, QUOTA_OPEN_MAX, QUOTA_TTL_MAX_SECONDS,
        RATE_MAX_SECONDS, RATE_REQUESTS_MAX,
    },
    problem::Problem,
    quota::{Level, RateBy, Unit, Window, shown_time},
};

/// Why a quota stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuotaRejection {
    /// All of an org's quota is in one entity.
    WrongId(EntityId),
    /// The amount in this field is out of bounds.
    BadAmount(&'static str),
    /// There are as many limits as there may be.
    TooManyLimits,
    /// There is no such limit.
    LimitNotFound(Level, Unit, Window),
    /// It would hold too long, or not at all.
    BadTtl,
    /// It holds nothing, or too much at once.
    BadHolds,
    /// It says too much of what was used.
    BadUsed,
    /// A hold names too many levels.
    TooManyLevels,
    /// This field names the unit twice.
    UnitTwice(&'static str, Unit),
    /// Another reservation is called so.
    KeyTaken(EntityId),
    /// The reservation is over.
    Ended(EntityId, &'static str),
    /// No reservation is called so, or what became of it is forgotten.
    NotFound(EntityId),
    /// The reservation is another's.
    NotYours(EntityId),
    /// The level is another's key or agent.
    NotYourLevel(Level),
    /// There are as many open reservations as there may be.
    TooManyOpen,
    /// A limit has no room.
    Exceeded {
        /// On what it is.
        level: Level,
        /// Of what.
        unit: Unit,
        /// For which time.
        window: Window,
        /// The limit.
        limit: u64,
        /// What is left of it.
        left: u64,
        /// What was asked for.
        asked: u64,
        /// When the window turns.
        turns_at: Option<Millis>,
    },
    /// The reservation holds nothing of this.
    NotHeld(Unit),
    /// The reservation holds this, and nothing is said of it.
    NotSaid(Unit),
    /// More was used than can be counted.
    UsedUp(Level, Unit),
    /// A rate lets through nothing, or too much.
    BadRequests,
    /// A rate's time is out of bounds.
    BadSeconds,
    /// There is no such rate.
    RateNotFound(RateBy),
}

fn bad(code: &str, detail: String, field: &str) -> Problem {
    Problem::new(422, code, detail).field(field)
}

impl Refusal for QuotaRejection {
    fn problem(&self) -> Problem {
        match self {
            Self::WrongId(id) => {
                bad("quota_id", format!("an org's quota is in the entity `{ALL}`, not in {id}"), "id").fix(format!("use the id `{ALL}`"))
            }
            Self::BadAmount(field) => bad(
                "bad_amount",
                format!("an amount is at most {QUOTA_AMOUNT_MAX_UNITS}, and a hold's at least 1"),
                field,
            )
            .fix("count in a larger unit, or leave out what is nothing"),
            Self::TooManyLimits => {
                Problem::new(409, "too_many_limits", format!("an org has at most {QUOTA_LIMITS_MAX} limits")).fix("remove one")
            }
            Self::LimitNotFound(level, unit, window) => Problem::new(
                404,
                "unknown_limit",
                format!("{level} has no limit of {unit} for the window `{window}`"),
            )
            .field("level")
            .fix("see the view `quotas`"),
            Self::BadRequests => bad(
                "bad_rate",
                format!("a rate lets 1 to {RATE_REQUESTS_MAX} requests through"),
                "requests",
            )
            .fix("give so many, or remove the rate"),
            Self::BadSeconds => {
                bad("bad_rate", format!("a rate is for 1 to {RATE_MAX_SECONDS} seconds"), "per_seconds").fix("give so many")
            }
            Self::RateNotFound(by) => Problem::new(404, "unknown_rate", format!("no rate counts by {}", by.name()))
                .field("by")
                .fix("see the view `rates`"),
            Self::BadTtl | Self::BadHolds | Self::BadUsed | Self::TooManyLevels | Self::UnitTwice(..) => self.of_words(),
            Self::KeyTaken(_)
            | Self::Ended(..)
            | Self::NotFound(_)
            | Self::NotYours(_)
            | Self::NotYourLevel(_)
            | Self::TooManyOpen
            | Self::Exceeded { .. }
            | Self::NotHeld(_)
            | Self::NotSaid(_)
            | Self::UsedUp(..) => self.of_reservation(),
        }
    }
}

impl QuotaRejection {
    /// What is wrong with a command by itself.
    fn of_words(&self) -> Problem {
        match self {
            Self::BadTtl => bad(
                "bad_ttl",
                format!("a reservation holds for 1 to {QUOTA_TTL_MAX_SECONDS} seconds"),
                "ttl_seconds",
            )
            .fix("give so many; reserve again for what takes longer"),
            Self::BadHolds => bad("bad_holds", format!("a reservation has 1 to {QUOTA_HOLDS_MAX} holds"), "holds")
                .fix("name each unit once, with all levels where it counts"),
            Self::BadUsed => bad("bad_used", format!("a reservation has at most {QUOTA_HOLDS_MAX} units"), "used")
                .fix("name each unit that it holds once"),
            Self::TooManyLevels => bad(
                "too_many_levels",
                format!("a hold names at most {QUOTA_LEVELS_MAX} levels"),
                "holds",
            )
            .fix("name fewer; the org counts by itself"),
            Self::UnitTwice(field, unit) => {
                bad("unit_twice", format!("{unit} is named twice"), field).fix("name each unit once, with the whole amount")
            }
            other => other.of_reservation(),
        }
    }

    /// What is wrong with it as things stand.
    fn of_reservation(&self) -> Problem {
        match self {
            Self::KeyTaken(key) => Problem::new(409, "key_taken", format!("reservation {key} is open, and is another one"))
                .field("key")
                .fix("choose another key"),
            Self::Ended(key, became) => Problem::new(409, "reservation_ended", format!("reservation {key} {became}"))
                .field("key")
                .fix("reserve under another key"),
            Self::NotFound(key) => Problem::new(404, "unknown_reservation", format!("no reservation {key} is known"))
                .field("key")
                .fix("see the view `reservations`; what is over is known for a while only"),
            Self::NotYours(key) => Problem::new(403, "not_your_reservation", format!("reservation {key} is another's"))
                .field("key")
                .fix("end it as whoever reserved, or have an admin of the org end it; it lapses by itself when its time is over"),
            Self::NotYourLevel(level) => Problem::new(403, "not_your_level", format!("{level} is another's budget"))
                .field("holds")
                .fix("leave it out: the levels of whoever acts count by themselves; to spend for others, hold cap:quota.manage or act on their behalf"),
            Self::TooManyOpen => Problem::new(
                429,
                "too_many_reservations",
                format!("an org has at most {QUOTA_OPEN_MAX} open reservations"),
            )
            .retry_after(1)
            .fix("settle or release some, or wait until some lapse"),
            Self::Exceeded {
                level,
                unit,
                window,
                limit,
                left,
                asked,
                turns_at,
            } => exceeded((level, unit, *window), (*limit, *left, *asked), *turns_at),
            Self::NotHeld(unit) => bad("not_held", format!("the reservation holds no {unit}"), "used").fix("name what it holds"),
            Self::NotSaid(unit) => bad(
                "not_said",
                format!("the reservation holds {unit}, and nothing is said of it"),
                "used",
            )
            .fix("say how much was used of each unit that it holds; 0 where nothing was"),
            Self::UsedUp(level, unit) => Problem::new(409, "used_up", format!("more {unit} was used of {level} than can be counted"))
                .fix("remove the limit, and set it again"),
            other => Problem::new(409, "refused", format!("{other:?}")),
        }
    }
}

fn exceeded((level, unit, window): (&Level, &Unit, Window), (limit, left, asked): (u64, u64, u64), turns_at: Option<Millis>) -> Problem {
    let (within, turns) = match turns_at {
        None => ("in total".to_owned(), String::new()),
        Some(at) => (format!("for the {window}"), format!(", which ends at {}", shown_time(at))),
    };
    Problem::new(
        402,
        "budget_exceeded",
        format!("{level}: {left} {unit} left of {limit} {within}{turns}; {asked} were asked for"),
    )
    .field("holds")
    .fix("ask for less, settle what is open, wait for the next window, or have an admin raise the limit")
}
