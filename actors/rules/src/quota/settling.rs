//! Ends of reservations: what was spent is booked, what was not is free.

use super::{
    clock::{Clock, places},
    rejection::QuotaRejection,
    state::{Ended, QuotaState, Reservation},
};
use crate::decider::Decision;
use quipu_kinds::quota::{Booking, Hold, QuotaEvent, Release, Settle, Used};
use quipu_schemas::{
    context::Context,
    ids::EntityId,
    limits::{QUOTA_AMOUNT_MAX_UNITS, QUOTA_HOLDS_MAX, QUOTA_USED_MAX_UNITS},
    quota::Window,
    role::Role,
};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn decide_settle(clock: &Clock<'_>, settle: &Settle, context: &Context<'_>) -> Result<Decision<QuotaEvent>, QuotaRejection> {
    let Settle { key, used } = settle;
    let used = normal(used)?;
    let state = clock.state;
    let (reservation, is_held, late) = match (state.open.get(key), state.ended.get(key)) {
        (Some(open), _) => (open, true, open.until <= clock.now),
        (None, Some(Ended::Lapsed(reservation))) => (reservation, false, true),
        (None, Some(Ended::Settled(before))) if *before == used => return Ok(Decision::Unchanged),
        (None, Some(Ended::Settled(_))) => return Err(QuotaRejection::Ended(key.clone(), "was settled with other amounts")),
        (None, Some(Ended::Released)) => return Err(QuotaRejection::Ended(key.clone(), "was released")),
        (None, None) => return Err(QuotaRejection::NotFound(key.clone())),
    };
    may_end(key, reservation, context)?;
    let holds = &reservation.holds;
    let bookings = bookings(holds, &used, is_held)?;
    let (notices, watched) = booked(clock, holds, (&bookings, late))?;
    let mut events = clock.all_turned();
    events.extend(watched);
    events.push(QuotaEvent::Settled {
        key: key.clone(),
        bookings,
        late,
    });
    events.extend(notices);
    Ok(Decision::Accept(events))
}

/// Who ends a reservation: whose it is, whoever acts for them, and admins. By its key alone anybody of the org could give back what
/// another is about to spend, or book what nobody spent.
fn may_end(key: &EntityId, reservation: &Reservation, context: &Context<'_>) -> Result<(), QuotaRejection> {
    if reservation.is_of(context.actor()) || context.at_least(Role::Admin) {
        return Ok(());
    }
    Err(QuotaRejection::NotYours(key.clone()))
}

/// Sorted by unit, each once.
fn normal(used: &[Used]) -> Result<Vec<Used>, QuotaRejection> {
    if used.len() > QUOTA_HOLDS_MAX {
        return Err(QuotaRejection::BadUsed);
    }
    if used.iter().any(|used| used.amount > QUOTA_AMOUNT_MAX_UNITS) {
        return Err(QuotaRejection::BadAmount("used"));
    }
    let mut used = used.to_vec();
    used.sort_by(|one, other| one.unit.cmp(&other.unit));
    match used.windows(2).find(|pair| pair[0].unit == pair[1].unit) {
        Some(pair) => Err(QuotaRejection::UnitTwice("used", pair[0].unit.clone())),
        None => Ok(used),
    }
}

/// What is booked: one unit after the other, as they are held.
fn bookings(holds: &[Hold], used: &[Used], is_held: bool) -> Result<Vec<Booking>, QuotaRejection> {
    let held: BTreeSet<_> = holds.iter().map(|hold| &hold.unit).collect();
    if let Some(used) = used.iter().find(|used| !held.contains(&used.unit)) {
        return Err(QuotaRejection::NotHeld(used.unit.clone()));
    }
    let amounts: BTreeMap<_, _> = used.iter().map(|used| (&used.unit, used.amount)).collect();
    let booking = |hold: &Hold| {
        let amount = amounts.get(&hold.unit).ok_or_else(|| QuotaRejection::NotSaid(hold.unit.clone()))?;
        let freed = if is_held { hold.amount } else { 0 };
        Ok(Booking {
            levels: hold.levels.clone(),
            unit: hold.unit.clone(),
            used: *amount,
            freed,
            over: amount.saturating_sub(freed),
        })
    };
    holds.iter().map(booking).collect()
}

/// Notices, and windows to watch.
type Booked = (Vec<QuotaEvent>, Vec<QuotaEvent>);

/// What is told of limits that come to a mark, and the windows whose end must be watched from here on.
fn booked(clock: &Clock<'_>, holds: &[Hold], (bookings, late): (&[Booking], bool)) -> Result<Booked, QuotaRejection> {
    let wanted = places(holds).map(|(place, _)| place).collect();
    let over = clock.over(&wanted);
    let (mut notices, mut touched) = (Vec::new(), BTreeSet::new());
    for booking in bookings {
        for level in &booking.levels {
            let Some(account) = clock.state.account(level, &booking.unit) else {
                continue;
            };
            let lapsed = over.get(&(level, &booking.unit)).copied().unwrap_or(0);
            // What is settled late is among what has lapsed.
            let freed = if late { 0 } else { booking.freed };
            let held = account.held.saturating_sub(lapsed + freed);
            for (window, limit) in &account.limits {
                let used = clock.used(*window, limit) + booking.used;
                if used > QUOTA_USED_MAX_UNITS {
                    return Err(QuotaRejection::UsedUp(level.clone(), booking.unit.clone()));
                }
                notices.extend(clock.notice(level, &booking.unit, *window, limit, (used, held)));
                if booking.used > 0 {
                    touched.insert(*window);
                }
            }
        }
    }
    let is_watched = |window: &Window| {
        let turning = clock.state.windows.get(window);
        turning.is_some_and(|turning| turning.armed > clock.now)
    };
    let watched = touched.into_iter().filter(|window| !is_watched(window));
    let watched = watched.filter_map(|window| {
        let until = clock.turns_at(window)?;
        Some(QuotaEvent::WindowWatched { window, until })
    });
    Ok((notices, watched.collect()))
}

pub(super) fn decide_release(state: &QuotaState, release: &Release, context: &Context<'_>) -> Result<Decision<QuotaEvent>, QuotaRejection> {
    let key: &EntityId = &release.key;
    match (state.open.get(key), state.ended.get(key)) {
        (Some(open), _) => {
            may_end(key, open, context)?;
            Ok(Decision::one(QuotaEvent::Released {
                key: key.clone(),
                holds: open.holds.clone(),
            }))
        }
        (None, Some(Ended::Released | Ended::Lapsed(_))) => Ok(Decision::Unchanged),
        (None, Some(Ended::Settled(_))) => Err(QuotaRejection::Ended(key.clone(), "was settled")),
        (None, None) => Err(QuotaRejection::NotFound(key.clone())),
    }
}
