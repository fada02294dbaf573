//! One sheet a kind: its name, its plural, the prefix of its ids, and where its streams lie.
//!
//! Plurals stand in paths and in the `source` of events, placement decides which partition of a log holds a stream: neither
//! can change once a kind has been released.

use crate::{
    ids::{Kind, StreamId},
    limits::{KIND_PLURAL_MAX_CHARS, KIND_PREFIX_MAX_CHARS},
};
use std::borrow::Cow;

/// Which partition holds a stream, fixed for a log's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// That of its org, so that one partition orders everything that decides about rights.
    ByOrg,
    /// That of its own kind and id.
    ById,
}

/// What is fixed about a kind of the house.
#[derive(Debug, PartialEq, Eq)]
pub struct KindSpec {
    /// Singular name.
    pub name: &'static str,
    /// Plural, as in paths.
    pub plural: &'static str,
    /// Prefix of minted ids.
    pub prefix: &'static str,
    /// Placement.
    pub placement: Placement,
}

const fn spec(name: &'static str, plural: &'static str, prefix: &'static str, placement: Placement) -> KindSpec {
    KindSpec {
        name,
        plural,
        prefix,
        placement,
    }
}

/// The kinds of the house.
pub const KINDS: &[KindSpec] = &[
    spec("org", "orgs", "org", Placement::ByOrg),
    spec("agent", "agents", "agt", Placement::ById),
    spec("conversation", "conversations", "cnv", Placement::ById),
    spec("run", "runs", "run", Placement::ById),
    spec("grant", "grants", "grant", Placement::ByOrg),
    spec("role", "roles", "role", Placement::ByOrg),
    spec("api-key", "api-keys", "key", Placement::ByOrg),
    spec("application", "applications", "app", Placement::ByOrg),
    spec("principal", "principals", "svc", Placement::ByOrg),
    spec("quota", "quotas", "quota", Placement::ByOrg),
    spec("secret", "secrets", "secret", Placement::ByOrg),
    spec("entity", "entities", "ent", Placement::ById),
    spec("alias", "aliases", "als", Placement::ById),
    spec("callback", "callbacks", "cbk", Placement::ById),
    spec("project", "projects", "prj", Placement::ByOrg),
    spec("approval", "approvals", "apr", Placement::ByOrg),
    spec("denial", "denials", "den", Placement::ById),
    spec("invite", "invites", "inv", Placement::ByOrg),
];

/// Kinds that are placed by their org: those that decide who may do what, and what everything else in the org looks up.
/// Names whose kind does not exist yet stand here already and are kept free, because placement cannot change later.
pub const PLACED_BY_ORG: &[&str] = &[
    "org",
    "principal",
    "api-key",
    "grant",
    "role",
    "project",
    "application",
    "invite",
    "approval",
    "quota",
    "secret",
    "provider",
    "gateway",
    "contract",
    "policy-set",
    "resource",
];

/// Plurals that are more than an `s` at the end.
const IRREGULAR: &[(&str, &str)] = &[("entity", "entities"), ("memory", "memories")];

/// What stands in an org's paths beside kinds and views, in the singular and the plural.
const RESERVED: &[&str] = &[
    "event", "events", "stat", "stats", "blob", "blobs", "view", "views", "kind", "kinds", "op", "ops", "resolve", "resolves", "audit",
    "audits",
];

impl Kind {
    /// Its sheet, where it is a kind of the house.
    pub fn spec(&self) -> Option<&'static KindSpec> {
        KINDS.iter().find(|spec| spec.name == self.as_str())
    }

    /// The plural, as in paths and in the `source` of events. A kind that is not of the house may bring another one, which
    /// only the node that registers it knows; such a node takes this one in paths as well.
    pub fn plural(&self) -> Cow<'static, str> {
        let irregular = || IRREGULAR.iter().find(|(name, _)| *name == self.as_str()).map(|(_, plural)| *plural);
        match self.spec().map(|spec| spec.plural).or_else(irregular) {
            Some(plural) => Cow::Borrowed(plural),
            None => Cow::Owned(format!("{}s", self.as_str())),
        }
    }

    /// The kind that a plural names; `None` where no kind of the house and no irregular plural is called so.
    pub fn parse_plural(plural: &str) -> Option<Self> {
        let of_the_house = KINDS.iter().find(|spec| spec.plural == plural).map(|spec| spec.name);
        let irregular = || IRREGULAR.iter().find(|(_, many)| *many == plural).map(|(name, _)| *name);
        of_the_house.or_else(irregular).map(Kind::from_static)
    }

    /// Where streams of this kind lie.
    pub fn placement(&self) -> Placement {
        if PLACED_BY_ORG.contains(&self.as_str()) {
            Placement::ByOrg
        } else {
            Placement::ById
        }
    }

    /// The TypeID prefix of minted ids, where the kind brings no other.
    pub fn prefix(&self) -> &str {
        match self.spec() {
            Some(spec) => spec.prefix,
            None => &self.as_str()[..self.as_str().len().min(KIND_PREFIX_MAX_CHARS)],
        }
    }
}

