use super::*;
use quipu_kinds::{api_key::ApiKeyEvent, grant::GrantEvent, org::OrgEvent, project::ProjectEvent, role::RoleEvent};
use quipu_rules::rights::Asked;
use quipu_schemas::{
    codec,
    envelope::DataClass,
    ids::CommandId,
    record::{self, Header},
    rights::{Pattern, Target},
    role::Role,
};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

mod many;

fn charter() -> Arc<Charter> {
    Arc::new(crate::kinds::Kinds::builtin().charter([]))
}

fn id(org: &str) -> OrgId {
    OrgId::parse(org).unwrap()
}

fn who(principal: &str) -> PrincipalId {
    PrincipalId::parse(principal).unwrap()
}

fn stream(text: &str) -> StreamId {
    text.parse().unwrap()
}

/// The record that adds an event to an entity.
fn record<E: Serialize + DeserializeOwned + JsonSchema>(entity: &Folded, event: &E) -> Record {
    let stored = vec![codec::encode_event(event).unwrap()];
    let header = Header {
        stream: entity.stream().clone(),
        first_version: entity.version() + 1,
        events: 1,
        reactions: 0,
        command_id: CommandId::parse(format!("c-{}", entity.version())).unwrap(),
        digest: Digest::ZERO,
        time: 1,
        principal: PrincipalId::BOOTSTRAP,
        on_behalf_of: None,
        home: None,
        credential: None,
        acts_as: None,
        environment: None,
        data_class: DataClass::None,
        authority: 0,
        correlation: None,
        causation: None,
        traceparent: None,
        schema: 1,
        settlement: None,
        names: Vec::new(),
    };
    let encoded = record::encode(&header, &stored, &[], entity.hash()).unwrap();
    Record {
        header,
        events: stored,
        reactions: Vec::new(),
        previous: entity.hash(),
        hash: encoded.hash,
    }
}

fn grown<E: Serialize + DeserializeOwned + JsonSchema>(of: &str, events: &[E]) -> Folded {
    let mut grown = Folded::empty(stream(of)).unwrap();
    for event in events {
        let record = record(&grown, event);
        grown.fold(&record).unwrap();
    }
    grown
}

fn created() -> OrgEvent {
    OrgEvent::Created {
        name: "A".into(),
        parent: None,
    }
}

fn member(principal: &str, role: Role) -> OrgEvent {
    OrgEvent::MemberAdded {
        principal: who(principal),
        role,
        name: None,
        email: None,
    }
}

fn given(right: &str) -> GrantEvent {
    GrantEvent::Given {
        right: right.parse().unwrap(),
        on: Target::Org,
        until: None,
    }
}

fn key_of(principal: &str, scopes: &[&str]) -> ApiKeyEvent {
    ApiKeyEvent::Created {
        name: "k".into(),
        principal: who(principal),
        scopes: scopes.iter().map(|scope| scope.parse::<Pattern>().unwrap()).collect(),
        networks: Vec::new(),
        lifetime_days: 1,
        expires_at: 1_000,
        hash: Digest([7; 32]),
        argon2id: false,
        made_by: None,
    }
}

/// Streams as a log has them, and what is known of them.
struct Desk {
    known: Authorities,
    stored: BTreeMap<StreamId, Vec<Record>>,
    /// How far the partition was read.
    read: u64,
    brought: Vec<String>,
}

impl Desk {
    fn new(orgs_max: usize, parts_max: usize) -> Self {
        Self {
            known: Authorities::new(charter(), orgs_max, parts_max),
            stored: BTreeMap::new(),
            read: 0,
            brought: Vec::new(),
        }
    }

    /// An event becomes durable.
    fn add<E: Serialize + DeserializeOwned + JsonSchema>(&mut self, of: &str, event: &E) -> Record {
        let record = record(&self.folded(&stream(of)), event);
        self.stored.entry(stream(of)).or_default().push(record.clone());
        self.known.record(&record);
        record
    }

    /// An entity as its stream has it.
    fn folded(&self, stream: &StreamId) -> Folded {
        let mut folded = Folded::empty(stream.clone()).unwrap();
        for record in self.stored.get(stream).into_iter().flatten() {
            folded.fold(record).unwrap();
        }
        folded
    }

    /// Asks as a shell does: what is wanted is compared with the stream's end, or read from it.
    fn ask<T>(&mut self, ask: impl Fn(&mut Authorities, u64) -> Result<T, Wanted>) -> Option<T> {
        for _ in 0..10 {
            let stream = match ask(&mut self.known, self.read) {
                Ok(answer) => return Some(answer),
                Err(Wanted(stream)) => stream,
            };
            let entity = self.folded(&stream);
            if self.known.confirm(&stream, entity.hash(), self.read) {
                continue;
            }
            self.brought.push(stream.to_string());
            let is_nothing = entity.version() == 0 && (stream.kind == Kind::ORG || stream.kind == Kind::API_KEY);
            self.known.insert(entity, self.read);
            if is_nothing {
                return None;
            }
        }
        panic!("asked ten times and never answered")
    }

