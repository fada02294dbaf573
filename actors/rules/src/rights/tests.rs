use super::*;
use proptest::prelude::*;
use quipu_schemas::rights::{Capability, Pattern, Target};
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

fn catalogue() -> Catalogue {
    let commands = ["start", "approve", "cancel", "read"].map(|command| Capability::of_command(&Kind::RUN, command));
    Catalogue::new(commands.into_iter().chain([Capability::of_command(&Kind::CONVERSATION, "post")]))
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn roles(catalogue: &Catalogue) -> Roles {
    let none = Roles::default();
    let held = |texts: &[&str]| none.compile(&patterns(texts), catalogue);
    Roles::built_in([
        ("viewer", held(&["cap:run.read"])),
        ("member", held(&["cap:run.*", "cap:conversation.post"])),
    ])
}

fn spec(texts: &[&str]) -> RoleSpec {
    RoleSpec { holds: patterns(texts) }
}

fn cap(catalogue: &Catalogue, text: &str) -> Cap {
    catalogue.cap(&text.parse().unwrap()).unwrap()
}

fn id(text: &str) -> EntityId {
    EntityId::parse(text).unwrap()
}

fn asks(cap: Cap, now: Millis) -> Asked<'static> {
    Asked {
        cap,
        entity: None,
        application: None,
        project: None,
        now,
    }
}

#[test]
fn bits_of_named_capabilities_never_move() {
    let catalogue = catalogue();
    for (name, bit) in [
        ("memory.read", 0),
        ("session.create", 16),
        ("session.send", 17),
        ("policy.change", 46),
        ("federation.use", 48),
    ] {
        let held: Held = [cap(&catalogue, &format!("cap:{name}"))].into_iter().collect();
        assert_eq!(held.bits(), 1 << bit, "{name}");
    }
    let mut bits: Vec<u8> = NAMED.iter().filter_map(|(bit, _)| *bit).collect();
    assert!(bits.iter().all(|bit| *bit < 56));
    bits.sort_unstable();
    let all = bits.len();
    bits.dedup();
    assert_eq!(bits.len(), all);
    for (_, name) in NAMED {
        assert!(format!("cap:{name}").parse::<Capability>().is_ok(), "{name}");
    }
}

#[test]
fn a_capability_does_not_bring_what_is_below_it() {
    let catalogue = catalogue();
    let roles = roles(&catalogue);
    let send = roles.compile(&patterns(&["cap:messaging.send"]), &catalogue);
    let priority = cap(&catalogue, "cap:messaging.send:priority");
    assert!(send.has(cap(&catalogue, "cap:messaging.send")) && !send.has(priority));
    assert!(roles.compile(&patterns(&["cap:messaging.*"]), &catalogue).has(priority));
}

#[test]
fn roles_hold_what_those_that_they_inherit_from_hold() {
    let catalogue = catalogue();
    let mut roles = roles(&catalogue);
    for (name, holds) in [("reader", &["role:viewer"][..]), ("starter", &["role:reader", "cap:run.start"])] {
        roles.check(name, &spec(holds), &catalogue).unwrap();
        roles.set(name.into(), spec(holds));
    }
    let held = roles.compile(&patterns(&["role:starter"]), &catalogue);
    assert_eq!(held.len(), 2);
    assert!(held.has(cap(&catalogue, "cap:run.read")) && held.has(cap(&catalogue, "cap:run.start")));
    roles.remove("reader");
    assert_eq!(roles.compile(&patterns(&["role:starter"]), &catalogue).len(), 1);
}

