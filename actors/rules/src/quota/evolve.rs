//! Folding: what each event makes of an org's quota.

use super::{
    clock::places,
    state::{Account, Ended, Limit, QuotaState, Reservation, Turning},
};
use crate::decider::Corrupt;
use quipu_kinds::quota::{Booking, QuotaEvent, Used};
use quipu_schemas::{
    context::Millis,
    ids::EntityId,
    limits::QUOTA_ENDED_MAX,
    quota::{Level, Rate, Unit, Window},
};

pub(super) fn evolve(mut state: QuotaState, event: &QuotaEvent) -> Result<QuotaState, Corrupt> {
    let s = &mut state;
    let folded = match event {
        QuotaEvent::LimitSet {
            level,
            unit,
            window,
            limit,
            held,
            turns_at: _,
        } => {
            set(s, (level, unit, *window), *limit, *held);
            Some(())
        }
        QuotaEvent::LimitRemoved { level, unit, window } => remove(s, level, unit, *window),
        QuotaEvent::Reserved {
            key,
            ttl_seconds,
            until,
            holds,
            by,
        } => {
            let reservation = Reservation {
                until: *until,
                ttl_seconds: *ttl_seconds,
                holds: holds.clone(),
                by: by.clone(),
            };
            reserved(s, key, reservation)
        }
        QuotaEvent::Settled { key, bookings, late: _ } => settled(s, key, bookings),
        QuotaEvent::Released { key, holds: _ } => end(s, key, |_| Ended::Released),
        QuotaEvent::Lapsed { until, keys, freed: _ } => lapsed(s, *until, keys),
        QuotaEvent::Turned { window, since, until } => {
            turned(s, *window, (*since, *until));
            Some(())
        }
        QuotaEvent::WindowWatched { window, until } => s.windows.get_mut(window).map(|turning| turning.armed = *until),
        QuotaEvent::Noticed {
            level,
            unit,
            window,
            percent,
            ..
        } => limit_mut(s, level, unit, *window).map(|limit| limit.noticed = *percent),
        QuotaEvent::RateSet { by, requests, per_seconds } => {
            let (requests, per_seconds) = (*requests, *per_seconds);
            s.rates.insert(*by, Rate { requests, per_seconds });
            Some(())
        }
        QuotaEvent::RateRemoved { by } => s.rates.remove(by).map(drop),
    };
    folded
        .map(|()| state)
        .ok_or_else(|| Corrupt(format!("nothing in the quota is as it says: {event:?}")))
}

fn limit_mut<'s>(s: &'s mut QuotaState, level: &Level, unit: &Unit, window: Window) -> Option<&'s mut Limit> {
    s.account_mut(level, unit)?.limits.get_mut(&window)
}

fn set(s: &mut QuotaState, (level, unit, window): (&Level, &Unit, Window), limit: u64, held: u64) {
    let units = s.accounts.entry(level.clone()).or_default();
    let account = units.entry(unit.clone()).or_insert_with(|| Account {
        held,
        ..Account::default()
    });
    match account.limits.get_mut(&window) {
        Some(known) => (known.limit, known.noticed) = (limit, 0),
        None => {
            let fresh = Limit { limit, ..Limit::default() };
            account.limits.insert(window, fresh);
            s.limit_count += 1;
        }
    }
}

fn remove(s: &mut QuotaState, level: &Level, unit: &Unit, window: Window) -> Option<()> {
    let units = s.accounts.get_mut(level)?;
    let account = units.get_mut(unit)?;
    account.limits.remove(&window)?;
    if account.limits.is_empty() {
        units.remove(unit);
    }
    if units.is_empty() {
        s.accounts.remove(level);
    }
    s.limit_count -= 1;
    Some(())
}

fn reserved(s: &mut QuotaState, key: &EntityId, reservation: Reservation) -> Option<()> {
    let until = reservation.until;
    for ((level, unit), amount) in places(&reservation.holds) {
        if let Some(account) = s.account_mut(level, unit) {
            account.held += amount;
        }
    }
    if s.lapse_armed == 0 || until < s.lapse_armed {
        s.lapse_armed = until;
    }
    s.lapses.insert((until, key.clone()));
    s.open.insert(key.clone(), reservation).is_none().then_some(())
}

fn settled(s: &mut QuotaState, key: &EntityId, bookings: &[Booking]) -> Option<()> {
    for booking in bookings {
        for level in &booking.levels {
            let account = s.account_mut(level, &booking.unit);
            for limit in account.into_iter().flat_map(|account| account.limits.values_mut()) {
                limit.used += booking.used;
            }
        }
    }
    let used = |booking: &Booking| Used {
        unit: booking.unit.clone(),
        amount: booking.used,
    };
    let became = Ended::Settled(bookings.iter().map(used).collect());
    if s.open.contains_key(key) {
        return end(s, key, |_| became);
    }
    // It had lapsed: it stays in its place among those that are over.
    match s.ended.get_mut(key)? {
        ended @ Ended::Lapsed(_) => *ended = became,
        Ended::Settled(_) | Ended::Released => return None,
    }
    Some(())
}

fn lapsed(s: &mut QuotaState, until: Millis, keys: &[EntityId]) -> Option<()> {
    for key in keys {
        end(s, key, Ended::Lapsed)?;
    }
    if s.lapse_armed <= until {
        s.lapse_armed = s.lapses.first().map_or(0, |(first, _)| *first);
    }
    Some(())
}

/// A reservation holds nothing any more.
fn end(s: &mut QuotaState, key: &EntityId, became: impl FnOnce(Reservation) -> Ended) -> Option<()> {
    let reservation = s.open.remove(key)?;
    s.lapses.remove(&(reservation.until, key.clone()));
    for ((level, unit), amount) in places(&reservation.holds) {
        if let Some(account) = s.account_mut(level, unit) {
            account.held = account.held.checked_sub(amount)?;
        }
    }
    s.ended.insert(key.clone(), became(reservation));
    s.ended_order.push_back(key.clone());
    if s.ended_order.len() > QUOTA_ENDED_MAX
        && let Some(oldest) = s.ended_order.pop_front()
    {
        s.ended.remove(&oldest);
    }
    Some(())
}

fn turned(s: &mut QuotaState, window: Window, (since, until): (Millis, Millis)) {
    let turning: &mut Turning = s.windows.entry(window).or_default();
    (turning.since, turning.until) = (since, until);
    if turning.armed <= since {
        turning.armed = 0;
    }
    let limits = s.accounts.values_mut().flat_map(|units| units.values_mut());
    for limit in limits.filter_map(|account| account.limits.get_mut(&window)) {
        (limit.used, limit.noticed) = (0, 0);
    }
}
