use super::*;
use crate::scene::{As, Scene, as_role, id, platform, sealed};
use quipu_kinds::org::{ResumeOrg, SuspendOrg};
use serde_json::json;

fn who(name: &str) -> As {
    as_role(name, None)
}
fn create() -> OrgCommand {
    OrgCommand::Create(CreateOrg {
        name: "Acme".into(),
        parent: None,
        owner: None,
    })
}
fn add(name: &str, role: Role) -> OrgCommand {
    OrgCommand::AddMember(AddMember {
        principal: id(name),
        role,
        name: None,
        email: None,
    })
}
fn set(name: &str, role: Role) -> OrgCommand {
    OrgCommand::SetRole(SetRole { principal: id(name), role })
}
fn remove(name: &str) -> OrgCommand {
    OrgCommand::RemoveMember(RemoveMember { principal: id(name) })
}
fn settings(value: serde_json::Value) -> OrgCommand {
    OrgCommand::ChangeSettings(ChangeSettings {
        settings: serde_json::from_value(value).unwrap(),
    })
}
fn suspend() -> OrgCommand {
    OrgCommand::Suspend(SuspendOrg { reason: "unpaid".into() })
}
fn resume() -> OrgCommand {
    OrgCommand::Resume(ResumeOrg {})
}
fn rename(name: &str) -> OrgCommand {
    OrgCommand::Rename(RenameOrg { name: name.into() })
}

/// ada owns, bob administers, cleo is a member, dan a viewer.
fn acme() -> Scene<Org> {
    let mut org = Scene::new("acme/org/acme");
    org.ok(&who("ada"), create());
    org.ok(&who("ada"), add("bob", Role::Admin));
    org.ok(&who("bob"), add("cleo", Role::Member));
    org.ok(&who("bob"), add("dan", Role::Viewer));
    org
}

#[test]
fn the_actor_becomes_the_first_owner() {
    let mut org = Scene::<Org>::new("acme/org/acme");
    let events = org.ok(&who("ada"), create());
    assert!(matches!(
        &events[..],
        [OrgEvent::Created { .. }, OrgEvent::MemberAdded { role: Role::Owner, .. }]
    ));
    assert_eq!(org.state.role(&id("ada")), Some(Role::Owner));
    org.refused(&who("ada"), create(), 409, "org_exists");
}

#[test]
fn the_platform_names_owner_and_parent_and_nobody_else_does() {
    let given = |parent: Option<&str>, owner: Option<&str>| {
        OrgCommand::Create(CreateOrg {
            name: "Lab".into(),
            parent: parent.map(|p| OrgId::parse(p).unwrap()),
            owner: owner.map(id),
        })
    };
    let mut org = Scene::<Org>::new("lab/org/lab");
    org.refused(&who("ada"), given(None, Some("eve")), 403, "owner_not_actor");
    org.refused(&who("ada"), given(Some("acme"), None), 403, "parent_not_allowed");
    org.refused(&platform(), given(Some("lab"), None), 422, "own_parent");
    org.ok(&platform(), given(Some("acme"), Some("ada")));
    assert_eq!(org.state.role(&id("ada")), Some(Role::Owner));
    assert_eq!(org.state.role(&PrincipalId::BOOTSTRAP), None);
}

#[test]
fn creation_checks_its_id_and_name() {
    Scene::<Org>::new("acme/org/other").refused(&who("ada"), create(), 422, "org_id_mismatch");
    Scene::<Org>::new("_own/org/_own").refused(&who("ada"), create(), 422, "reserved_id");
    Scene::<Org>::new("_platform/org/_platform").ok(&platform(), create());
    for name in ["", "  ", "a\nb", &"x".repeat(201), "\u{200b}", "\u{202e}abc", "a\u{2028}b"] {
        let command = OrgCommand::Create(CreateOrg {
            name: name.into(),
            parent: None,
            owner: None,
        });
        Scene::<Org>::new("acme/org/acme").refused(&who("ada"), command, 422, "bad_name");
    }
}

#[test]
fn a_missing_org_knows_create_alone() {
    let mut org = Scene::<Org>::new("acme/org/acme");
    for command in [
        rename("A"),
        add("bob", Role::Member),
        set("bob", Role::Member),
        remove("bob"),
        settings(json!({})),
        suspend(),
        resume(),
    ] {
        org.refused(&platform(), command, 404, "org_not_found");
    }
}

