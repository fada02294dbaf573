//! Subjects of the bus: what they are made of, and what a command's says.

use crate::problems::{bad_id, clip};
use quipu_schemas::{
    ids::{CommandId, EntityId, Kind, OrgId, StreamId},
    problem::Problem,
};
use sha2::{Digest, Sha256};

/// Calls: `quipu.v1.call.{org}.{kind}.{id}.{command}`.
pub const CALL: &str = "quipu.v1.call";
/// The durable queue: `quipu.v1.cmd.{org}.{kind}.{id}.{command}`.
pub const CMD: &str = "quipu.v1.cmd";
/// Receipts: `quipu.v1.receipt.{org}.{hash}`.
pub const RECEIPT: &str = "quipu.v1.receipt";
/// Events: `quipu.v1.feed.{org}.{kind}.{event}`.
pub const FEED: &str = "quipu.v1.feed";
/// In the place of an id: a `create` whose id is derived from its command id.
pub const NO_ID: &str = "_";

/// What the subject of a command says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Tenant; whoever may publish on the subject may act in it.
    pub org: OrgId,
    /// Kind, not yet looked up.
    pub kind: Kind,
    /// The entity; `None` for a `create` that leaves it to the node.
    pub id: Option<EntityId>,
    /// Command, not yet looked up.
    pub command: String,
}

fn tokens<'a>(family: &str, subject: &'a str) -> Vec<&'a str> {
    let rest = subject.strip_prefix(family).and_then(|rest| rest.strip_prefix('.'));
    rest.map(|rest| rest.split('.').collect()).unwrap_or_default()
}

/// The org of a subject of this family, however the rest of it reads.
pub fn org_of(family: &str, subject: &str) -> Option<OrgId> {
    tokens(family, subject).first().and_then(|org| OrgId::parse((*org).to_owned()).ok())
}

/// Reads the subject of a command.
pub fn parse(family: &str, subject: &str) -> Result<Target, Problem> {
    let tokens = tokens(family, subject);
    let [org, kind, id, command] = tokens[..] else {
        let detail = format!("`{}` names no command", clip(subject));
        return Err(Problem::new(400, "bad_subject", detail)
            .field("subject")
            .fix(format!("use {family}.{{org}}.{{kind}}.{{id}}.{{command}}")));
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

/// Commands of the same value keep their order; `sequence` tells apart those that name no entity yet.
pub fn lane(subject: &str, sequence: u64) -> String {
    let entity = subject.rsplit_once('.').map_or(subject, |(entity, _)| entity);
    if entity.ends_with("._") {
        format!("{entity}{sequence}")
    } else {
        entity.to_owned()
    }
}

/// Where the receipt of a command is: the first 32 hex digits of the SHA-256 of the command's id.
pub fn receipt(org: &OrgId, id: &CommandId) -> String {
    let hash = hex::encode(&Sha256::digest(id.as_str().as_bytes())[..16]);
    format!("{RECEIPT}.{org}.{hash}")
}

/// Where an event goes: by its stored name without family and version, `quipu.run.started.v1` → `started`.
pub fn feed(stream: &StreamId, name: &str) -> String {
    format!("{FEED}.{}.{}.{}", stream.org, stream.kind, event(name))
}

/// The last part of a stored name without its version.
pub fn event(name: &str) -> String {
    let is_version = |part: &str| {
        part.strip_prefix('v')
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    let part = name.rsplit('.').find(|part| !is_version(part)).unwrap_or(name);
    part.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' || c == '-' {
                c
            } else {
                '_'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_names_one_command_of_one_entity() {
        let target = parse(CALL, "quipu.v1.call.acme.conversation.c1.post").unwrap();
        assert_eq!(
            (target.org.as_str(), target.kind.as_str(), target.command.as_str()),
            ("acme", "conversation", "post")
        );
        assert_eq!(target.id.unwrap().as_str(), "c1");
        assert_eq!(parse(CMD, "quipu.v1.cmd.acme.run._.create").unwrap().id, None);
        for (subject, code) in [
            ("quipu.v1.cmd.acme.run.r1", "bad_subject"),
            ("quipu.v1.cmd.acme.run.r1.start.now", "bad_subject"),
            ("quipu.v1.cmd.", "bad_subject"),
            ("quipu.v1.call.acme.run.r1.start", "bad_subject"),
            ("quipu.v1.cmd.ac/me.run.r1.start", "bad_id"),
            ("quipu.v1.cmd.acme.Run.r1.start", "bad_id"),
        ] {
            assert_eq!(parse(CMD, subject).unwrap_err().code, code, "{subject}");
        }
        assert_eq!(org_of(CMD, "quipu.v1.cmd.acme.run").unwrap().as_str(), "acme");
        assert_eq!(org_of(CMD, "quipu.v1.cmd"), None);
    }

    /// What a subscription would take for many subjects is part of no id, so nobody publishes to, or reads, more than one entity.
    #[test]
    fn wildcards_are_ids_of_nothing() {
        for wild in ["*", ">", "a*", "a>", "", " ", "a\tb", "a\r\nPUB x 0", "$SYS"] {
            for subject in [
                format!("{CMD}.{wild}.run.r1.start"),
                format!("{CMD}.acme.{wild}.r1.start"),
                format!("{CMD}.acme.run.{wild}.start"),
            ] {
                assert!(parse(CMD, &subject).is_err(), "{subject}");
            }
            assert_eq!(org_of(CMD, &format!("{CMD}.{wild}.run")), None, "{wild}");
            // Where a subject is made of them, they are no ids either; of a command's id only the hash is in one.
            assert!(
                OrgId::parse(wild.to_owned()).is_err() && EntityId::parse(wild.to_owned()).is_err(),
                "{wild}"
            );
            assert!(Kind::parse(wild.to_owned()).is_err(), "{wild}");
        }
        let stream: StreamId = "acme/run/r1".parse().unwrap();
        assert_eq!(feed(&stream, "quipu.run.*.>.v1"), "quipu.v1.feed.acme.run._");
    }

    #[test]
    fn receipts_and_events_have_places_of_their_own() {
        let org = OrgId::parse("acme").unwrap();
        let id = CommandId::parse("c:1").unwrap();
        assert_eq!(
            receipt(&org, &id),
            "quipu.v1.receipt.acme.5a8fc8fd48c4a72f7f0c7c5fd1dd4ac4"
                .replace("5a8fc8fd48c4a72f7f0c7c5fd1dd4ac4", &hex::encode(Sha256::digest("c:1"))[..32])
        );
        let stream: StreamId = "acme/conversation/c1".parse().unwrap();
        assert_eq!(
            feed(&stream, "quipu.conversation.message_posted.v12"),
            "quipu.v1.feed.acme.conversation.message_posted"
        );
        assert_eq!(
            (event("odd"), event("v1"), event("a.b c.v2")),
            ("odd".into(), "v1".into(), "b_c".into())
        );
    }

    #[test]
    fn one_entity_is_one_lane_and_nameless_ones_are_many() {
        let lane = |subject| lane(subject, 7);
        assert_eq!(lane("quipu.v1.cmd.acme.run.r1.create"), lane("quipu.v1.cmd.acme.run.r1.cancel"));
        assert_eq!(lane("quipu.v1.cmd.acme.run._.create"), "quipu.v1.cmd.acme.run._7");
    }
}
