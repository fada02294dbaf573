//! Reservations: all holds of one, or none. Where a spend counts is not for the one who spends to choose: their own levels count always,
//! and those of others only by whoever manages the quota.

use super::{
    clock::{Clock, places},
    rejection::QuotaRejection,
    state::Ended,
};
use crate::decider::Decision;
use quipu_kinds::quota::{Hold, QuotaEvent, Reserve};
use quipu_schemas::{
    context::Context,
    ids::{CredentialId, EntityId},
    limits::{QUOTA_AMOUNT_MAX_UNITS, QUOTA_HOLDS_MAX, QUOTA_LEVELS_MAX, QUOTA_OPEN_MAX, QUOTA_TTL_MAX_SECONDS},
    quota::Level,
};
use std::collections::BTreeSet;

pub(super) fn decide(clock: &Clock<'_>, reserve: &Reserve, context: &Context<'_>) -> Result<Decision<QuotaEvent>, QuotaRejection> {
    let Reserve { key, ttl_seconds, holds } = reserve;
    if !(1..=QUOTA_TTL_MAX_SECONDS).contains(ttl_seconds) {
        return Err(QuotaRejection::BadTtl);
    }
    let (by, own) = (context.actor(), own_levels(context));
    let holds = normal(holds, &own, context.manages())?;
    let state = clock.state;
    match (state.open.get(key), state.ended.get(key)) {
        (Some(open), _) if open.until <= clock.now => return Err(QuotaRejection::Ended(key.clone(), "has lapsed")),
        // What is another's is held for them: whoever were told that nothing changed would spend it a second time.
        (Some(open), _) if open.ttl_seconds == *ttl_seconds && open.holds == holds && open.is_of(by) => return Ok(Decision::Unchanged),
        (Some(_), _) => return Err(QuotaRejection::KeyTaken(key.clone())),
        (None, Some(ended)) => return Err(QuotaRejection::Ended(key.clone(), what_became(ended))),
        (None, None) => {}
    }
    let due = clock.due().count();
    if state.open.len() - due >= QUOTA_OPEN_MAX {
        return Err(QuotaRejection::TooManyOpen);
    }
    let mut events = clock.all_turned();
    if due > 0 {
        events.push(clock.lapsed());
    }
    events.push(QuotaEvent::Reserved {
        key: key.clone(),
        ttl_seconds: *ttl_seconds,
        until: clock.now.saturating_add(u64::from(*ttl_seconds) * 1_000),
        holds: holds.clone(),
        by: Some(by.clone()),
    });
    events.extend(fits(clock, &holds)?);
    Ok(Decision::Accept(events))
}

fn what_became(ended: &Ended) -> &'static str {
    match ended {
        Ended::Settled(_) => "was settled",
        Ended::Released => "was released",
        Ended::Lapsed(_) => "has lapsed",
    }
}

/// Where everything counts that this actor spends: the org, the key that was shown, and each agent or service that acts or is acted for.
/// People are no level, nor is the platform.
fn own_levels(context: &Context<'_>) -> BTreeSet<Level> {
    let key = context.credential.and_then(CredentialId::api_key);
    let acting = [context.actor(), context.principal].into_iter().chain(&context.authority.acting);
    let agents = acting.filter(|who| !who.is_platform() && !who.is_person());
    let agents = agents.filter_map(|who| EntityId::parse(who.as_str()).ok().map(Level::Agent));
    agents.chain(key.cloned().map(Level::Key)).chain([Level::Org]).collect()
}

/// Whether a level is one principal's or credential's own.
fn is_somebodys(level: &Level) -> bool {
    match level {
        Level::Key(_) | Level::Agent(_) => true,
        Level::Org | Level::Project(_) | Level::Label(_) => false,
    }
}

/// The holds in one order, each with all levels of whoever spends and without repetitions: equal reservations have equal holds.
fn normal(holds: &[Hold], own: &BTreeSet<Level>, manages: bool) -> Result<Vec<Hold>, QuotaRejection> {
    if !(1..=QUOTA_HOLDS_MAX).contains(&holds.len()) {
        return Err(QuotaRejection::BadHolds);
    }
    let mut units = BTreeSet::new();
    let mut all = Vec::with_capacity(holds.len());
    for Hold { levels, unit, amount } in holds {
        if levels.len() > QUOTA_LEVELS_MAX {
            return Err(QuotaRejection::TooManyLevels);
        }
        if !(1..=QUOTA_AMOUNT_MAX_UNITS).contains(amount) {
            return Err(QuotaRejection::BadAmount("holds"));
        }
        if !units.insert(unit) {
            return Err(QuotaRejection::UnitTwice("holds", unit.clone()));
        }
        let anothers = levels.iter().find(|level| is_somebodys(level) && !own.contains(level));
        if let Some(level) = anothers.filter(|_| !manages) {
            return Err(QuotaRejection::NotYourLevel(level.clone()));
        }
        let levels: BTreeSet<_> = levels.iter().chain(own).cloned().collect();
        all.push(Hold {
            levels: levels.into_iter().collect(),
            unit: unit.clone(),
            amount: *amount,
        });
    }
    all.sort_by(|one, other| one.unit.cmp(&other.unit));
    Ok(all)
}

/// Whether every limit has room for the holds; if so, what is told of limits that come to a mark by them.
fn fits(clock: &Clock<'_>, holds: &[Hold]) -> Result<Vec<QuotaEvent>, QuotaRejection> {
    let wanted = places(holds).map(|(place, _)| place).collect();
    let over = clock.over(&wanted);
    let mut notices = Vec::new();
    for ((level, unit), amount) in places(holds) {
        let Some(account) = clock.state.account(level, unit) else {
            continue;
        };
        let held = account.held.saturating_sub(over.get(&(level, unit)).copied().unwrap_or(0));
        for (window, limit) in &account.limits {
            let used = clock.used(*window, limit);
            let left = limit.limit.saturating_sub(used).saturating_sub(held);
            if amount > left {
                return Err(QuotaRejection::Exceeded {
                    level: level.clone(),
                    unit: unit.clone(),
                    window: *window,
                    limit: limit.limit,
                    left,
                    asked: amount,
                    turns_at: clock.turns_at(*window),
                });
            }
            notices.extend(clock.notice(level, unit, *window, limit, (used, held + amount)));
        }
    }
    Ok(notices)
}
