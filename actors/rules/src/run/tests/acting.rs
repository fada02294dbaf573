//! In whose name a run acts.

use super::*;
use crate::scene::id;

fn asking() -> Value {
    single("wait_approval", json!({"role": "member"}), "in", "approved")
}

fn naming(named: &str) -> RunCommand {
    let RunCommand::Create(create) = creating(asking(), json!({"in": 0})) else {
        unreachable!()
    };
    RunCommand::Create(CreateRun {
        act_as: Some(id(named)),
        ..create
    })
}

fn acting(principal: &str, on_behalf_of: Option<&str>) -> Option<Acting> {
    Some(Acting {
        principal: id(principal),
        on_behalf_of: on_behalf_of.map(id),
        credential: None,
    })
}

#[test]
fn a_run_acts_in_the_name_of_its_creator() {
    assert_eq!(Run::acts_as(&RunState::Absent), None);
    let mut scene = scene();
    scene.ok(&ada(), creating(asking(), json!({"in": 0})));
    assert_eq!(Run::acts_as(&scene.state), acting("ada", None));
    let events = scene.ok(&as_role("bob", Some(Role::Admin)), RunCommand::Approve(approving("n")));
    assert!(matches!(&events[0], RunEvent::ApprovalGiven { by, .. } if *by == id("bob")));
    assert_eq!(Run::acts_as(&scene.state), acting("ada", None));
}

#[test]
fn who_created_it_for_another_by_which_key_is_kept() {
    let mut scene = scene();
    let key: CredentialId = "api-key/key_1".parse().unwrap();
    (scene.sender, scene.credential) = (Some(id("gate")), Some(key.clone()));
    scene.ok(&ada(), creating(asking(), json!({"in": 0})));
    let by_key = |of: Option<Acting>| {
        of.map(|acting| Acting {
            credential: Some(key.clone()),
            ..acting
        })
    };
    assert_eq!(Run::acts_as(&scene.state), by_key(acting("gate", Some("ada"))));
    (scene.sender, scene.credential) = (None, None);
    scene.ok(&as_role("bob", Some(Role::Admin)), RunCommand::Approve(approving("n")));
    assert_eq!(
        Run::acts_as(&scene.state),
        by_key(acting("gate", Some("ada"))),
        "whoever moves it on"
    );
}

#[test]
fn a_named_principal_is_spoken_for_by_the_creator() {
    let mut scene = scene();
    let key: CredentialId = "api-key/key_1".parse().unwrap();
    scene.credential = Some(key.clone());
    let events = scene.ok(&ada(), naming("robot"));
    let RunEvent::Created { by, acts_as, .. } = &events[0] else {
        panic!("{events:?}")
    };
    assert_eq!((by, acts_as), (&id("ada"), &Some(id("robot"))));
    let expected = acting("ada", Some("robot")).map(|acting| Acting {
        credential: Some(key),
        ..acting
    });
    assert_eq!(Run::acts_as(&scene.state), expected);
    scene.credential = None;
    scene.ok(&as_role("bob", Some(Role::Admin)), RunCommand::Approve(approving("n")));
    assert_eq!(Run::acts_as(&scene.state), expected);
}

#[test]
fn naming_oneself_changes_nothing() {
    let mut scene = scene();
    let events = scene.ok(&ada(), naming("ada"));
    assert!(matches!(&events[0], RunEvent::Created { acts_as: None, .. }), "{events:?}");
    assert_eq!(Run::acts_as(&scene.state), acting("ada", None));
}

#[test]
fn the_holder_of_the_nodes_token_names_anybody() {
    let mut scene = scene();
    scene.ok(&platform(), naming("robot"));
    assert_eq!(Run::acts_as(&scene.state), acting("bootstrap", Some("robot")));
    let mut for_ada = super::scene();
    for_ada.sender = Some(PrincipalId::BOOTSTRAP);
    for_ada.ok(&ada(), naming("robot"));
    assert_eq!(Run::acts_as(&for_ada.state), acting("ada", Some("robot")), "her rights cut it");
}

#[test]
fn who_acts_for_another_names_no_third() {
    let mut scene = scene();
    scene.sender = Some(id("gate"));
    scene.refused(&ada(), naming("robot"), 403, "delegated");
    scene.ok(&ada(), naming("ada"));
}

#[test]
fn a_principal_of_the_platform_is_not_to_be_named() {
    let mut scene = scene();
    scene.refused(&ada(), naming("bootstrap"), 422, "bad_name");
    scene.refused(&ada(), naming("_node"), 422, "bad_name");
}
