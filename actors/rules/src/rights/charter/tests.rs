use super::*;
use crate::rights::Asked;

fn charter() -> Charter {
    let command = |kind: Kind, command: &str, right| (kind, command.to_owned(), right);
    Charter::new(
        [
            command(Kind::RUN, "start", Right::Role(Role::Member)),
            command(Kind::RUN, "cancel", Right::Rules),
            command(Kind::AGENT, "create", Right::Role(Role::Admin)),
            command(Kind::ORG, "create", Right::Rules),
            command(Kind::ORG, "suspend", Right::Role(Role::Owner)),
        ],
        [Capability::named("turn.read")],
    )
}

fn holds(charter: &Charter, rights: &Rights, capability: &str, now: Millis) -> bool {
    let cap = charter.catalogue().cap(&format!("cap:{capability}").parse().unwrap()).unwrap();
    rights.holds(&Asked {
        cap,
        entity: None,
        application: None,
        project: None,
        now,
    })
}

#[test]
fn built_in_roles_hold_what_their_kinds_say() {
    let charter = charter();
    let roles = charter.roles([]);
    for (capability, from) in [
        ("run.read", Some(Role::Viewer)),
        ("turn.read", Some(Role::Viewer)),
        ("run.start", Some(Role::Member)),
        ("run.cancel", Some(Role::Member)),
        ("personal.read", Some(Role::Member)),
        ("agent.create", Some(Role::Admin)),
        ("org.suspend", Some(Role::Owner)),
        ("org.create", None),
        ("principal.act_as", None),
    ] {
        for role in ROLES {
            let rights = charter.rights(Some(role), [], &roles);
            assert_eq!(
                holds(&charter, &rights, capability, 0),
                from.is_some_and(|from| role >= from),
                "{role:?} {capability}"
            );
            // The name of the role stands for the same.
            let by_name = charter.scope(&[Pattern::Role(role_name(role).to_owned())], &roles);
            assert_eq!(by_name, rights, "{role:?}");
        }
        assert!(!holds(&charter, &charter.rights(None, [], &roles), capability, 0), "{capability}");
    }
}

#[test]
fn what_was_given_adds_to_the_role() {
    let charter = charter();
    let given = |right: &str, until| Given {
        right: right.parse().unwrap(),
        on: Target::Org,
        until,
    };
    let own = BTreeMap::from([(
        "hiring".to_owned(),
        RoleSpec {
            holds: vec!["cap:agent.create".parse().unwrap()],
        },
    )]);
    let roles = charter.roles(&own);
    let rights = |given: &[Given]| charter.rights(Some(Role::Viewer), given, &roles);
    let both = rights(&[given("cap:run.start", None), given("role:hiring", Some(10))]);
    assert!(holds(&charter, &both, "run.read", 0) && holds(&charter, &both, "run.start", 99));
    assert!(holds(&charter, &both, "agent.create", 9) && !holds(&charter, &both, "agent.create", 10));
    assert!(!holds(&charter, &rights(&[]), "run.start", 0));
    let without = charter.rights(Some(Role::Viewer), &[given("role:hiring", None)], &charter.roles([]));
    assert!(!holds(&charter, &without, "agent.create", 0), "a role that is gone holds nothing");
}

#[test]
fn a_scope_cuts_only_where_there_is_one() {
    let charter = charter();
    let roles = charter.roles([]);
    assert_eq!(charter.scope(&[], &roles), Rights::All);
    let narrow = charter.scope(&["cap:run.start".parse().unwrap()], &roles);
    assert!(holds(&charter, &narrow, "run.start", 0) && !holds(&charter, &narrow, "run.read", 0));
    let unknown = charter.scope(&["cap:run.fly".parse().unwrap()], &roles);
    assert_eq!(unknown, Rights::none(), "a scope of nothing known holds nothing");
}

#[test]
fn commands_are_found_by_kind_and_name() {
    let charter = charter();
    let found = charter.command(&Kind::AGENT, "create").unwrap();
    assert_eq!(found.right, Right::Role(Role::Admin));
    assert_eq!(charter.command(&Kind::AGENT, "start"), None);
    assert_eq!(charter.command(&Kind::CONVERSATION, "create"), None);
}
