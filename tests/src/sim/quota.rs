//! Budgets, added up from the log alone: nothing is reserved that a limit has no room for, and nothing stays reserved.

use super::node::Mutant;
use quipu_rules::{
    Register,
    decider::{Asked, AskedOf, Corrupt, Decider, Decision, Right},
    quota::{Quota, QuotaRejection, QuotaState},
};
use quipu_runtime::kinds::Kinds;
use quipu_schemas::{
    codec::decode_event,
    context::{Context, Millis},
    envelope::KernelCommand,
    ids::{EntityId, Kind, OrgId},
    position::Position,
    quota::{Level, Unit, Window},
    reaction::Reaction,
    record::Record,
};
use std::collections::BTreeMap;

type QuotaEvent = <Quota as Decider>::Event;
type Place = (Level, Unit);

/// What an org's events say, added up in the simplest way.
#[derive(Default)]
struct Sums {
    limits: BTreeMap<(Place, Window), (u64, u64)>,
    open: BTreeMap<EntityId, (Millis, Vec<(Place, u64)>)>,
}

impl Sums {
    fn held(&self, place: &Place) -> u64 {
        let holds = self.open.values().flat_map(|(_, holds)| holds);
        holds.filter(|(at, _)| at == place).map(|(_, amount)| amount).sum()
    }

    /// Folds an event; says what it breaks.
    fn fold(&mut self, event: QuotaEvent) -> Option<String> {
        match event {
            QuotaEvent::LimitSet {
                level,
                unit,
                window,
                limit,
                ..
            } => self.limits.entry(((level, unit), window)).or_default().0 = limit,
            QuotaEvent::LimitRemoved { level, unit, window } => drop(self.limits.remove(&((level, unit), window))),
            QuotaEvent::Reserved { key, until, holds, .. } => {
                let all = holds
                    .iter()
                    .flat_map(|hold| hold.levels.iter().map(|level| ((level.clone(), hold.unit.clone()), hold.amount)));
                let places: Vec<_> = all.collect();
                self.open.insert(key.clone(), (until, places.clone()));
                for (place, _) in &places {
                    let held = self.held(place);
                    let beyond = |((at, _), (limit, used)): &(&(Place, Window), &(u64, u64))| at == place && used + held > *limit;
                    if let Some((_, (limit, used))) = self.limits.iter().find(beyond) {
                        return Some(format!("reservation {key}: {used} used and {held} held of {limit} {}", place.0));
                    }
                }
            }
            QuotaEvent::Settled { key, bookings, .. } => {
                self.open.remove(&key);
                for booking in &bookings {
                    for ((at, _), (_, used)) in &mut self.limits {
                        if booking.unit == at.1 && booking.levels.contains(&at.0) {
                            *used += booking.used;
                        }
                    }
                }
            }
            QuotaEvent::Released { key, .. } => drop(self.open.remove(&key)),
            QuotaEvent::Lapsed { keys, .. } => keys.iter().for_each(|key| drop(self.open.remove(key))),
            QuotaEvent::Turned { window, .. } => {
                let turned = self.limits.iter_mut().filter(|((_, of), _)| *of == window);
                turned.for_each(|(_, (_, used))| *used = 0);
            }
            QuotaEvent::WindowWatched { .. } | QuotaEvent::Noticed { .. } | QuotaEvent::RateSet { .. } | QuotaEvent::RateRemoved { .. } => {
            }
        }
        None
    }
}

/// No reservation was made that went beyond a limit, and none is open whose time is over.
pub(crate) fn check_quotas(records: &[(Position, Record)], now: Millis, broken: &mut Vec<String>) {
    let mut orgs: BTreeMap<&OrgId, Sums> = BTreeMap::new();
    for (_, record) in records.iter().filter(|(_, record)| record.header.stream.kind == Kind::QUOTA) {
        let sums = orgs.entry(&record.header.stream.org).or_default();
        for event in &record.events {
            match decode_event(event) {
                Ok(event) => broken.extend(sums.fold(event)),
                Err(error) => broken.push(error.to_string()),
            }
        }
    }
    for sums in orgs.values() {
        let stays = sums.open.iter().filter(|(_, (until, _))| *until <= now);
        broken.extend(stays.map(|(key, (until, _))| format!("reservation {key} should have lapsed {} ms ago", now - until)));
    }
}

/// The kinds of the house; by a planted defect, with reservations that are decided as if nothing were held.
pub(crate) fn kinds(mutant: Option<Mutant>) -> Kinds {
    match mutant {
        Some(Mutant::ReservesTwice) => quipu_rules::house(WithTwice(Kinds::default())).0,
        _ => Kinds::builtin(),
    }
}

struct WithTwice(Kinds);

impl Register for WithTwice {
    fn kind<D: Decider>(self) -> Self {
        Self(if D::KIND == Quota::KIND {
            self.0.with::<Twice>()
        } else {
            self.0.with::<D>()
        })
    }
}

struct Twice;

impl Decider for Twice {
    const KIND: &'static str = Quota::KIND;
    const RULES_VERSION: u32 = Quota::RULES_VERSION;
    type State = QuotaState;
    type Command = <Quota as Decider>::Command;
    type Word = <Quota as Decider>::Word;
    type Event = QuotaEvent;
    type Rejection = QuotaRejection;

    fn initial() -> QuotaState {
        Quota::initial()
    }
    fn decide(state: &QuotaState, asked: &AskedOf<Self>, context: &Context<'_>) -> Result<Decision<QuotaEvent>, QuotaRejection> {
        let mut blind = state.clone();
        if matches!(asked, Asked::Command(_)) {
            let accounts = blind.accounts.values_mut().flat_map(BTreeMap::values_mut);
            accounts.for_each(|account| account.held = 0);
        }
        Quota::decide(&blind, asked, context)
    }
    fn evolve(state: QuotaState, event: &QuotaEvent) -> Result<QuotaState, Corrupt> {
        Quota::evolve(state, event)
    }
    fn react(state: &QuotaState, event: &QuotaEvent) -> Vec<Reaction> {
        Quota::react(state, event)
    }
    fn from_kernel(told: KernelCommand) -> Option<Self::Word> {
        Quota::from_kernel(told)
    }
    fn right(command: &str) -> Right {
        Quota::right(command)
    }
}