#[test]
fn admins_manage_and_others_do_not() {
    let mut org = acme();
    for low in ["cleo", "dan", "stranger"] {
        for command in [
            rename("B"),
            add("eve", Role::Viewer),
            set("dan", Role::Member),
            settings(json!({"a": 1})),
        ] {
            org.refused(&who(low), command, 403, "role_needed");
        }
        org.refused(&who(low), remove("bob"), 403, "role_needed");
    }
    org.ok(&who("bob"), rename("B"));
    org.unchanged(&who("bob"), rename("B"));
    org.refused(&who("bob"), rename(""), 422, "bad_name");
    org.refused(&who("bob"), rename("\u{feff}\u{2060}"), 422, "bad_name");
    for reserved in ["_root", "bootstrap"] {
        org.refused(&who("bob"), add(reserved, Role::Member), 422, "reserved_id");
    }
    org.ok(&who("bob"), set("dan", Role::Admin));
    org.unchanged(&who("bob"), set("dan", Role::Admin));
    org.refused(&who("bob"), set("eve", Role::Member), 404, "not_a_member");
    org.refused(&who("bob"), remove("eve"), 404, "not_a_member");
    org.ok(&who("bob"), remove("dan"));
    org.ok(&who("cleo"), remove("cleo"));
    assert_eq!(org.state.role(&id("cleo")), None);
}

#[test]
fn only_owners_make_and_unmake_owners_and_the_last_one_stays() {
    let mut org = acme();
    for command in [
        add("eve", Role::Owner),
        set("cleo", Role::Owner),
        set("ada", Role::Member),
        remove("ada"),
    ] {
        org.refused(&who("bob"), command, 403, "role_needed");
    }
    org.refused(&who("ada"), set("ada", Role::Admin), 409, "last_owner");
    org.refused(&who("ada"), remove("ada"), 409, "last_owner");
    org.refused(&platform(), remove("ada"), 409, "last_owner");
    org.ok(&who("ada"), set("bob", Role::Owner));
    org.ok(&who("bob"), set("ada", Role::Member));
    org.refused(&who("bob"), remove("bob"), 409, "last_owner");
}

#[test]
fn adding_twice_is_a_repetition_only_if_nothing_differs() {
    let mut org = acme();
    org.unchanged(&who("bob"), add("cleo", Role::Member));
    org.refused(&who("bob"), add("cleo", Role::Admin), 409, "already_member");
    let named = |who: &str| {
        OrgCommand::AddMember(AddMember {
            principal: id(who),
            role: Role::Member,
            name: Some(sealed(&"Cleo".to_owned())),
            email: None,
        })
    };
    org.refused(&who("bob"), named("cleo"), 409, "already_member");
    org.ok(&who("bob"), named("eve"));
}

#[test]
fn an_org_takes_a_new_name_and_not_its_own_again() {
    let mut org = acme();
    assert_eq!(org.ok(&who("bob"), rename("New")), [OrgEvent::Renamed { name: "New".into() }]);
    org.unchanged(&who("bob"), rename("New"));
    assert_eq!(org.ok(&who("bob"), rename("Newer")).len(), 1);
}

#[test]
fn an_org_is_full_at_its_limit() {
    let mut org = acme();
    if let OrgState::Active(tenant) = &mut org.state {
        for n in tenant.members.len()..MEMBERS_MAX {
            tenant.members.insert(id(&format!("m{n}")), Role::Viewer);
        }
    }
    org.refused(&who("ada"), add("eve", Role::Member), 409, "too_many_members");
}

#[test]
fn settings_are_set_unset_and_bounded() {
    let mut org = acme();
    org.ok(&who("bob"), settings(json!({"ui.theme": "dark", "quota": 3})));
    org.unchanged(&who("bob"), settings(json!({"quota": 3, "absent": null})));
    org.ok(&who("bob"), settings(json!({"quota": null})));
    assert!(matches!(&org.state, OrgState::Active(t) if t.settings.len() == 1));
    for name in ["", "Upper", "1a", "a-b", &"x".repeat(65)] {
        org.refused(&who("bob"), settings(json!({name: 1})), 422, "bad_setting_name");
    }
    org.refused(
        &who("bob"),
        settings(json!({"a": "x".repeat(SETTING_MAX_BYTES)})),
        422,
        "setting_too_large",
    );
    let many: serde_json::Map<_, _> = (0..SETTINGS_MAX).map(|n| (format!("s{n}"), json!(n))).collect();
    org.refused(&who("bob"), settings(json!(many)), 422, "too_many_settings");

    // Each bound is taken; a full org unsets one setting to have another, in one command.
    let mut org = acme();
    org.ok(
        &who("bob"),
        settings(json!({"a": "x".repeat(SETTING_MAX_BYTES - 2), "x".repeat(64): 1})),
    );
    let mut rest: serde_json::Map<_, _> = (2..SETTINGS_MAX).map(|n| (format!("s{n}"), json!(n))).collect();
    org.ok(&who("bob"), settings(json!(rest)));
    org.refused(&who("bob"), settings(json!({"one.more": 1})), 422, "too_many_settings");
    org.ok(&who("bob"), settings(json!({"one.more": 1, "s2": null})));
    rest.insert("s2".into(), json!(2));
    org.refused(&who("bob"), settings(json!(rest)), 422, "too_many_settings");
}