#[test]
fn roles_in_a_circle_or_too_deep_are_refused() {
    let catalogue = catalogue();
    let mut roles = roles(&catalogue);
    assert_eq!(roles.check("a", &spec(&["role:a"]), &catalogue), Err(BadRole::Cycle("a".into())));
    assert_eq!(
        roles.check("a", &spec(&["role:gone"]), &catalogue),
        Err(BadRole::Unknown("gone".into()))
    );
    let unknown = patterns(&["cap:run.fly"]).remove(0);
    assert_eq!(
        roles.check("a", &spec(&["cap:run.fly"]), &catalogue),
        Err(BadRole::NoCapability(unknown))
    );
    roles.set("r0".into(), spec(&["cap:run.read"]));
    for n in 1..=8 {
        let below = format!("role:r{}", n - 1);
        roles.check(&format!("r{n}"), &spec(&[&below]), &catalogue).unwrap();
        roles.set(format!("r{n}"), spec(&[&below]));
    }
    assert_eq!(
        roles.check("r9", &spec(&["role:r8"]), &catalogue),
        Err(BadRole::TooDeep("r9".into()))
    );
    assert_eq!(roles.check("r3", &spec(&["role:r5"]), &catalogue), Err(BadRole::Cycle("r3".into())));
    // What makes another one too deep is refused as well.
    roles.set("x".into(), spec(&[]));
    assert_eq!(
        roles.check("r0", &spec(&["role:x"]), &catalogue),
        Err(BadRole::TooDeep("r8".into()))
    );
    // Whatever a log says, a circle ends.
    roles.set("r0".into(), spec(&["role:r8", "cap:run.read"]));
    assert_eq!(roles.compile(&patterns(&["role:r8"]), &catalogue).len(), 1);
}

#[test]
fn a_removed_role_hides_no_depth_and_hinders_no_other() {
    let catalogue = catalogue();
    let mut roles = roles(&catalogue);
    for n in 0..=8 {
        let holds = if n == 0 { vec![] } else { patterns(&[&format!("role:r{}", n - 1)]) };
        roles.set(format!("r{n}"), RoleSpec { holds });
    }
    // `a` sorts before everything: what names it stumbles over it before it comes to the long way.
    roles.set("forked".into(), spec(&["role:a", "role:r7"]));
    roles.set("a".into(), spec(&[]));
    roles.remove("a");
    roles.set("x".into(), spec(&[]));
    assert_eq!(
        roles.check("r0", &spec(&["role:x"]), &catalogue),
        Err(BadRole::TooDeep("forked".into()))
    );
    roles.check("y", &spec(&["role:forked"]), &catalogue).unwrap_err();
    roles.set("shallow".into(), spec(&["role:a"]));
    assert_eq!(roles.check("y", &spec(&["role:shallow"]), &catalogue), Ok(()));
    // A removed name that comes back may not close a circle.
    assert_eq!(
        roles.check("a", &spec(&["role:shallow"]), &catalogue),
        Err(BadRole::Cycle("a".into()))
    );
}

/// As many roles as there may be, each of which names all that are further down: the ways between them are beyond counting.
#[test]
fn densely_tied_roles_are_checked_and_compiled_at_once() {
    let catalogue = catalogue();
    let mut roles = roles(&catalogue);
    let (layers, wide) = (8, 31);
    let mut specs: BTreeMap<String, RoleSpec> = BTreeMap::new();
    let mut lower: Vec<Pattern> = patterns(&["cap:run.start"]);
    for layer in 0..layers {
        let names: Vec<String> = (0..wide).map(|n| format!("r{layer}-{n}")).collect();
        for name in &names {
            let all = RoleSpec { holds: lower.clone() };
            if name.ends_with("-0") {
                roles.check(name, &all, &catalogue).unwrap();
            }
            specs.insert(name.clone(), all.clone());
            roles.set(name.clone(), all);
        }
        lower.extend(names.into_iter().map(Pattern::Role));
    }
    let top = RoleSpec { holds: lower };
    roles.check("r0-0", &spec(&["cap:run.read"]), &catalogue).unwrap();
    roles.check("top", &top, &catalogue).unwrap();
    roles.set("top".into(), top.clone());
    let held = roles.compile(&patterns(&["role:top"]), &catalogue);
    assert!(held.has(cap(&catalogue, "cap:run.start")));
    // Each is looked at once.
    specs.insert("top".into(), top);
    let looked = Cell::new(0);
    let with = |role: &str| {
        looked.set(looked.get() + 1);
        specs.get(role)
    };
    let (none, mut known) = (Roles::default(), BTreeMap::new());
    for name in specs.keys() {
        assert!(none.depth(name, 8, &with, &mut known).is_some());
    }
    assert_eq!(looked.get(), layers * wide + 1);
}