/// Whether the text can be the prefix of ids.
pub fn is_prefix(text: &str) -> bool {
    text.len() <= KIND_PREFIX_MAX_CHARS && is_word(text)
}

/// Whether the text can be a plural.
pub fn is_plural(text: &str) -> bool {
    text.len() <= KIND_PLURAL_MAX_CHARS && is_word(text)
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Whether a kind that is not of the house must not be called so: the word stands in paths, or is kept for a kind of the
/// house, whose placement is fixed.
pub fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word)
        || PLACED_BY_ORG
            .iter()
            .any(|name| *name == word || Kind::from_static(name).plural() == word)
}

impl StreamId {
    /// The partition that holds this stream, stable for the life of a log with `partitions` partitions.
    pub fn partition(&self, partitions: u16) -> u16 {
        // FNV-1a 64 with a final avalanche (MurmurHash3's fmix64): stable across releases by construction.
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let mut eat = |text: &str| {
            for byte in text.bytes().chain([b'/']) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        eat(self.org.as_str());
        if self.kind.placement() == Placement::ById {
            eat(self.kind.as_str());
            eat(self.id.as_str());
        }
        hash ^= hash >> 33;
        hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 33;
        (hash % u64::from(partitions.max(1))) as u16
    }

    /// The entity's path over HTTP.
    pub fn path(&self) -> String {
        format!("/v1/orgs/{}/{}/{}", self.org, self.kind.plural(), self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str) -> Kind {
        Kind::parse(name).unwrap()
    }

    #[test]
    fn sheets_and_the_table_of_placement_agree() {
        for spec in KINDS {
            let named = kind(spec.name);
            assert_eq!(named.placement(), spec.placement, "{}", spec.name);
            assert_eq!((named.plural().as_ref(), named.prefix()), (spec.plural, spec.prefix));
            assert_eq!(Kind::parse_plural(spec.plural), Some(named));
            assert!(is_plural(spec.plural) && is_prefix(spec.prefix), "{spec:?}");
        }
        for name in PLACED_BY_ORG {
            assert_eq!(kind(name).placement(), Placement::ByOrg);
            assert!(is_reserved(name) && is_reserved(&kind(name).plural()), "{name}");
        }
    }

    /// Golden: a change here moves streams between partitions of existing logs, or renames the sources of their events.
    #[test]
    fn plurals_and_placement_never_change() {
        let seen: Vec<_> = [
            "org",
            "agent",
            "conversation",
            "run",
            "principal",
            "grant",
            "policy-set",
            "entity",
            "memory",
            "session",
        ]
        .map(|name| format!("{} {} {:?}", kind(name).plural(), kind(name).prefix(), kind(name).placement()))
        .into();
        assert_eq!(
            seen,
            [
                "orgs org ByOrg",
                "agents agt ById",
                "conversations cnv ById",
                "runs run ById",
                "principals svc ByOrg",
                "grants grant ByOrg",
                "policy-sets policy-s ByOrg",
                "entities ent ById",
                "memories memory ById",
                "sessions session ById",
            ]
        );
    }

    #[test]
    fn plurals_are_parsed_where_they_are_known() {
        assert_eq!(Kind::parse_plural("memories"), Some(kind("memory")));
        for text in ["run", "status", "robots", "memorys", ""] {
            assert_eq!(Kind::parse_plural(text), None, "{text}");
        }
        let stream: StreamId = "acme/memory/m1".parse().unwrap();
        assert_eq!(stream.path(), "/v1/orgs/acme/memories/m1");
    }
}
