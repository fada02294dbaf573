//! Whose an address is: an index in memory, filled by opening sealed addresses. No digest of an address is stored anywhere.
//!
//! All people lie in one partition, so their records have one order on every node. Of two who have one address the one whose record
//! comes first holds it, everywhere alike; who was second gives theirs up.

use quipu_schemas::{
    ids::{EntityId, Home},
    limits::ADDRESS_MAX_CHARS,
    problem::Problem,
};
use std::collections::BTreeMap;

/// An address as it is compared: without space around it, in lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Normal(String);

impl std::fmt::Debug for Normal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Normal(…)")
    }
}

impl Normal {
    /// As somebody typed it; `None` where it cannot be an address.
    pub fn of(typed: &str) -> Option<Self> {
        let text = typed.trim();
        let (local, domain) = text.rsplit_once('@')?;
        let is_bad = |c: char| c.is_control() || c.is_whitespace();
        let is_one = !local.is_empty() && !domain.is_empty() && !text.contains(is_bad) && text.chars().count() <= ADDRESS_MAX_CHARS;
        is_one.then(|| Self(text.to_lowercase()))
    }

    /// The same, or a problem that says what is wrong.
    pub fn parse(typed: &str) -> Result<Self, Problem> {
        Self::of(typed).ok_or_else(|| {
            Problem::new(422, "bad_address", "not an address")
                .field("address")
                .fix(format!("write it as name@example.org, at most {ADDRESS_MAX_CHARS} characters"))
        })
    }

    /// For the digest that failed guesses are counted by.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

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
        let ids: Vec<EntityId> = self.by_id.keys().filter(|(of, _)| of == home).map(|(_, id)| id.clone()).collect();
        ids.iter().for_each(|id| self.removed(home, id));
    }

    /// Whose an address is.
    pub fn holder(&self, address: &Normal) -> Option<&Home> {
        Some(&self.claims.get(address)?.first()?.home)
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
        for text in [
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
