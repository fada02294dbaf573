use super::*;
use crate::scene::{As, Scene, as_role, platform};

fn set(name: &str, holds: &[&str]) -> RoleCommand {
    RoleCommand::Set(SetOwnRole {
        name: name.into(),
        holds: holds.iter().map(|text| text.parse().unwrap()).collect(),
    })
}
fn remove(name: &str) -> RoleCommand {
    RoleCommand::Remove(RemoveOwnRole { name: name.into() })
}
fn admin() -> As {
    as_role("bob", Some(Member::Admin))
}
fn roles() -> Scene<Role> {
    Scene::new("acme/role/all")
}

#[test]
fn roles_are_set_changed_and_removed() {
    let mut scene = roles();
    scene.ok(&admin(), set("clerk", &["role:viewer", "cap:run.start", "cap:run.start"]));
    scene.unchanged(&admin(), set("clerk", &["cap:run.start", "role:viewer"]));
    scene.ok(&admin(), set("clerk", &["cap:run.*"]));
    scene.ok(&admin(), set("team:lead", &["role:clerk"]));
    let specs: Vec<_> = scene
        .state
        .specs()
        .map(|(name, spec)| (name.to_owned(), spec.holds.len()))
        .collect();
    assert_eq!(specs, [("clerk".to_owned(), 1), ("team:lead".to_owned(), 1)]);
    scene.ok(&admin(), remove("clerk"));
    scene.refused(&admin(), remove("clerk"), 404, "unknown_role");
    // What inherited from it stays, and holds that part no longer.
    assert!(scene.state.roles.contains_key("team:lead"));
}

#[test]
fn roles_take_an_admin_with_a_whole_credential() {
    let mut narrowed = as_role("ada", Some(Member::Owner));
    narrowed.authority.narrowed = true;
    let mut scene = roles();
    scene.refused(&as_role("cleo", Some(Member::Member)), set("clerk", &[]), 403, "role_needed");
    scene.refused(&as_role("eve", None), remove("clerk"), 403, "role_needed");
    scene.refused(&narrowed, set("clerk", &[]), 403, "narrow_credential");
    scene.ok(&platform(), set("clerk", &[]));
}

#[test]
fn names_that_every_org_has_are_taken() {
    let mut scene = roles();
    for name in BUILT_IN {
        scene.refused(&platform(), set(name, &[]), 422, "built_in_role");
        scene.refused(&platform(), remove(name), 404, "unknown_role");
    }
    for name in ["", "Clerk", "a b", "a:", "ä"] {
        scene.refused(&platform(), set(name, &[]), 422, "bad_role_name");
    }
}

#[test]
fn all_roles_of_an_org_are_in_one_entity() {
    Scene::<Role>::new("acme/role/clerk").refused(&platform(), set("clerk", &[]), 422, "role_id");
}

#[test]
fn roles_that_circle_or_name_none_are_refused() {
    let mut scene = roles();
    scene.refused(&admin(), set("a", &["role:a"]), 422, "bad_role");
    scene.refused(&admin(), set("a", &["role:gone"]), 422, "bad_role");
    scene.ok(&admin(), set("a", &["role:member"]));
    scene.ok(&admin(), set("b", &["role:a"]));
    scene.refused(&admin(), set("a", &["role:b"]), 422, "bad_role");
    for n in 0..8 {
        let below = if n == 0 { "role:a".to_owned() } else { format!("role:d{}", n - 1) };
        let deep = set(&format!("d{n}"), &[&below]);
        if n == 7 {
            scene.refused(&admin(), deep, 422, "bad_role");
        } else {
            scene.ok(&admin(), deep);
        }
    }
}

/// Else an admin could give what an owner once put into a role.
#[test]
fn what_owners_give_is_in_no_role_of_an_org() {
    let mut scene = roles();
    for right in ["role:owner", "cap:org.*", "cap:principal.act_as"] {
        scene.refused(&as_role("ada", Some(Member::Owner)), set("boss", &[right]), 422, "owner_right");
    }
}

#[test]
fn roles_and_what_they_name_are_bounded() {
    let mut scene = roles();
    let many: Vec<String> = (0..=ROLE_HOLDS_MAX).map(|n| format!("cap:run.x{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    scene.refused(&admin(), set("clerk", &many), 422, "role_too_large");
    scene.ok(&admin(), set("clerk", &many[1..]));
    for n in 1..ROLES_MAX {
        scene.ok(&admin(), set(&format!("r{n}"), &[]));
    }
    scene.refused(&admin(), set("more", &[]), 409, "too_many_roles");
    scene.ok(&admin(), set("clerk", &[]));
}