#[test]
fn a_suspended_org_takes_resume_alone() {
    let mut org = acme();
    org.unchanged(&who("ada"), resume());
    org.refused(&who("bob"), suspend(), 403, "role_needed");
    org.refused(&who("bob"), resume(), 403, "role_needed");
    org.refused(
        &who("ada"),
        OrgCommand::Suspend(SuspendOrg { reason: "x".repeat(501) }),
        422,
        "bad_reason",
    );
    org.ok(&who("ada"), suspend());
    for command in [
        rename("A"),
        add("eve", Role::Member),
        set("bob", Role::Member),
        remove("bob"),
        settings(json!({})),
        suspend(),
    ] {
        assert!(!Org::ignores_suspension(&command));
        org.refused(&who("ada"), command, 403, "org_suspended");
    }
    org.refused(&who("ada"), create(), 409, "org_exists");
    org.refused(&who("bob"), resume(), 403, "role_needed");
    assert!(Org::ignores_suspension(&resume()));
    assert_eq!(org.state.role(&id("bob")), Some(Role::Admin));
    org.ok(&platform(), resume());
    assert!(matches!(org.state, OrgState::Active(_)));
}

#[test]
fn events_that_contradict_the_state_are_corrupt() {
    let org = acme().state;
    let suspended = Org::evolve(org.clone(), &OrgEvent::Suspended { reason: String::new() }).unwrap();
    let added = OrgEvent::MemberAdded {
        principal: id("bob"),
        role: Role::Viewer,
        name: None,
        email: None,
    };
    for (state, event) in [
        (OrgState::Missing, OrgEvent::Resumed {}),
        (OrgState::Missing, added.clone()),
        (
            org.clone(),
            OrgEvent::Created {
                name: "A".into(),
                parent: None,
            },
        ),
        (org.clone(), added.clone()),
        (
            org.clone(),
            OrgEvent::RoleSet {
                principal: id("eve"),
                role: Role::Member,
            },
        ),
        (org.clone(), OrgEvent::MemberRemoved { principal: id("eve") }),
        (org, OrgEvent::Resumed {}),
        (suspended, added),
    ] {
        assert!(Org::evolve(state, &event).is_err(), "{event:?}");
    }
}

#[test]
fn added_members_are_the_subjects_of_their_data() {
    assert_eq!(Org::data_subject("add_member", &json!({"principal": "eve"})), Some("eve".into()));
    assert_eq!(
        Org::data_subject("add_member", &json!({"add_member": {"principal": "eve"}})),
        Some("eve".into())
    );
    assert_eq!(Org::data_subject("rename", &json!({"principal": "eve"})), None);
    assert_eq!(Org::data_subject("add_member", &json!({"principal": 3})), None);
}

#[test]
fn who_is_cut_or_speaks_for_another_makes_no_members() {
    let mut org = acme();
    let cut = |name: &str| {
        let mut who = who(name);
        who.authority.narrowed = true;
        who
    };
    for command in [add("eve", Role::Viewer), set("dan", Role::Admin)] {
        org.refused(&cut("ada"), command, 403, "narrow_credential");
    }
    org.ok(&cut("ada"), remove("dan"));
    org.sender = Some(id("svc"));
    for command in [add("eve", Role::Viewer), set("cleo", Role::Admin), remove("cleo")] {
        org.refused(&who("ada"), command, 403, "delegated");
    }
    org.ok(&who("cleo"), remove("cleo"));
    // To name oneself is to speak for nobody.
    org.sender = Some(id("ada"));
    org.ok(&who("ada"), add("eve", Role::Viewer));
}

#[test]
fn org_may_require_idempotency_keys() {
    let mut org = acme();
    assert!(!org.state.requires_key());
    org.refused(
        &who("cleo"),
        settings(json!({"commands.require_idempotency_key": true})),
        403,
        "role_needed",
    );
    for bad in [json!(1), json!("true"), json!([])] {
        org.refused(
            &who("bob"),
            settings(json!({"commands.require_idempotency_key": bad})),
            422,
            "bad_setting",
        );
    }
    org.ok(&who("bob"), settings(json!({"commands.require_idempotency_key": true})));
    assert!(org.state.requires_key());
    org.ok(&who("ada"), suspend());
    assert!(org.state.requires_key(), "a suspension changes nothing of it");
    org.ok(&who("ada"), resume());
    org.ok(&who("bob"), settings(json!({"commands.require_idempotency_key": null})));
    assert!(!org.state.requires_key());
}
