//! The one grammar of addresses of people: wherever one is taken, it is read here.

use crate::{limits::ADDRESS_MAX_CHARS, problem::Problem};

/// An address as it is compared: one form for all spellings of the same. Case, width and marks that nobody sees are gone, the domain is
/// written as DNS asks for it.
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
        let text = typed.trim().replace(['\u{ff20}', '\u{fe6b}'], "@");
        // What quotes and comments add to an address leads to the same mailbox as without.
        let is_bad = |c: char| c.is_control() || c.is_whitespace() || "\"\\()<>[],;:".contains(c);
        if text.contains(is_bad) || text.chars().count() > ADDRESS_MAX_CHARS {
            return None;
        }
        let (local, domain) = text.rsplit_once('@')?;
        let domain = idna::domain_to_ascii_cow(domain.as_bytes(), idna::AsciiDenyList::URL).ok()?;
        let domain = domain.strip_suffix('.').unwrap_or(&domain);
        // The mapping of names serves the other part as well.
        let local = if local.is_ascii() {
            local.to_ascii_lowercase()
        } else {
            let (mapped, fits) = idna::domain_to_unicode(local);
            fits.ok()?;
            mapped
        };
        let is_one = !local.is_empty() && !domain.is_empty() && !domain.split('.').any(str::is_empty) && !local.contains(['@', ' ']);
        is_one.then(|| Self(format!("{local}@{domain}")))
    }

    /// The same, or a problem that says what is wrong.
    pub fn parse(typed: &str) -> Result<Self, Problem> {
        Self::of(typed).ok_or_else(Self::refused)
    }

    /// The answer to what is not an address. It repeats nothing of it.
    pub fn refused() -> Problem {
        Problem::new(422, "bad_address", "not an address")
            .field("address")
            .fix(format!("write it as name@example.org, at most {ADDRESS_MAX_CHARS} characters"))
    }

    /// For the digest that failed guesses are counted by.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_that_no_letter_reaches_is_refused() {
        for bad in [
            "",
            "ada",
            "@example.org",
            "ada@",
            "ada@@example.org",
            "a b@example.org",
            "ada@example..org",
            "ada@example.org\nbcc: eve",
        ] {
            let problem = Normal::parse(bad).unwrap_err();
            assert_eq!(
                (problem.status, &*problem.code, problem.field.as_deref()),
                (422, "bad_address", Some("address")),
                "{bad}"
            );
        }
        assert!(Normal::of(&format!("{}@example.org", "a".repeat(ADDRESS_MAX_CHARS))).is_none());
    }

    #[test]
    fn spellings_of_one_address_are_equal() {
        let one = Normal::of("ada@example.org").unwrap();
        for other in [" Ada@Example.ORG ", "ada@example.org.", "ada\u{ff20}example.org"] {
            assert_eq!(Normal::of(other).as_ref(), Some(&one), "{other}");
        }
    }
}
