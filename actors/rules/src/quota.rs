//! Rules of an org's quota: budgets that are reserved before they are spent, so that nothing is ever spent twice, and rates.
//!
//! All levels of an org are in one entity, so one decision sees them together. A decision reads the state and copies nothing: its cost
//! follows from the levels that it names, not from how many reservations are open. The one exception is a new limit, which adds up
//! what is held there already.

mod clock;
mod evolve;
mod rejection;
mod reserving;
mod settling;
mod state;

pub use rejection::QuotaRejection;
pub use state::{Account, Ended, Limit, QuotaState, Reservation, Turning};

use crate::decider::{Asked, AskedOf, Corrupt, Decider, Decision, Right};
use clock::Clock;
use quipu_kinds::quota::{Lapse, QuotaCommand, QuotaEvent, QuotaWord, RemoveLimit, RemoveRate, SetLimit, SetRate, Turn};
use quipu_schemas::{
    context::{Context, Millis},
    envelope::KernelCommand,
    ids::EntityId,
    limits::{QUOTA_AMOUNT_MAX_UNITS, QUOTA_LIMITS_MAX, RATE_MAX_SECONDS, RATE_REQUESTS_MAX},
    quota::{Rate, Window},
    reaction::Reaction,
    role::Role,
};

/// The entity that holds an org's whole quota, so that one decision sees all of it.
pub const ALL: EntityId = EntityId::from_static("all");

/// The timer that lets reservations lapse. What they hold is decided by the clock; it only writes it down.
const LAPSE_TIMER: &str = "lapse";

/// The kind `quota`.
pub struct Quota;

impl Decider for Quota {
    const KIND: &'static str = "quota";
    const RULES_VERSION: u32 = 2;
    type State = QuotaState;
    type Command = QuotaCommand;
    type Word = QuotaWord;
    type Event = QuotaEvent;
    type Rejection = QuotaRejection;

    fn initial() -> QuotaState {
        QuotaState::default()
    }

    fn decide(state: &QuotaState, asked: &AskedOf<Self>, context: &Context<'_>) -> Result<Decision<QuotaEvent>, QuotaRejection> {
        if context.stream.id != ALL {
            return Err(QuotaRejection::WrongId(context.stream.id.clone()));
        }
        let clock = Clock::new(state, context.now);
        match asked {
            Asked::Command(QuotaCommand::SetLimit(set)) => decide_limit(&clock, set),
            Asked::Command(QuotaCommand::RemoveLimit(remove)) => decide_remove(state, remove),
            Asked::Command(QuotaCommand::Reserve(reserve)) => reserving::decide(&clock, reserve, context),
            Asked::Command(QuotaCommand::Settle(settle)) => settling::decide_settle(&clock, settle, context),
            Asked::Command(QuotaCommand::Release(release)) => settling::decide_release(state, release, context),
            Asked::Command(QuotaCommand::SetRate(set)) => decide_rate(state, set),
            Asked::Command(QuotaCommand::RemoveRate(RemoveRate { by })) => match state.rates.get(by) {
                Some(_) => Ok(Decision::one(QuotaEvent::RateRemoved { by: *by })),
                None => Err(QuotaRejection::RateNotFound(*by)),
            },
            Asked::Word(QuotaWord::Lapse(Lapse {})) => Ok(lapse(&clock)),
            Asked::Word(QuotaWord::Turn(Turn { window })) => Ok(turn(&clock, *window)),
        }
    }

    fn evolve(state: QuotaState, event: &QuotaEvent) -> Result<QuotaState, Corrupt> {
        evolve::evolve(state, event)
    }

    fn react(state: &QuotaState, event: &QuotaEvent) -> Vec<Reaction> {
        let wake = |name: &str, due: Millis| {
            vec![Reaction::WakeAt {
                name: name.to_owned(),
                due,
            }]
        };
        match event {
            QuotaEvent::Reserved { until, .. } if state.lapse_armed == *until => wake(LAPSE_TIMER, *until),
            QuotaEvent::Lapsed { .. } if state.lapse_armed != 0 => wake(LAPSE_TIMER, state.lapse_armed),
            QuotaEvent::WindowWatched { window, until } => wake(window.name(), *until),
            QuotaEvent::Reserved { .. }
            | QuotaEvent::Lapsed { .. }
            | QuotaEvent::LimitSet { .. }
            | QuotaEvent::LimitRemoved { .. }
            | QuotaEvent::Settled { .. }
            | QuotaEvent::Released { .. }
            | QuotaEvent::Turned { .. }
            | QuotaEvent::Noticed { .. }
            | QuotaEvent::RateSet { .. }
            | QuotaEvent::RateRemoved { .. } => Vec::new(),
        }
    }