    fn actor(&mut self, org: &str, principal: &str) -> Arc<ActorRights> {
        let (org, principal) = (id(org), who(principal));
        let rights = self.ask(|known, read| known.actor(&org, &principal, read));
        rights.unwrap_or_else(|| Arc::new(ActorRights::nobody()))
    }

    fn may(&mut self, principal: &str, capability: &str) -> bool {
        let rights = self.actor("acme", principal);
        let cap = charter().catalogue().cap(&format!("cap:{capability}").parse().unwrap()).unwrap();
        rights.rights.holds(&Asked {
            cap,
            entity: None,
            application: None,
            project: None,
            now: 0,
        })
    }

    fn key(&mut self, key: &str) -> Option<Arc<KnownKey>> {
        let key = EntityId::parse(key).unwrap();
        self.ask(|known, read| known.key(&id("acme"), &key, read))
    }
}

#[test]
fn known_rights_follow_the_records_they_come_from() {
    let mut desk = Desk::new(8, 100);
    desk.add("acme/org/acme", &created());
    assert!(!desk.actor("acme", "ada").is_known);
    desk.add("acme/org/acme", &member("ada", Role::Viewer));
    assert!(desk.may("ada", "run.read") && !desk.may("ada", "run.start"));
    desk.add("acme/grant/ada", &given("role:starter"));
    assert!(!desk.may("ada", "run.start"), "the role does not exist yet");
    let starter = RoleEvent::Set {
        name: "starter".into(),
        holds: vec!["cap:run.start".parse().unwrap()],
    };
    desk.add("acme/role/all", &starter);
    assert!(desk.may("ada", "run.start") && !desk.may("bob", "run.start"));
    desk.add("acme/role/all", &RoleEvent::Removed { name: "starter".into() });
    assert!(!desk.may("ada", "run.start"));
    desk.add("acme/grant/ada", &given("cap:run.start"));
    assert!(desk.may("ada", "run.start"));
    desk.add("acme/org/acme", &OrgEvent::MemberRemoved { principal: who("ada") });
    assert!(desk.may("ada", "run.start") && !desk.may("ada", "run.read"));
    let taken = GrantEvent::Taken {
        right: "cap:run.start".parse().unwrap(),
        on: Target::Org,
    };
    desk.add("acme/grant/ada", &taken);
    assert!(!desk.may("ada", "run.start"));
    // Each stream was read once: what came later came by its records.
    desk.brought.sort();
    assert_eq!(desk.brought, ["acme/grant/ada", "acme/grant/bob", "acme/org/acme", "acme/role/all"]);
}

#[test]
fn a_key_ends_with_the_record_that_says_so() {
    let mut desk = Desk::new(8, 100);
    desk.add("acme/org/acme", &created());
    assert!(desk.key("key_1").is_none());
    desk.add("acme/api-key/key_1", &key_of("ada", &["cap:run.start"]));
    let key = desk.key("key_1").expect("a key");
    assert_eq!((&key.principal, key.is_narrow(), key.has_ended(999)), (&who("ada"), true, false));
    assert!(key.has_ended(1_000), "the clock decides");
    assert!(key.is_opened_by(&[7; 32], 0) && !key.is_opened_by(&[8; 32], 0));
    desk.add(
        "acme/api-key/key_1",
        &ApiKeyEvent::Revoked {
            reason: "lost".into(),
            cascade: false,
        },
    );
    assert!(desk.key("key_1").is_some_and(|key| key.has_ended(0)));
    // A stale reading that arrives late revives nothing: it is compared before it is kept.
    let stale = grown("acme/api-key/key_1", &[key_of("ada", &["cap:run.start"])]);
    assert!(!desk.known.confirm(&stream("acme/api-key/key_1"), stale.hash(), 0));
    assert!(desk.key("key_1").is_some_and(|key| key.has_ended(0)));
}

#[test]
fn what_does_not_exist_is_kept_only_for_known_orgs() {
    let mut desk = Desk::new(8, 1_000);
    for n in 0..50 {
        assert!(!desk.actor(&format!("none-{n}"), "ada").is_known);
    }
    assert!(desk.known.is_empty());
    desk.add("acme/org/acme", &created());
    for n in 0..50 {
        assert!(desk.key(&format!("none-{n}")).is_none());
    }
    desk.actor("acme", "ada");
    assert!(!desk.actor("acme", "bootstrap").is_known);
    assert!(
        !desk.brought.contains(&"acme/grant/bootstrap".to_owned()),
        "by the node's token the org is enough"
    );
    let (brought, parts) = (desk.brought.len(), desk.known.parts);
    desk.actor("acme", "ada");
    assert_eq!(desk.brought.len(), brought, "whoever was given nothing is remembered as that");
    assert!(parts < 10, "{parts}");
}