#[test]
fn names_beyond_the_last_number_are_unknown() {
    let names = |n: u32| Capability::of_command(&Kind::RUN, &format!("c{n:05}"));
    let catalogue = Catalogue::new((0..70_000).map(names));
    let numbers: BTreeSet<Cap> = catalogue.all().map(|(_, cap)| cap).collect();
    assert_eq!(numbers.len(), catalogue.all().count(), "two names share a number");
    let last = 65_536 - 64 - NAMED.iter().filter(|(bit, _)| bit.is_none()).count() as u32;
    assert!(catalogue.cap(&names(last - 1)).is_some_and(|cap| cap.0 == u16::MAX));
    assert_eq!(catalogue.cap(&names(last)), None);
    let beyond = Pattern::One(names(last));
    assert!(!catalogue.knows(&beyond) && Roles::default().compile([&beyond], &catalogue).is_empty());
    let whole = Roles::default().compile(&patterns(&["cap:run.*"]), &catalogue);
    assert_eq!(whole.len(), last as usize);
    assert_eq!(whole.bits(), 0, "places of bits are for those that are named");
}

/// Families whose names begin alike are different ones.
#[test]
fn a_family_holds_its_own_alone_and_doubles_count_once() {
    let catalogue = Catalogue::new(
        ["a.x", "a.y", "a.y:z", "a-b.x", "ab.x", "a_b.x", "a1.x"].map(|name| format!("cap:{name}").parse::<Capability>().unwrap()),
    );
    let all = |family: &str| -> Vec<Cap> {
        catalogue
            .all()
            .filter(|(name, _)| name.family() == family)
            .map(|(_, cap)| cap)
            .collect()
    };
    for family in ["a", "a-b", "ab", "a_b", "a1", "memory", "messaging", "none", ""] {
        assert_eq!(catalogue.family(family).collect::<Vec<_>>(), all(family), "{family}");
    }
    let none = Roles::default();
    let doubled = none.compile(&patterns(&["cap:a.*", "cap:a.x", "cap:a.*", "cap:a.y:z", "cap:a.x"]), &catalogue);
    assert_eq!(doubled, none.compile(&patterns(&["cap:a.*"]), &catalogue));
    assert_eq!(doubled.len(), 3);
    let upper = none.compile(&patterns(&["cap:a.y"]), &catalogue);
    assert!(!upper.has(cap(&catalogue, "cap:a.y:z")) && doubled.covers(&upper) && !upper.covers(&doubled));
}

#[test]
fn a_limited_grant_holds_on_its_target_until_its_time() {
    let catalogue = catalogue();
    let start = cap(&catalogue, "cap:run.start");
    let held = Arc::new([start].into_iter().collect::<Held>());
    let (one, two) = (id("r1"), id("r2"));
    let limited = |on, until| {
        Rights::new(
            Arc::default(),
            vec![Limited {
                held: held.clone(),
                on,
                until,
            }],
        )
    };
    let kind = Kind::RUN;
    fn on<'a>(kind: &'a Kind, entity: &'a EntityId, asked: Asked<'a>) -> Asked<'a> {
        Asked {
            entity: Some((kind, entity)),
            ..asked
        }
    }
    let asked = |entity, now| on(&kind, entity, asks(start, now));
    let on_one = limited(Target::Entity(Kind::RUN, one.clone()), Some(100));

    assert!(on_one.holds(&asked(&one, 99)));
    assert!(!on_one.holds(&asked(&one, 100)), "the end is outside");
    assert!(!on_one.holds(&asked(&two, 0)));
    assert!(!on_one.holds(&asks(start, 0)), "an entity's grant is not the org's");
    let project = id("p1");
    let in_project = Asked {
        project: Some(&project),
        ..asked(&two, 0)
    };
    assert!(limited(Target::Project(project.clone()), None).holds(&in_project));
    assert!(!limited(Target::Application(project.clone()), None).holds(&in_project));
    assert!(!Rights::none().holds(&in_project) && Rights::All.holds(&in_project));
}

