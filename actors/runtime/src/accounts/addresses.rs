//! Whose an address is: an index in memory, filled by opening sealed addresses. No digest of an address is stored anywhere.
//!
//! All people lie in one partition, so their records have one order on every node. Of two who have one address the one whose record
//! comes first holds it, everywhere alike; who was second gives theirs up.

pub use quipu_schemas::address::Normal;

use quipu_schemas::ids::{EntityId, Home};
use std::collections::{BTreeMap, BTreeSet};

/// One who has an address, and since which record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    /// Offset of the record in the partition of all people.
    since: u64,
    home: Home,
    id: EntityId,
}

/// Who has which address.
#[derive(Debug, Default)]
pub struct Addresses {
    /// The first of each list holds it.
    claims: BTreeMap<Normal, Vec<Claim>>,
    by_id: BTreeMap<(Home, EntityId), Normal>,
    operators: BTreeSet<Home>,
}

impl Addresses {
    /// Somebody has an address, by the record at this offset.
    pub fn added(&mut self, address: Normal, home: Home, id: EntityId, since: u64) {
        let key = (home.clone(), id.clone());
        if self.by_id.contains_key(&key) {
            return;
        }
        self.by_id.insert(key, address.clone());
        let claims = self.claims.entry(address).or_default();
        let claim = Claim { since, home, id };
        let at = claims.partition_point(|earlier| *earlier < claim);
        claims.insert(at, claim);
    }

    /// Somebody has it no longer.
    pub fn removed(&mut self, home: &Home, id: &EntityId) {
        let Some(address) = self.by_id.remove(&(home.clone(), id.clone())) else {
            return;
        };
        if let Some(claims) = self.claims.get_mut(&address) {
            claims.retain(|claim| claim.home != *home || claim.id != *id);
            if claims.is_empty() {
                self.claims.remove(&address);
            }
        }
    }

    /// Somebody is gone, with all addresses.
    pub fn gone(&mut self, home: &Home) {
        self.operators.remove(home);
        let ids: Vec<EntityId> = self.by_id.keys().filter(|(of, _)| of == home).map(|(_, id)| id.clone()).collect();
        ids.iter().for_each(|id| self.removed(home, id));
    }

    /// Somebody operates the platform from here on, or does no longer.
    pub(crate) fn operates(&mut self, home: Home, operator: bool) {
        if operator {
            self.operators.insert(home);
        } else {
            self.operators.remove(&home);
        }
    }

    /// Whether anybody operates the platform.
    pub(crate) fn has_operator(&self) -> bool {
        !self.operators.is_empty()
    }

    /// Whose an address is.
    pub fn holder(&self, address: &Normal) -> Option<&Home> {
        Some(&self.claims.get(address)?.first()?.home)
    }

    /// The same, with the id that the address has there.
    pub(crate) fn named(&self, address: &Normal) -> Option<(Home, EntityId)> {
        let first = self.claims.get(address)?.first()?;
        Some((first.home.clone(), first.id.clone()))
    }

    /// Whether this one holds it: nobody had it earlier.
    pub fn holds(&self, address: &Normal, home: &Home, id: &EntityId) -> bool {
        let first = self.claims.get(address).and_then(|claims| claims.first());
        first.is_some_and(|claim| claim.home == *home && claim.id == *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(n: u8) -> Home {
        format!("_platform/usr_{n}").parse().unwrap()
    }

    fn id(n: u8) -> EntityId {
        EntityId::parse(format!("adr_{n}")).unwrap()
    }

    #[test]
    fn addresses_are_compared_without_case_and_space() {
        assert_eq!(Normal::of(" Ada@Example.ORG "), Normal::of("ada@example.org"));
        assert_ne!(Normal::of("ada@example.org"), Normal::of("ada+1@example.org"));
        for (one, other) in [
            ("ada@example.org", "ada@example.org."),
            ("ada@example.org", "ADA@EXAMPLE.ORG"),
            ("ada@example.org", "\u{ff41}da@example.org"),
            ("ada@example.org", "ada\u{ff20}example.org"),
            ("ada@example.org", "ada@\u{ff45}xample\u{3002}org"),
            ("ada@example.org", "a\u{200b}da@example.org"),
            ("ada@b\u{fc}cher.example", "ada@xn--bcher-kva.example"),
            ("ada@b\u{fc}cher.example", "ada@BU\u{308}CHER.example."),
            ("j\u{f6}rg@example.org", "Jo\u{308}rg@example.org"),
        ] {
            assert!(Normal::of(one).is_some(), "{one}");
            assert_eq!(Normal::of(one), Normal::of(other), "{other}");
        }
        for text in [
            "\"ada\"@example.org",
            "ada(x)@example.org",
            "ada@example..org",
            "ada@.",
            "ada@exa mple.org",
            "",
            "ada",
            "@example.org",
            "ada@",
            "a b@example.org",
            "ada@exa\nmple.org",
            &format!("{}@e.org", "x".repeat(254)),
        ] {
            assert_eq!(Normal::of(text), None, "{text}");
        }
    }

    #[test]
    fn the_first_record_holds_an_address_in_any_order_of_hearing() {
        let ada = Normal::of("ada@example.org").unwrap();
        for order in [[0, 1], [1, 0]] {
            let mut known = Addresses::default();
            for n in order {
                known.added(ada.clone(), home(n), id(n), 10 + u64::from(n));
            }
            assert_eq!(known.holder(&ada), Some(&home(0)));
            assert!(known.holds(&ada, &home(0), &id(0)) && !known.holds(&ada, &home(1), &id(1)));
            known.removed(&home(0), &id(0));
            assert_eq!(known.holder(&ada), Some(&home(1)));
            known.gone(&home(1));
            assert_eq!(known.holder(&ada), None);
            assert!(known.claims.is_empty() && known.by_id.is_empty());
        }
    }
}
