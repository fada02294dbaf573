//! Rights that commands name.

use super::{
    rights::{dispatched, saying, somebody},
    *,
};
use serde_json::{Value, json};

fn refused(stream: &str, name: &str, body: &Value) -> Option<Problem> {
    let command = saying(stream, name, body.clone());
    let answer = Desk::new(somebody(Some(Role::Owner))).admit(command.clone(), HERE).err();
    let settled = Desk::new(somebody(Some(Role::Owner)))
        .admit(dispatched(command, "acme/run/r1"), HERE)
        .map(|admitted| admitted.refused);
    let code = |problem: &Option<Problem>| problem.as_ref().map(|problem| problem.code.clone());
    // What an entity sends is checked by the same.
    assert_eq!(
        settled.map(|settled| code(&settled)).map_err(|problem| problem.code),
        Ok(code(&answer))
    );
    answer
}

#[test]
fn unknown_capabilities_are_refused_wherever_named() {
    for (stream, name, body, field) in [
        ("acme/grant/bob", "give", json!({ "right": "cap:runs.*", "on": "org" }), "right"),
        (
            "acme/role/all",
            "set",
            json!({ "name": "clerk", "holds": ["cap:run.start", "cap:runs.*"] }),
            "holds",
        ),
        (
            "acme/api-key/k1",
            "create",
            json!({ "name": "k", "scopes": ["cap:runs.*"] }),
            "scopes",
        ),
        (
            "acme/application/a1",
            "update",
            json!({ "scopes": ["cap:openid.sign_in", "cap:runs.*"] }),
            "scopes",
        ),
        (
            "acme/org/acme",
            "change_settings",
            json!({ "settings": { "approvals.required": ["cap:runs.*"] } }),
            "settings.approvals.required",
        ),
        (
            "acme/org/acme",
            "change_settings",
            json!({ "settings": { "step_up.required": ["cap:runs.*"] } }),
            "settings.step_up.required",
        ),
    ] {
        let problem = refused(stream, name, &body).expect("refused");
        assert_eq!(
            (problem.status, &*problem.code, problem.field.as_deref()),
            (422, "unknown_capability", Some(field))
        );
        assert!(problem.fix.unwrap().contains("cap:run.*"), "{body}");
    }
    let verb = refused("acme/grant/bob", "give", &json!({ "right": "cap:run.begin", "on": "org" })).expect("refused");
    assert!(verb.fix.unwrap().contains("cap:run.start"));
}

#[test]
fn grant_on_an_unknown_kind_is_refused_with_the_kinds() {
    let give = |on: &str| refused("acme/grant/bob", "give", &json!({ "right": "cap:run.*", "on": on }));
    let problem = give("runs/r1").expect("refused");
    assert_eq!(
        (problem.status, &*problem.code, problem.field.as_deref()),
        (422, "unknown_target", Some("on"))
    );
    assert!(problem.fix.unwrap().contains("run, "));
    for known in ["org", "run/r1", "project/p1", "application/a1", "entity/ent_1"] {
        assert_eq!(give(known), None, "{known}");
    }
}

#[test]
fn grant_of_something_unknown_can_still_be_taken() {
    let take = json!({ "right": "cap:runs.*", "on": "runs/r1" });
    assert_eq!(refused("acme/grant/bob", "take", &take), None);
}