#[test]
fn a_project_is_within_itself_and_no_namesake_is() {
    let catalogue = catalogue();
    let start = cap(&catalogue, "cap:run.start");
    let held: Arc<Held> = Arc::new([start].into_iter().collect());
    let on = |on: &str| {
        Rights::new(
            Arc::default(),
            vec![Limited {
                held: held.clone(),
                on: on.parse().unwrap(),
                until: None,
            }],
        )
    };
    let (x, kinds) = (id("x"), ["project", "application", "run"].map(|kind| Kind::parse(kind).unwrap()));
    for target in &kinds {
        for kind in &kinds {
            let asked = Asked {
                entity: Some((kind, &x)),
                ..asks(start, 0)
            };
            assert_eq!(on(&format!("{target}/x")).holds(&asked), target == kind, "{target}/x for {kind}/x");
        }
    }
}

#[test]
fn a_chain_says_who_lacks_the_right() {
    let catalogue = catalogue();
    let start = cap(&catalogue, "cap:run.start");
    let may = Rights::new(Arc::new([start].into_iter().collect()), vec![]);
    let none = Rights::none();
    let asked = asks(start, 0);
    let chain = |principal: &Rights, scope: Option<&Rights>, actors: &[&Rights]| Chain { principal, scope, actors }.permits(&asked);
    assert_eq!(chain(&may, None, &[]), Ok(()));
    assert_eq!(chain(&none, None, &[&may]), Err(Lacking::Principal));
    assert_eq!(chain(&may, Some(&none), &[]), Err(Lacking::Scope));
    assert_eq!(chain(&may, Some(&may), &[&may, &none]), Err(Lacking::Actor(1)));
    let all = Rights::All;
    assert_eq!(chain(&all, None, &[&all; 4]), Ok(()));
    assert_eq!(
        chain(&all, None, &[&all; 5]),
        Err(Lacking::Actor(4)),
        "more actors than a chain has"
    );
    assert_eq!(chain(&all, None, &[&all, &all, &all, &none, &all]), Err(Lacking::Actor(3)));
}

fn some_rights() -> impl Strategy<Value = Rights> {
    let held = || prop::collection::vec(0usize..8, 0..4);
    let target = prop_oneof![
        Just(Target::Org),
        Just(Target::Project(id("p1"))),
        Just(Target::Application(id("a1"))),
        Just(Target::Entity(Kind::RUN, id("r1"))),
    ];
    let limited = prop::collection::vec((held(), target, prop::option::of(0u64..10)), 0..4);
    (held(), limited).prop_map(|(lasting, limited)| {
        let catalogue = catalogue();
        let caps: Vec<Cap> = catalogue.all().map(|(_, cap)| cap).collect();
        let set = |places: Vec<usize>| Arc::new(places.into_iter().map(|at| caps[at * 4]).collect::<Held>());
        let limited = limited
            .into_iter()
            .map(|(held, on, until)| Limited {
                held: set(held),
                on,
                until,
            })
            .collect();
        Rights::new(set(lasting), limited)
    })
}

proptest! {
    /// A right only shrinks: whoever is added to a chain never makes it permit more.
    #[test]
    fn a_longer_chain_never_permits_more(
        principal in some_rights(), scope in some_rights(), actor in some_rights(), at in 0usize..8, now in 0u64..12, is_within in any::<bool>(),
    ) {
        let catalogue = catalogue();
        let caps: Vec<Cap> = catalogue.all().map(|(_, cap)| cap).collect();
        let (kind, run, project) = (Kind::RUN, id("r1"), id("p1"));
        let asked = Asked {
            entity: is_within.then_some((&kind, &run)),
            project: is_within.then_some(&project),
            ..asks(caps[at * 4], now)
        };
        let permits = |scope: Option<&Rights>, actors: &[&Rights]| Chain { principal: &principal, scope, actors }.permits(&asked).is_ok();
        let whole = permits(Some(&scope), &[&actor]);
        prop_assert_eq!(whole, principal.holds(&asked) && scope.holds(&asked) && actor.holds(&asked));
        prop_assert!(!whole || permits(Some(&scope), &[]) && permits(None, &[]));
    }
}