#[test]
fn a_record_that_does_not_continue_makes_it_forgotten() {
    let mut desk = Desk::new(8, 100);
    desk.add("acme/org/acme", &created());
    desk.actor("acme", "ada");
    let elsewhere = grown("acme/org/acme", &[created(), member("bob", Role::Member)]);
    desk.known.record(&record(&elsewhere, &member("ada", Role::Owner)));
    assert!(!desk.actor("acme", "ada").is_known);
    assert_eq!(desk.brought.iter().filter(|of| *of == "acme/org/acme").count(), 2);
    // Heard of twice, a record counts once.
    let again = desk.add("acme/org/acme", &member("ada", Role::Owner));
    desk.known.record(&again);
    assert_eq!(desk.actor("acme", "ada").org.role, Some(Role::Owner));
}

#[test]
fn nothing_read_before_is_used_until_it_is_compared() {
    let mut desk = Desk::new(8, 100);
    desk.add("acme/org/acme", &created());
    desk.add("acme/org/acme", &member("ada", Role::Member));
    assert!(desk.may("ada", "run.start"));
    // Something was read that did not come here.
    let granted = record(&desk.folded(&stream("acme/grant/ada")), &given("cap:agent.create"));
    desk.stored.insert(stream("acme/grant/ada"), vec![granted]);
    assert!(!desk.may("ada", "agent.create"));
    desk.read += 1;
    let brought = desk.brought.len();
    assert!(desk.may("ada", "agent.create"));
    assert_eq!(
        desk.brought[brought..],
        ["acme/grant/ada"],
        "what is right is compared and not read again"
    );
}

#[test]
fn the_least_recently_used_orgs_are_forgotten_whole() {
    let mut desk = Desk::new(4, 40);
    for org in ["a", "b", "c", "d", "e"] {
        let of = format!("{org}/org/{org}");
        desk.add(&of, &created());
        desk.add(&of, &member("ada", Role::Member));
    }
    for org in ["a", "b", "c", "d"] {
        desk.actor(org, "ada");
    }
    for _ in 0..10 {
        desk.actor("a", "ada");
    }
    desk.actor("e", "ada");
    assert_eq!(desk.known.len(), 4);
    assert!(desk.known.shelves.contains_key(&id("a")) && !desk.known.shelves.contains_key(&id("b")));
    // What an org holds counts too, and one that is larger than the bound still answers.
    for n in 0..60 {
        desk.add("a/org/a", &member(&format!("p{n}"), Role::Member));
    }
    for n in 0..60 {
        assert!(desk.actor("a", &format!("p{n}")).is_known);
        let counted: usize = desk.known.shelves.values().map(|shelf| shelf.parts).sum();
        assert_eq!(counted, desk.known.parts);
    }
    assert_eq!(desk.known.len(), 1);
    assert!(desk.known.parts < 61 + 1 + 1 + 4 + 40, "{}", desk.known.parts);
}

#[test]
fn grant_on_an_archived_project_holds_nothing() {
    let mut desk = Desk::new(10, 100);
    desk.add("acme/org/acme", &created());
    desk.add("acme/project/p1", &ProjectEvent::Created { name: "P".into() });
    for on in ["project/p1", "project/p2"] {
        let given = GrantEvent::Given {
            right: "cap:entity.*".parse().unwrap(),
            on: on.parse().unwrap(),
            until: None,
        };
        desk.add("acme/grant/ada", &given);
    }
    let held_on = |desk: &mut Desk| {
        let actor = desk.actor("acme", "ada");
        let cap = charter().catalogue().cap(&"cap:entity.read".parse().unwrap()).unwrap();
        let on: Vec<String> = actor.rights.given_on(cap, 0).map(ToString::to_string).collect();
        (actor.is_known, on)
    };
    assert_eq!(held_on(&mut desk), (true, vec!["project/p1".to_owned(), "project/p2".to_owned()]));
    let archived = |reason: &str| ProjectEvent::Archived { reason: reason.into() };
    desk.add("acme/project/p1", &archived(""));
    assert_eq!(held_on(&mut desk), (true, vec!["project/p2".to_owned()]));
    desk.add("acme/project/p2", &ProjectEvent::Created { name: "P".into() });
    desk.add("acme/project/p2", &archived("over"));
    // Somebody to whom nothing counts any more is somebody still: they are told what they lack.
    assert_eq!(held_on(&mut desk), (true, Vec::new()));
}
