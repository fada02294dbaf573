//! Topics of the bus on Kafka, and the keys of their messages.

use super::subject::{NO_ID, Target};
use crate::problems::{bad_id, clip};
use quipu_schemas::{
    ids::{EntityId, Kind, OrgId},
    problem::Problem,
};

/// Commands: `{prefix}.commands`, and `{prefix}.commands.{org}` of an org that has its own.
pub const COMMANDS: &str = "commands";
/// Receipts: `{prefix}.receipts`, and an org's own.
pub const RECEIPTS: &str = "receipts";
/// Events: `{prefix}.feed`, and an org's own.
pub const FEED: &str = "feed";
/// How far each partition is relayed: `{prefix}.marks`.
pub const MARKS: &str = "marks";
/// The header that names the command.
pub const COMMAND: &str = "Quipu-Command";

/// The topic of all orgs.
pub fn common(prefix: &str, family: &str) -> String {
    format!("{prefix}.{family}")
}

/// The topic that an org may have of its own.
pub fn own(prefix: &str, family: &str, org: &OrgId) -> String {
    format!("{prefix}.{family}.{org}")
}

/// The org whose own topic this is.
pub fn owner(prefix: &str, family: &str, topic: &str) -> Option<OrgId> {
    let rest = topic.strip_prefix(prefix)?.strip_prefix('.')?;
    let org = rest.strip_prefix(family)?.strip_prefix('.')?;
    OrgId::parse(org.to_owned()).ok()
}

/// The org of a message's key, however the rest of it reads.
pub fn org_of(key: &[u8]) -> Option<OrgId> {
    let org = std::str::from_utf8(key).ok()?.split('/').next()?;
    OrgId::parse(org.to_owned()).ok()
}

/// Reads the key of a command, `org/kind/id`; `_` for the id of a `create` leaves it to the node.
pub fn parse(key: &[u8], command: &str) -> Result<Target, Problem> {
    let text = String::from_utf8_lossy(key);
    let parts: Vec<&str> = text.split('/').collect();
    let [org, kind, id] = parts[..] else {
        let detail = format!("the key `{}` names no entity", clip(&text));
        return Err(Problem::new(400, "bad_key", detail)
            .field("key")
            .fix("use the key {org}/{kind}/{id}"));
    };
    let id = match id {
        NO_ID if command == "create" => None,
        id => Some(EntityId::parse(id.to_owned()).map_err(|e| bad_id("id", &e))?),
    };
    Ok(Target {
        org: OrgId::parse(org.to_owned()).map_err(|e| bad_id("org", &e))?,
        kind: Kind::parse(kind.to_owned()).map_err(|e| bad_id("kind", &e))?,
        id,
        command: command.to_owned(),
    })
}

/// Commands of the same value keep their order; the offset tells apart those that name no entity.
pub fn lane(key: &[u8], offset: i64) -> String {
    let text = String::from_utf8_lossy(key);
    if text.is_empty() || text.ends_with("/_") {
        format!("{text}#{offset}")
    } else {
        text.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_one_entity() {
        let target = parse(b"acme/conversation/c1", "post").unwrap();
        assert_eq!(
            (target.org.as_str(), target.kind.as_str(), target.command.as_str()),
            ("acme", "conversation", "post")
        );
        assert_eq!(target.id.unwrap().as_str(), "c1");
        assert_eq!(parse(b"acme/run/_", "create").unwrap().id, None);
        for (key, code) in [
            (&b""[..], "bad_key"),
            (b"acme/run", "bad_key"),
            (b"acme/run/r1/x", "bad_key"),
            (b"ac.me/run/r1", "bad_id"),
            (b"acme/Run/r1", "bad_id"),
            (b"acme/run/\xff", "bad_id"),
        ] {
            assert_eq!(parse(key, "start").unwrap_err().code, code, "{key:?}");
        }
        assert_eq!(org_of(b"acme").unwrap().as_str(), "acme");
        assert_eq!((org_of(b""), org_of(b"\xff/run/r")), (None, None));
    }

    #[test]
    fn an_org_has_topics_of_its_own() {
        let org = OrgId::parse("acme").unwrap();
        assert_eq!((common("q", FEED), own("q", FEED, &org)), ("q.feed".into(), "q.feed.acme".into()));
        assert_eq!(owner("q", COMMANDS, "q.commands.acme"), Some(org));
        for topic in [
            "q.commands",
            "q.commands.a.b",
            "q.feed.acme",
            "other.commands.acme",
            "qq.commands.acme",
        ] {
            assert_eq!(owner("q", COMMANDS, topic), None, "{topic}");
        }
    }

    #[test]
    fn one_entity_is_one_lane_and_nameless_ones_are_many() {
        assert_eq!(lane(b"acme/run/r1", 1), lane(b"acme/run/r1", 2));
        assert_ne!(lane(b"acme/run/_", 1), lane(b"acme/run/_", 2));
        assert_ne!(lane(b"", 1), lane(b"", 2));
    }
}
