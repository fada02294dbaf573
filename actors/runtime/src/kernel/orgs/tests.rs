use super::*;
use quipu_kinds::org::OrgEvent;
use quipu_schemas::{
    envelope::DataClass,
    ids::{CommandId, StreamId},
    record::{self, Header},
};

fn record(org: &Active<Org>, event: &OrgEvent) -> Record {
    let stored = vec![quipu_schemas::codec::encode_event(event).unwrap()];
    let header = Header {
        stream: org.stream().clone(),
        first_version: org.version() + 1,
        events: 1,
        reactions: 0,
        command_id: CommandId::parse(format!("c-{}", org.version())).unwrap(),
        digest: Digest::ZERO,
        time: 1,
        principal: PrincipalId::BOOTSTRAP,
        on_behalf_of: None,
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
    };
    let encoded = record::encode(&header, &stored, &[], org.hash()).unwrap();
    Record {
        header,
        events: stored,
        reactions: Vec::new(),
        previous: org.hash(),
        hash: encoded.hash,
    }
}

fn missing(org: &str) -> Active<Org> {
    Active::empty(StreamId::of_org(&OrgId::parse(org).unwrap()))
}

fn grown(org: &str, events: &[OrgEvent]) -> Active<Org> {
    let mut grown = missing(org);
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

fn member(who: &str) -> OrgEvent {
    OrgEvent::MemberAdded {
        principal: PrincipalId::parse(who).unwrap(),
        role: Role::Member,
        name: None,
        email: None,
    }
}

fn id(org: &str) -> OrgId {
    OrgId::parse(org).unwrap()
}

#[test]
fn a_known_org_follows_its_records() {
    let mut orgs = Orgs::new(8, 100);
    let mut stored = grown("acme", &[created()]);
    orgs.insert(grown("acme", &[created()]), 0);
    let ada = PrincipalId::parse("ada").unwrap();
    let view = |orgs: &mut Orgs| orgs.look(&id("acme"), Some(&ada), 0);
    let known = |version, suspended, role| Lookup::Known(OrgView { version, suspended, role });
    assert_eq!(view(&mut orgs), known(1, false, None));
    for (event, expected) in [
        (member("ada"), known(2, false, Some(Role::Member))),
        (OrgEvent::Suspended { reason: String::new() }, known(3, true, Some(Role::Member))),
        (OrgEvent::Resumed {}, known(4, false, Some(Role::Member))),
    ] {
        let record = record(&stored, &event);
        stored.fold(&record).unwrap();
        orgs.record(&record);
        assert_eq!(view(&mut orgs), expected);
        // Heard of twice, it counts once.
        orgs.record(&record);
        assert_eq!(view(&mut orgs), expected);
    }
}

#[test]
fn a_record_that_does_not_continue_an_org_forgets_it() {
    let mut orgs = Orgs::new(8, 100);
    orgs.insert(grown("acme", &[created()]), 0);
    let later = grown("acme", &[created(), member("ada")]);
    orgs.record(&record(&later, &member("bob")));
    assert_eq!(orgs.look(&id("acme"), None, 0), Lookup::Missing);
    assert_eq!(orgs.members, 0);
}

#[test]
fn orgs_that_do_not_exist_are_not_kept() {
    let mut orgs = Orgs::new(8, 100);
    for org in 0..1_000 {
        orgs.insert(missing(&format!("none-{org}")), 0);
    }
    assert!(orgs.is_empty());
}

#[test]
fn the_least_recently_used_orgs_are_forgotten() {
    let mut orgs = Orgs::new(4, 5);
    for org in ["a", "b", "c", "d"] {
        orgs.insert(grown(org, &[created(), member("ada")]), 0);
    }
    for _ in 0..10 {
        orgs.look(&id("a"), None, 0);
    }
    orgs.insert(grown("e", &[created()]), 0);
    assert_eq!(orgs.len(), 4);
    assert_eq!(orgs.look(&id("b"), None, 0), Lookup::Missing);
    assert!(matches!(orgs.look(&id("a"), None, 0), Lookup::Known(_)));
    // Members count too.
    orgs.insert(grown("f", &[created(), member("a"), member("b"), member("c"), member("d")]), 0);
    assert!(orgs.members <= 5, "{}", orgs.members);
    assert!(matches!(orgs.look(&id("f"), None, 0), Lookup::Known(_)));
}

#[test]
fn an_org_is_unsure_until_it_is_compared() {
    let mut orgs = Orgs::new(4, 100);
    let stored = grown("acme", &[created()]);
    orgs.insert(grown("acme", &[created()]), 1);
    assert_eq!(orgs.look(&id("acme"), None, 2), Lookup::Unsure(stored.hash()));
    orgs.confirm(&id("acme"), Digest::ZERO, 2);
    assert_eq!(orgs.look(&id("acme"), None, 2), Lookup::Unsure(stored.hash()));
    orgs.confirm(&id("acme"), stored.hash(), 2);
    assert!(matches!(orgs.look(&id("acme"), None, 2), Lookup::Known(_)));
}
