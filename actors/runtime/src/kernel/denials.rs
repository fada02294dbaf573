//! Refusals on their way to the audit: whoever is refused the same over and over is one entry, which is written down once a minute.
//!
//! So nobody can fill a log by being refused. What waits is bounded as well: an org with too many entries gets one more, for all others.

use quipu_kinds::denial::Denial;
use quipu_schemas::{
    context::Millis,
    ids::{OrgId, PrincipalId},
    limits::{DENIAL_EVERY_MS, DENIALS_OF_ORG_MAX, DENIALS_WAITING_MAX},
};
use std::collections::BTreeMap;

/// Whoever no longer has an entry of their own.
const OTHERS: PrincipalId = PrincipalId::from_static("_others");

/// Principal, right, kind.
type Key = (PrincipalId, String, String);

/// What waits to be written down.
#[derive(Debug, Default)]
pub struct Denials {
    by_org: BTreeMap<OrgId, BTreeMap<Key, Denial>>,
    waiting: usize,
}

fn key_of(denial: &Denial) -> Key {
    (denial.principal.clone(), denial.right.clone(), denial.kind.clone())
}

impl Denials {
    /// Somebody was refused; `denial` says what of, with how often and when.
    pub fn note(&mut self, org: &OrgId, denial: Denial) {
        let of_org = self.by_org.get(org).map_or(0, BTreeMap::len);
        let is_known = self.by_org.get(org).is_some_and(|known| known.contains_key(&key_of(&denial)));
        let denial = if is_known || (of_org < DENIALS_OF_ORG_MAX && self.waiting < DENIALS_WAITING_MAX) {
            denial
        } else {
            Denial {
                principal: OTHERS,
                on_behalf_of: None,
                credential: None,
                right: "any".into(),
                kind: "any".into(),
                ..denial
            }
        };
        // One for all others of each org; an org that has nothing yet waits for room.
        if of_org == 0 && self.waiting >= DENIALS_WAITING_MAX {
            return;
        }
        let known = self.by_org.entry(org.clone()).or_default();
        let before = known.len();
        known
            .entry(key_of(&denial))
            .and_modify(|known| {
                known.count = known.count.saturating_add(denial.count);
                known.last = known.last.max(denial.last);
                known.first = known.first.min(denial.first);
            })
            .or_insert(denial);
        self.waiting += known.len() - before;
    }

    /// What is due by now, taken out; all of it where the node stops.
    pub fn take(&mut self, now: Millis, is_all: bool) -> Vec<(OrgId, Denial)> {
        let mut due = Vec::new();
        for (org, known) in &mut self.by_org {
            known.retain(|_, denial| {
                let is_due = is_all || now.saturating_sub(denial.first) >= DENIAL_EVERY_MS;
                if is_due {
                    due.push((org.clone(), denial.clone()));
                }
                !is_due
            });
        }
        self.by_org.retain(|_, known| !known.is_empty());
        self.waiting -= due.len();
        due
    }

    /// How many entries wait.
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(who: &str, kind: &str, at: Millis) -> Denial {
        Denial {
            principal: PrincipalId::parse(who).unwrap(),
            on_behalf_of: None,
            credential: None,
            right: "cap:run.read".into(),
            kind: kind.into(),
            code: "missing_right".into(),
            count: 1,
            first: at,
            last: at,
        }
    }
    fn acme() -> OrgId {
        OrgId::from_static("acme")
    }

    #[test]
    fn the_same_refusal_is_one_entry_a_minute() {
        let mut denials = Denials::default();
        for n in 0..1_000 {
            denials.note(&acme(), denial("ada", "run", 5 + n));
        }
        denials.note(&acme(), denial("ada", "agent", 7));
        assert_eq!(denials.len(), 2);
        assert_eq!(denials.take(5 + DENIAL_EVERY_MS - 1, false), []);
        let due = denials.take(5 + DENIAL_EVERY_MS, false);
        assert_eq!((due.len(), due[0].1.count, due[0].1.first, due[0].1.last), (1, 1_000, 5, 1_004));
        assert_eq!(denials.take(0, true).len(), 1);
        assert!(denials.is_empty());
    }

    #[test]
    fn an_org_with_too_many_gets_one_entry_for_all_others() {
        let mut denials = Denials::default();
        for n in 0..DENIALS_OF_ORG_MAX + 50 {
            denials.note(&acme(), denial(&format!("p{n}"), "run", 1));
        }
        denials.note(&acme(), denial("p0", "run", 2));
        assert_eq!(denials.len(), DENIALS_OF_ORG_MAX + 1);
        let all = denials.take(0, true);
        let counts = |who: &str| all.iter().find(|(_, one)| one.principal.as_str() == who).map(|(_, one)| one.count);
        assert_eq!((counts("_others"), counts("p0")), (Some(50), Some(2)));
    }

    #[test]
    fn what_waits_of_all_orgs_is_bounded() {
        let mut denials = Denials::default();
        let orgs = DENIALS_WAITING_MAX / DENIALS_OF_ORG_MAX + 2;
        for org in 0..orgs {
            let org = OrgId::parse(format!("o{org}")).unwrap();
            for n in 0..DENIALS_OF_ORG_MAX {
                denials.note(&org, denial(&format!("p{n}"), "run", 1));
            }
        }
        assert!(denials.len() <= DENIALS_WAITING_MAX + orgs, "{}", denials.len());
        let taken = denials.take(0, true).len();
        assert!(taken > 0 && denials.is_empty());
    }
}