    fn from_kernel(told: KernelCommand) -> Option<QuotaWord> {
        let KernelCommand::TimerFired { name, .. } = told else {
            return None;
        };
        if name == LAPSE_TIMER {
            return Some(QuotaWord::Lapse(Lapse {}));
        }
        let window = Window::TURNING.into_iter().find(|window| window.name() == name)?;
        Some(QuotaWord::Turn(Turn { window }))
    }

    fn right(command: &str) -> Right {
        Right::Role(match command {
            "reserve" | "settle" | "release" => Role::Member,
            _ => Role::Admin,
        })
    }
}

fn decide_limit(clock: &Clock<'_>, set: &SetLimit) -> Result<Decision<QuotaEvent>, QuotaRejection> {
    let SetLimit {
        level,
        unit,
        window,
        limit,
    } = set;
    if *limit > QUOTA_AMOUNT_MAX_UNITS {
        return Err(QuotaRejection::BadAmount("limit"));
    }
    let state = clock.state;
    let account = state.account(level, unit);
    match account.and_then(|account| account.limits.get(window)) {
        Some(held) if held.limit == *limit => return Ok(Decision::Unchanged),
        None if state.limit_count as usize >= QUOTA_LIMITS_MAX => return Err(QuotaRejection::TooManyLimits),
        Some(_) | None => {}
    }
    let mut events: Vec<_> = clock.turned(*window).into_iter().collect();
    let held = account.map_or_else(|| state.held_anywhere(level, unit), |account| account.held);
    events.push(QuotaEvent::LimitSet {
        level: level.clone(),
        unit: unit.clone(),
        window: *window,
        limit: *limit,
        held,
        turns_at: clock.turns_at(*window),
    });
    let known = account.and_then(|account| account.limits.get(window));
    let fresh = Limit {
        limit: *limit,
        used: known.map_or(0, |known| clock.used(*window, known)),
        noticed: 0,
    };
    events.extend(clock.notice(level, unit, *window, &fresh, (fresh.used, held)));
    Ok(Decision::Accept(events))
}

fn decide_remove(state: &QuotaState, remove: &RemoveLimit) -> Result<Decision<QuotaEvent>, QuotaRejection> {
    let RemoveLimit { level, unit, window } = remove;
    let account = state.account(level, unit);
    if account.is_none_or(|account| !account.limits.contains_key(window)) {
        return Err(QuotaRejection::LimitNotFound(level.clone(), unit.clone(), *window));
    }
    Ok(Decision::one(QuotaEvent::LimitRemoved {
        level: level.clone(),
        unit: unit.clone(),
        window: *window,
    }))
}

fn decide_rate(state: &QuotaState, set: &SetRate) -> Result<Decision<QuotaEvent>, QuotaRejection> {
    let SetRate { by, requests, per_seconds } = *set;
    if !(1..=RATE_REQUESTS_MAX).contains(&requests) {
        return Err(QuotaRejection::BadRequests);
    }
    if !(1..=RATE_MAX_SECONDS).contains(&per_seconds) {
        return Err(QuotaRejection::BadSeconds);
    }
    if state.rates.get(&by) == Some(&Rate { requests, per_seconds }) {
        return Ok(Decision::Unchanged);
    }
    Ok(Decision::one(QuotaEvent::RateSet { by, requests, per_seconds }))
}

/// The timer of reservations fired. One that another timer has replaced says nothing.
fn lapse(clock: &Clock<'_>) -> Decision<QuotaEvent> {
    let armed = clock.state.lapse_armed;
    if armed == 0 || armed > clock.now {
        return Decision::Unchanged;
    }
    Decision::one(clock.lapsed())
}

/// The timer of a window fired. What a decision has turned already stays as it is.
fn turn(clock: &Clock<'_>, window: Window) -> Decision<QuotaEvent> {
    let armed = clock.state.windows.get(&window).map_or(0, |turning| turning.armed);
    if armed == 0 || armed > clock.now {
        return Decision::Unchanged;
    }
    Decision::all(clock.turned(window).into_iter().collect())
}

#[cfg(test)]
mod tests;
