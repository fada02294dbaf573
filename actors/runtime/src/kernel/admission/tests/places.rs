//! Projects into which something is brought.

use super::{
    rights::{given_to, key_of, named, somebody},
    *,
};
use quipu_schemas::rights::Target;

fn id(text: &'static str) -> EntityId {
    EntityId::from_static(text)
}

fn granted_on(on: &[Target]) -> Desk {
    let mut desk = Desk::new(somebody(Some(Role::Viewer)));
    let give = |on: &Target| Given {
        on: on.clone(),
        ..given_to("cap:entity.*", None)
    };
    desk.given = on.iter().map(give).collect();
    desk
}

fn bring(desk: &mut Desk, name: &str, from: Option<&'static str>, into: &'static str) -> String {
    desk.belongs = Belongs {
        project: from.map(id),
        into: Some(id(into)),
        ..Belongs::default()
    };
    desk.asked.clear();
    desk.code(named("acme/entity/ent_1", name), HERE)
}

#[test]
fn moving_takes_the_right_in_the_target_as_well() {
    let (here, there) = (Target::Project(id("p1")), Target::Project(id("p2")));
    let code = |on: &[Target]| bring(&mut granted_on(on), "move", Some("p1"), "p2");
    assert_eq!(code(std::slice::from_ref(&here)), "missing_right");
    assert_eq!(code(std::slice::from_ref(&there)), "missing_right");
    assert_eq!(code(&[here, there]), "");
    assert_eq!(code(&[Target::Org]), "");
    // What is held on the entity alone brings it nowhere.
    assert_eq!(code(&[Target::Entity(Kind::from_static("entity"), id("ent_1"))]), "missing_right");
}

#[test]
fn making_in_a_project_takes_the_right_on_the_project() {
    let code = |on: Target| bring(&mut granted_on(&[on]), "create", Some("p1"), "p1");
    assert_eq!(code(Target::Entity(Kind::from_static("entity"), id("ent_1"))), "missing_right");
    assert_eq!(code(Target::Project(id("p1"))), "");
}

#[test]
fn key_whose_scope_lacks_it_brings_nothing_anywhere() {
    let mut desk = granted_on(&[Target::Org]);
    desk.keys = vec![key_of(rights::ADA, &["cap:entity.rename"], NOW + 1)];
    desk.belongs.into = Some(id("p2"));
    assert_eq!(desk.code(by_key(named("acme/entity/ent_1", "move")), HERE), "missing_right");
}

#[test]
fn archived_project_takes_nothing_from_anybody() {
    for role in [Role::Admin, Role::Owner] {
        let mut desk = Desk::new(somebody(Some(role)));
        for (name, from) in [("create", Some("p1")), ("move", Some("p2"))] {
            desk.is_archived = false;
            assert_eq!(bring(&mut desk, name, from, "p1"), "", "{name}");
            desk.is_archived = true;
            desk.seen = SeenCommands::after(0);
            assert_eq!(bring(&mut desk, name, from, "p1"), "project_archived", "{name}");
            desk.seen = SeenCommands::after(0);
        }
    }
    let mut desk = Desk::new(ACTIVE);
    desk.is_archived = true;
    desk.belongs.into = Some(id("p1"));
    let by_token = CommandEnvelope {
        principal: PrincipalId::BOOTSTRAP,
        ..named("acme/entity/ent_1", "move")
    };
    assert_eq!(desk.code(by_token, HERE), "project_archived");
}
