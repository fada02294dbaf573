//! Which values may be gone although records name them: those whose time is over by a rule of their org, and those of erased
//! subjects. Everything that finds one missing asks here before it calls that damage.
//!
//! A value's time counts from the newest record that names it, so that one that is handed on lives as long as what it was
//! handed to. An org's rule is its setting [`RETENTION_SETTING`], folded from the org's own records.

use crate::erased::Erased;
use quipu_schemas::{
    context::Millis,
    digest::Digest,
    ids::{Kind, OrgId},
    json::Json,
    personal::Subject,
    record::Record,
    retention::{RETENTION_SETTING, SETTINGS_CHANGED, retention_ms},
};
use std::collections::BTreeMap;

/// A blob that a record names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// Whose.
    pub org: OrgId,
    /// Its name.
    pub name: Digest,
}

/// When a value was named last, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Use {
    newest: Millis,
    subject: Subject,
}

/// What records say of the values that they name, and of the rules of their orgs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    uses: BTreeMap<Named, Use>,
    /// The rules of an org with the times from which they held; `None`: values are kept.
    rules: BTreeMap<OrgId, Vec<(Millis, Option<Millis>)>>,
}

impl Retention {
    /// Takes note of a value that a record names.
    pub(super) fn named(&mut self, named: Named, subject: &str, at: Millis) {
        let newest = |used: &mut Use| used.newest = used.newest.max(at);
        let subject = || subject.to_owned();
        self.uses.entry(named).and_modify(newest).or_insert_with(|| Use {
            newest: at,
            subject: subject(),
        });
    }

    /// Whether a stored record may change a rule: quick, and wrong only where it does not.
    pub(super) fn may_be_ruled_by(bytes: &[u8]) -> bool {
        let setting = RETENTION_SETTING.as_bytes();
        bytes.windows(setting.len()).any(|window| window == setting)
    }

    /// Takes note of an org's rule, if a record changes it.
    pub(super) fn ruled(&mut self, record: &Record) {
        let stream = &record.header.stream;
        if stream.kind != Kind::ORG {
            return;
        }
        for stored in &record.events {
            if stored.name != SETTINGS_CHANGED {
                continue;
            }
            let data: Json = serde_json::from_str(stored.data.get()).unwrap_or_default();
            if let Some(value) = data.0.get("settings").and_then(|settings| settings.get(RETENTION_SETTING)) {
                let rules = self.rules.entry(stream.org.clone()).or_default();
                rules.push((record.header.time, retention_ms(&Json(value.clone()))));
            }
        }
    }

    /// The values that records name.
    pub fn names(&self) -> impl Iterator<Item = &Named> {
        self.uses.keys()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.uses.len()
    }

    /// Whether records name none.
    pub fn is_empty(&self) -> bool {
        self.uses.is_empty()
    }

    /// Whether a record names it.
    pub fn contains(&self, named: &Named) -> bool {
        self.uses.contains_key(named)
    }

    /// Whether a value goes: by the rule that holds now, or with its subject.
    pub fn is_over(&self, named: &Named, now: Millis, erased: &Erased) -> bool {
        let Some(used) = self.uses.get(named) else { return false };
        let rule = self.rules.get(&named.org).and_then(|rules| rules.last()?.1);
        erased.covers(&used.subject) || rule.is_some_and(|age| used.newest.saturating_add(age) <= now)
    }

    /// Whether a value may be gone: by a rule that holds or held once, or with its subject.
    pub fn may_be_gone(&self, named: &Named, now: Millis, erased: &Erased) -> bool {
        let Some(used) = self.uses.get(named) else { return false };
        let rules = self.rules.get(&named.org).map_or(&[][..], Vec::as_slice);
        let ends = rules.iter().skip(1).map(|(from, _)| *from).chain([now]);
        let held = rules.iter().zip(ends);
        let by_rule = held
            .filter_map(|((_, age), end)| age.map(|age| (age, end)))
            .any(|(age, end)| used.newest.saturating_add(age) <= end);
        by_rule || erased.covers(&used.subject)
    }

    /// The values that must be there.
    pub fn expected<'a>(&'a self, now: Millis, erased: &'a Erased) -> impl Iterator<Item = &'a Named> {
        self.names().filter(move |named| !self.may_be_gone(named, now, erased))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_rule_that_held_once_explains_what_is_gone() {
        let org = OrgId::from_static("acme");
        let named = |n: u8| Named {
            org: org.clone(),
            name: Digest([n; 32]),
        };
        let mut retention = Retention::default();
        retention.named(named(1), "acme/ada", 100);
        retention.named(named(2), "acme/ada", 100);
        retention.named(named(2), "acme/ada", 500);
        retention.named(named(3), "acme/ada,acme/bob", 900);
        let none = Erased::default();
        assert!(!retention.is_over(&named(1), u64::MAX, &none), "without a rule everything stays");
        retention.rules.insert(org.clone(), vec![(200, Some(50)), (300, None)]);
        assert!(
            retention.may_be_gone(&named(1), 1_000, &none),
            "the rule held when its time was over"
        );
        assert!(
            !retention.may_be_gone(&named(2), 1_000, &none),
            "it was named again after the rule's end"
        );
        assert!(!retention.is_over(&named(1), 1_000, &none), "no rule holds now");
        retention.rules.insert(org.clone(), vec![(200, Some(400))]);
        let over = |n: u8, now: Millis| retention.is_over(&named(n), now, &none);
        assert_eq!((over(1, 499), over(1, 500), over(2, 899), over(2, 900)), (false, true, false, true));
        let bob = Erased(BTreeSet::from(["acme/bob".to_owned()]));
        assert!(retention.is_over(&named(3), 1_000, &bob) && !retention.is_over(&named(3), 1_000, &none));
        assert_eq!(retention.expected(1_000, &bob).count(), 0);
        assert_eq!(retention.expected(450, &none).count(), 3);
    }
}
